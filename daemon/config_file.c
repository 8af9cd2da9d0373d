/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the configuration from its files. */
#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "macro.h"
#include "protocol.h"

#define LINES_MAX 100000U
#define BYTE_ORDER_MARK "\xef\xbb\xbf" /* the library skips it */

/* The variable that the client reads too stands between the files and the command line. */
static int set_environment(struct config *config, char *ret_error, size_t n)
{
	const char *value = getenv(PROTOCOL_SOCKET_ENV), *why = "no memory";
	int r = value && *value ? config_set(config, "socket", value, &why) : 0;

	if (r < 0)
		snprintf(ret_error, n, "$" PROTOCOL_SOCKET_ENV ": %s", why);
	return r;
}

/* A file being read. The first error ends the reading and is the one that is told. */
struct reading {
	struct config *config;
	const char *path;
	FILE *file;
	char *line;
	size_t capacity;
	unsigned int line_number;
	int result;
	char *error;
	size_t error_size;
};

static int fail(struct reading *reading, int r, const char *key, const char *why)
{
	if (reading->result < 0)
		return reading->result;
	reading->result = r;
	snprintf(reading->error, reading->error_size, "%s:%u: %s%s%s", reading->path,
		 reading->line_number, key, *key ? ": " : "", why);
	return r;
}

/* What is wrong with a line as such, or NULL. */
static const char *check_line(const char *line, size_t size, size_t room)
{
	if (strlen(line) < size)
		return "holds a NUL byte";
	if (size >= room)
		return "line is too long";
	if (line[strspn(line, BYTE_ORDER_MARK)] == '[')
		return "there are no sections";
	return NULL;
}

/* The library's reader of lines. Lines are read here, so that one that does not fit its buffer is
 * an error instead of two lines, and their number is known.
 */
static char *read_line(char *line, int room, void *userdata)
{
	struct reading *reading = userdata;
	const char *why;
	char *start;
	ssize_t n;

	if (reading->result < 0)
		return NULL;
	errno = 0;
	n = getline(&reading->line, &reading->capacity, reading->file);
	if (n < 0) {
		if (!feof(reading->file))
			fail(reading, errno ? -errno : -EIO, "", strerror(errno));
		return NULL;
	}
	if (++reading->line_number > LINES_MAX) {
		fail(reading, -EINVAL, "", "too many lines");
		return NULL;
	}
	/* indented lines would be taken for more values of the key above */
	start = reading->line;
	while (*start == ' ' || *start == '\t')
		start++;
	n -= start - reading->line;
	why = check_line(start, (size_t)n, (size_t)room);
	if (why) {
		fail(reading, -EINVAL, "", why);
		return NULL;
	}
	memcpy(line, start, (size_t)n + 1);
	return line;
}

static int read_pair(void *userdata, const char *section, const char *name, const char *value)
{
	struct reading *reading = userdata;
	const struct config_key *key = config_find_key(name);
	const char *why = NULL;
	int r;

	(void)section;
	if (!key || !key->in_file) {
		r = -EINVAL;
		why = "no such key";
	} else if (strstr(value, " #")) {
		r = -EINVAL;
		why = "holds \" #\": a comment behind a value begins with \" ;\"";
	} else {
		r = config_set(reading->config, name, value, &why);
	}
	if (r < 0)
		fail(reading, r, name, why ? why : strerror(-r));
	return r >= 0;
}

static void parse_lines(struct reading *reading)
{
	int bad_line = ini_parse_stream(read_line, reading, read_pair, reading);

	if (bad_line < 0) {
		fail(reading, -ENOMEM, "", strerror(ENOMEM));
		return;
	}
	if (bad_line == 0 ||
	    (reading->result < 0 && (unsigned int)bad_line >= reading->line_number))
		return;
	/* the library stumbled over a line itself, before anything else went wrong, and read on */
	reading->result = 0;
	reading->line_number = (unsigned int)bad_line;
	fail(reading, -EINVAL, "", "not KEY = VALUE");
}

static int read_file(struct config *config, const char *path, bool must_exist, char *ret_error,
		     size_t n)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	struct reading reading = {
		.config = config,
		.path = path,
		.file = f,
		.error = ret_error,
		.error_size = n,
	};
	int r = f ? 0 : -errno;

	if (r == -ENOENT && !must_exist)
		return 0;
	if (r < 0) {
		snprintf(ret_error, n, "%s: %s", path, strerror(-r));
		return r;
	}
	parse_lines(&reading);
	free(reading.line);
	return reading.result;
}

static int is_drop_in(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".conf") == 0;
}

/* Not alphasort, whose order depends on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_drop_in(struct config *config, const char *folder, const char *name,
			char *ret_error, size_t n)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%s", folder, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return read_file(config, path, true, ret_error, n);
}

static int read_drop_ins(struct config *config, const char *main_path, char *ret_error, size_t n)
{
	_cleanup_free_ char *folder = NULL;
	struct dirent **entries = NULL;
	int count, r = 0;

	if (asprintf(&folder, "%s.d", main_path) < 0) {
		folder = NULL;
		return -ENOMEM;
	}
	count = scandir(folder, &entries, is_drop_in, by_name);
	if (count < 0) {
		r = errno == ENOENT ? 0 : -errno;
		if (r < 0)
			snprintf(ret_error, n, "%s: %s", folder, strerror(-r));
		return r;
	}
	for (int i = 0; i < count; i++) {
		if (r == 0)
			r = read_drop_in(config, folder, entries[i]->d_name, ret_error, n);
		free(entries[i]);
	}
	free(entries);
	return r;
}

int config_load(struct config *ret, const char *path, bool must_exist, char *ret_error, size_t n)
{
	_cleanup_(config_free) struct config config = {0};
	int r;

	snprintf(ret_error, n, "%s: %s", path, strerror(ENOMEM));
	r = config_set_defaults(&config);
	if (r == 0)
		r = read_file(&config, path, must_exist, ret_error, n);
	if (r == 0)
		r = read_drop_ins(&config, path, ret_error, n);
	if (r == 0)
		r = set_environment(&config, ret_error, n);
	if (r < 0)
		return r;
	*ret = config;
	config = (struct config){0};
	*ret_error = '\0';
	return 0;
}
