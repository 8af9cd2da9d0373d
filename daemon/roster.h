/* SPDX-License-Identifier: Apache-2.0 */
/* The processes that a tracker knows: how they come to be known, and what is to be done when they
 * are no more, here and in the kernel. Times are CLOCK_BOOTTIME.
 */
#ifndef SRTLEAK_ROSTER_H
#define SRTLEAK_ROSTER_H

#include <stdint.h>
#include <sys/types.h>

#include "tracker.h"

/* NULL where none is known. */
struct process *roster_image(const struct tracker *t, uint32_t image);

/* The entry of a pid, made anew where another process has it now; there is news of it from time_ns.
 * NULL where it is not to be tracked, or there is no room or time for it.
 */
struct process *roster_current(struct tracker *t, pid_t pid, uint64_t time_ns);

/* The process that an image belongs to, of which there is news from time_ns; NULL where it is over.
 */
struct process *roster_of(struct tracker *t, uint32_t image, pid_t pid, uint64_t time_ns);

/* It has ended. In the kernel it had `live` allocations then. The entry is gone afterwards, as it
 * is after the following two.
 */
#define ROSTER_LIVE_UNKNOWN UINT64_MAX
void roster_end(struct tracker *t, struct process *p, uint64_t time_ns, uint64_t live);

/* It has ended unnoticed; this is when it was noticed. */
void roster_remove(struct tracker *t, struct process *p);

/* It lives on, but is not ours to track. */
void roster_leave(struct tracker *t, struct process *p);

/* Notes in the kernel what is known of it, for the next daemon. */
void roster_note(struct process *p, const struct probes *probes);

#endif
