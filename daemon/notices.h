/* SPDX-License-Identifier: Apache-2.0 */
/* What the log says about single processes: each thing once, and not too much of it in a minute. */
#ifndef SRTLEAK_NOTICES_H
#define SRTLEAK_NOTICES_H

#include <stdbool.h>
#include <stdint.h>

#include "process.h"

#define NOTICES_PER_MINUTE 20 /* lines; the others are counted in one more */

struct notices {
	uint64_t log_above;    /* bytes of a process's CUDA memory; 0: never */
	uint64_t minute_began; /* CLOCK_MONOTONIC, nanoseconds; 0: no line yet */
	unsigned int lines, left_out;
};

/* Warns of a process that holds more than log_above, and again only after it has fallen below half
 * of that. Cheap enough for every event.
 */
void notices_size(struct notices *n, struct process *process);

/* Tells each reason for which the process is partial. */
void notices_partial(struct notices *n, struct process *process);

/* Ends the minute when it is over. */
void notices_tick(struct notices *n);

#endif
