/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "buffer.h"
#include "macro.h"
#include "mask.h"
#include "procfs.h"
#include "reader.h"

#define CMDLINE_MAX (64U << 10)
#define ENVIRON_MAX (1U << 20)

static bool is_padding(char c)
{
	return c == ' ' || c == '\0';
}

/* The arguments without the blanks and NULs that fill the space of overwritten ones. */
static int read_arguments(pid_t pid, char **ret, size_t *ret_size)
{
	_cleanup_free_ char *text = malloc(CMDLINE_MAX);
	ssize_t n;

	if (!text)
		return -ENOMEM;
	n = reader_text(pid, "cmdline", text, CMDLINE_MAX);
	if (n < 0)
		return (int)n;
	while (n > 0 && is_padding(text[n - 1]))
		n--;
	*ret = TAKE_PTR(text);
	*ret_size = (size_t)n;
	return 0;
}

static int masked(const char *args, size_t size, char **ret)
{
	_cleanup_(buffer_free) struct buffer out = {0};
	char *text;

	mask_arguments(&out, args, size);
	if (buffer_failed(&out))
		return -ENOMEM;
	text = strndup(out.data ? out.data : "", MIN(out.size, ARGUMENTS_MAX));
	if (!text)
		return -ENOMEM;
	*ret = text;
	return 0;
}

int arguments_cmdline(pid_t pid, char **ret)
{
	_cleanup_free_ char *args = NULL;
	size_t size = 0;
	int r = read_arguments(pid, &args, &size);

	return r < 0 ? r : masked(args, size, ret);
}

int arguments_environ(pid_t pid, char **ret, size_t *ret_size)
{
	_cleanup_free_ char *text = malloc(ENVIRON_MAX + 1);
	char *trimmed;
	ssize_t n;

	if (!text)
		return -ENOMEM;
	n = reader_text(pid, "environ", text, ENVIRON_MAX);
	if (n < 0)
		return (int)n;
	if (n == ENVIRON_MAX)
		return -E2BIG;
	text[n] = '\0';
	trimmed = realloc(text, (size_t)n + 1);
	if (trimmed)
		text = trimmed;
	*ret = TAKE_PTR(text);
	*ret_size = (size_t)n;
	return 0;
}

static bool is_program_name(pid_t pid, const char *arg, size_t size)
{
	_cleanup_free_ char *target = NULL;
	const char *base;

	if (*arg == '/' || *arg == '.')
		return true;
	if (procfs_exe(pid, &target) < 0 || !target)
		return false;
	base = strrchr(target, '/');
	base = base ? base + 1 : target;
	/* login shells are called with a dash */
	if (*arg == '-') {
		arg++;
		size--;
	}
	return strlen(base) == size && memcmp(base, arg, size) == 0;
}

int arguments_title(pid_t pid, const char *comm, char **ret)
{
	_cleanup_free_ char *args = NULL;
	char *copy;
	size_t size = 0;
	int r = read_arguments(pid, &args, &size);

	if (r < 0)
		return r;
	if (size > 0 && !memchr(args, '\0', size) && !is_program_name(pid, args, size))
		return masked(args, size, ret);
	copy = strdup(comm);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}
