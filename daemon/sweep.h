/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel keeps besides allocations, gone through: entries of process images that are over
 * are removed, and the numbers found of contexts and pools that are no more. A context has ended
 * with all that was made in it, streams among that; a pool's memory lives on.
 */
#ifndef SRTLEAK_SWEEP_H
#define SRTLEAK_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "probes.h"
#include "table.h"

struct ended { /* entry of the tables of what has ended */
	uint64_t key;
};

struct sweep {
	const struct probes *probes;
	bool (*is_over)(uint32_t image, void *userdata);
	/* Called for each pool of a living image; may be NULL. */
	void (*pool)(uint32_t image, uint64_t addr, const struct handle *known, void *userdata);
	void *userdata;
	/* Of struct ended: what the sweep before has found; NULL where that is of no interest. */
	struct table *before;
	struct table ended; /* contexts and pools, by image, space and number */
};

void sweep_init(struct sweep *sweep, const struct probes *probes);
void sweep_done(struct sweep *sweep);

/* A negative errno where the kernel's maps could not be read to the end. */
int sweep_run(struct sweep *sweep);

/* Whether an allocation has gone with its context. */
bool sweep_has_ended(const struct sweep *sweep, uint32_t image, uint32_t context);

/* Gives numbers back of which the sweep before has found the same, and no allocation names them: a
 * call that was under way then has been recorded since. What that has found (sweep->before) becomes
 * what this one has. `is_named` says whether allocations may name a number. Returns whether another
 * sweep will find more to give back.
 */
bool sweep_give_back(struct sweep *sweep,
		     bool (*is_named)(const struct live_key *number, void *userdata));

#endif
