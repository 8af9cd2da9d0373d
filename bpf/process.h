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

/* Whether the process makes its calls unseen: it is ignored, or was refused an image. */
static __always_inline bool is_left_out(struct task_struct *task)
{
	__u32 tgid = task->tgid;

	return is_ignored(task) || (!process_find(task) && bpf_map_lookup_elem(&refused, &tgid));
}

static __always_inline bool was_refused(__u32 tgid, __u64 start_ticks)
{
	__u64 *known = bpf_map_lookup_elem(&refused, &tgid);

	return known && *known == start_ticks;
}

/* What a process did while there was no room for it is not known. Of two threads one may be refused
 * while the other finds room: each looks when it has noted its own, so one sees the other's.
 */
static __always_inline void process_refused_before(struct task_struct *task)
{
	__u32 tgid = task->tgid;
	struct process_image *p;

	fence();
	p = process_find(task);
	if (!p || !was_refused(tgid, p->start_ns / NS_PER_TICK))
		return;
	p->unseen_ns = bpf_ktime_get_boot_ns();
	p->was_refused = 1;
	bpf_map_delete_elem(&refused, &tgid);
}

/* Each process is counted once, and asks again at its next call. */
static __always_inline void refuse(__u32 tgid, __u64 start_ticks)
{
	if (was_refused(tgid, start_ticks))
		return;
	bpf_map_update_elem(&refused, &tgid, &start_ticks, BPF_ANY);
	count(COUNTER_DROPPED_PROCESSES);
}

/* Makes the image of the current task's process, where there is room for it. Global, so that the
 * verifier looks at it once.
 */
__noinline int process_begin(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct process_image fresh = {
		.start_ns = task->group_leader->start_boottime,
		.granted = LIVE_OWN,
	};
	struct process_image *old;
	__u32 tgid = task->tgid;

	if (!grant_may_begin() || !(fresh.image = next_image()) ||
	    !grant_begin(fresh.image, tgid)) {
		refuse(tgid, fresh.start_ns / NS_PER_TICK);
		process_refused_before(task);
		return 0;
	}
	/* A predecessor's only: another thread may have come first since the look above. */
	old = bpf_map_lookup_elem(&processes, &tgid);
	if (old && old->start_ns != fresh.start_ns)
		bpf_map_delete_elem(&processes, &tgid);
	/* Another thread may come first; then its image is the one. */
	if (bpf_map_update_elem(&processes, &tgid, &fresh, BPF_NOEXIST)) {
		grant_end(fresh.image);
		return 0;
	}
	process_refused_before(task);
	emit_life(EVENT_START, fresh.image, 0);
	return 0;
}

/* Finds or makes the image of the current task's process; NULL where it is not to be
 * recorded or there is no room.
 */
static __always_inline struct process_image *process_get(struct task_struct *task)
{
	struct process_image *p = process_find(task);

	if (p)
		return p;
	if (is_ignored(task))
		return NULL;
	process_begin();
	return process_find(task);
}

/* Its next call asks again, and does not know then what it did before. */
static __always_inline void thread_refused(struct process_image *p)
{
	count_dropped(p, COUNTER_LOST_THREAD);
	p->unseen_ns = bpf_ktime_get_boot_ns();
}

/* Makes the record of a thread that calls for the first time; it lives as long as the thread. */
static __always_inline struct thread *thread_begin(struct task_struct *task)
{
	struct process_image *p = process_get(task);
	struct thread *th;

	if (!p)
		return NULL; /* and the call is none of ours */
	if (!grant_take(p->image, SHARED_THREADS, 1)) {
		thread_refused(p);
		return NULL;
	}
	th = bpf_task_storage_get(&threads, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (th) {
		th->member = p->image;
		return th;
	}
	thread_refused(p);
	grant_return(p->image, SHARED_THREADS, 1);
	return NULL;
}

/* Counts a thread for the image that its process has now: it was left meanwhile, or runs another
 * program. Returns whether there was room; else the record is counted for nobody, and is to go.
 */
static __always_inline bool thread_recount(struct process_image *p, struct thread *th)
{
	grant_return(th->member, SHARED_THREADS, 1);
	th->member = p->image;
	if (grant_take(p->image, SHARED_THREADS, 1))
		return true;
	thread_refused(p);
	return false;
}

static __always_inline struct thread *thread_get(struct task_struct *task)
{
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);

	return th ? th : thread_begin(task);
}

#endif
