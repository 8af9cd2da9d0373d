/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows of the API table a library file exports, and where their probes would sit. */
#ifndef SRTLEAK_SURVEY_H
#define SRTLEAK_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api.h"

enum probe_state {
	PROBE_MISSING,  /* not exported */
	PROBE_ATTACHED, /* the first instruction is emulated by the kernel */
	PROBE_SLOW,     /* attached; the first instruction is single-stepped */
	PROBE_ALIAS,    /* same address as an earlier row, which is probed */
	PROBE_FAILED,   /* could not be read or attached */
};

#define PROBE_CODE_MAX 24 /* bytes: more than a jump to anywhere takes, behind endbr64 too */

struct probe_point {
	enum probe_state state;
	uint64_t offset;              /* in the file */
	uint64_t start;               /* of the function, likewise */
	uint8_t code[PROBE_CODE_MAX]; /* that stands there */
	int alias_of;                 /* PROBE_ALIAS: row */
	int error;                    /* PROBE_FAILED: negative errno */
};

static inline bool probe_is_wanted(const struct probe_point *point)
{
	return point->state == PROBE_ATTACHED || point->state == PROBE_SLOW;
}

static inline size_t probes_wanted(const struct probe_point points[API_MAX])
{
	size_t n = 0;

	for (int api = 0; api < API_MAX; api++)
		n += probe_is_wanted(&points[api]);
	return n;
}

/* Looks at an open file without changing anything. -ENOENT: exports none of the family's functions.
 */
int survey_library(int fd, enum api_family family, struct probe_point ret[API_MAX]);

#endif
