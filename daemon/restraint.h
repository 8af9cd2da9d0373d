/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps probes within their budget (budget.h): tells them of whom to record less, leaves a process
 * alone where that does not help, and takes it up again later.
 */
#ifndef SRTLEAK_RESTRAINT_H
#define SRTLEAK_RESTRAINT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AWAY_MAX 64U              /* processes that are left alone, or were and have a history */
#define RESTRAINT_TRAP_NS 3000ULL /* where it could not be measured: more than it is mostly */

struct tracker;
struct process;
struct process_image;

/* One that is left alone until back_ns; later it has been taken up again. */
struct away {
	pid_t pid;
	uint64_t start_ticks;
	uint64_t back_ns; /* CLOCK_MONOTONIC; 0: it is back */
	unsigned int patience;
};

/* A part of the tracker. */
struct restraint {
	double limit;     /* share of a process's time, as 0.01; 0: any */
	uint64_t trap_ns; /* what a call's two probes cost besides their programs */
	size_t stepped;   /* processes of whom less is recorded */
	struct away away[AWAY_MAX];
	size_t n_away;
	uint64_t refused; /* could not be left alone for lack of room, or by a person's word */
};

/* With no budget and all steps taken back that an earlier daemon has left. */
void restraint_init(struct tracker *t);

/* The process's turn, about once a second. */
void restraint_look(struct tracker *t, struct process *p, const struct process_image *image);

/* What is due by then: to be called about once a second, when no process is being looked at.
 */
void restraint_tick(struct tracker *t);

/* It has an image from now on; it has none any more. */
void restraint_begin(struct tracker *t, struct process *p);
void restraint_end(struct tracker *t, struct process *p);

/* "full", "no_stacks", "sampled" or "untracked". */
const char *restraint_step_name(unsigned int step);

#endif
