/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "clock.h"
#include "log.h"
#include "macro.h"
#include "policy.h"
#include "procfs.h"
#include "restraint.h"
#include "roster.h"

static const struct {
	const char *name;
	const char *meaning;
} steps[] = {
	[STEP_FULL] = {"full", "everything is recorded again"},
	[STEP_NO_STACKS] = {"no_stacks", "call stacks are not taken"},
	[STEP_SAMPLED] = {"sampled", "of its allocations below 2 MiB one in 16 is recorded"},
	[STEP_UNTRACKED] = {"untracked", "it is not tracked for a while"},
};

const char *restraint_step_name(unsigned int step)
{
	return steps[step < ARRAY_SIZE(steps) ? step : STEP_FULL].name;
}

void restraint_init(struct tracker *t)
{
	t->restraint = (struct restraint){.trap_ns = RESTRAINT_TRAP_NS};
	probes_clear_steps(t->probes);
}

/* Tells the probes; they look for steps only where there are any. */
static void set_step(struct tracker *t, const struct process *p, unsigned int before)
{
	struct restraint *r = &t->restraint;
	int err;

	if (!p->image)
		return;
	r->stepped += (p->budget.step != STEP_FULL) - (before != STEP_FULL);
	err = probes_set_step(t->probes, p->image,
			      (enum probe_step)MIN(p->budget.step, (unsigned int)STEP_SAMPLED),
			      r->stepped > 0);
	if (err < 0)
		log_limited(LOG_LEVEL_WARNING,
			    "process %d: the probes cannot be told to do less: %s", p->pid,
			    strerror(-err));
}

static void tell(const struct tracker *t, struct process *p)
{
	log_limited(
		LOG_LEVEL_NOTICE,
		"process %d (%s): probes take %.1f %% of its time, of %.1f %% that they may: %s",
		p->pid, p->comm ? p->comm : "?", 100 * p->budget.share, 100 * t->restraint.limit,
		steps[p->budget.step].meaning);
}

static struct away *find_away(struct restraint *r, const struct process *p)
{
	for (size_t i = 0; i < r->n_away; i++)
		if (r->away[i].pid == p->pid && r->away[i].start_ticks == p->start_ticks)
			return &r->away[i];
	return NULL;
}

static bool is_over(const struct away *away)
{
	uint64_t ticks;

	return procfs_start_ticks(away->pid, &ticks) < 0 || ticks != away->start_ticks;
}

static void drop_ended(struct restraint *r)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->n_away; i++)
		if (!is_over(&r->away[i]))
			r->away[kept++] = r->away[i];
	r->n_away = kept;
}

static struct away *add_away(struct restraint *r, const struct process *p)
{
	struct away *away = find_away(r, p);

	if (!away && r->n_away == AWAY_MAX)
		drop_ended(r);
	if (!away && r->n_away == AWAY_MAX)
		return NULL;
	if (!away)
		away = &r->away[r->n_away++];
	*away = (struct away){.pid = p->pid, .start_ticks = p->start_ticks};
	return away;
}

/* Whether a person wants to have it tracked. */
static bool is_wanted(const struct tracker *t, const struct process *p)
{
	struct policy policy;

	return policy_get(t->probes, p->pid, p->start_ticks, &policy) == 0 && policy.fixed &&
	       policy.verdict == VERDICT_TRACK;
}

static bool may_leave(struct tracker *t, struct process *p)
{
	struct restraint *r = &t->restraint;
	struct away *away = is_wanted(t, p) ? NULL : add_away(r, p);

	if (!away) {
		r->refused++;
		return false;
	}
	away->patience = p->budget.patience;
	away->back_ns = clock_monotonic_ns() +
			(uint64_t)MIN(BUDGET_AWAY * away->patience, BUDGET_CALM_MAX) *
				BUDGET_WINDOW_S * 1000000000ULL;
	return true;
}

void restraint_look(struct tracker *t, struct process *p, const struct process_image *image)
{
	struct restraint *r = &t->restraint;
	struct budget *b = &p->budget;
	uint64_t now = clock_monotonic_ns(), spent, cpu = 0;
	unsigned int before = b->step;
	double limit = r->limit > 0 ? r->limit : 1e9;
	int change;

	if (!budget_is_due(b, now) || b->step == STEP_UNTRACKED)
		return;
	spent = image->probe_ns + image->probe_runs * r->trap_ns / 2;
	if (budget_needs_cpu(b, limit, spent, now))
		(void)procfs_cpu_ns(p->pid, &cpu);
	change = budget_judge(b, limit, spent, cpu, now);
	if (b->step == STEP_UNTRACKED && !may_leave(t, p))
		b->step = before;
	if (change == 0 || b->step == before)
		return;
	tell(t, p);
	if (change > 0)
		p->partial |= 1U << PARTIAL_BUDGET;
	set_step(t, p, before);
}

/* One a turn: its images and tables go. */
static void leave_one(struct tracker *t)
{
	struct process *leaving = NULL;

	table_foreach (&t->processes, struct process_ref, ref)
		if (ref->process->budget.step == STEP_UNTRACKED)
			leaving = ref->process;
	if (!leaving)
		return;
	if (admission_decree(&t->admission, leaving->pid, VERDICT_IGNORE, WORD_BUDGET) < 0) {
		leaving->budget.step = STEP_SAMPLED;
		return;
	}
	admission_settle(&t->admission);
	roster_leave(t, leaving);
}

void restraint_tick(struct tracker *t)
{
	struct restraint *r = &t->restraint;
	uint64_t now = clock_monotonic_ns();

	leave_one(t);
	drop_ended(r);
	for (size_t i = 0; i < r->n_away; i++) {
		struct away *away = &r->away[i];

		if (away->back_ns == 0 || (now < away->back_ns && r->limit > 0))
			continue;
		away->back_ns = 0;
		admission_readmit(&t->admission, away->pid, away->start_ticks);
	}
}

void restraint_begin(struct tracker *t, struct process *p)
{
	const struct away *away = find_away(&t->restraint, p);

	if (away && away->back_ns == 0 && t->restraint.limit > 0) {
		p->budget = (struct budget){
			.step = STEP_SAMPLED, .patience = away->patience, .since_up = 1};
		p->partial |= 1U << PARTIAL_BUDGET;
		set_step(t, p, STEP_FULL);
	}
}

void restraint_end(struct tracker *t, struct process *p)
{
	unsigned int before = p->budget.step;

	p->budget = (struct budget){0};
	if (before != STEP_FULL)
		set_step(t, p, before);
}
