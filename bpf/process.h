/* SPDX-License-Identifier: GPL-2.0 */
/* The process images that use CUDA. */
#ifndef SRTLEAK_PROCESS_H
#define SRTLEAK_PROCESS_H

static __always_inline struct process_image *process_find(struct task_struct *task)
{
	__u32 tgid = task->tgid;
	struct process_image *p = bpf_map_lookup_elem(&processes, &tgid);

	/* The start time tells a successor with the same pid, should an exit ever go unseen. */
	if (p && p->start_ns == task->group_leader->start_boottime)
		return p;
	return NULL;
}

static __always_inline bool is_ignored(struct task_struct *task)
{
	__u32 tgid = task->tgid, others = POLICY_OTHERS;
	__u64 start_ticks = task->group_leader->start_boottime / NS_PER_TICK;
	struct policy *policy = bpf_map_lookup_elem(&policies, &tgid);

	if (!policy || policy->start_ticks != start_ticks)
		policy = bpf_map_lookup_elem(&policies, &others);
	return policy && policy->verdict == VERDICT_IGNORE;
}

/* Finds or makes the image of the current task's process; NULL where it is not to be
 * recorded or there is no room.
 */
static __always_inline struct process_image *process_get(struct task_struct *task)
{
	struct process_image *p = process_find(task), *old;
	struct process_image fresh = {};
	__u32 tgid = task->tgid;

	if (p)
		return p;
	if (is_ignored(task))
		return NULL;
	fresh.start_ns = task->group_leader->start_boottime;
	fresh.image = __sync_fetch_and_add(&last_image, 1) + 1;
	/* A predecessor's only: another thread may have come first since the look above. */
	old = bpf_map_lookup_elem(&processes, &tgid);
	if (old && old->start_ns != fresh.start_ns)
		bpf_map_delete_elem(&processes, &tgid);
	/* Another thread may come first; then its image is the one. */
	if (!bpf_map_update_elem(&processes, &tgid, &fresh, BPF_NOEXIST))
		emit_life(EVENT_START, fresh.image);
	p = process_find(task);
	if (!p)
		count(COUNTER_DROPPED_PROCESSES);
	return p;
}

/* Entries of the live map that were added or, negative, removed; p is NULL where the image is over.
 */
static __always_inline void live_count(struct process_image *p, __s32 n)
{
	if (p)
		__sync_fetch_and_add(&p->live, n);
	count_by(COUNTER_SLOT_LIVE, n);
}

#endif
