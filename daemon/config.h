/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's configuration: files of `KEY = VALUE` lines, and the command line, which overrides
 * them with the same keys.
 */
#ifndef SRTLEAK_CONFIG_H
#define SRTLEAK_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CONFIG_PATH "/etc/srtleak/srtleak.conf"
#define CONFIG_LISTEN "127.0.0.1:9748"
#define CONFIG_MAX_SERIES 10000

enum attach_mode { ATTACH_AUTO, ATTACH_MULTI, ATTACH_PERF };

struct config {
	char *socket;
	char *pin_dir; /* NULL: nothing is pinned */
	bool keep_on_exit;
	char *listen; /* ADDR:PORT, with brackets around IPv6; NULL: no HTTP */
	char **libraries;
	size_t n_libraries;
	enum attach_mode attach;
	size_t max_series; /* of /metrics */
	pid_t *pids;
	size_t n_pids;
};

struct config_key {
	const char *name;     /* `name` in a file, `--name` on the command line */
	const char *argument; /* as the help shows it */
	const char *help;
	bool in_file;
	int (*parse)(struct config *config, const char *value, const char **ret_why);
};

extern const struct config_key config_keys[];
extern const size_t config_keys_count;

/* Takes the defaults, then the file, then the files *.conf in the folder PATH.d in alphabetical
 * order; each may set again what came before, and lists grow; then
 * $SRTLEAK_SOCKET. A missing file is an error only with
 * must_exist. What ret held before is not freed. On failure ret is left alone and ret_error says
 * "FILE: why" or "FILE:LINE: KEY: why": -EINVAL for what the files say, else the errno of reading
 * them.
 */
int config_load(struct config *ret, const char *path, bool must_exist, char *ret_error, size_t n);

/* Sets one key. -EINVAL where there is no such key or the value is not good, *ret_why then says
 * why; -ENOMEM.
 */
int config_set(struct config *config, const char *key, const char *value, const char **ret_why);

/* Frees what the configuration holds and leaves it empty; zeroed ones are fine. */
void config_free(struct config *config);

#endif
