/* SPDX-License-Identifier: GPL-2.0 */
/* One entry and one return program for every row of the API table; the row is the attach cookie.
 *
 * An allocation is recorded when the call has returned success. A free is taken out of the live map
 * at entry, before the driver can hand the address to another thread, and put back if the call
 * failed. Only a thread's outermost call counts: cudaMalloc calls the driver, which is probed too.
 */
#ifndef SRTLEAK_CUDA_H
#define SRTLEAK_CUDA_H

const volatile struct api_row api_table[API_MAX] = {API_TABLE_ROWS};

static __always_inline const volatile struct api_row *row_of(__u32 api)
{
	if (api >= API_MAX)
		return NULL;
	asm volatile("" : "+r"(api)); /* keeps the check in front of the arithmetic */
	return &api_table[api];
}

static __always_inline bool is_kind(const struct live_value *value, enum memory_kind kind)
{
	const volatile struct api_row *row = row_of(value->api);

	return row && row->kind == kind;
}

/* Rows use the first four arguments only. All four are read before one is chosen: the verifier
 * allows only constant offsets into the registers, and the compiler would choose the offset.
 */
static __always_inline __u64 argument(struct pt_regs *ctx, __u8 number)
{
	__u64 first = PT_REGS_PARM1(ctx), second = PT_REGS_PARM2(ctx);
	__u64 third = PT_REGS_PARM3(ctx), fourth = PT_REGS_PARM4(ctx);

	asm volatile("" : "+r"(first), "+r"(second), "+r"(third), "+r"(fourth));
	return number == 0 ? first : number == 1 ? second : number == 2 ? third : fourth;
}

static __always_inline void begin_alloc(struct pt_regs *ctx, struct thread *th,
					const volatile struct api_row *row)
{
	/* At the return its place holds the address of the kernel's trampoline. */
	th->caller = read_user_u64(PT_REGS_SP(ctx));
	th->size = row->size == SIZE_NONE ? 0 : argument(ctx, row->size_arg);
	if (row->size == SIZE_BYTES32)
		th->size = (__u32)th->size;
	th->height = argument(ctx, row->height_arg);
	if (row->size == SIZE_PITCH32)
		th->height = (__u32)th->height;
}

static __always_inline void begin_free(struct process_image *p, struct thread *th,
				       const volatile struct api_row *row)
{
	struct live_key key = {.addr = th->pointer, .image = p->image, .space = row->space};
	struct live_value *value = bpf_map_lookup_elem(&live, &key);
	bool is_ipc;

	if (!value)
		return;
	is_ipc = is_kind(value, KIND_IPC);
	th->shared = is_ipc && __sync_fetch_and_add(&value->size, -1) > 0;
	if (th->shared)
		return; /* opened more than once: this is not the last close */
	th->taken = *value;
	if (is_ipc)
		th->taken.size = 0;
	/* Two threads may free one pointer at once: whoever removes it has it. */
	if (bpf_map_delete_elem(&live, &key))
		th->taken.id = 0;
	else
		__sync_fetch_and_add(&p->live, -1);
}

static __always_inline void report(struct process_image *p, __u32 type, __u64 addr,
				   const struct live_value *value, __s32 result)
{
	if (!emit(type, p->image, addr, value, result, bpf_ktime_get_boot_ns(), false))
		__sync_fetch_and_add(&p->lost_events, 1);
}

/* An EVENT_FREE says which row has freed, in place of a result. */
static __always_inline void report_freed(struct process_image *p, struct thread *th)
{
	count(COUNTER_FREES_MATCHED);
	report(p, EVENT_FREE, th->pointer, &th->taken, COOKIE_API(th->cookie));
}

/* The process ceased to be tracked in the middle of a free: nobody is to be told, but it counts. */
static __always_inline void forsake(struct thread *th)
{
	if (th->taken.id)
		count(COUNTER_FREES_MATCHED);
	th->taken.id = 0;
}

/* The outer frame is gone and its return was not seen (longjmp, exception). Had it begun to free,
 * the address may be in use again by now, so the entry stays out.
 */
static __always_inline void abandon(struct process_image *p, struct thread *th)
{
	count(COUNTER_LOST_RETURN);
	if (p)
		__sync_fetch_and_add(&p->lost_returns, 1);
	if (p && th->taken.id && p->image == th->image)
		report_freed(p, th);
	else
		forsake(th);
	th->outer_sp = 0;
	th->taken.id = 0;
}

