/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "elf_file.h"
#include "macro.h"
#include "names.h"
#include "survey.h"

struct survey {
	enum api_family family;
	uint64_t addresses[API_MAX];
};

static int on_export(const struct elf_symbol *symbol, void *userdata)
{
	struct survey *s = userdata;

	if (symbol->name[0] != 'c' || symbol->name[1] != 'u')
		return 0;
	for (int api = 0; api < API_MAX; api++)
		if (api_rows[api].family == s->family &&
		    strcmp(api_symbol((enum api)api), symbol->name) == 0)
			s->addresses[api] = symbol->address;
	return 0;
}

static bool is_push(const uint8_t *code)
{
	return (code[0] >= 0x50 && code[0] <= 0x57) ||
	       ((code[0] & 0xf0) == 0x40 && code[1] >= 0x50 && code[1] <= 0x57);
}

/* Whether the kernel emulates the instruction (push, nop, jmp) instead of single-stepping it, which
 * is ten to thirty times dearer in a virtual machine.
 */
static bool is_emulated(const uint8_t *code)
{
	return is_push(code) || code[0] == 0x90 || code[0] == 0xe9 || code[0] == 0xeb;
}

static int place_probe(const struct elf_file *elf, uint64_t address, struct probe_point *point)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	const uint8_t *code = point->code;
	int r;

	r = elf_file_read(elf, address, point->code, sizeof(point->code));
	if (r == 0)
		r = elf_file_offset(elf, address, &point->start);
	if (r < 0)
		return r;
	point->offset = point->start;
	/* Behind endbr64 registers and stack are the same, and a push there is cheap to probe. */
	if (memcmp(code, endbr64, sizeof(endbr64)) == 0 && is_push(code + sizeof(endbr64))) {
		point->offset += sizeof(endbr64);
		code += sizeof(endbr64);
	}
	point->state = is_emulated(code) ? PROBE_ATTACHED : PROBE_SLOW;
	return 0;
}

int survey_library(int fd, enum api_family family, struct probe_point ret[API_MAX])
{
	_cleanup_(elf_file_freep) struct elf_file *elf = NULL;
	struct survey s = {.family = family};
	int r, found = 0;

	r = elf_file_open(fd, &elf);
	if (r < 0)
		return r;
	r = elf_file_exports(elf, on_export, &s);
	if (r < 0)
		return r;
	memset(ret, 0, API_MAX * sizeof(*ret));
	for (int api = 0; api < API_MAX; api++) {
		if (!s.addresses[api])
			continue;
		found++;
		for (int other = 0; other < api; other++)
			if (s.addresses[other] == s.addresses[api]) {
				ret[api].state = PROBE_ALIAS;
				ret[api].alias_of = other;
				break;
			}
		if (ret[api].state == PROBE_ALIAS)
			continue;
		r = place_probe(elf, s.addresses[api], &ret[api]);
		if (r < 0) {
			ret[api].state = PROBE_FAILED;
			ret[api].error = r;
		}
	}
	return found > 0 ? 0 : -ENOENT;
}
