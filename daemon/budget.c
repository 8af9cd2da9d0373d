/* SPDX-License-Identifier: Apache-2.0 */
#include "budget.h"
#include "macro.h"

static double share_of(const struct budget *b, uint64_t spent_ns, uint64_t cpu_ns, uint64_t now_ns)
{
	uint64_t whole = now_ns - b->began_ns;

	if (b->cpu_ns && cpu_ns > b->cpu_ns)
		whole = MAX(whole, cpu_ns - b->cpu_ns);
	return (double)(spent_ns - b->spent_ns) / (double)whole;
}

bool budget_needs_cpu(const struct budget *b, double limit, uint64_t spent_ns, uint64_t now_ns)
{
	return b->began_ns && spent_ns > b->spent_ns && share_of(b, spent_ns, 0, now_ns) > limit;
}

static int step_down(struct budget *b)
{
	if (b->since_up && b->since_up <= BUDGET_RELAPSE)
		b->patience = MIN(2 * b->patience, BUDGET_CALM_MAX);
	b->over = b->since_up = 0;
	b->step++;
	return 1;
}

static int step_up(struct budget *b)
{
	b->calm = 0;
	b->since_up = 1;
	b->step--;
	return -1;
}

int budget_judge(struct budget *b, double limit, uint64_t spent_ns, uint64_t cpu_ns,
		 uint64_t now_ns)
{
	/* A share of the wall clock says too little of many threads: the next window has more. */
	bool is_rough = !b->cpu_ns && cpu_ns;

	b->is_known = b->began_ns && spent_ns >= b->spent_ns;
	if (b->is_known)
		b->share = share_of(b, spent_ns, cpu_ns, now_ns);
	b->began_ns = now_ns;
	b->spent_ns = spent_ns;
	b->cpu_ns = cpu_ns;
	if (!b->is_known)
		return 0;
	if (!b->patience)
		b->patience = BUDGET_CALM;
	if (b->since_up)
		b->since_up++;
	if (!is_rough)
		b->over = b->share > limit ? b->over + 1 : 0;
	b->calm = b->share < limit / 2 ? b->calm + 1 : 0;
	if (b->over >= BUDGET_OVER && b->step < STEP_UNTRACKED)
		return step_down(b);
	if (b->step > STEP_FULL && b->calm >= b->patience)
		return step_up(b);
	return 0;
}
