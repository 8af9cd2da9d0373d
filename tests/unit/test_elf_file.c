/* SPDX-License-Identifier: Apache-2.0 */
/* ELF files: real ones against the loader's view of them, and such as nobody's linker makes.
 * SIMCUDA_DIR says where the simulated libraries are (default build/simcuda).
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/elf_file.h"
#include "daemon/names.h"
#include "macro.h"

#define GROWTH_MAX (64UL << 20) /* resident, whatever a file claims */
#define CODE_BYTES 4            /* of each function, compared with the file */
#define SYMBOLS_MAX 512

/* Real files */

struct export
{
	char name[128];
	uint64_t address, size;
};

struct exports {
	size_t count;
	struct export list[SYMBOLS_MAX];
};

static int note(const struct elf_symbol *symbol, void *userdata)
{
	struct exports *e = userdata;
	struct export *to = &e->list[e->count];

	if (e->count == SYMBOLS_MAX)
		return -E2BIG;
	snprintf(to->name, sizeof(to->name), "%s", symbol->name);
	to->address = symbol->address;
	to->size = symbol->size;
	e->count++;
	return 0;
}

static const struct export *find(const struct exports *e, const char *name)
{
	const struct export *found = NULL;

	for (size_t i = 0; i < e->count; i++)
		if (strcmp(e->list[i].name, name) == 0) {
			assert_null(found);
			found = &e->list[i];
		}
	return found;
}

struct library {
	void *handle;
	uint64_t base; /* where its address 0 is loaded */
	struct elf_file *elf;
	int fd;
};

static void open_library(struct library *l)
{
	const char *dir = getenv("SIMCUDA_DIR");
	struct link_map *map;
	char path[4096];

	snprintf(path, sizeof(path), "%s/libcudart.so.13", dir ? dir : "build/simcuda");
	l->handle = dlopen(path, RTLD_NOW);
	assert_non_null(l->handle);
	assert_int_equal(dlinfo(l->handle, RTLD_DI_LINKMAP, &map), 0);
	l->base = map->l_addr;
	l->fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(l->fd >= 0);
	assert_int_equal(elf_file_open(l->fd, &l->elf), 0);
}

static void close_library(struct library *l)
{
	elf_file_free(l->elf);
	close(l->fd);
	dlclose(l->handle);
}

/* One function in the file, as the loader has put it into memory. */
static void assert_same_code(const struct library *l, const struct export *export)
{
	const uint8_t *loaded = dlsym(l->handle, export->name);
	uint8_t in_file[CODE_BYTES], by_address[CODE_BYTES];
	uint64_t offset = 0, back = 0;

	assert_ptr_equal(loaded, l->base + export->address);
	assert_int_equal(elf_file_offset(l->elf, export->address, &offset), 0);
	assert_int_equal(elf_file_address(l->elf, offset, &back), 0);
	assert_int_equal(back, export->address);
	assert_int_equal(elf_file_read(l->elf, export->address, by_address, CODE_BYTES), 0);
	assert_int_equal(pread(l->fd, in_file, CODE_BYTES, (off_t)offset), CODE_BYTES);
	assert_memory_equal(by_address, in_file, CODE_BYTES);
	/* The first byte in memory may be somebody's probe. */
	assert_memory_equal(loaded + 1, in_file + 1, CODE_BYTES - 1);
}

static void test_exports(void **state)
{
	struct library l;
	static struct exports e;
	size_t functions = 0;

	(void)state;
	e.count = 0;
	open_library(&l);
	assert_int_equal(elf_file_exports(l.elf, note, &e), 0);
	for (size_t i = 0; i < e.count; i++)
		assert_non_null(dlsym(l.handle, e.list[i].name));
	for (int api = 0; api < API_MAX; api++) {
		const char *symbol = api_symbol((enum api)api);
		const struct export *export = find(&e, symbol);

		if (api == API_cudaGraphAddNode_v2) /* of CUDA 12 only */
			continue;
		assert_int_equal(!export, api_rows[api].family != FAMILY_CUDART);
		if (!export)
			continue;
		assert_true(export->size > CODE_BYTES);
		assert_same_code(&l, export);
		functions++;
	}
	assert_true(functions > 10);
	close_library(&l);
}

