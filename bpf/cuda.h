/* SPDX-License-Identifier: GPL-2.0 */
/* One entry and one return program for every row of the API table; the row is the attach cookie.
 *
 * An allocation is recorded when the call has returned success. A free is taken out of the live map
 * at entry, before the driver can hand the address to another thread, and put back if the call
 * failed. Only a thread's outermost call counts: cudaMalloc calls the driver, which is probed too.
 */
#ifndef SRTLEAK_CUDA_H
#define SRTLEAK_CUDA_H

/* What a call that was left had in hand besides an allocation. */
static __always_inline void abandon_stash(struct process_image *p, struct thread *th,
					  const volatile struct api_row *row)
{
	if (row->action == ACTION_RETAIN || row->action == ACTION_MAP)
		reference_undo(th, row);
	else if (th->referent)
		referent_left(th->referent, REFERENCE_HANDLE, COOKIE_API(th->cookie), 0);
	else if (th->stashed && row->action == ACTION_FREE && row->space == SPACE_POOL)
		pool_destroyed(th->pointer, &th->stash);
}

/* The outer frame is gone and its return was not seen (longjmp, exception). Had it begun to free,
 * the address may be in use again by now, so the entry stays out.
 */
__noinline int abandon(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);
	struct process_image *p = process_find(task);
	const volatile struct api_row *row;

	if (!th)
		return 0;
	row = row_of(COOKIE_API(th->cookie));
	if (!row)
		return 0;
	count(COUNTER_LOST_RETURN);
	if (p)
		__sync_fetch_and_add(&p->lost_returns, 1);
	if (p && p->image == th->image && th->unmapped)
		unmap_end(p, th, 0);
	if (p && p->image == th->image)
		abandon_stash(p, th, row);
	th->stashed = 0;
	if (th->taken.id)
		report_freed(task, th, row);
	th->outer_sp = 0;
	th->taken.id = th->referent = 0;
	return 0;
}

/* A deeper entry is made by the outer call, unless that was left (longjmp, exception): then the
 * return address has mostly been written over, and if not, nobody calls a library's function out of
 * that library, or another's out of the program, as a library does. An entry at the very stack
 * pointer of the outer one is one of three things: a second probe on the same code, a tail call out
 * of the outer function, or the next call at this depth, and the outer one's return was never seen.
 */
static __always_inline bool is_inner(struct pt_regs *ctx, struct task_struct *task,
				     struct thread *th, __u32 cookie)
{
	__u64 sp = PT_REGS_SP(ctx), from;

	if (sp > th->outer_sp)
		return false;
	if (sp == th->outer_sp && PT_REGS_IP(ctx) == th->outer_ip &&
	    is_second_probe(cookie, th->cookie, &th->second))
		return true;
	if (!is_to_return(task, th->outer_sp))
		return false;
	if (sp == th->outer_sp)
		return true;
	from = return_address(ctx);
	if (COOKIE_LIBRARY(cookie) == COOKIE_LIBRARY(th->cookie))
		return is_one_library(PT_REGS_IP(ctx), from);
	return !is_of_program(task, from) || is_of_program(task, th->outer_ip);
}

static __always_inline void begin_call(struct pt_regs *ctx, struct process_image *p,
				       struct thread *th, const volatile struct api_row *row)
{
	th->pointer = argument(ctx, row->pointer_arg);
	if (row->pointer == POINTER_ARG32)
		th->pointer = (__u32)th->pointer;
	th->taken.id = th->referent = 0;
	th->unmapped = 0;
	if (row->action == ACTION_FREE) {
		free_begin(p, th, row);
		return;
	}
	th->extra = argument(ctx, row->extra_arg);
	th->size = size_at_entry(ctx, th, row);
	if (row->action == ACTION_UNMAP)
		unmap_begin(th);
	else if (row->action == ACTION_RETAIN || row->action == ACTION_MAP)
		physical_begin(COOKIE_API(th->cookie));
	else if (row->action == ACTION_STREAM_END)
		stream_leave(p, th);
}

static __always_inline void on_entry(struct pt_regs *ctx, struct task_struct *task,
				     struct thread *th, const volatile struct api_row *row,
				     __u32 cookie)
{
	struct process_image *p;

	if (row->action < ACTION_CONTEXTS && th->outer_sp && is_inner(ctx, task, th, cookie))
		return;
	p = process_get(task);
	if (p && p->image != th->member && !thread_recount(p, th)) {
		if (th->outer_sp)
			abandon(); /* what it has in hand is lost, and counted */
		bpf_task_storage_delete(&threads, task);
		return;
	}
	if (p)
		contexts_begin(task, p, th, cookie);
	if (row->action >= ACTION_CONTEXTS) {
		if (p)
			context_entry(PT_REGS_SP(ctx), PT_REGS_IP(ctx),
				      argument(ctx, row->pointer_arg),
				      argument(ctx, row->extra_arg), cookie);
		return;
	}
	if (th->outer_sp)
		abandon();
	th->outer_sp = PT_REGS_SP(ctx);
	th->outer_ip = PT_REGS_IP(ctx);
	th->done_sp = 0;
	th->cookie = cookie;
	th->second = 0;
	th->image = p ? p->image : 0;
	if (p)
		begin_call(ctx, p, th, row);
}

