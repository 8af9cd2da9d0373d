/* SPDX-License-Identifier: GPL-2.0 */
/* What probes cost a process, and how much less is done for one that they cost too much. */
#ifndef SRTLEAK_COST_H
#define SRTLEAK_COST_H

/* One run in so many of a thread is timed and stands for all. Odd, as entries and returns take
 * turns.
 */
#define COST_EVERY 61U

/* A run that took longer was preempted, which is not its cost. */
#define COST_MAX_NS 100000ULL

/* Of small allocations one in so many is recorded where they are sampled. */
#define SAMPLE_EVERY 16U

static __always_inline void cost_begin(struct thread *th)
{
	bool is_timed = ++th->runs >= COST_EVERY;

	if (is_timed)
		th->runs = 0;
	th->timed_ns = is_timed ? bpf_ktime_get_ns() : 0;
}

/* A function of its own, for the room on the stack. */
__noinline int cost_note(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);
	struct process_image *p = process_find(task);
	__u64 took;

	if (!th || !p)
		return 0;
	took = bpf_ktime_get_ns() - th->timed_ns;
	__sync_fetch_and_add(&p->probe_ns, (took < COST_MAX_NS ? took : COST_MAX_NS) * COST_EVERY);
	__sync_fetch_and_add(&p->probe_runs, COST_EVERY);
	return 0;
}

static __always_inline void cost_end(const struct thread *th)
{
	if (th->timed_ns)
		cost_note();
}

static __always_inline enum probe_step step_of(const struct process_image *p)
{
	enum probe_step *step;

	if (!some_stepped_down)
		return STEP_FULL;
	step = bpf_map_lookup_elem(&steps, &p->image);
	return step ? *step : STEP_FULL;
}

/* Whether an allocation is left out because only some are recorded. Large ones are what memory is
 * made of, and what costs is the number of small ones.
 */
static __always_inline bool is_sampled_out(const struct process_image *p, __u64 size)
{
	return step_of(p) >= STEP_SAMPLED && size < SAMPLE_ALL_ABOVE &&
	       bpf_get_prandom_u32() % SAMPLE_EVERY != 0;
}

#endif
