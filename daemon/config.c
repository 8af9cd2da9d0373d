/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config.h"
#include "macro.h"
#include "pins.h"
#include "protocol.h"

#define LIBRARIES_MAX 64
#define PIDS_MAX 1024
#define LINES_MAX 100000U
#define BYTE_ORDER_MARK "\xef\xbb\xbf" /* the library skips it */

static int refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

static int set_string(char **slot, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

/* Digits alone, as strtoul would take signs and blanks. */
static bool parse_number(const char *s, unsigned long max, unsigned long *ret)
{
	unsigned long value;

	if (*s == '\0' || s[strspn(s, "0123456789")] != '\0' || strlen(s) > 10)
		return false;
	value = strtoul(s, NULL, 10);
	if (value == 0 || value > max)
		return false;
	*ret = value;
	return true;
}

static int parse_socket(struct config *config, const char *value, const char **ret_why)
{
	if (strlen(value) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return refuse(ret_why, "too long for the path of a socket");
	return set_string(&config->socket, value);
}

/* Names other than localhost are not looked up: the answer might be another one tomorrow. */
static bool is_address(const char *value, size_t size)
{
	char text[INET6_ADDRSTRLEN + 2];
	struct in6_addr addr;

	if (size >= sizeof(text))
		return false;
	memcpy(text, value, size);
	text[size] = '\0';
	if (size > 2 && text[0] == '[' && text[size - 1] == ']') {
		text[size - 1] = '\0';
		return inet_pton(AF_INET6, text + 1, &addr) == 1;
	}
	return strcmp(text, "localhost") == 0 || inet_pton(AF_INET, text, &addr) == 1;
}

static int parse_listen(struct config *config, const char *value, const char **ret_why)
{
	const char *colon = strrchr(value, ':');
	unsigned long port;

	if (strcmp(value, "none") == 0) {
		free(TAKE_PTR(config->listen));
		return 0;
	}
	if (!colon || !is_address(value, (size_t)(colon - value)) ||
	    !parse_number(colon + 1, UINT16_MAX, &port))
		return refuse(ret_why, "neither ADDR:PORT nor none (IPv6: [ADDR]:PORT)");
	return set_string(&config->listen, value);
}

static int parse_attach(struct config *config, const char *value, const char **ret_why)
{
	static const char *const modes[] = {
		[ATTACH_AUTO] = "auto",
		[ATTACH_MULTI] = "multi",
		[ATTACH_PERF] = "perf",
	};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (strcmp(value, modes[i]) == 0) {
			config->attach = (enum attach_mode)i;
			return 0;
		}
	return refuse(ret_why, "none of auto, multi, perf");
}

static int parse_libraries(struct config *config, const char *value, const char **ret_why)
{
	char **longer;
	char *copy;

	if (*value != '/')
		return refuse(ret_why, "does not begin with /");
	if (config->n_libraries == LIBRARIES_MAX)
		return refuse(ret_why, "more than 64 of them");
	longer = reallocarray(config->libraries, config->n_libraries + 1, sizeof(*longer));
	if (!longer)
		return -ENOMEM;
	config->libraries = longer;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	config->libraries[config->n_libraries++] = copy;
	return 0;
}

static int parse_pid(struct config *config, const char *value, const char **ret_why)
{
	unsigned long pid;
	pid_t *longer;

	if (!parse_number(value, INT32_MAX, &pid))
		return refuse(ret_why, "no process id");
	if (config->n_pids == PIDS_MAX)
		return refuse(ret_why, "more than 1024 of them");
	longer = reallocarray(config->pids, config->n_pids + 1, sizeof(*longer));
	if (!longer)
		return -ENOMEM;
	config->pids = longer;
	config->pids[config->n_pids++] = (pid_t)pid;
	return 0;
}

static int parse_pin_dir(struct config *config, const char *value, const char **ret_why)
{
	if (strcmp(value, "none") == 0) {
		free(TAKE_PTR(config->pin_dir));
		return 0;
	}
	if (*value != '/')
		return refuse(ret_why, "does not begin with /");
	return set_string(&config->pin_dir, value);
}

static int parse_keep_on_exit(struct config *config, const char *value, const char **ret_why)
{
	config->keep_on_exit = strcmp(value, "yes") == 0;
	return config->keep_on_exit || strcmp(value, "no") == 0
		       ? 0
		       : refuse(ret_why, "neither yes nor no");
}

static int parse_max_series(struct config *config, const char *value, const char **ret_why)
{
	unsigned long n;

	if (!parse_number(value, 1000000, &n))
		return refuse(ret_why, "no number from 1 to 1000000");
	config->max_series = n;
	return 0;
}

const struct config_key config_keys[] = {
	{"socket", "PATH", "where clients connect (default " PROTOCOL_SOCKET ")", true,
	 parse_socket},
	{"listen", "ADDR:PORT",
	 "where HTTP is served; none turns it off (default " CONFIG_LISTEN ")", true, parse_listen},
	{"attach", "auto|multi|perf", "kind of uprobe link (default auto)", true, parse_attach},
	{"libraries", "GLOB", "CUDA libraries to probe before anyone maps them; may be repeated",
	 true, parse_libraries},
	{"max_series", "N", "series of /metrics at most, the rest is summed (default 10000)", true,
	 parse_max_series},
	{"pin_dir", "DIR",
	 "on bpffs, where tracking lives on while no daemon runs; none turns it off "
	 "(default " PINS_DIRECTORY ")",
	 true, parse_pin_dir},
	{"keep_on_exit", "yes|no",
	 "tracking goes on after SIGTERM, as it does after SIGUSR1 "
	 "(default no)",
	 true, parse_keep_on_exit},
	{"pid", "PID", "track this process only; may be repeated", false, parse_pid},
};
const size_t config_keys_count = ARRAY_SIZE(config_keys);

static const struct config_key *find_key(const char *name)
{
	for (size_t i = 0; i < config_keys_count; i++)
		if (strcmp(config_keys[i].name, name) == 0)
			return &config_keys[i];
	return NULL;
}

static int set_key(struct config *config, const struct config_key *key, const char *value,
		   const char **ret_why)
{
	if (!key)
		return refuse(ret_why, "no such key");
	if (*value == '\0')
		return refuse(ret_why, "has no value");
	return key->parse(config, value, ret_why);
}

int config_set(struct config *config, const char *key, const char *value, const char **ret_why)
{
	return set_key(config, find_key(key), value, ret_why);
}

void config_free(struct config *config)
{
	free(config->socket);
	free(config->pin_dir);
	free(config->listen);
	for (size_t i = 0; i < config->n_libraries; i++)
		free(config->libraries[i]);
	free(config->libraries);
	free(config->pids);
	*config = (struct config){0};
}

/* The variable that the client reads too stands between the files and the command line. */
static int set_environment(struct config *config, char *ret_error, size_t n)
{
	const char *value = getenv(PROTOCOL_SOCKET_ENV), *why = "no memory";
	int r = value && *value ? parse_socket(config, value, &why) : 0;

	if (r < 0)
		snprintf(ret_error, n, "$" PROTOCOL_SOCKET_ENV ": %s", why);
	return r;
}

static int set_defaults(struct config *config)
{
	int r = set_string(&config->socket, PROTOCOL_SOCKET);

	if (r == 0)
		r = set_string(&config->pin_dir, PINS_DIRECTORY);
	config->max_series = CONFIG_MAX_SERIES;
	return r < 0 ? r : set_string(&config->listen, CONFIG_LISTEN);
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
	const struct config_key *key = find_key(name);
	const char *why = NULL;
	int r;

	(void)section;
	r = set_key(reading->config, key && key->in_file ? key : NULL, value, &why);
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
	r = set_defaults(&config);
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
