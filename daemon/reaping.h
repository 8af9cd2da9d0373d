/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries that nobody uses any more: those that were deleted, which nobody can open again; those
 * of a file system that is not mounted here (a container's, which has ended: each of its next ones
 * has another, and the kernel would run the probes of all of them at every call); and, where an
 * owner's next ones wait for room, all others. All processes are gone through to see who maps them,
 * a slice at a time.
 */
#ifndef SRTLEAK_REAPING_H
#define SRTLEAK_REAPING_H

#include <stdbool.h>
#include <stddef.h>

#include "library.h"
#include "quota.h"
#include "walk.h"

#ifndef UNUSED_S
#define UNUSED_S 60 /* for so long before what is not mounted here is looked for in processes */
#endif

struct reaping {
	struct library *candidates[LIBRARIES_MAX];
	size_t n;
	uint64_t mounts_due_ns; /* CLOCK_MONOTONIC: then it is looked what is mounted here */
	struct walk walk;
	bool is_over; /* the candidates are unused */
};

/* Chooses candidates. is_crowded: some owner waits for room. */
void reaping_begin(struct reaping *r, struct library *const *libraries, size_t n, bool is_crowded);

/* Goes on. Returns whether it is over. */
bool reaping_go_on(struct reaping *r);

/* The next unused library, once it is over; NULL: there is none, and all begins anew. */
struct library *reaping_next(struct reaping *r);

/* Somebody maps the library, or it is gone. */
void reaping_spare(struct reaping *r, struct library *library);

static inline bool reaping_is_idle(const struct reaping *r)
{
	return r->n == 0;
}

#endif
