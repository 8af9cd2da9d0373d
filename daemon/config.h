/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's configuration: files of `KEY = VALUE` lines, and the command line, which overrides
 * them with the same keys.
 */
#ifndef SRTLEAK_CONFIG_H
#define SRTLEAK_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "scope.h"

#define CONFIG_PATH "/etc/srtleak/srtleak.conf"
#define CONFIG_LISTEN "127.0.0.1:9748"

enum attach_mode { ATTACH_AUTO, ATTACH_MULTI, ATTACH_PERF };

struct config {
	char *socket;
	char *pin_dir; /* NULL: nothing is pinned */
	bool keep_on_exit;
	char *listen; /* ADDR:PORT, with brackets around IPv6; NULL: no HTTP */
	char **libraries;
	size_t n_libraries;
	enum attach_mode attach;
	size_t max_series;   /* of /metrics */
	uint64_t log_above;  /* bytes of a process's CUDA memory; 0: never */
	double probe_budget; /* share of a process's time, as 0.01; 0: any */
	struct scope scope;
	pid_t *pids;
	size_t n_pids;
	char **texts; /* for config_text() */
};

/* When a change of a key takes effect. */
enum config_effect {
	CONFIG_AT_RESTART,
	CONFIG_AT_ONCE,   /* it is read when it is needed */
	CONFIG_LIBRARIES, /* after another search */
	CONFIG_SCOPE,     /* after another look at who is tracked */
	CONFIG_EFFECTS
};

struct config_key {
	const char *name;     /* `name` in a file, `--name` on the command line */
	const char *argument; /* as the help shows it */
	const char *help;
	bool in_file;
	int (*parse)(struct config *config, const char *value, const char **ret_why);
	const char *standard; /* the default; lists have none and begin empty */
	enum config_effect effect;
	bool is_list; /* may be repeated; takes effect without a restart */
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

/* What was said of a key, the last value or of a list all of them, one a line; "" for nothing. The
 * configuration's.
 */
const char *config_text(const struct config *config, const struct config_key *key);

/* Fills an empty one with the defaults; -ENOMEM. */
int config_set_defaults(struct config *config);

/* The key of that name; NULL. */
const struct config_key *config_find_key(const char *name);

/* Sets one key. -EINVAL where there is no such key or the value is not good, *ret_why then says
 * why; -ENOMEM.
 */
int config_set(struct config *config, const char *key, const char *value, const char **ret_why);

/* Frees what the configuration holds and leaves it empty; zeroed ones are fine. */
void config_free(struct config *config);

#endif
