/* SPDX-License-Identifier: Apache-2.0 */
/* How much of a process's time its probes may take, and what follows where they take more: less is
 * recorded of it, a step at a time, and more again when it has become calm.
 */
#ifndef SRTLEAK_BUDGET_H
#define SRTLEAK_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "event.h"

#define STEP_UNTRACKED (STEP_SAMPLED + 1) /* it is left alone for a while */

#ifndef BUDGET_WINDOW_S
#define BUDGET_WINDOW_S 5U
#endif
#define BUDGET_OVER 2U /* windows above the budget in a row that bring a step down */
#ifndef BUDGET_CALM
#define BUDGET_CALM 6U /* windows below half of it that bring a step up, at first */
#endif
#define BUDGET_CALM_MAX 720U /* … and where each step up was followed by one down */
#define BUDGET_RELAPSE 24U   /* windows after a step up within which it is taken for the cause */
#define BUDGET_AWAY 4U       /* so many times its patience a process is left alone */

/* Of a process. Zeroed is how one begins. */
struct budget {
	uint64_t began_ns; /* of the window, CLOCK_MONOTONIC; 0: none has begun */
	uint64_t spent_ns; /* until then in probes */
	uint64_t cpu_ns;   /* until then in all; 0: was not read */
	bool is_known;     /* there has been a window, and this is the share in the last: */
	double share;
	unsigned int over, calm; /* windows in a row */
	unsigned int since_up;   /* windows since the last step up; 0: none was */
	unsigned int patience;   /* calm windows that a step up takes; 0: BUDGET_CALM */
	unsigned int step;       /* enum probe_step, or STEP_UNTRACKED */
};

/* Whether a window is over. */
static inline bool budget_is_due(const struct budget *b, uint64_t now_ns)
{
	return now_ns - b->began_ns >= BUDGET_WINDOW_S * 1000000000ULL;
}

/* Whether the time in probes is worth a look at how much CPU time the process has used: it is a
 * share of that, or of the wall clock's where that is more.
 */
bool budget_needs_cpu(const struct budget *b, double limit, uint64_t spent_ns, uint64_t now_ns);

/* Ends a window and begins the next. spent_ns: time in probes so far; cpu_ns: CPU time of the
 * process so far, 0 where it was not read; limit: of the share, as 0.01. Returns how the step
 * changes: 1 down, -1 up, 0.
 */
int budget_judge(struct budget *b, double limit, uint64_t spent_ns, uint64_t cpu_ns,
		 uint64_t now_ns);

#endif
