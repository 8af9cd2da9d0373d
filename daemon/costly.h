/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at processes that took long. Any number of processes may share one memory with tens of
 * thousands of mappings (clone(2), CLONE_VM): what was found at the first is so of the others.
 */
#ifndef SRTLEAK_COSTLY_H
#define SRTLEAK_COSTLY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define COSTLY_MAX 16
#define COSTLY_NS 2000000ULL /* that is long */

struct costly {
	struct {
		pid_t pid;
		uint64_t started; /* ticks after boot */
	} looks[COSTLY_MAX];
	size_t n; /* noted so far; the oldest give way */
};

/* The place of a look at the same memory; -1: there was none that took long. */
int costly_find(const struct costly *costly, pid_t pid);

/* Notes a look that began then (CLOCK_MONOTONIC), if it took long. Returns its place, which another
 * may have had before; -1: it did not.
 */
int costly_note(struct costly *costly, pid_t pid, uint64_t began_ns);

#endif