static int stop(const struct elf_symbol *symbol, void *userdata)
{
	(void)symbol;
	return ++*(int *)userdata == 3 ? 42 : 0;
}

static void test_walk_ends_early(void **state)
{
	struct library l;
	int calls = 0;

	(void)state;
	open_library(&l);
	assert_int_equal(elf_file_exports(l.elf, stop, &calls), 42);
	assert_int_equal(calls, 3);
	close_library(&l);
}

static void test_outside_of_segments(void **state)
{
	struct library l;
	uint64_t value = 7;
	uint8_t byte;

	(void)state;
	open_library(&l);
	assert_int_equal(elf_file_offset(l.elf, 1ULL << 40, &value), -ENOENT);
	assert_int_equal(elf_file_address(l.elf, 1ULL << 40, &value), -ENOENT);
	assert_int_equal(elf_file_read(l.elf, UINT64_MAX, &byte, 1), -ENOENT);
	assert_int_equal(value, 7);
	close_library(&l);
}

static __attribute__((noinline, noclone)) int own_function(int n)
{
	__asm__ volatile("" : "+r"(n));
	return n;
}

struct wanted {
	const char *name;
	uint64_t address;
	size_t found;
};

static int match(const struct elf_symbol *symbol, void *userdata)
{
	struct wanted *w = userdata;

	if (strcmp(symbol->name, w->name) == 0 && symbol->address == w->address && symbol->size > 0)
		w->found++;
	return 0;
}

static int first_object(struct dl_phdr_info *info, size_t size, void *userdata)
{
	(void)size;
	*(uint64_t *)userdata = info->dlpi_addr;
	return 1;
}

/* Not exported, so only .symtab has it. */
static void test_own_functions(void **state)
{
	_cleanup_close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	_cleanup_(elf_file_freep) struct elf_file *elf = NULL;
	struct wanted w = {.name = "own_function"};
	uint64_t base = 0;

	(void)state;
	assert_int_equal(own_function(3), 3);
	dl_iterate_phdr(first_object, &base);
	w.address = (uintptr_t)own_function - base;
	assert_int_equal(elf_file_open(fd, &elf), 0);
	assert_int_equal(elf_file_functions(elf, match, &w), 0);
	assert_int_equal(w.found, 1);
	w.found = 0;
	assert_int_equal(elf_file_exports(elf, match, &w), 0);
	assert_int_equal(w.found, 0);
}

/* Made files: one segment; the sections are nothing, .dynsym and its strings. */

enum { NOTHING, SYMBOLS, STRINGS, SECTIONS };

#define MADE_SYMBOLS 4
#define MADE_NAMES "\0one\0two\0three"
#define MADE_ADDRESS 0x10000UL
#define MADE_CODE 0xc3

struct image {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	Elf64_Shdr sections[SECTIONS];
	Elf64_Sym symbols[MADE_SYMBOLS];
	char names[sizeof(MADE_NAMES)];
	uint8_t code[64];
};

static const Elf64_Word name_offsets[MADE_SYMBOLS] = {0, 1, 5, 9};

static void make_header(Elf64_Ehdr *h)
{
	memcpy(h->e_ident, ELFMAG, SELFMAG);
	h->e_ident[EI_CLASS] = ELFCLASS64;
	h->e_ident[EI_DATA] = ELFDATA2LSB;
	h->e_ident[EI_VERSION] = EV_CURRENT;
	h->e_type = ET_DYN;
#if defined(__x86_64__)
	h->e_machine = EM_X86_64;
#else
	h->e_machine = EM_AARCH64;
#endif
	h->e_version = EV_CURRENT;
	h->e_phoff = offsetof(struct image, segment);
	h->e_shoff = offsetof(struct image, sections);
	h->e_ehsize = sizeof(Elf64_Ehdr);
	h->e_phentsize = sizeof(Elf64_Phdr);
	h->e_phnum = 1;
	h->e_shentsize = sizeof(Elf64_Shdr);
	h->e_shnum = SECTIONS;
}

