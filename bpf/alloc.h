/* SPDX-License-Identifier: GPL-2.0 */
/* Allocating calls, and those that tell of graphs. */
#ifndef SRTLEAK_ALLOC_H
#define SRTLEAK_ALLOC_H

/* Makes room where an address is handed out although its free was never seen, or its context ended.
 * Global, so that the verifier looks at it once, as others here.
 */
__noinline int supersede(__u64 addr, __u32 space)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_value *old, taken;
	struct live_key key = {};
	enum counter counter;

	if (!p)
		return 0;
	key = handle_key(p, space, addr);
	old = bpf_map_lookup_elem(&live, &key);
	if (!old)
		return 0;
	counter = context_has_ended(p, old->context) ? COUNTER_FREES_MATCHED : COUNTER_SUPERSEDED;
	if (is_counted(space, old->kind) &&
	    referent_change(old->id, 0, REFERENCES_ALL, API_MAX, counter) != REFERENT_NONE)
		return 0;
	live_take(p, &key, old, &taken);
	if (!taken.id)
		return 0;
	count(counter);
	report(p, EVENT_FREE, addr, &taken, API_MAX);
	return 0;
}

enum store {
	STORED,
	STORE_AGAIN, /* it is others' memory, which another thread has opened just before */
	STORE_FULL,
};

/* Almost never is the address there already, so that is not looked at first. */
static __always_inline enum store live_store(const struct live_key *key,
					     const struct live_value *value)
{
	if (!bpf_map_update_elem(&live, key, value, BPF_NOEXIST))
		return STORED;
	if (value->kind == KIND_IPC && open_again(key->addr, key->space))
		return STORE_AGAIN;
	supersede(key->addr, key->space);
	return bpf_map_update_elem(&live, key, value, BPF_NOEXIST) ? STORE_FULL : STORED;
}

static __always_inline bool may_store(struct process_image *p, const struct live_key *key)
{
	if (live_admit(p))
		return true;
	supersede(key->addr, key->space);
	return live_admit(p);
}

__noinline int alloc_failed(__u32 api, __s32 result)
{
	struct live_value value = {.device = DEVICE_UNKNOWN};
	struct caller c;
	__u32 sort;

	if (!caller_find(&c, api) || c.row->kind == KIND_NONE)
		return 0;
	sort = c.row->size;
	value.api = COOKIE_API(c.th->cookie);
	value.kind = c.row->kind;
	if (sort != SIZE_PITCH && sort != SIZE_PITCH32 && sort != SIZE_PITCHED &&
	    !(c.th->size >> SIZE_BITS))
		value.size = c.th->size;
	count(COUNTER_FAILED_ALLOCS);
	report(c.p, EVENT_FAIL, 0, &value, result);
	return 0;
}

/* A multicast object: what can be mapped, and has no memory. */
static __always_inline void multicast_made(struct caller *c, const struct live_key *key)
{
	struct handle fresh = {.id = next_id(), .device = DEVICE_UNKNOWN};
	struct handle *old = bpf_map_lookup_elem(&handles, key);

	if (old)
		referent_change(old->id, 0, REFERENCES_ALL, API_MAX, COUNTER_SUPERSEDED);
	c->th->taken = (struct live_value){.id = fresh.id, .kind = KIND_NONE};
	if (referent_make(key->addr, key->space) && !handle_put(c->p, key, &fresh))
		referent_remove(c->p, fresh.id);
	c->th->taken.id = 0;
}

/* A pool; or an address of memory that is counted elsewhere, and may be freed by itself. */
__noinline int handle_made(__u32 api, __u64 addr)
{
	struct handle fresh = {
		.counts = 1,
		.id = next_id(),
		.device = DEVICE_UNKNOWN,
		.kind = KIND_DEVICE,
	};
	struct live_key key = {};
	struct caller c;

	if (!caller_find(&c, api))
		return 0;
	key = handle_key(c.p, c.row->space, addr);
	if (key.space == SPACE_PHYSICAL) {
		multicast_made(&c, &key);
		return 0;
	}
	if (key.space == SPACE_POOL) {
		place_find(c.p, c.th, c.row);
		fresh.device = c.th->place.device;
		if (c.th->place.kind != KIND_NONE)
			fresh.kind = c.th->place.kind;
		pool_supersede(c.p, &key);
		fresh.number = number_take(SPACE_POOL_NUMBER);
		pool_report(c.p, EVENT_POOL, addr, &fresh, 0, 0);
	}
	if (!handle_put(c.p, &key, &fresh) && key.space == SPACE_POOL)
		number_end(SPACE_POOL_NUMBER, fresh.number);
	return 0;
}

/* The entry is put together in the thread's record, for the room on the stack. */
static __always_inline void alloc_describe(struct pt_regs *ctx, struct process_image *p,
					   struct thread *th, __u64 size, __u64 now)
{
	struct live_value *value = &th->taken;

	value->time = now >> TIME_SHIFT;
	value->tid = (__u32)bpf_get_current_pid_tgid();
	value->api = COOKIE_API(th->cookie);
	value->kind = th->place.kind;
	value->device = th->place.device;
	value->size = size;
	value->pool = th->place.pool;
	value->context = th->place.context;
	value->stack = stack_capture(ctx, p, th);
	value->id = next_id();
}

static __always_inline void alloc_record(struct pt_regs *ctx, struct process_image *p,
					 struct thread *th, const volatile struct api_row *row,
					 const struct live_key *key, __u64 size)
{
	__u64 now = bpf_ktime_get_boot_ns();
	bool is_referent = false;
	enum store store;

	place_find(p, th, row);
	alloc_describe(ctx, p, th, size, now);
	if (is_counted(key->space, th->taken.kind))
		is_referent = referent_make(key->addr, key->space);
	store = live_store(key, &th->taken);
	if (store != STORED) {
		if (is_referent)
			referent_remove(p, th->taken.id);
		live_leave(p);
		if (store == STORE_AGAIN)
			count_by(COUNTER_ALLOCS_SEEN, -1);
		else
			count_dropped(p, COUNTER_DROPPED_LIVE_FULL);
	} else {
		live_made();
		/* A new stack is to be named while its code objects are still there. */
		if (!emit(EVENT_ALLOC, p->image, key->addr, &th->taken, 0, now, th->fresh))
			__sync_fetch_and_add(&p->lost_events, 1);
	}
	th->taken.id = 0; /* it is nothing that a free has in hand */
}

/* What was known at the address is gone nevertheless. */
static __always_inline void alloc_leave_out(struct process_image *p, const struct live_key *key)
{
	count(COUNTER_DROPPED_SAMPLED);
	supersede(key->addr, key->space);
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
		handle_made(COOKIE_API(th->cookie), key.addr);
		return;
	}
	if (is_readable && row->kind == KIND_IPC && open_again(key.addr, key.space))
		return;
	count(COUNTER_ALLOCS_SEEN);
	if (!is_readable)
		count_dropped(p, COUNTER_DROPPED_UNREADABLE);
	else if (is_sampled_out(p, size))
		alloc_leave_out(p, &key);
	else if (!may_store(p, &key))
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
