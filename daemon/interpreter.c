/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <string.h>

#include "interpreter.h"
#include "macro.h"
#include "mappings.h"
#include "procfs.h"
#include "reader.h"

#define CANDIDATES_MAX 8
#define LOOKED_AT_MAX 20000 /* mappings: more than a server has */

/* A file that may hold an interpreter: the first mapping of it, from which its bias follows. */
struct candidate {
	struct procfs_mapping mapping;
	char path[4096];
};

struct search {
	struct candidate found[CANDIDATES_MAX];
	size_t n, looked_at;
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

	if (s->looked_at++ == LOOKED_AT_MAX)
		return -E2BIG;
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

static int find_symbols(pid_t pid, const struct procfs_mapping *mapping, struct python_binary *ret,
			uint64_t *ret_linked)
{
	static const char *const names[] = {"_PyRuntime", "Py_Version", "PyCode_Type"};
	uint64_t values[ARRAY_SIZE(names)];
	int r = reader_exports(pid, mapping, names, ARRAY_SIZE(names), values, ret_linked);

	if (r < 0)
		return r;
	*ret = (struct python_binary){
		.runtime = values[0],
		.version_symbol = values[1],
		.code_type = values[2],
	};
	return values[0] ? 0 : -ENOENT;
}

static int open_candidate(pid_t pid, const struct candidate *c, struct python **ret,
			  uint64_t *ret_runtime)
{
	_cleanup_(python_cleanup) struct python *python = NULL;
	struct python_binary binary;
	uint64_t linked, bias;
	int r = find_symbols(pid, &c->mapping, &binary, &linked);

	if (r < 0)
		return r;
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
	struct statx executable;
	int result = -ENOENT;

	if (!s)
		return -ENOMEM;
	if (procfs_exe_file(pid, &executable) == 0)
		s->executable = executable.stx_ino;
	(void)mappings_each(pid, MAPPINGS_FILES, on_mapping, s);
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
