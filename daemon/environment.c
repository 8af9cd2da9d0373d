/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "environment.h"
#include "macro.h"
#include "mappings.h"
#include "procfs.h"
#include "reader.h"
#include "remote.h"

#define VARIABLES_MAX 4096 /* of a process */
#define NAME_MAX_READ 64   /* bytes in which a name is looked for */
#define PAGE 4096

static void forget(char **values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(TAKE_PTR(values[i]));
}

static int remember(char **slot, const char *value)
{
	if (*slot)
		return 0; /* of several, getenv() returns the first */
	if (strlen(value) >= ENVIRONMENT_VALUE_MAX)
		return -E2BIG;
	*slot = strdup(value);
	return *slot ? 0 : -ENOMEM;
}

/* The value in "NAME=VALUE"; NULL where the name is another. */
static const char *value_of(const char *string, const char *name)
{
	size_t n = strlen(name);

	return strncmp(string, name, n) == 0 && string[n] == '=' ? string + n + 1 : NULL;
}

/* What the kernel shows. */

static int parse(const char *strings, size_t size, const char *const *names, size_t n,
		 char **values)
{
	for (const char *s = strings; s < strings + size; s += strlen(s) + 1) {
		if (!strchr(s, '=')) /* a title, or the NULs behind one */
			return -ENODATA;
		for (size_t i = 0; i < n; i++) {
			const char *value = value_of(s, names[i]);
			int r = value ? remember(&values[i], value) : 0;

			if (r < 0)
				return r;
		}
	}
	return 0;
}

int environment_parse(const char *strings, size_t size, const char *const *names, size_t n,
		      char **ret)
{
	char *values[ENVIRONMENT_NAMES_MAX] = {NULL};
	int r;

	if (n > ARRAY_SIZE(values))
		return -EINVAL;
	r = parse(strings, size, names, n, values);
	if (r < 0)
		forget(values, n);
	else
		memcpy(ret, values, n * sizeof(*ret));
	return r;
}

static int read_from_kernel(pid_t pid, const char *const *names, size_t n, char **ret)
{
	_cleanup_free_ char *strings = NULL;
	size_t size;
	int r = arguments_environ(pid, &strings, &size);

	return r < 0 ? r : environment_parse(strings, size, names, n, ret);
}

/* What is in the memory. */

#define LOOKED_AT_MAX 20000 /* mappings: more than a server has */

/* The first mapping of a file that may hold `environ`. */
struct holder {
	struct procfs_mapping mapping;
	char path[PAGE];
};

/* A program that refers to the variable has it in itself, and the C library then uses that one. */
struct search {
	ino_t executable;
	struct holder program, library;
	size_t looked_at;
};

static bool is_c_library(const char *path)
{
	static const char *const names[] = {"libc.so.6", "libc-2.*.so", "ld-musl-*.so.1",
					    "libc.musl-*.so.1"};
	const char *slash = strrchr(path, '/');

	for (size_t i = 0; slash && i < ARRAY_SIZE(names); i++)
		if (fnmatch(names[i], slash + 1, 0) == 0)
			return true;
	return false;
}

static int on_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	struct search *s = userdata;
	bool is_program = mapping->inode && mapping->inode == s->executable;
	struct holder *holder = is_program ? &s->program : &s->library;

	if (s->looked_at++ == LOOKED_AT_MAX)
		return -E2BIG;
	if (mapping->path[0] != '/' || strlen(mapping->path) >= sizeof(holder->path) ||
	    holder->mapping.inode || !(is_program || is_c_library(mapping->path)))
		return 0;
	holder->mapping = *mapping;
	holder->mapping.path = strcpy(holder->path, mapping->path);
	return 0;
}

