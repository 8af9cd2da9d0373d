/* SPDX-License-Identifier: GPL-2.0 */
/* Freeing calls. */
#ifndef SRTLEAK_FREE_H
#define SRTLEAK_FREE_H

/* Whether it is about to give up a reference of what the key names. Where these are not counted,
 * for lack of room, the first that goes is taken for the last.
 */
static __always_inline bool release_begin(struct process_image *p, struct thread *th,
					  const struct live_key *key)
{
	struct live_value *value;
	__u64 id = referent_named(key);
	struct live_key counted;
	int state;

	if (!id)
		return false;
	state = referent_change(id, REFERENCE_LEAVING, 0, 0, 0);
	if (state == REFERENT_THERE)
		th->referent = id;
	/* Had the process been left meanwhile, there would be one, and the daemon would end it. */
	counted = referent_key(p, id);
	value = bpf_map_lookup_elem(&live, key);
	if (state == REFERENT_NONE && !bpf_map_lookup_elem(&referents, &counted) && value &&
	    value->id == id)
		live_take(p, key, value, &th->taken);
	return th->referent || th->taken.id;
}

/* Whether the free has taken something away, or is about to. */
static __always_inline bool has_in_hand(const struct thread *th)
{
	return th->taken.id || th->stashed || th->referent;
}

static __always_inline void free_begin(struct process_image *p, struct thread *th,
				       const volatile struct api_row *row)
{
	struct live_key key = handle_key(p, row->space, th->pointer);
	struct live_value *value = bpf_map_lookup_elem(&live, &key);
	struct handle *handle;

	th->taken.id = th->number = th->referent = 0;
	th->stashed = 0;
	/* Two threads may free one pointer at once: whoever removes it has it. */
	if (value && !is_counted(key.space, value->kind)) {
		live_take(p, &key, value, &th->taken);
		if (th->taken.id)
			return;
	}
	if (release_begin(p, th, &key))
		return;
	th->number = next_id(); /* before anything is removed … */
	handle = bpf_map_lookup_elem(&handles, &key);
	if (handle && handle->counts) {
		th->stash = *handle;
		th->stashed = handle_remove(p, &key);
	}
	if (!th->stashed)
		th->number = next_id(); /* … and after nothing was found */
}

/* An EVENT_FREE says which row has freed, in place of a result. That the image is still there does
 * not matter, so it is not looked up: this is how nearly every free ends.
 */
static __always_inline void report_freed(struct task_struct *task, struct thread *th,
					 const volatile struct api_row *row)
{
	/* Where references are not counted there may be more: what is known of it ends. */
	bool is_end = !is_counted(row->space, th->taken.kind);
	struct process_image *p;

	count(is_end ? COUNTER_FREES_MATCHED : COUNTER_DROPPED_LIMIT);
	if (emit(EVENT_FREE, th->image, th->pointer, &th->taken,
		 is_end ? COOKIE_API(th->cookie) : API_MAX, bpf_ktime_get_boot_ns(), false))
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
		report_freed(task, th, row);
	else if (th->referent)
		referent_left(th->referent, REFERENCE_HANDLE, COOKIE_API(th->cookie), 0);
	else if (th->stashed && row->space == SPACE_POOL)
		pool_destroyed(th->pointer, &th->stash);
	return has_in_hand(th);
}

/* How often a free has succeeded of which nothing is known: one more, or one less. */
__noinline int free_unknown(__u32 api, __u64 addr, __s32 n)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_value unknown = {.api = api, .kind = KIND_NONE, .device = DEVICE_UNKNOWN};

	if (!p)
		return 0;
	count_by(COUNTER_FREES_UNKNOWN, n);
	__sync_fetch_and_add(&p->frees_unknown, n);
	if (n > 0 && step_of(p) < STEP_SAMPLED)
		report(p, EVENT_FREE_UNKNOWN, addr, &unknown, 0);
	return 0;
}

/* Global, so that the verifier looks at it once, and for the room on the stack. */
__noinline int taken_undo(__u32 api, __s32 result)
{
	struct live_key key = {};
	struct caller c;

	if (!caller_find(&c, api)) {
		count(COUNTER_ENDED); /* with its process, which was left */
		return 0;
	}
	key = handle_key(c.p, c.row->space, c.th->pointer);
	live_undo(c.p, &key, &c.th->taken, COOKIE_API(c.th->cookie), result);
	return 0;
}

/* What was taken out is still there. Returns whether another thread's free has ended it. */
static __always_inline bool free_failed(struct process_image *p, struct thread *th,
					const struct live_key *key, __s32 result)
{
	__u64 number = th->number ?: th->taken.id;

	count(COUNTER_FAILED_FREES);
	if (th->referent)
		referent_left(th->referent, REFERENCE_HANDLE, COOKIE_API(th->cookie), result);
	else if (th->taken.id)
		taken_undo(COOKIE_API(th->cookie), result);
	else if (th->stashed)
		handle_put(p, key, &th->stash);
	return has_in_hand(th) && !th->referent && stray_since(key, number);
}

/* Whether what a later call had taken is there again. */
static __always_inline bool is_put_back(const struct live_key *key, __u64 number)
{
	struct live_value *value = bpf_map_lookup_elem(&live, key);
	struct handle *handle = bpf_map_lookup_elem(&handles, key);

	if (value)
		return value->id <= number;
	return handle && handle->id <= number;
}

/* A free that has succeeded and has nothing in hand. It is counted before it is noted: who finds
 * the note takes that back. Returns whether what it has ended is there again.
 */
static __always_inline bool free_stray(struct thread *th, const struct live_key *key)
{
	if (!th->pointer) /* freeing NULL does nothing */
		return false;
	free_unknown(COOKIE_API(th->cookie), th->pointer, 1);
	stray_note(key, th->number);
	return is_put_back(key, th->number);
}

static __always_inline void free_end(struct task_struct *task, struct process_image *p,
				     struct thread *th, const volatile struct api_row *row,
				     __s32 result)
{
	struct live_key key = handle_key(p, row->space, th->pointer);
	bool is_there;

	if (result)
		is_there = free_failed(p, th, &key, result);
	else
		is_there = !free_done(task, p, th, row) && free_stray(th, &key);
	if (!is_there)
		return;
	free_begin(p, th, row);
	if (free_done(task, p, th, row))
		free_unknown(COOKIE_API(th->cookie), th->pointer, -1);
}

#endif