static void make_image(struct image *image)
{
	memset(image, 0, sizeof(*image));
	make_header(&image->header);
	image->segment.p_type = PT_LOAD;
	image->segment.p_vaddr = MADE_ADDRESS;
	image->segment.p_filesz = image->segment.p_memsz = sizeof(*image);
	image->sections[SYMBOLS].sh_type = SHT_DYNSYM;
	image->sections[SYMBOLS].sh_offset = offsetof(struct image, symbols);
	image->sections[SYMBOLS].sh_size = sizeof(image->symbols);
	image->sections[SYMBOLS].sh_entsize = sizeof(Elf64_Sym);
	image->sections[SYMBOLS].sh_link = STRINGS;
	image->sections[STRINGS].sh_type = SHT_STRTAB;
	image->sections[STRINGS].sh_offset = offsetof(struct image, names);
	image->sections[STRINGS].sh_size = sizeof(image->names);
	memcpy(image->names, MADE_NAMES, sizeof(image->names));
	for (size_t i = 1; i < MADE_SYMBOLS; i++)
		image->symbols[i] = (Elf64_Sym){
			.st_name = name_offsets[i],
			.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
			.st_shndx = 1,
			.st_value = MADE_ADDRESS + offsetof(struct image, code) + i,
			.st_size = 1,
		};
	memset(image->code, MADE_CODE, sizeof(image->code));
}

/* In memory; `size` beyond the image makes a hole behind it, or cuts it. */
static int make_file(const struct image *image, uint64_t size)
{
	int fd = memfd_create("elf", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, image, sizeof(*image)), sizeof(*image));
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

/* What became of a file: whether it was opened, whether its table was walked, what was in it. */
struct outcome {
	int opened, walked;
	struct exports found;
};

static void look_at(int fd, struct outcome *o)
{
	struct elf_file *const untouched = (struct elf_file *)o;
	struct elf_file *elf = untouched;

	o->walked = 0;
	o->found.count = 0;
	o->opened = elf_file_open(fd, &elf);
	if (o->opened < 0) {
		assert_ptr_equal(elf, untouched);
		return;
	}
	o->walked = elf_file_exports(elf, note, &o->found);
	for (size_t i = 0; i < o->found.count; i++) {
		uint8_t code[CODE_BYTES];
		uint64_t offset;

		(void)elf_file_offset(elf, o->found.list[i].address, &offset);
		(void)elf_file_read(elf, o->found.list[i].address, code, sizeof(code));
	}
	elf_file_free(elf);
}

static void test_made_file(void **state)
{
	static struct outcome o;
	static struct exports functions;
	_cleanup_(elf_file_freep) struct elf_file *elf = NULL;
	_cleanup_close_ int fd = -1;
	struct image image;
	uint8_t code = 0;

	(void)state;
	make_image(&image);
	fd = make_file(&image, sizeof(image));
	look_at(fd, &o);
	assert_int_equal(o.opened, 0);
	assert_int_equal(o.walked, 0);
	assert_int_equal(o.found.count, 3);
	assert_string_equal(o.found.list[2].name, "three");

	assert_int_equal(elf_file_open(fd, &elf), 0);
	assert_int_equal(elf_file_functions(elf, note, &functions), 0); /* without a .symtab */
	assert_int_equal(functions.count, 3);
	assert_int_equal(elf_file_read(elf, functions.list[0].address, &code, 1), 0);
	assert_int_equal(code, MADE_CODE);
}

static uint64_t peak_bytes(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	unsigned long long kib = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			break;
	assert_true(kib > 0);
	return kib << 10;
}

#define HUGE_FILE (1UL << 32)
#define ANY 1 /* of two answers: refused, or nothing found in it */

