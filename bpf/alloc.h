/* SPDX-License-Identifier: GPL-2.0 */
/* Allocating calls, and those that tell of graphs. */
#ifndef SRTLEAK_ALLOC_H
#define SRTLEAK_ALLOC_H

/* Makes room where an address is handed out although its free was never seen, or its context ended.
 */
static __always_inline void supersede(struct process_image *p, struct thread *th,
				      const struct live_key *key)
{
	struct live_value *old = bpf_map_lookup_elem(&live, key);

	if (!old)
		return;
	if (is_counted(key->space, old->kind))
		open_forget(p, key, old->id);
	live_take(p, key, old, &th->taken);
	if (!th->taken.id)
		return;
	count(context_has_ended(p, th->taken.context) ? COUNTER_FREES_MATCHED : COUNTER_SUPERSEDED);
	report(p, EVENT_FREE, key->addr, &th->taken, API_MAX);
	th->taken.id = 0;
}

/* Almost never is the address there already, so that is not looked at first. False: no room. */
static __always_inline bool live_store(struct process_image *p, struct thread *th,
				       const struct live_key *key, const struct live_value *value)
{
	if (!bpf_map_update_elem(&live, key, value, BPF_NOEXIST))
		return true;
	supersede(p, th, key);
	return !bpf_map_update_elem(&live, key, value, BPF_ANY);
}

static __always_inline bool may_store(struct process_image *p, struct thread *th,
				      const struct live_key *key)
{
	if (live_admit(p))
		return true;
	supersede(p, th, key);
	return live_admit(p);
}

static __always_inline void alloc_failed(struct process_image *p, const struct thread *th,
					 const volatile struct api_row *row, __s32 result)
{
	struct live_value value = {
		.api = COOKIE_API(th->cookie),
		.kind = row->kind,
		.device = DEVICE_UNKNOWN,
	};

	if (row->kind == KIND_NONE)
		return;
	if (row->size != SIZE_PITCH && row->size != SIZE_PITCH32 && row->size != SIZE_PITCHED &&
	    !(th->size >> SIZE_BITS))
		value.size = th->size;
	count(COUNTER_FAILED_ALLOCS);
	report(p, EVENT_FAIL, 0, &value, result);
}

/* A pool; or an address of memory that is counted elsewhere, and may be freed by itself. */
static __always_inline void handle_made(struct process_image *p, struct thread *th,
					const volatile struct api_row *row,
					const struct live_key *key)
{
	struct handle fresh = {
		.counts = 1,
		.id = next_id(),
		.device = DEVICE_UNKNOWN,
		.kind = KIND_DEVICE,
	};

	if (row->space == SPACE_POOL) {
		place_find(p, th, row);
		fresh.device = th->place.device;
		if (th->place.kind != KIND_NONE)
			fresh.kind = th->place.kind;
		pool_supersede(p, key);
		fresh.number = number_take(SPACE_POOL_NUMBER);
		pool_report(p, EVENT_POOL, key->addr, &fresh, 0, 0);
	}
	if (!handle_put(p, key, &fresh) && row->space == SPACE_POOL)
		number_end(SPACE_POOL_NUMBER, fresh.number);
}

/* False where it is not the first reference. */
static __always_inline bool count_references(struct process_image *p, struct thread *th,
					     const struct live_key *key,
					     const struct live_value *value)
{
	struct handle counted = {.counts = 1, .id = value->id, .flags = HANDLE_LIVES};
	struct live_value *old;

	if (value->kind != KIND_IPC) {
		handle_put(p, key, &counted);
		return true;
	}
	old = bpf_map_lookup_elem(&live, key);
	if (old && !is_opening(p, old))
		supersede(p, th, key);
	return open_count(key->addr, key->space, value->id);
}

static __always_inline void alloc_record(struct pt_regs *ctx, struct process_image *p,
					 struct thread *th, const volatile struct api_row *row,
					 const struct live_key *key, __u64 size)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct live_value value;

	place_find(p, th, row);
	value = (struct live_value){
		.time = now >> TIME_SHIFT,
		.tid = (__u32)bpf_get_current_pid_tgid(),
		.api = COOKIE_API(th->cookie),
		.kind = th->place.kind,
		.device = th->place.device,
		.size = size,
		.pool = th->place.pool,
		.context = th->place.context,
		.stack = stack_capture(ctx, p, th),
		.id = next_id(),
	};
	if (is_counted(key->space, value.kind) && !count_references(p, th, key, &value)) {
		live_leave(p);
		count_by(COUNTER_ALLOCS_SEEN, -1);
		return;
	}
	if (!live_store(p, th, key, &value)) {
		open_forget(p, key, value.id);
		live_leave(p);
		count_dropped(p, COUNTER_DROPPED_LIVE_FULL);
		return;
	}
	live_made();
	/* A new stack is to be named while its code objects are still there. */
	if (!emit(EVENT_ALLOC, p->image, key->addr, &value, 0, now, th->fresh))
		__sync_fetch_and_add(&p->lost_events, 1);
}

static __always_inline void alloc_end(struct pt_regs *ctx, struct process_image *p,
				      struct thread *th, const volatile struct api_row *row)
{
	struct live_key key = handle_key(p, row->space, 0);
	bool is_memory =
		row->kind != KIND_NONE && !(row->space == SPACE_ARRAY && th->size == NO_MEMORY);
	bool is_readable;
	__u64 size = 0;

	is_readable = read_result(th, row, &key.addr, &size) && !(is_memory && size >> SIZE_BITS) &&
		      !(key.addr >> ADDRESS_BITS);
	if (is_readable && !key.addr) /* success with nothing: size 0 */
		return;
	if (is_readable && !is_memory) {
		handle_made(p, th, row, &key);
		return;
	}
	if (is_readable && row->kind == KIND_IPC && open_again(key.addr, key.space))
		return;
	count(COUNTER_ALLOCS_SEEN);
	if (!is_readable)
		count_dropped(p, COUNTER_DROPPED_UNREADABLE);
	else if (!may_store(p, th, &key))
		count_dropped(p, COUNTER_DROPPED_LIMIT);
	else
		alloc_record(ctx, p, th, row, &key, size);
}

/* CUDA_MEM_ALLOC_NODE_PARAMS: the bytes stand behind 88 of CUmemPoolProps, a pointer and a count.
 */
#define NODE_BYTES 104

/* CUgraphNodeParams: the sort of node, and from here on what the sort has. */
#define NODE_PARAMS 16
#define NODE_ALLOC 10 /* CU_GRAPH_NODE_TYPE_MEM_ALLOC */
#define NODE_FREE 11  /* CU_GRAPH_NODE_TYPE_MEM_FREE */

static __always_inline void node_added(struct process_image *p, const struct thread *th,
				       const volatile struct api_row *row)
{
	__u64 params = row->extra_arg ? th->extra : 0, bytes;

	if (row->size == SIZE_NODE) {
		__u32 sort = (__u32)read_user_u64(th->size);

		if (sort == NODE_ALLOC)
			params = th->size + NODE_PARAMS;
		else if (sort != NODE_FREE)
			return;
	}
	bytes = params ? read_user_u64(params + NODE_BYTES) : 0;
	if (!bytes || bytes >> SIZE_BITS) {
		__sync_fetch_and_add(&p->node_frees, 1);
		return;
	}
	__sync_fetch_and_add(&p->node_allocs, 1);
	__sync_fetch_and_add(&p->node_bytes, bytes);
}

#endif