/* An entry at the very stack pointer of the outer one is one of three things. A second probe on the
 * same code: on overlayfs one library looks like two files, and has a link for each. A tail call
 * out of the outer function, whose return address has been replaced by the kernel's trampoline. Or
 * the next call at this depth, and the outer one's return was never seen.
 */
static __always_inline bool is_inner(struct pt_regs *ctx, struct task_struct *task,
				     const struct thread *th, __u32 cookie)
{
	__u64 sp = PT_REGS_SP(ctx);

	if (sp != th->outer_sp)
		return sp < th->outer_sp;
	if (COOKIE_API(cookie) == COOKIE_API(th->cookie) && cookie != th->cookie)
		return true;
	return read_user_u64(sp) == BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
}

SEC("uprobe")
int api_entry(struct pt_regs *ctx)
{
	__u32 cookie = bpf_get_attach_cookie(ctx);
	const volatile struct api_row *row = row_of(COOKIE_API(cookie));
	struct task_struct *task = bpf_get_current_task_btf();
	struct process_image *p;
	struct thread *th;

	keep_own_stack(ctx);
	if (!row)
		return 0;
	th = bpf_task_storage_get(&threads, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!th) {
		count(COUNTER_LOST_THREAD);
		return 0;
	}
	if (th->outer_sp && is_inner(ctx, task, th, cookie))
		return 0;
	p = process_get(task);
	if (th->outer_sp)
		abandon(p, th);
	th->outer_sp = PT_REGS_SP(ctx);
	th->done_sp = 0;
	th->cookie = cookie;
	th->image = p ? p->image : 0;
	if (!p)
		return 0;
	th->pointer = argument(ctx, row->pointer_arg);
	if (row->pointer == POINTER_ARG32)
		th->pointer = (__u32)th->pointer;
	th->taken.id = 0;
	th->shared = 0;
	if (row->action == ACTION_ALLOC)
		begin_alloc(ctx, th, row);
	else
		begin_free(p, th, row);
	return 0;
}

/* Fetches what the call has stored: pointer and pitch. False where it is not readable. */
static __always_inline bool read_result(const struct thread *th, const volatile struct api_row *row,
					__u64 *addr, __u64 *size)
{
	__u32 width = row->pointer == POINTER_OUT32 ? 4 : 8;
	__u64 pitch = 0;

	*addr = row->pointer == POINTER_ARG ? th->pointer : 0;
	if (row->pointer != POINTER_ARG &&
	    bpf_probe_read_user(addr, width, (const void *)th->pointer))
		return false;
	*size = th->size;
	if (row->size != SIZE_PITCH && row->size != SIZE_PITCH32)
		return true;
	if (bpf_probe_read_user(&pitch, row->size == SIZE_PITCH32 ? 4 : 8, (const void *)th->size))
		return false;
	*size = pitch * th->height;
	return true;
}

/* Opening one IPC handle twice gives the same mapping twice, which lives until its last close. An
 * entry of this kind has no size of its own, so its size counts the further opens.
 */
static __always_inline bool open_again(const struct live_key *key)
{
	struct live_value *value = bpf_map_lookup_elem(&live, key);

	if (!value || !is_kind(value, KIND_IPC))
		return false;
	__sync_fetch_and_add(&value->size, 1);
	return true;
}

/* Makes room where an address is handed out although its free was never seen. */
static __always_inline void supersede(struct process_image *p, const struct live_key *key)
{
	struct live_value *old = bpf_map_lookup_elem(&live, key);
	struct live_value gone;

	if (!old)
		return;
	gone = *old;
	if (bpf_map_delete_elem(&live, key))
		return;
	__sync_fetch_and_add(&p->live, -1);
	count(COUNTER_SUPERSEDED);
	report(p, EVENT_FREE, key->addr, &gone, API_MAX);
}

