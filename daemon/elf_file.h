/* SPDX-License-Identifier: Apache-2.0 */
/* Reading 64-bit ELF files that anybody may have written: symbols, and where addresses lie.
 *
 * Files are read, never mapped: whoever maps a file is killed when its owner truncates it.
 */
#ifndef SRTLEAK_ELF_FILE_H
#define SRTLEAK_ELF_FILE_H

#include <stddef.h>
#include <stdint.h>

#define ELF_NAME_MAX 512 /* mangled C++ names can be megabytes: longer ones are passed over */

struct elf_file;

struct elf_symbol {
	const char *name; /* good until the callback returns */
	uint64_t address; /* as linked */
	uint64_t size;
};

typedef int (*elf_symbol_fn)(const struct elf_symbol *symbol, void *userdata);

/* The descriptor stays the caller's and must stay open. -ENOEXEC: no ELF file of this machine. */
int elf_file_open(int fd, struct elf_file **ret);
struct elf_file *elf_file_free(struct elf_file *elf);

/* Calls fn for every defined function or object of .dynsym; a result other than 0 ends the walk and
 * is returned. -EFBIG: larger than any sane library's table.
 */
int elf_file_exports(struct elf_file *elf, elf_symbol_fn fn, void *userdata);

/* Likewise for the functions of .symtab, or of .dynsym where the file is stripped. */
int elf_file_functions(struct elf_file *elf, elf_symbol_fn fn, void *userdata);

/* Between addresses as linked and offsets in the file; -ENOENT outside of every loaded segment. */
int elf_file_offset(const struct elf_file *elf, uint64_t address, uint64_t *ret_offset);
int elf_file_address(const struct elf_file *elf, uint64_t offset, uint64_t *ret_address);

/* Reads exactly n bytes at an address as linked. */
int elf_file_read(const struct elf_file *elf, uint64_t address, void *buf, size_t n);

static inline void elf_file_freep(struct elf_file **elf)
{
	elf_file_free(*elf);
}

#endif
