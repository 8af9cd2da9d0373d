/* SPDX-License-Identifier: Apache-2.0 */
/* ELF files that anybody may have written: their symbols, and which functions would be probed. */
#include "daemon/elf_file.h"
#include "daemon/survey.h"
#include "fuzz.h"
#include "macro.h"

static int on_symbol(const struct elf_symbol *symbol, void *userdata)
{
	*(uint64_t *)userdata += strlen(symbol->name) + symbol->address;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(elf_file_freep) struct elf_file *elf = NULL;
	int fd = fuzz_file(data, size);
	struct probe_point points[API_MAX];
	uint64_t sum = 0, found;
	uint8_t code[PROBE_CODE_MAX];

	for (int family = 0; family < FAMILY_MAX; family++)
		(void)survey_library(fd, (enum api_family)family, points);
	if (elf_file_open(fd, &elf) < 0)
		return 0;
	(void)elf_file_exports(elf, on_symbol, &sum);
	(void)elf_file_functions(elf, on_symbol, &sum);
	if (elf_file_address(elf, sum % (size + 1), &found) == 0)
		(void)elf_file_read(elf, found, code, sizeof(code));
	(void)elf_file_offset(elf, sum, &found);
	return 0;
}
