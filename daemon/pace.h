/* SPDX-License-Identifier: Apache-2.0 */
/* What must be done again and again and may take long: so that it takes no more than a share of the
 * daemon's time, however often it is called for.
 */
#ifndef SRTLEAK_PACE_H
#define SRTLEAK_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "macro.h"

struct pace {
	uint64_t due_ns; /* CLOCK_MONOTONIC; zeroed: at once */
};

static inline bool pace_is_due(const struct pace *pace)
{
	return clock_monotonic_ns() >= pace->due_ns;
}

/* It has run since began_ns: the next time is `rest` times as long away, at_least_ns and
 * at_most_ns.
 */
static inline void pace_ran(struct pace *pace, uint64_t began_ns, uint64_t rest,
			    uint64_t at_least_ns, uint64_t at_most_ns)
{
	uint64_t now = clock_monotonic_ns();
	uint64_t pause = MIN(rest * (now - began_ns), at_most_ns);

	pace->due_ns = now + MAX(pause, at_least_ns);
}

#endif
