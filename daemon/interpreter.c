/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "elf_file.h"
#include "interpreter.h"
#include "macro.h"
#include "procfs.h"

#define CANDIDATES_MAX 8

/* A file that may hold an interpreter: the first mapping of it, from which its bias follows. */
struct candidate {
	struct procfs_mapping mapping;
	char path[4096];
};

struct search {
	struct candidate found[CANDIDATES_MAX];
	size_t n;
	ino_t executable; /* may be called anything: Python can be embedded */
};

static bool looks_like_python(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && (fnmatch("python*", slash + 1, 0) == 0 ||
			 fnmatch("libpython*.so*", slash + 1, 0) == 0);
}

static int on_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	struct search *s = userdata;
	struct candidate *c;

	if (!mapping->path || mapping->path[0] != '/' || strlen(mapping->path) >= sizeof(c->path) ||
	    (mapping->inode != s->executable && !looks_like_python(mapping->path)))
		return 0;
	for (size_t i = 0; i < s->n; i++)
		if (s->found[i].mapping.inode == mapping->inode &&
		    s->found[i].mapping.major == mapping->major &&
		    s->found[i].mapping.minor == mapping->minor)
			return 0; /* not its first mapping */
	if (s->n == CANDIDATES_MAX)
		return 0;
	c = &s->found[s->n++];
	c->mapping = *mapping;
	c->mapping.path = strcpy(c->path, mapping->path);
	return 0;
}

static int on_symbol(const struct elf_symbol *symbol, void *userdata)
{
	static const struct {
		const char *name;
		size_t offset;
	} wanted[] = {
		{"_PyRuntime", offsetof(struct python_binary, runtime)},
		{"Py_Version", offsetof(struct python_binary, version_symbol)},
		{"PyCode_Type", offsetof(struct python_binary, code_type)},
	};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (strcmp(symbol->name, wanted[i].name) == 0)
			memcpy((char *)userdata + wanted[i].offset, &symbol->address,
			       sizeof(symbol->address));
	return 0;
}

static int open_candidate(pid_t pid, const struct candidate *c, struct python **ret,
			  uint64_t *ret_runtime)
{
	_cleanup_(elf_file_freep) struct elf_file *elf = NULL;
	_cleanup_(python_cleanup) struct python *python = NULL;
	struct python_binary binary = {0};
	_cleanup_close_ int fd = -1;
	uint64_t linked = 0, bias;
	int r;

	fd = procfs_open_mapping(pid, &c->mapping);
	if (fd < 0)
		return fd;
	r = elf_file_open(fd, &elf);
	if (r == 0)
		r = elf_file_exports(elf, on_symbol, &binary);
	if (r == 0)
		r = elf_file_address(elf, c->mapping.offset, &linked);
	if (r < 0)
		return r;
	if (!binary.runtime)
		return -ENOENT;
	/* Segments are mapped from page boundaries on; offset and address agree below a page. */
	bias = c->mapping.start - linked;
	r = python_open(pid, &binary, bias, &python);
	if (r == 0)
		r = python_validate(python);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(python);
	*ret_runtime = binary.runtime + bias;
	return 0;
}

int interpreter_open(pid_t pid, struct python **ret, uint64_t *ret_runtime)
{
	_cleanup_free_ struct search *s = calloc(1, sizeof(*s));
	struct stat executable;
	char path[64];
	int result = -ENOENT;

	if (!s)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	if (stat(path, &executable) == 0)
		s->executable = executable.st_ino;
	procfs_mappings(pid, on_mapping, s);
	for (size_t i = 0; i < s->n; i++) {
		int r = open_candidate(pid, &s->found[i], ret, ret_runtime);

		if (r == 0)
			return 0;
		/* "None here" must not hide that another file holds one that does not fit. */
		if (r != -ENOENT && r != -ENOEXEC)
			result = r;
	}
	return result;
}