/* What is changed about a good file, its size, and what is to become of it. */
static const struct hostile {
	const char *name;
	size_t at, width; /* of the field; width 0: nothing changes */
	uint64_t value, size;
	int opened, walked;
	size_t found;
} hostiles[] = {
#define FIELD(member) offsetof(struct image, member), sizeof(((struct image *)0)->member)
#define UNCHANGED 0, 0, 0
#define WHOLE sizeof(struct image)
	{"empty", UNCHANGED, 0, -ENOEXEC, 0, 0},
	{"half a header", UNCHANGED, sizeof(Elf64_Ehdr) / 2, -ENOEXEC, 0, 0},
	{"header alone", UNCHANGED, sizeof(Elf64_Ehdr), -ENOEXEC, 0, 0},
	{"cut in the sections", UNCHANGED, offsetof(struct image, sections) + 70, 0, ANY, 0},
	{"cut in the symbols", UNCHANGED, offsetof(struct image, symbols) + 30, 0, ANY, 0},
	{"cut in the names", UNCHANGED, offsetof(struct image, names) + 3, 0, ANY, 0},
	{"no ELF", FIELD(header.e_ident[0]), 'M', WHOLE, -ENOEXEC, 0, 0},
	{"32 bits", FIELD(header.e_ident[EI_CLASS]), ELFCLASS32, WHOLE, -ENOEXEC, 0, 0},
	{"other order", FIELD(header.e_ident[EI_DATA]), ELFDATA2MSB, WHOLE, ANY, ANY, 0},
	{"other machine", FIELD(header.e_machine), EM_PPC64, WHOLE, -ENOEXEC, 0, 0},
	{"segments: counted in section 0", FIELD(header.e_phnum), PN_XNUM, HUGE_FILE, -ENOEXEC, 0,
	 0},
	{"segments: as many as can be", FIELD(header.e_phnum), PN_XNUM - 1, HUGE_FILE, 0, 0, 3},
	{"segments: of odd size", FIELD(header.e_phentsize), 57, WHOLE, -ENOEXEC, 0, 0},
	{"segments: none", FIELD(header.e_phnum), 0, WHOLE, -ENOEXEC, 0, 0},
	{"segments: beyond the file", FIELD(header.e_phoff), 1UL << 40, WHOLE, -ENOEXEC, 0, 0},
	{"segments: at the end of numbers", FIELD(header.e_phoff), UINT64_MAX, WHOLE, -ENOEXEC, 0,
	 0},
	{"segment: wraps", FIELD(segment.p_vaddr), UINT64_MAX - 1, WHOLE, 0, 0, 3},
	{"segment: of everything", FIELD(segment.p_filesz), UINT64_MAX, WHOLE, 0, 0, 3},
	{"segment: elsewhere", FIELD(segment.p_offset), UINT64_MAX - 8, WHOLE, 0, 0, 3},
	{"sections: of odd size", FIELD(header.e_shentsize), 65, WHOLE, -ENOEXEC, 0, 0},
	{"sections: as many as can be", FIELD(header.e_shnum), SHN_LORESERVE - 1, HUGE_FILE, 0, 0,
	 3},
	{"sections: beyond the file", FIELD(header.e_shoff), 1UL << 40, WHOLE, 0, ANY, 0},
	{"sections: none", FIELD(header.e_shoff), 0, WHOLE, 0, ANY, 0},
	{"symbols: beyond the file", FIELD(sections[SYMBOLS].sh_size), 1U << 20, WHOLE, 0, -ENOEXEC,
	 0},
	{"symbols: beyond the bound", FIELD(sections[SYMBOLS].sh_size), 1UL << 30, HUGE_FILE, 0,
	 -EFBIG, 0},
	{"symbols: beyond all bounds", FIELD(sections[SYMBOLS].sh_size), UINT64_MAX, HUGE_FILE, 0,
	 -EFBIG, 0},
	{"symbols: elsewhere", FIELD(sections[SYMBOLS].sh_offset), UINT64_MAX - 8, WHOLE, 0,
	 -ENOEXEC, 0},
	{"symbols: of odd size", FIELD(sections[SYMBOLS].sh_entsize), 23, WHOLE, 0, -ENOEXEC, 0},
	{"symbols: of no size", FIELD(sections[SYMBOLS].sh_entsize), 0, WHOLE, 0, -ENOEXEC, 0},
	{"symbols: without strings", FIELD(sections[SYMBOLS].sh_link), 99, WHOLE, 0, -ENOEXEC, 0},
	{"symbols: their own strings", FIELD(sections[SYMBOLS].sh_link), SYMBOLS, WHOLE, 0, ANY, 0},
	{"symbols: not in the file", FIELD(sections[SYMBOLS].sh_type), SHT_NOBITS, WHOLE, 0,
	 -ENOENT, 0},
	{"strings: beyond the file", FIELD(sections[STRINGS].sh_size), 1U << 20, WHOLE, 0, ANY, 0},
	{"strings: beyond the bound", FIELD(sections[STRINGS].sh_size), 1UL << 30, HUGE_FILE, 0,
	 -EFBIG, 0},
	{"strings: without an end", FIELD(sections[STRINGS].sh_size), sizeof(MADE_NAMES) - 2, WHOLE,
	 0, 0, 2},
	{"strings: not in the file", FIELD(sections[STRINGS].sh_type), SHT_NOBITS, WHOLE, 0, ANY,
	 0},
	{"strings: compressed", FIELD(sections[STRINGS].sh_flags), SHF_COMPRESSED, WHOLE, 0, ANY,
	 0},
	{"name: beyond the table", FIELD(symbols[2].st_name), 1000, WHOLE, 0, 0, 2},
	{"name: far beyond", FIELD(symbols[2].st_name), UINT32_MAX, WHOLE, 0, 0, 2},
	{"name: empty", FIELD(symbols[2].st_name), 0, WHOLE, 0, 0, 2},
	{"address: at the end of numbers", FIELD(symbols[2].st_value), UINT64_MAX, WHOLE, 0, 0, 3},
#undef FIELD
};

