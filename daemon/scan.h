/* SPDX-License-Identifier: Apache-2.0 */
/* Going through processes for what is called like a CUDA library. Reading what a process has mapped
 * may take long (mappings.h), and a user may have thousands of such processes: each memory is read
 * once, and of the time of one scan each user but root, who is not one user in that, has a share.
 */
#ifndef SRTLEAK_SCAN_H
#define SRTLEAK_SCAN_H

#include <stddef.h>
#include <sys/types.h>

#include "api.h"
#include "costly.h"
#include "mappings.h"
#include "quota.h"

/* A mapping that is called so. */
struct scan_find {
	struct procfs_mapping mapping; /* its path is ours */
	enum api_family family;
};

struct scan_finds {
	struct scan_find *finds;
	size_t n;
};

struct scan {
	struct costly costly;
	struct scan_finds kept[COSTLY_MAX];
	struct quota time; /* microseconds */
};

typedef void (*scan_fn)(const struct procfs_mapping *mapping, enum api_family family,
			void *userdata);

void scan_init(struct scan *scan);
void scan_done(struct scan *scan);

/* Calls fn for each such mapping of the process. -EBUSY: its user's share of the time is used up.
 */
int scan_process(struct scan *scan, pid_t pid, scan_fn fn, void *userdata);

#endif