/* Where the file's `environ` lies in the process; -ENOENT: it has none. */
static int find_variable(pid_t pid, const struct holder *holder, uint64_t *ret)
{
	static const char *const names[] = {"environ", "__environ"};
	uint64_t values[ARRAY_SIZE(names)], linked;
	int r;

	if (!holder->mapping.inode)
		return -ENOENT;
	r = reader_exports(pid, &holder->mapping, names, ARRAY_SIZE(names), values, &linked);
	if (r < 0)
		return r;
	if (!values[0] && !values[1])
		return -ENOENT;
	*ret = (values[0] ? values[0] : values[1]) + (holder->mapping.start - linked);
	return 0;
}

static int find_environ(pid_t pid, uint64_t *ret)
{
	_cleanup_free_ struct search *s = calloc(1, sizeof(*s));
	struct statx executable;
	int r;

	if (!s)
		return -ENOMEM;
	if (procfs_exe_file(pid, &executable) == 0)
		s->executable = executable.stx_ino;
	r = mappings_each(pid, MAPPINGS_FILES, on_mapping, s);
	if (r < 0)
		return r;
	r = find_variable(pid, &s->program, ret);
	return r < 0 ? find_variable(pid, &s->library, ret) : 0;
}

/* Reads a string, page by page as what follows it may be no memory, up to its end or `size` bytes.
 */
static int read_string(pid_t pid, uint64_t address, char *buf, size_t size)
{
	size_t used = 0;

	while (used < size) {
		size_t n = MIN(size - used, PAGE - (size_t)((address + used) % PAGE));
		int r = remote_read(pid, address + used, buf + used, n);

		if (r < 0)
			return r;
		if (memchr(buf + used, '\0', n))
			return 0;
		used += n;
	}
	buf[size - 1] = '\0';
	return -E2BIG;
}

static int read_variable(pid_t pid, uint64_t address, const char *const *names, size_t n,
			 char **values)
{
	char string[ENVIRONMENT_VALUE_MAX + NAME_MAX_READ], begin[NAME_MAX_READ];
	int r = read_string(pid, address, begin, sizeof(begin));

	if (r < 0 && r != -E2BIG)
		return r;
	for (size_t i = 0; i < n; i++) {
		const char *value;

		if (!value_of(begin, names[i]))
			continue;
		r = read_string(pid, address, string, sizeof(string));
		value = r < 0 ? NULL : value_of(string, names[i]);
		/* where there is none any more, it has been changed while we read */
		return value ? remember(&values[i], value) : r < 0 ? r : -EAGAIN;
	}
	return 0;
}

static int read_variables(pid_t pid, uint64_t list, const char *const *names, size_t n,
			  char **values)
{
	for (size_t i = 0; i < VARIABLES_MAX; i++) {
		uint64_t string;
		int r = remote_read_u64(pid, list + i * sizeof(string), &string);

		if (r < 0 || !string)
			return r;
		r = read_variable(pid, string, names, n, values);
		if (r < 0)
			return r;
	}
	return -E2BIG;
}

static int read_from_memory(pid_t pid, const char *const *names, size_t n, char **ret)
{
	uint64_t variable, list, list_after;
	char *values[ENVIRONMENT_NAMES_MAX] = {NULL};
	int r = n > ARRAY_SIZE(values) ? -EINVAL : find_environ(pid, &variable);

	if (r == 0)
		r = remote_read_u64(pid, variable, &list);
	if (r < 0)
		return r;
	if (!list)
		return -ENODATA; /* not set up yet */
	r = read_variables(pid, list, names, n, values);
	if (r == 0)
		r = remote_read_u64(pid, variable, &list_after);
	if (r == 0 && list_after != list)
		r = -EAGAIN;
	if (r < 0)
		forget(values, n);
	else
		memcpy(ret, values, n * sizeof(*ret));
	return r;
}

int environment_read(pid_t pid, const char *const *names, size_t n, char **ret)
{
	int r = read_from_memory(pid, names, n, ret);

	return r < 0 ? read_from_kernel(pid, names, n, ret) : 0;
}
