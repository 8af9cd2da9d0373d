/* SPDX-License-Identifier: Apache-2.0 */
/* Who is tracked. What a person has said of a process goes first (track, untrack, --pid), then the
 * rules of the configuration. The kernel is told of whoever is not, so that nothing of it is
 * recorded; what was recorded before is taken back.
 */
#ifndef SRTLEAK_ADMISSION_H
#define SRTLEAK_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event.h"
#include "probes.h"
#include "scope.h"
#include "table.h"

struct admission {
	const struct probes *probes;
	const struct scope *scope;
	uint64_t refused;       /* processes that the kernel's table had no room for */
	bool has_dropped;       /* images, since the tracker has looked */
	bool may_be_held;       /* one of them, by a probe that runs */
	bool narrowed;          /* to processes that a person has named */
	uint64_t unseen_before; /* ticks: an earlier daemon was, so older ones were not recorded */
	/* Images whose records were taken back, of this period and the one before: news of them may
	 * still be in the ring. The entries are keys alone.
	 */
	struct table dropped[2];
};

/* `scope` stays the caller's, who may change it between calls. */
void admission_init(struct admission *a, const struct probes *probes, const struct scope *scope);
void admission_done(struct admission *a);

/* Tells the kernel what holds for processes that nothing else is said of: they are tracked, or,
 * where it is narrowed, only those that a person names with admission_decree(). What an earlier
 * daemon's rules have left there goes; a person's word stays.
 */
int admission_start(struct admission *a, bool narrowed);

/* A person's word, or the command line's. Returns 1 where the process was ignored until now,
 * else 0; -ESRCH: there is no such process; -E2BIG: no room for it.
 */
int admission_decree(struct admission *a, pid_t pid, enum verdict verdict, enum policy_word word);

/* Whether a process is to be tracked. If not, the kernel knows it from now on. */
bool admission_admits(struct admission *a, pid_t pid);

/* The budget does not keep the process out any more: its next call is recorded, as of one of which
 * nothing is known.
 */
void admission_readmit(struct admission *a, pid_t pid, uint64_t start_ticks);

/* What was recorded of the process until now does not hold. */
void admission_forget(struct admission *a, pid_t pid);

/* Waits until no probe that runs has an image that was dropped before: nothing is added to its
 * records any more, so that they can be taken out.
 */
void admission_settle(struct admission *a);

/* Whether the image's records were taken back, so that news of it are old. */
bool admission_is_dropped(const struct admission *a, uint32_t image);

/* To be called about every second while nothing waits in the ring. */
void admission_next_period(struct admission *a);

#endif
