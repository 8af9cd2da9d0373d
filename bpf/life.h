/* SPDX-License-Identifier: GPL-2.0 */
/* Fork, exec and exit: what a process held is gone with its image, at once and before its pid can
 * be used again.
 */
#ifndef SRTLEAK_LIFE_H
#define SRTLEAK_LIFE_H

static __always_inline void image_end(struct task_struct *task, __u32 type)
{
	struct process_image *p = process_find(task);
	__u32 tgid = task->tgid;
	struct policy *policy;

	if (p) {
		emit_life(type, p->image, p->live);
		bpf_map_delete_elem(&processes, &tgid);
	}
	if (bpf_map_lookup_elem(&python, &tgid))
		bpf_map_delete_elem(&python, &tgid);
	if (bpf_map_lookup_elem(&forked, &tgid))
		bpf_map_delete_elem(&forked, &tgid);
	if (bpf_map_lookup_elem(&tracked, &tgid))
		bpf_map_delete_elem(&tracked, &tgid);
	if (bpf_map_lookup_elem(&refused, &tgid))
		bpf_map_delete_elem(&refused, &tgid);
	policy = bpf_map_lookup_elem(&policies, &tgid);
	if (policy && (type == EVENT_EXIT || !policy->fixed || policy->fixed == WORD_BUDGET))
		bpf_map_delete_elem(&policies, &tgid);
}

/* A thread that ends inside a call never returns from it. */
static __always_inline struct thread *thread_end(struct task_struct *task)
{
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);
	struct process_image *p;
	int i;

	if (!th)
		return NULL;
	p = process_find(task);
	if (th->outer_sp)
		abandon();
	for (i = 0; i < FAMILY_MAX && p; i++)
		context_abandon(p, &th->calls[i]);
	return th;
}

static __always_inline void thread_exit(struct task_struct *task)
{
	struct thread *th = thread_end(task);

	if (th)
		grant_return(th->member, SHARED_THREADS, 1);
}

SEC("raw_tracepoint/sched_process_exit")
int on_exit(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	thread_exit(task);
	if (!task->signal->live.counter)
		image_end(task, EVENT_EXIT);
	return 0;
}

SEC("raw_tracepoint/sched_process_exec")
int on_exec(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = thread_end(task);

	if (th)
		contexts_restart(th);
	image_end(task, EVENT_EXEC);
	if (tell_news)
		tell(0);
	return 0;
}

/* A forked child runs the same interpreter at the same address; its first allocation must not wait
 * for the daemon to find that out. (Its CUDA memory is not inherited, so nothing else is copied.)
 */
SEC("raw_tracepoint/sched_process_fork")
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
	struct python_target *known, copy;
	__u32 parent_tgid = BPF_CORE_READ(parent, tgid), tgid = BPF_CORE_READ(child, tgid);

	if (tgid != (__u32)BPF_CORE_READ(child, pid))
		return 0; /* a thread */
	known = bpf_map_lookup_elem(&python, &parent_tgid);
	if (!known)
		known = bpf_map_lookup_elem(&forked, &parent_tgid);
	if (!known)
		return 0;
	copy = *known;
	copy.start_ticks = BPF_CORE_READ(child, start_boottime) / NS_PER_TICK;
	bpf_map_update_elem(&forked, &tgid, &copy, BPF_ANY);
	return 0;
}

#endif
