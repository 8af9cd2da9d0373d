/* SPDX-License-Identifier: Apache-2.0 */
/* Going through all processes a slice at a time: a user may have thousands, each with tens of
 * thousands of mappings to read.
 */
#ifndef SRTLEAK_WALK_H
#define SRTLEAK_WALK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WALK_SLICE_NS 50000000ULL

struct walk {
	pid_t next; /* zeroed: it begins */
};

/* Calls fn for each process, until WALK_SLICE_NS are over (but for one at least), or fn returns not
 * 0, which ends the walk. Returns whether it has ended; then it begins anew.
 */
bool walk_slice(struct walk *walk, int (*fn)(pid_t pid, void *userdata), void *userdata);

/* Calls fn for every process at one go, as procfs_each_pid() does; -ETIME where limit_ns were over
 * before the end.
 */
int walk_within(uint64_t limit_ns, int (*fn)(pid_t pid, void *userdata), void *userdata);

static inline bool walk_is_under_way(const struct walk *walk)
{
	return walk->next > 0;
}

#endif
