/* SPDX-License-Identifier: Apache-2.0 */
/* Stacks as the probes store them, and a Python interpreter whose memory is all of the input: every
 * address leads somewhere into it, so that lists go round and nothing is what it should be.
 */
#include <errno.h>

#include "daemon/buffer.h"
#include "daemon/python_reader.h"
#include "daemon/remote.h"
#include "daemon/stack_names.h"
#include "fuzz.h"
#include "macro.h"
#include "python_layout.h"

#define VERSION_AT 0x10000000ULL
#define RUNTIME_AT 0x20000000ULL
#define CODE_TYPE_AT 0x4141414141414141ULL /* as inputs can easily have it */

#define MEMORY_SIZE 65536U

static uint8_t memory[2 * MEMORY_SIZE]; /* the input, over and over */
static uint32_t version;

static void fill_memory(const uint8_t *data, size_t size)
{
	size_t n = MIN(size, (size_t)MEMORY_SIZE);

	memset(memory, 0, MEMORY_SIZE);
	for (size_t at = 0; n > 0 && at < MEMORY_SIZE; at += n)
		memcpy(memory + at, data, MIN(n, MEMORY_SIZE - at));
	memcpy(memory + MEMORY_SIZE, memory, MEMORY_SIZE);
}

/* In place of daemon/remote.c. */
int remote_read(pid_t pid, uint64_t addr, void *buf, size_t size)
{
	(void)pid;
	if (addr == VERSION_AT && size == sizeof(version)) {
		memcpy(buf, &version, size);
		return 0;
	}
	if (size > REMOTE_READ_MAX)
		return -EINVAL;
	if (addr % 64 == 63)
		return -EFAULT;
	for (size_t at = 0; at < size; at += MEMORY_SIZE)
		memcpy((uint8_t *)buf + at, memory + addr % MEMORY_SIZE,
		       MIN(size - at, (size_t)MEMORY_SIZE));
	return 0;
}

int remote_read_u32(pid_t pid, uint64_t addr, uint32_t *ret)
{
	return remote_read(pid, addr, ret, sizeof(*ret));
}

int remote_read_u64(pid_t pid, uint64_t addr, uint64_t *ret)
{
	return remote_read(pid, addr, ret, sizeof(*ret));
}

int remote_read_pieces(pid_t pid, const struct remote_piece *pieces, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = remote_read(pid, pieces[i].addr, pieces[i].buf, pieces[i].size);
	return r;
}

static void name_stack(struct python *python)
{
	uint64_t words[STACK_WORDS] = {0};
	struct buffer strings = {0};
	struct site_stack stack = {0};

	memcpy(words, memory, sizeof(words));
	for (int verify = 0; verify < 2; verify++) {
		if (stack_names(words, verify, python, NULL, &strings, &stack) == 0)
			(void)site_identify(KIND_DEVICE, &stack);
		buffer_free(&strings);
		strings = (struct buffer){0};
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct python_binary binary = {
		.runtime = RUNTIME_AT,
		.version_symbol = VERSION_AT,
		.code_type = CODE_TYPE_AT,
	};
	_cleanup_(python_cleanup) struct python *python = NULL;

	if (size < 1)
		return 0;
	version = (uint32_t)python_layouts[data[0] % PYTHON_LAYOUTS].version << 16;
	fill_memory(data + 1, size - 1);
	if (python_open(1, &binary, 0, &python) < 0)
		abort();
	(void)python_validate(python);
	name_stack(python);
	return 0;
}
