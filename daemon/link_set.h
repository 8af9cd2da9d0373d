/* SPDX-License-Identifier: Apache-2.0 */
/* The links that hold one library's probes, in every process or in a single one. */
#ifndef SRTLEAK_LINK_SET_H
#define SRTLEAK_LINK_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "probes.h"
#include "survey.h"

struct link_set {
	int fds[2 * API_MAX]; /* in the order of pairs of return and entry */
	size_t n;
};

/* What is to be probed, and how. */
struct link_target {
	const struct probes *probes;
	bool multi;
	int fd;                     /* of the file: what was read is what is probed */
	uint32_t number;            /* of the library, for the cookies */
	struct probe_point *points; /* of API_MAX; a place that the kernel refuses is noted there */
};

/* How many descriptors a complete set has. */
size_t link_set_size(const struct link_target *target);

/* Places the probes. pid: only in that process, or LINK_EVERY_PROCESS. Nothing is left of it where
 * it fails. -ENOENT: there is nothing to probe.
 */
int link_set_make(const struct link_target *target, pid_t pid, struct link_set *ret);

/* Takes them out, entries first, so that no call begins that would miss its return. */
void link_set_close(struct link_set *set);

#endif