static void assert_answer(const char *name, const char *what, int is, int expected)
{
	if (expected == ANY ? is > 0 : is != expected)
		fail_msg("%s: %s: %d, expected %d", name, what, is, expected);
}

static void test_hostile_files(void **state)
{
	uint64_t before = peak_bytes();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hostiles); i++) {
		const struct hostile *h = &hostiles[i];
		static struct outcome o;
		_cleanup_close_ int fd = -1;
		struct image image;

		make_image(&image);
		memcpy((char *)&image + h->at, &h->value, h->width); /* little-endian */
		fd = make_file(&image, h->size);
		look_at(fd, &o);
		assert_answer(h->name, "opened", o.opened, h->opened);
		if (o.opened == 0)
			assert_answer(h->name, "walked", o.walked, h->walked);
		if (o.found.count != h->found)
			fail_msg("%s: %zu found, expected %zu", h->name, o.found.count, h->found);
	}
	assert_true(peak_bytes() - before < GROWTH_MAX);
}

#define COUNT_IN_SECTION_0 (1U << 22) /* tables of some 250 MiB, which the file's size allows */

/* The counts that do not fit their fields are in section 0, where they have at least 32 bits. */
static void test_counts_in_section_0(void **state)
{
	uint64_t before = peak_bytes();

	(void)state;
	for (int which = 0; which < 3; which++) {
		static struct outcome o;
		_cleanup_close_ int fd = -1;
		struct image image;

		make_image(&image);
		image.sections[0].sh_size = COUNT_IN_SECTION_0;
		image.sections[0].sh_info = COUNT_IN_SECTION_0;
		if (which != 1)
			image.header.e_shnum = 0;
		if (which != 0)
			image.header.e_phnum = PN_XNUM;
		fd = make_file(&image, HUGE_FILE);
		look_at(fd, &o);
		assert_int_equal(o.opened, -ENOEXEC);
	}
	assert_true(peak_bytes() - before < GROWTH_MAX);
}

