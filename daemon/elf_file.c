/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "elf_file.h"
#include "macro.h"

#define SEGMENTS_MAX 64
#define TABLE_BYTES_MAX (64U << 20)  /* symbol and string tables: libtorch's are tens of MiB */
#define EXPORTS_BYTES_MAX (8U << 20) /* of a library to probe: CUDA's are far below 1 MiB */

#if defined(__x86_64__)
#define ELF_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define ELF_MACHINE EM_AARCH64
#else
#error "unsupported architecture"
#endif

struct elf_file {
	int fd;
	Elf *elf;
	size_t n_segments;
	struct {
		uint64_t address, offset, size;
	} segments[SEGMENTS_MAX];
};

static int read_segments(struct elf_file *ef)
{
	size_t n;

	if (elf_getphdrnum(ef->elf, &n) != 0)
		return -ENOEXEC;
	for (size_t i = 0; i < n && ef->n_segments < SEGMENTS_MAX; i++) {
		GElf_Phdr p;

		if (!gelf_getphdr(ef->elf, (int)i, &p))
			return -ENOEXEC;
		if (p.p_type != PT_LOAD)
			continue;
		ef->segments[ef->n_segments].address = p.p_vaddr;
		ef->segments[ef->n_segments].offset = p.p_offset;
		ef->segments[ef->n_segments++].size = p.p_filesz;
	}
	return ef->n_segments > 0 ? 0 : -ENOEXEC;
}

/* libelf allocates the header tables in the size that the file claims. The usual counts of 16 bits
 * bound them; the extensions for more lie in section 0 and could say anything.
 */
static bool header_is_sane(int fd)
{
	Elf64_Ehdr header;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header))
		return false;
	return memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
	       header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_machine == ELF_MACHINE &&
	       header.e_phentsize == sizeof(Elf64_Phdr) && header.e_phnum < PN_XNUM &&
	       (header.e_shoff == 0 ||
		(header.e_shnum > 0 && header.e_shentsize == sizeof(Elf64_Shdr)));
}

int elf_file_open(int fd, struct elf_file **ret)
{
	_cleanup_(elf_file_freep) struct elf_file *ef = calloc(1, sizeof(*ef));
	int r;

	if (!header_is_sane(fd))
		return -ENOEXEC;
	if (!ef)
		return -ENOMEM;
	ef->fd = fd;
	elf_version(EV_CURRENT);
	ef->elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!ef->elf || elf_kind(ef->elf) != ELF_K_ELF)
		return -ENOEXEC;
	r = read_segments(ef);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(ef);
	return 0;
}

struct elf_file *elf_file_free(struct elf_file *ef)
{
	if (!ef)
		return NULL;
	elf_end(ef->elf);
	free(ef);
	return NULL;
}

/* Symbols and the strings that their names are in. */
struct symbol_table {
	Elf_Data *symbols, *strings;
};

/* The section of a type, with the sizes checked before anything is read. */
static int find_table(struct elf_file *ef, uint32_t type, size_t bytes_max,
		      struct symbol_table *ret)
{
	Elf_Scn *section = NULL, *strings;
	GElf_Shdr header, strings_header;

	while ((section = elf_nextscn(ef->elf, section))) {
		if (!gelf_getshdr(section, &header))
			return -ENOEXEC;
		if (header.sh_type == type)
			break;
	}
	if (!section)
		return -ENOENT;
	strings = elf_getscn(ef->elf, header.sh_link);
	if (!strings || !gelf_getshdr(strings, &strings_header) ||
	    strings_header.sh_type != SHT_STRTAB || strings_header.sh_flags & SHF_COMPRESSED ||
	    header.sh_entsize != sizeof(Elf64_Sym))
		return -ENOEXEC;
	if (header.sh_size > bytes_max || strings_header.sh_size > bytes_max)
		return -EFBIG;
	ret->symbols = elf_getdata(section, NULL);
	ret->strings = elf_getdata(strings, NULL);
	return ret->symbols && ret->strings && ret->strings->d_buf ? 0 : -ENOEXEC;
}

/* NULL where it has none, or none of a sane length. elf_strptr() is not used: it looks through the
 * whole table for each name where nothing ends them, and unpacks one that says it is compressed.
 */
static const char *name_at(const Elf_Data *strings, size_t offset)
{
	const char *name = (const char *)strings->d_buf + offset;

	if (offset >= strings->d_size || !name[0] ||
	    !memchr(name, '\0', MIN(strings->d_size - offset, (size_t)ELF_NAME_MAX)))
		return NULL;
	return name;
}

static int walk_table(struct elf_file *ef, uint32_t type, size_t bytes_max, bool functions_only,
		      elf_symbol_fn fn, void *userdata)
{
	struct symbol_table table;
	int r;

	r = find_table(ef, type, bytes_max, &table);
	if (r < 0)
		return r;
	for (size_t i = 0; i < table.symbols->d_size / sizeof(Elf64_Sym); i++) {
		struct elf_symbol symbol;
		GElf_Sym s;

		if (!gelf_getsym(table.symbols, (int)i, &s))
			return -ENOEXEC;
		if (s.st_shndx == SHN_UNDEF ||
		    (GELF_ST_TYPE(s.st_info) != STT_FUNC &&
		     (functions_only || GELF_ST_TYPE(s.st_info) != STT_OBJECT)))
			continue;
		symbol.name = name_at(table.strings, s.st_name);
		symbol.address = s.st_value;
		symbol.size = s.st_size;
		if (!symbol.name)
			continue;
		r = fn(&symbol, userdata);
		if (r != 0)
			return r;
	}
	return 0;
}

int elf_file_exports(struct elf_file *ef, elf_symbol_fn fn, void *userdata)
{
	return walk_table(ef, SHT_DYNSYM, EXPORTS_BYTES_MAX, false, fn, userdata);
}

int elf_file_functions(struct elf_file *ef, elf_symbol_fn fn, void *userdata)
{
	int r = walk_table(ef, SHT_SYMTAB, TABLE_BYTES_MAX, true, fn, userdata);

	return r == -ENOENT ? walk_table(ef, SHT_DYNSYM, TABLE_BYTES_MAX, true, fn, userdata) : r;
}

int elf_file_offset(const struct elf_file *ef, uint64_t address, uint64_t *ret_offset)
{
	for (size_t i = 0; i < ef->n_segments; i++)
		if (address - ef->segments[i].address < ef->segments[i].size) {
			*ret_offset = address - ef->segments[i].address + ef->segments[i].offset;
			return 0;
		}
	return -ENOENT;
}

int elf_file_address(const struct elf_file *ef, uint64_t offset, uint64_t *ret_address)
{
	for (size_t i = 0; i < ef->n_segments; i++)
		if (offset - ef->segments[i].offset < ef->segments[i].size) {
			*ret_address = offset - ef->segments[i].offset + ef->segments[i].address;
			return 0;
		}
	return -ENOENT;
}

int elf_file_read(const struct elf_file *ef, uint64_t address, void *buf, size_t n)
{
	uint64_t offset;
	ssize_t got;
	int r;

	r = elf_file_offset(ef, address, &offset);
	if (r < 0)
		return r;
	got = pread(ef->fd, buf, n, (off_t)offset);
	if (got < 0)
		return -errno;
	return (size_t)got == n ? 0 : -ENODATA;
}
