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
	enum drop drop = handle ? handle_drop(p, key, 1) : DROP_LAST;

	th->shared = drop == DROP_ONE;
	if (drop != DROP_LAST)
		return;
	live_take(p, key, value, &th->taken);
	if (th->taken.id || !handle)
		return;
	th->stash = (struct handle){.counts = 1}; /* it is no allocation */
	th->stashed = 1;
}

static __always_inline void free_begin(struct process_image *p, struct thread *th,
				       const volatile struct api_row *row)
{
	struct live_key key = handle_key(p, row->space, th->pointer);
	struct live_value *value = bpf_map_lookup_elem(&live, &key);
	struct handle *handle;

	if (is_counted(key.space, value ? value->kind : KIND_NONE)) {
		release_begin(p, th, &key, value);
		return;
	}
	/* Two threads may free one pointer at once: whoever removes it has it. */
	if (value) {
		live_take(p, &key, value, &th->taken);
		return;
	}
	handle = bpf_map_lookup_elem(&handles, &key);
	if (!handle)
		return;
	th->stash = *handle;
	th->stashed = handle_remove(p, &key);
}

/* What was taken out is still there. */
static __always_inline void free_failed(struct process_image *p, struct thread *th,
					const struct live_key *key, __s32 result)
{
	struct handle counted = {.counts = 1, .id = th->taken.id};

	count(COUNTER_FAILED_FREES);
	if (th->shared)
		handle_add_reference(key, 1);
	else if (th->stashed)
		handle_put(p, key, &th->stash);
	if (!th->taken.id)
		return;
	if (is_counted(key->space, th->taken.kind))
		handle_put(p, key, &counted);
	live_undo(p, key, &th->taken, result);
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

static __always_inline void free_end(struct process_image *p, struct thread *th,
				     const volatile struct api_row *row, __s32 result)
{
	struct live_key key = handle_key(p, row->space, th->pointer);
	struct live_value unknown = {
		.api = COOKIE_API(th->cookie),
		.kind = KIND_NONE,
		.device = DEVICE_UNKNOWN,
	};

	if (result) {
		free_failed(p, th, &key, result);
	} else if (th->stashed && row->space == SPACE_POOL) {
		pool_report(p, EVENT_POOL, th->pointer, &th->stash, 0, 1);
	} else if (th->pointer && !th->shared && !th->stashed) { /* freeing NULL does nothing */
		count(COUNTER_FREES_UNKNOWN);
		report(p, EVENT_FREE_UNKNOWN, th->pointer, &unknown, 0);
	}
}

#endif
