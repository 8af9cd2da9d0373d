/* SPDX-License-Identifier: Apache-2.0 */
/* What a command is, and what the command line asked of it. */
#ifndef SRTLEAK_CLI_COMMAND_H
#define SRTLEAK_CLI_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Options that only some commands accept; a command's `accepts` is a set of them. */
enum {
	OPTION_KIND = 1 << 0,
	OPTION_SORT = 1 << 1,
	OPTION_LIMIT = 1 << 2,
	OPTION_SITE = 1 << 3,
	OPTION_OLDER_THAN = 1 << 4,
	OPTION_TOP = 1 << 5,
};

/* Strings belong to argv, the environment or the program; NULL where an option was not given. */
struct options {
	const char *socket;
	bool json;
	bool no_color;
	bool help;
	bool version;
	pid_t pid;
	const char *kind;
	const char *sort;
	const char *site;
	double older_than; /* seconds, 0: of any age */
	uint32_t limit;    /* items, 0: all */
	bool batch;
	uint32_t frames; /* of top --batch, 0: without end */
	double delay;    /* seconds between two frames, 0: the standard */
};

struct command {
	const char *name;
	const char *args;
	const char *summary;
	unsigned accepts;
	uint32_t limit; /* default of --limit */
	bool takes_pid; /* it must be given unless `args` has it in brackets */
	/* Returns an enum cli_status, and has reported what went wrong if it is not CLI_OK. */
	int (*run)(const struct options *options);
};

int cmd_ps(const struct options *options);
int cmd_sites(const struct options *options);
int cmd_allocs(const struct options *options);
int cmd_track(const struct options *options);
int cmd_untrack(const struct options *options);
int cmd_watch(const struct options *options);
int cmd_status(const struct options *options);
int cmd_top(const struct options *options);
int cmd_doctor(const struct options *options);

#endif
