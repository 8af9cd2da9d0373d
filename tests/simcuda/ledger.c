/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "block.h"
#include "macro.h"
#include "simcuda.h"

static bool lowest_reset(struct block *block, void *arg)
{
	(void)arg;
	block->lowest = 0;
	return true;
}

static bool lowest_note(struct block *block, void *arg)
{
	struct block *physical;

	(void)arg;
	if (block->type != BLOCK_MAPPING)
		return true;
	physical = block_find(block->parent, BLOCK_MASK(PHYSICAL));
	if (physical && (!physical->lowest || block->addr < physical->lowest))
		physical->lowest = block->addr;
	return true;
}

static void print_address(FILE *f, const char *name, uint64_t addr)
{
	if (addr)
		fprintf(f, "\"%s\":\"0x%" PRIx64 "\",", name, addr);
	else
		fprintf(f, "\"%s\":null,", name);
}

static bool print_block(struct block *block, void *f)
{
	const char *kind = block_kind(block);

	if (!kind)
		return true;
	if (block->type == BLOCK_PHYSICAL && block->device < 0)
		kind = "host"; /* where it is decides */
	fputc('{', f);
	if (block->type == BLOCK_PHYSICAL) {
		print_address(f, "ptr", block->lowest);
		print_address(f, "handle", block->addr);
	} else {
		print_address(f, "ptr", block->addr);
	}
	fprintf(f, "\"size\":%" PRIu64 ",\"kind\":\"%s\",\"api\":\"%s\",", block->size, kind,
		block->api);
	if (block->device >= 0)
		fprintf(f, "\"device\":%d,", block->device);
	else
		fputs("\"device\":null,", f);
	fprintf(f, "\"tid\":%" PRIu32 "}\n", block->tid);
	return true;
}

int simcuda_ledger_write(const char *path)
{
	FILE *f = fopen(path, "we");
	bool failed;

	if (!f)
		return -errno;
	call_begin(CALL_OTHER);
	blocks_each(lowest_reset, NULL);
	blocks_each(lowest_note, NULL);
	blocks_each(print_block, f);
	call_end(CALL_OTHER, CUDA_SUCCESS);
	failed = ferror(f);
	return fclose(f) || failed ? -EIO : 0;
}

static uint64_t locked(uint64_t (*fn)(void))
{
	uint64_t value;

	call_begin(CALL_OTHER);
	value = fn();
	call_end(CALL_OTHER, CUDA_SUCCESS);
	return value;
}

uint64_t simcuda_ledger_count(void)
{
	return locked(blocks_listed);
}

uint64_t simcuda_ledger_bytes(void)
{
	return locked(blocks_listed_bytes);
}
