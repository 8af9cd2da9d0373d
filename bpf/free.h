/* SPDX-License-Identifier: GPL-2.0 */
/* Freeing calls. */
#ifndef SRTLEAK_FREE_H
#define SRTLEAK_FREE_H

/* References are counted of others' memory, which may be opened more than once, and of physical
 * memory.
 */
static __always_inline bool is_counted(__u32 space, __u8 kind)
{
	return space == SPACE_PHYSICAL || kind == KIND_IPC;
}

/* Gives up one of several references. Where they are not counted, for lack of room, the first that
 * goes is taken for the last.
 */
static __always_inline void release_begin(struct process_image *p, struct thread *th,
					  const struct live_key *key,
					  const struct live_value *value)
{
	struct handle *handle = bpf_map_lookup_elem(&handles, key);
	enum drop drop = handle ? handle_drop(handle, 1) : DROP_LAST;

	th->shared = drop == DROP_ONE;
	if (drop != DROP_LAST)
		return;
	live_take(p, key, value, &th->taken);
	if (!handle)
		return;
	th->stash = (struct handle){.counts = 1, .id = handle->id};
	th->stashed = !th->taken.id; /* it is no allocation */
	handle_remove(p, key);       /* last: whoever opens it anew waits for that */
}

/* Whether the free has taken something away. */
static __always_inline bool has_in_hand(const struct thread *th)
{
	return th->taken.id || th->stashed || th->shared;
}

static __always_inline void free_begin(struct process_image *p, struct thread *th,
				       const volatile struct api_row *row)
{
	struct live_key key = handle_key(p, row->space, th->pointer);
	struct live_value *value = bpf_map_lookup_elem(&live, &key);
	bool is_one_of_many = is_counted(key.space, value ? value->kind : KIND_NONE);
	struct handle *handle;

	th->taken.id = th->number = 0;
	th->shared = th->stashed = 0;
	/* Two threads may free one pointer at once: whoever removes it has it. */
	if (value && !is_one_of_many) {
		live_take(p, &key, value, &th->taken);
		if (th->taken.id)
			return;
	}
	th->number = next_id(); /* before anything is removed … */
	handle = bpf_map_lookup_elem(&handles, &key);
	if (is_one_of_many || (handle && handle->flags & HANDLE_LIVES)) {
		release_begin(p, th, &key, value);
	} else if (handle && handle->counts) {
		th->stash = *handle;
		th->stashed = handle_remove(p, &key);
	}
	if (!has_in_hand(th))
		th->number = next_id(); /* … and after nothing was found */
}

/* An EVENT_FREE says which row has freed, in place of a result. That the image is still there does
 * not matter, so it is not looked up: this is how nearly every free ends.
 */
static __always_inline void report_freed(struct task_struct *task, struct thread *th)
{
	struct process_image *p;

	count(COUNTER_FREES_MATCHED);
	if (emit(EVENT_FREE, th->image, th->pointer, &th->taken, COOKIE_API(th->cookie),
		 bpf_ktime_get_boot_ns(), false))
		return;
	p = process_find(task);
	if (p && p->image == th->image)
		__sync_fetch_and_add(&p->lost_events, 1);
}

/* The free has ended what it has in hand; false where that is nothing. */
static __always_inline bool free_done(struct task_struct *task, struct process_image *p,
				      struct thread *th, const volatile struct api_row *row)
{
	if (th->taken.id)
		report_freed(task, th);
	else if (th->stashed && row->space == SPACE_POOL)
		pool_destroyed(th->pointer, &th->stash);
	return has_in_hand(th);
}

/* How often a free has succeeded of which nothing is known: one more, or one less. */
static __always_inline void free_unknown(struct process_image *p, const struct thread *th, int n)
{
	struct live_value unknown = {
		.api = COOKIE_API(th->cookie),
		.kind = KIND_NONE,
		.device = DEVICE_UNKNOWN,
	};

	count_by(COUNTER_FREES_UNKNOWN, n);
	__sync_fetch_and_add(&p->frees_unknown, n);
	if (n > 0)
		report(p, EVENT_FREE_UNKNOWN, th->pointer, &unknown, 0);
}

/* What was taken out is still there, unless another thread's free has ended it. */
static __always_inline void free_failed(struct task_struct *task, struct process_image *p,
					struct thread *th, const volatile struct api_row *row,
					const struct live_key *key, __s32 result)
{
	__u64 number = th->number ?: th->taken.id;
	struct handle counted = {.counts = 1, .id = th->taken.id, .flags = HANDLE_LIVES};

	count(COUNTER_FAILED_FREES);
	if (!has_in_hand(th))
		return;
	if (th->shared)
		handle_add_reference(key, 1);
	else if (th->stashed)
		handle_put(p, key, &th->stash);
	if (th->taken.id && is_counted(key->space, th->taken.kind) &&
	    !open_again(key->addr, key->space))
		handle_put(p, key, &counted);
	if (th->taken.id)
		live_undo(p, key, &th->taken, COOKIE_API(th->cookie), result);
	if (!stray_since(key, number))
		return;
	free_begin(p, th, row);
	if (free_done(task, p, th, row))
		free_unknown(p, th, -1);
}

/* Whether what a later call had taken is there again. */
static __always_inline bool is_put_back(const struct live_key *key, __u64 number)
{
	struct live_value *value = bpf_map_lookup_elem(&live, key);
	struct handle *handle = bpf_map_lookup_elem(&handles, key);

	if (value)
		return value->id <= number;
	return handle && !(handle->flags & HANDLE_LIVES) && handle->id <= number;
}

/* A free that has succeeded and has nothing in hand. It is counted before it is noted: who finds
 * the note takes that back.
 */
static __always_inline void free_stray(struct task_struct *task, struct process_image *p,
				       struct thread *th, const volatile struct api_row *row,
				       const struct live_key *key)
{
	free_unknown(p, th, 1);
	stray_note(key, th->number);
	if (!is_put_back(key, th->number))
		return;
	free_begin(p, th, row);
	if (free_done(task, p, th, row))
		free_unknown(p, th, -1);
}

static __always_inline void free_end(struct task_struct *task, struct process_image *p,
				     struct thread *th, const volatile struct api_row *row,
				     __s32 result)
{
	struct live_key key = handle_key(p, row->space, th->pointer);

	if (result)
		free_failed(task, p, th, row, &key, result);
	else if (!free_done(task, p, th, row) && th->pointer) /* freeing NULL does nothing */
		free_stray(task, p, th, row, &key);
}

#endif