/* Says in its header that it grows to a terabyte. */
static void test_compressed_strings(void **state)
{
	static struct outcome o;
	_cleanup_close_ int fd = -1;
	uint64_t before = peak_bytes();
	struct image image;
	const Elf64_Chdr compressed = {
		.ch_type = ELFCOMPRESS_ZLIB,
		.ch_size = 1UL << 40,
		.ch_addralign = 1,
	};

	(void)state;
	make_image(&image);
	memcpy(image.code, &compressed, sizeof(compressed));
	image.sections[STRINGS].sh_flags = SHF_COMPRESSED;
	image.sections[STRINGS].sh_offset = offsetof(struct image, code);
	image.sections[STRINGS].sh_size = sizeof(image.code);
	fd = make_file(&image, sizeof(image));
	look_at(fd, &o);
	assert_int_equal(o.found.count, 0);
	assert_true(peak_bytes() - before < GROWTH_MAX);
}

/* Names are only as long as is bearable to look at for each of a million symbols. */
static void test_long_names(void **state)
{
	static struct outcome o;
	_cleanup_close_ int fd = -1;
	struct image image;
	char names[2 * ELF_NAME_MAX];

	(void)state;
	memset(names, 'x', sizeof(names));
	names[sizeof(names) - 1] = '\0';
	make_image(&image);
	image.sections[STRINGS].sh_offset = sizeof(image);
	image.sections[STRINGS].sh_size = sizeof(names);
	image.symbols[1].st_name = 0;                                  /* twice the bound */
	image.symbols[2].st_name = (Elf64_Word)sizeof(names) - 1 - 99; /* 99 bytes */
	image.symbols[3].st_name = ELF_NAME_MAX - 1;                   /* one too many */
	fd = make_file(&image, sizeof(image));
	assert_int_equal(pwrite(fd, names, sizeof(names), sizeof(image)), sizeof(names));
	look_at(fd, &o);
	assert_int_equal(o.walked, 0);
	assert_int_equal(o.found.count, 1);
	assert_int_equal(strlen(o.found.list[0].name), 99);
	assert_int_equal(pwrite(fd, "x", 1, sizeof(image) + sizeof(names) - 1), 1); /* no end */
	look_at(fd, &o);
	assert_int_equal(o.found.count, 0);
}

static void test_any_byte_wrong(void **state)
{
	static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
	uint64_t before = peak_bytes();
	struct image image;

	(void)state;
	for (size_t at = 0; at < offsetof(struct image, code); at++)
		for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
			static struct outcome o;
			_cleanup_close_ int fd = -1;

			make_image(&image);
			((uint8_t *)&image)[at] = values[i];
			fd = make_file(&image, sizeof(image));
			look_at(fd, &o);
			assert_true(o.opened <= 0 && o.walked <= 0);
			assert_true(o.found.count < MADE_SYMBOLS);
		}
	assert_true(peak_bytes() - before < GROWTH_MAX);
}

static void test_cut_anywhere(void **state)
{
	struct image image;

	(void)state;
	make_image(&image);
	for (size_t size = 0; size < sizeof(image); size++) {
		static struct outcome o;
		_cleanup_close_ int fd = make_file(&image, size);

		look_at(fd, &o);
		assert_true(o.opened <= 0 && o.walked <= 0);
		if (size < offsetof(struct image, names))
			assert_int_equal(o.found.count, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exports),
		cmocka_unit_test(test_walk_ends_early),
		cmocka_unit_test(test_outside_of_segments),
		cmocka_unit_test(test_own_functions),
		cmocka_unit_test(test_made_file),
		cmocka_unit_test(test_hostile_files),
		cmocka_unit_test(test_counts_in_section_0),
		cmocka_unit_test(test_compressed_strings),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_any_byte_wrong),
		cmocka_unit_test(test_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