SEC("uprobe")
int api_entry(struct pt_regs *ctx)
{
	__u32 cookie = bpf_get_attach_cookie(ctx);
	const volatile struct api_row *row = row_of(COOKIE_API(cookie));
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th;

	keep_own_stack(ctx);
	if (!row)
		return 0;
	th = thread_get(task);
	if (!th)
		return 0;
	cost_begin(th);
	on_entry(ctx, task, th, row, cookie);
	cost_end(th);
	return 0;
}

/* What only few calls come to. Functions of their own, for the verifier to look at once, and
 * several because of the room on the stack: a free that is not as simple as most, …
 */
__noinline int end_free(__u32 api, __s32 result)
{
	struct caller c;

	if (!caller_find(&c, api))
		return 0;
	free_end(c.task, c.p, c.th, c.row, result);
	return 1;
}

/* … one that unmaps, … */
__noinline int end_unmap(__u32 api, __s32 result)
{
	struct caller c;

	if (caller_find(&c, api))
		unmap_end(c.p, c.th, result);
	return 0;
}

/* … streams, … */
__noinline int end_stream(__u32 api, __s32 result)
{
	struct caller c;

	if (!caller_find(&c, api))
		return 0;
	if (c.row->action == ACTION_STREAM && !result)
		stream_made(c.p, c.th, c.row);
	else if (c.row->action == ACTION_STREAM_END && result)
		stream_stays(c.p, c.th);
	return 0;
}

/* … pools, and graphs. */
__noinline int end_other(__u32 api, __s32 result)
{
	struct caller c;

	if (!caller_find(&c, api) || result)
		return 0;
	if (c.row->action == ACTION_POOL_GET)
		pool_got(c.p, c.th, c.row);
	else if (c.row->action == ACTION_POOL_SET)
		pool_set(c.p, c.th, c.row);
	else if (c.row->action == ACTION_NODE)
		node_added(c.p, c.th, c.row);
	else
		pool_told(c.p, c.th, c.row);
	return 0;
}

/* False where a free found the process left meanwhile. */
static __always_inline bool end_call(struct pt_regs *ctx, struct process_image *p,
				     struct thread *th, const volatile struct api_row *row)
{
	__u32 api = COOKIE_API(th->cookie);
	__s32 result = PT_REGS_RC(ctx);

	switch (row->action) {
	case ACTION_ALLOC:
		if (result)
			alloc_failed(api, result);
		else
			alloc_end(ctx, p, th, row);
		break;
	case ACTION_FREE:
		return end_free(api, result);
	case ACTION_RETAIN:
	case ACTION_MAP:
		physical_end(api, result);
		break;
	case ACTION_UNMAP:
		end_unmap(api, result);
		break;
	case ACTION_STREAM:
	case ACTION_STREAM_END:
		end_stream(api, result);
		break;
	default:
		end_other(api, result);
		break;
	}
	return true;
}

/* The return of a context's call, if its entry was seen. */
__noinline int context_returned(__u64 sp, __u32 cookie, __s32 result)
{
	struct context_call *call;
	struct caller c;

	if (!caller_find(&c, COOKIE_API(cookie)))
		return 0;
	call = &c.th->calls[c.row->family % FAMILY_MAX];
	if (call->cookie != cookie || call->sp != sp)
		return 0;
	call->sp = 0;
	if (call->image != c.p->image) /* the process was left meanwhile */
		return 0;
	context_return(c.task, c.p, c.th, c.row, result);
	return 0;
}

/* Of a call whose entry was not seen: it was under way when its probe was placed. */
static __always_inline void return_alone(void)
{
	if (!is_left_out(bpf_get_current_task_btf()))
		count(COUNTER_RETURN_ALONE);
}

static __always_inline void on_return(struct pt_regs *ctx, struct thread *th,
				      const volatile struct api_row *row, __u32 cookie)
{
	/* The return address is off the stack by now. */
	__u64 entry_sp = PT_REGS_SP(ctx) - sizeof(void *);
	struct process_image *p;

	if (row->action >= ACTION_CONTEXTS) {
		context_returned(entry_sp, cookie, PT_REGS_RC(ctx));
		return;
	}
	if (!th->outer_sp && entry_sp != th->done_sp) {
		return_alone();
		return;
	}
	if (entry_sp != th->outer_sp || th->cookie != cookie)
		return;
	th->outer_sp = 0;
	th->done_sp = entry_sp;
	if (row->action == ACTION_FREE && th->taken.id && !(__s32)PT_REGS_RC(ctx)) {
		report_freed(bpf_get_current_task_btf(), th, row);
		th->taken.id = 0;
		return;
	}
	p = process_find(bpf_get_current_task_btf());
	if (!(p && p->image == th->image && end_call(ctx, p, th, row)) && th->taken.id)
		report_freed(bpf_get_current_task_btf(), th, row);
	th->taken.id = 0;
}

SEC("uretprobe")
int api_return(struct pt_regs *ctx)
{
	__u32 cookie = bpf_get_attach_cookie(ctx);
	const volatile struct api_row *row = row_of(COOKIE_API(cookie));
	struct thread *th;

	keep_own_stack(ctx);
	if (!row)
		return 0;
	th = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), NULL, 0);
	if (!th) {
		if (row->action < ACTION_CONTEXTS)
			return_alone();
		return 0;
	}
	cost_begin(th);
	on_return(ctx, th, row, cookie);
	cost_end(th);
	return 0;
}

#endif