static __always_inline void end_alloc(struct pt_regs *ctx, struct task_struct *task,
				      struct process_image *p, struct thread *th,
				      const volatile struct api_row *row)
{
	__s32 result = PT_REGS_RC(ctx);
	struct live_key key = {.image = p->image, .space = row->space};
	__u64 now = bpf_ktime_get_boot_ns();
	struct live_value value = {
		.time = now >> TIME_SHIFT,
		.tid = (__u32)bpf_get_current_pid_tgid(),
		.api = COOKIE_API(th->cookie),
		.device = DEVICE_UNKNOWN,
	};

	if (result) {
		value.size = row->size == SIZE_BYTES || row->size == SIZE_BYTES32 ? th->size : 0;
		count(COUNTER_FAILED_ALLOCS);
		report(p, EVENT_FAIL, 0, &value, result);
		return;
	}
	if (!read_result(th, row, &key.addr, &value.size) || value.size >> SIZE_BITS ||
	    key.addr >> ADDRESS_BITS) {
		count(COUNTER_ALLOCS_SEEN);
		count(COUNTER_DROPPED_UNREADABLE);
		__sync_fetch_and_add(&p->over_limit, 1);
		return;
	}
	if (!key.addr) /* success with nothing: size 0 */
		return;
	if (row->kind == KIND_IPC && open_again(&key))
		return;
	count(COUNTER_ALLOCS_SEEN);
	supersede(p, &key);
	if (p->live >= LIVE_PER_PROCESS) {
		count(COUNTER_DROPPED_LIMIT);
		__sync_fetch_and_add(&p->over_limit, 1);
		return;
	}
	value.stack = stack_capture(ctx, task, p, th);
	value.id = __sync_fetch_and_add(&last_id, 1) + 1;
	if (bpf_map_update_elem(&live, &key, &value, BPF_ANY)) {
		count(COUNTER_DROPPED_LIVE_FULL);
		__sync_fetch_and_add(&p->over_limit, 1);
		return;
	}
	__sync_fetch_and_add(&p->live, 1);
	/* A new stack is to be named while its code objects are still there. */
	if (!emit(EVENT_ALLOC, p->image, key.addr, &value, 0, now, th->fresh))
		__sync_fetch_and_add(&p->lost_events, 1);
}

static __always_inline void end_free(struct process_image *p, struct thread *th,
				     const volatile struct api_row *row, __s32 result)
{
	struct live_key key = {.addr = th->pointer, .image = p->image, .space = row->space};
	struct live_value unknown = {.api = COOKIE_API(th->cookie), .device = DEVICE_UNKNOWN};

	if (th->shared) {
		if (result)
			open_again(&key);
		return;
	}
	if (result) {
		count(COUNTER_FAILED_FREES);
		if (!th->taken.id)
			return;
		if (!bpf_map_update_elem(&live, &key, &th->taken, BPF_NOEXIST)) {
			__sync_fetch_and_add(&p->live, 1);
			/* News only if the daemon repaired its tables meanwhile. */
			report(p, EVENT_ALLOC, th->pointer, &th->taken, result);
			return;
		}
		/* Not put back: the daemon must not keep what the live map has not. */
		count(COUNTER_DROPPED_LIVE_FULL);
		__sync_fetch_and_add(&p->over_limit, 1);
		report(p, EVENT_FREE, th->pointer, &th->taken, API_MAX);
	} else if (th->taken.id) {
		report_freed(p, th);
	} else if (th->pointer) { /* freeing NULL is legal and does nothing */
		count(COUNTER_FREES_UNKNOWN);
		report(p, EVENT_FREE_UNKNOWN, th->pointer, &unknown, 0);
	}
}

SEC("uretprobe")
int api_return(struct pt_regs *ctx)
{
	__u32 cookie = bpf_get_attach_cookie(ctx);
	const volatile struct api_row *row = row_of(COOKIE_API(cookie));
	struct task_struct *task = bpf_get_current_task_btf();
	/* The return address is off the stack by now. */
	__u64 entry_sp = PT_REGS_SP(ctx) - sizeof(void *);
	struct process_image *p;
	struct thread *th;

	keep_own_stack(ctx);
	if (!row)
		return 0;
	th = bpf_task_storage_get(&threads, task, NULL, 0);
	if (!th || (!th->outer_sp && entry_sp != th->done_sp)) {
		if (!is_ignored(task))
			count(COUNTER_RETURN_ALONE); /* attached while the call was under way */
		return 0;
	}
	if (entry_sp != th->outer_sp || th->cookie != cookie)
		return 0;
	th->outer_sp = 0;
	th->done_sp = entry_sp;
	p = process_find(task);
	if (!p || p->image != th->image) {
		forsake(th);
		return 0;
	}
	if (row->action == ACTION_ALLOC)
		end_alloc(ctx, task, p, th, row);
	else
		end_free(p, th, row, (__s32)PT_REGS_RC(ctx));
	th->taken.id = 0;
	return 0;
}

#endif
