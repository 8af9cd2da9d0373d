/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config.h"
#include "macro.h"
#include "pins.h"
#include "protocol.h"
#include "size.h"

#define GLOBS_MAX 64 /* of `libraries` */
#define PIDS_MAX 1024
#define SERIES_MIN 100 /* the daemon's own take some thirty */

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
	if (config->n_libraries == GLOBS_MAX)
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

	if (!parse_number(value, 1000000, &n) || n < SERIES_MIN)
		return refuse(ret_why, "no number from 100 to 1000000");
	config->max_series = n;
	return 0;
}

static int parse_log_above(struct config *config, const char *value, const char **ret_why)
{
	uint64_t bytes = 0;

	if (strcmp(value, "none") != 0 && !size_parse(value, &bytes))
		return refuse(ret_why, "neither none nor a size such as 40 GiB, 512M, 1000000");
	config->log_above = bytes;
	return 0;
}

static int parse_probe_budget(struct config *config, const char *value, const char **ret_why)
{
	size_t digits = strspn(value, "0123456789.");
	bool none = strcmp(value, "none") == 0;
	char *end = NULL;
	double percent = none ? 0 : strtod(value, &end);

	if (!none && (digits == 0 || end != value + digits || (*end && strcmp(end, "%") != 0) ||
		      percent < 0.01 || percent > 100))
		return refuse(ret_why, "neither none nor a percentage from 0.01 to 100");
	config->probe_budget = percent / 100;
	return 0;
}

/* X(key, enum scope_sort, whether it excludes) */
#define SCOPE_KEYS(X)                          \
	X(include_exe, SCOPE_EXE, false)       \
	X(exclude_exe, SCOPE_EXE, true)        \
	X(include_user, SCOPE_USER, false)     \
	X(exclude_user, SCOPE_USER, true)      \
	X(include_cgroup, SCOPE_CGROUP, false) \
	X(exclude_cgroup, SCOPE_CGROUP, true)

#define X(key, sort, excludes)                                                                 \
	static int parse_##key(struct config *config, const char *value, const char **ret_why) \
	{                                                                                      \
		return scope_add(&config->scope, sort, excludes, value, ret_why);              \
	}
SCOPE_KEYS(X)
#undef X

const struct config_key config_keys[] = {
	{"socket", "PATH", "where clients connect", true, parse_socket,
	 .standard = PROTOCOL_SOCKET},
	{"listen", "ADDR:PORT", "where HTTP is served; none turns it off", true, parse_listen,
	 .standard = CONFIG_LISTEN},
	{"attach", "auto|multi|perf", "kind of uprobe link", true, parse_attach,
	 .standard = "auto"},
	{"libraries", "GLOB", "CUDA libraries to probe before anyone maps them; may be repeated",
	 true, parse_libraries, .effect = CONFIG_LIBRARIES, .is_list = true},
	{"pin_dir", "DIR",
	 "on bpffs, where tracking lives on while no daemon runs; none turns it off", true,
	 parse_pin_dir, .standard = PINS_DIRECTORY},
	{"keep_on_exit", "yes|no", "tracking goes on after SIGTERM, as it does after SIGUSR1", true,
	 parse_keep_on_exit, .standard = "no", .effect = CONFIG_AT_ONCE},
	{"max_series", "N", "series of /metrics at most, the rest is summed", true,
	 parse_max_series, .standard = "10000", .effect = CONFIG_AT_ONCE},
	{"log_above", "SIZE", "log a process once that holds more, as in 40 GiB", true,
	 parse_log_above, .standard = "none", .effect = CONFIG_AT_ONCE},
	{"probe_budget", "PERCENT",
	 "of a process's time that probes may take before less is recorded; none for any", true,
	 parse_probe_budget, .standard = "1", .effect = CONFIG_AT_ONCE},
	{"include_exe", "GLOB", "track only programs at such paths; may be repeated", true,
	 parse_include_exe, .effect = CONFIG_SCOPE, .is_list = true},
	{"exclude_exe", "GLOB", "leave programs at such paths alone; may be repeated", true,
	 parse_exclude_exe, .effect = CONFIG_SCOPE, .is_list = true},
	{"include_user", "USER", "track only this user's processes; may be repeated", true,
	 parse_include_user, .effect = CONFIG_SCOPE, .is_list = true},
	{"exclude_user", "USER", "leave this user's processes alone; may be repeated", true,
	 parse_exclude_user, .effect = CONFIG_SCOPE, .is_list = true},
	{"include_cgroup", "GLOB", "track only processes in such cgroups; may be repeated", true,
	 parse_include_cgroup, .effect = CONFIG_SCOPE, .is_list = true},
	{"exclude_cgroup", "GLOB", "leave processes in such cgroups alone; may be repeated", true,
	 parse_exclude_cgroup, .effect = CONFIG_SCOPE, .is_list = true},
	{"pid", "PID", "track this process only, whatever the rules say; may be repeated", false,
	 parse_pid, .effect = CONFIG_SCOPE, .is_list = true},
};
const size_t config_keys_count = ARRAY_SIZE(config_keys);

const struct config_key *config_find_key(const char *name)
{
	for (size_t i = 0; i < config_keys_count; i++)
		if (strcmp(config_keys[i].name, name) == 0)
			return &config_keys[i];
	return NULL;
}

static char **text_of(const struct config *config, const struct config_key *key)
{
	return &config->texts[key - config_keys];
}

/* Room for the text of a key with another value, before that is taken. */
static int make_text(struct config *config, const struct config_key *key, const char *value,
		     char **ret)
{
	const char *before;
	char *text;

	if (!config->texts)
		config->texts = calloc(config_keys_count, sizeof(*config->texts));
	if (!config->texts)
		return -ENOMEM;
	before = key->is_list ? *text_of(config, key) : NULL;
	if (asprintf(&text, "%s%s%s", before ? before : "", before ? "\n" : "", value) < 0)
		return -ENOMEM;
	*ret = text;
	return 0;
}

int config_set(struct config *config, const char *name, const char *value, const char **ret_why)
{
	const struct config_key *key = config_find_key(name);
	_cleanup_free_ char *text = NULL;
	int r;

	if (!key)
		return refuse(ret_why, "no such key");
	if (*value == '\0')
		return refuse(ret_why, "has no value");
	r = make_text(config, key, value, &text);
	if (r == 0)
		r = key->parse(config, value, ret_why);
	if (r < 0)
		return r;
	free(*text_of(config, key));
	*text_of(config, key) = TAKE_PTR(text);
	return 0;
}

int config_set_defaults(struct config *config)
{
	const char *why;
	int r = 0;

	for (size_t i = 0; i < config_keys_count && r == 0; i++)
		if (config_keys[i].standard)
			r = config_set(config, config_keys[i].name, config_keys[i].standard, &why);
	return r;
}

const char *config_text(const struct config *config, const struct config_key *key)
{
	const char *text = config->texts ? *text_of(config, key) : NULL;

	return text ? text : "";
}

void config_free(struct config *config)
{
	free(config->socket);
	free(config->pin_dir);
	free(config->listen);
	for (size_t i = 0; i < config->n_libraries; i++)
		free(config->libraries[i]);
	free(config->libraries);
	scope_free(&config->scope);
	free(config->pids);
	for (size_t i = 0; config->texts && i < config_keys_count; i++)
		free(config->texts[i]);
	free(config->texts);
	*config = (struct config){0};
}
