/* SPDX-License-Identifier: GPL-2.0 */
/* Physical memory: it lives while a handle or a mapping refers to it, in whatever order these go.
 */
#ifndef SRTLEAK_PHYSICAL_H
#define SRTLEAK_PHYSICAL_H

/* Takes an entry, as it was looked up, out of the live map; id 0 in ret: there was none, or another
 * thread was first.
 */
static __always_inline void live_take(struct process_image *p, const struct live_key *key,
				      const struct live_value *value, struct live_value *ret)
{
	ret->id = 0;
	if (!value)
		return;
	*ret = *value;
	if (bpf_map_delete_elem(&live, key))
		ret->id = 0;
	else
		live_gone(p);
}

/* What a failed call, of the row `api`, took. To the daemon it is news only if it repaired its
 * tables meanwhile; told first, for once it is there another thread may take it. Where something
 * else is there by now, another call has ended it.
 */
static __always_inline void live_undo(struct process_image *p, const struct live_key *key,
				      const struct live_value *value, __u32 api, __s32 result)
{
	report(p, EVENT_ALLOC, key->addr, value, result);
	if (live_put_back(p, key, value))
		return;
	if (bpf_map_lookup_elem(&live, key)) {
		count(COUNTER_FREES_MATCHED);
		report(p, EVENT_FREE, key->addr, value, api);
		return;
	}
	/* The daemon must not keep what the live map has not. */
	open_forget(p, key, value->id);
	count_dropped(p, COUNTER_DROPPED_LIVE_FULL);
	report(p, EVENT_FREE, key->addr, value, API_MAX);
}

static __always_inline void mapping_remove(struct process_image *p, const struct live_key *key)
{
	if (!bpf_map_delete_elem(&mappings, key))
		grant_return(p->image, SHARED_HANDLES, 1);
}

static __always_inline struct mapping *mapping_at(const struct process_image *p, __u64 at,
						  struct live_key *ret_place)
{
	*ret_place = handle_key(p, SPACE_MEMORY, at);
	return bpf_map_lookup_elem(&mappings, ret_place);
}

static __always_inline bool is_of(const struct live_key *key, __u64 id)
{
	struct handle *handle = bpf_map_lookup_elem(&handles, key);

	return handle && handle->id == id;
}

/* The last reference to it has gone. */
static __always_inline void physical_take(struct process_image *p, const struct live_key *key,
					  struct live_value *ret)
{
	live_take(p, key, bpf_map_lookup_elem(&live, key), ret);
	handle_remove(p, key);
}

/* Takes the mapping's reference away for a call of that number, and with the last one the memory;
 * unless another call has done so.
 */
static __always_inline void mapping_detach(struct process_image *p, struct mapping *m, __u64 number)
{
	struct live_key key = handle_key(p, SPACE_PHYSICAL, m->handle);
	struct handle *handle;

	if (__sync_val_compare_and_swap(&m->detached_by, 0, number | MAPPING_BUSY))
		return;
	m->taken.id = 0;
	handle = bpf_map_lookup_elem(&handles, &key);
	if (handle && handle->id == m->id && handle_drop(handle, HANDLE_MAPPING) == DROP_LAST)
		physical_take(p, &key, &m->taken);
	m->detached_by = number;
}

/* Lets one of the calls that are at a mapping end it, or take that back. 0: one has just taken it
 * back, and what it had is not there to be ended.
 */
static __always_inline bool mapping_claim(struct mapping *m, __u64 number)
{
	return number && !(number & MAPPING_BUSY) &&
	       __sync_val_compare_and_swap(&m->detached_by, number, number | MAPPING_BUSY) ==
		       number;
}

/* The mapping is no more: it is taken out, and what went with it counted and told, once. Not where
 * another call is about to do that, or to take it back: only the one that claims it removes it, as
 * the next mapping may be there by then.
 */
static __always_inline void mapping_ended(struct process_image *p, struct mapping *m,
					  const struct live_key *place, enum counter counter,
					  __u32 api, __u64 number)
{
	struct live_value taken;
	__u64 handle;

	mapping_detach(p, m, number);
	if (!mapping_claim(m, m->detached_by))
		return;
	taken = m->taken;
	handle = m->handle;
	mapping_remove(p, place);
	if (!taken.id)
		return;
	count(counter);
	report(p, EVENT_FREE, handle, &taken, api);
}

/* The end of what was mapped there was not seen, but it must have ended. Returns whether there was
 * something: another thread may be at it. Global, so that the verifier looks at it once.
 */
__noinline int mapping_supersede(__u64 at)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_key place = {};
	struct mapping *m;

	if (!p)
		return 0;
	m = mapping_at(p, at, &place);
	if (!m)
		return 0;
	mapping_ended(p, m, &place, COUNTER_SUPERSEDED, API_MAX, next_id());
	return 1;
}

/* A reference that a call is about to make is counted at its entry: another thread may give up the
 * last of the others before it returns.
 */
static __always_inline void reference_begin(struct thread *th, const struct live_key *key,
					    __u64 unit)
{
	struct handle *handle = bpf_map_lookup_elem(&handles, key);

	th->stashed = handle && handle_share(handle, unit);
	if (!th->stashed)
		return;
	th->stash = (struct handle){.counts = unit, .id = handle->id};
	th->number = key->addr;
}

/* The call has failed, or was left. Global, likewise. */
__noinline int reference_undo(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);
	struct process_image *p = process_find(task);
	struct live_key key = {};
	struct handle *handle;

	if (!th || !p || !th->stashed)
		return 0;
	th->stashed = 0;
	key = handle_key(p, SPACE_PHYSICAL, th->number);
	handle = bpf_map_lookup_elem(&handles, &key);
	if (!handle || handle->id != th->stash.id ||
	    handle_drop(handle, th->stash.counts) != DROP_LAST)
		return 0;
	/* The others went meanwhile. */
	physical_take(p, &key, &th->taken);
	if (!th->taken.id)
		return 0;
	count(COUNTER_FREES_MATCHED);
	report(p, EVENT_FREE, key.addr, &th->taken, API_MAX);
	th->taken.id = 0;
	return 0;
}

static __always_inline void retain_begin(struct process_image *p, struct thread *th)
{
	struct live_key place, key;
	struct mapping *m = mapping_at(p, th->extra, &place);

	th->stashed = 0;
	if (!m)
		return;
	key = handle_key(p, SPACE_PHYSICAL, m->handle);
	if (is_of(&key, m->id))
		reference_begin(th, &key, 1);
}

static __always_inline void map_begin(struct process_image *p, struct thread *th)
{
	struct live_key key = handle_key(p, SPACE_PHYSICAL, th->extra);

	reference_begin(th, &key, HANDLE_MAPPING);
}

/* An address in the midst of a mapping says only now which it is. */
static __always_inline void retain_end(struct process_image *p, struct thread *th)
{
	struct live_key key = handle_key(p, SPACE_PHYSICAL, read_user_u64(th->pointer));

	if (th->stashed && th->number == key.addr)
		return;
	reference_undo();
	handle_add_reference(&key, 1);
}

#define SUPERSEDE_ATTEMPTS 32 /* against a thread that is at what was mapped there before */

static __always_inline void map_end(struct process_image *p, struct thread *th)
{
	struct live_key place = handle_key(p, SPACE_MEMORY, th->pointer);
	struct mapping fresh = {
		.handle = th->extra,
		.size = th->size,
		.id = th->stash.id,
		.made = next_id(),
	};
	int i;

	for (i = 0; i < SUPERSEDE_ATTEMPTS; i++)
		if (!mapping_supersede(th->pointer))
			break;
	if (!th->stashed)
		return;
	if (!handle_admit(p)) {
		reference_undo();
	} else if (bpf_map_update_elem(&mappings, &place, &fresh, BPF_NOEXIST)) {
		handle_refused(p);
		reference_undo();
	}
}

/* Retaining and mapping. */
__noinline int physical_begin(__u32 api)
{
	struct caller c;

	if (!caller_find(&c, api))
		return 0;
	if (c.row->action == ACTION_RETAIN)
		retain_begin(c.p, c.th);
	else
		map_begin(c.p, c.th);
	return 0;
}

__noinline int physical_end(__u32 api, __s32 result)
{
	struct caller c;

	if (!caller_find(&c, api))
		return 0;
	if (result)
		reference_undo();
	else if (c.row->action == ACTION_RETAIN)
		retain_end(c.p, c.th);
	else
		map_end(c.p, c.th);
	c.th->stashed = 0;
	return 0;
}

/* The mapping that begins at `at` and ends in time. Returns its size; 0: none such is known. */
static __always_inline __u64 unmap_one(struct process_image *p, __u64 at, __u64 left, __u64 number)
{
	struct live_key place;
	struct mapping *m = mapping_at(p, at, &place);

	if (!m || m->size > left)
		return 0;
	mapping_detach(p, m, number);
	return m->size;
}

/* Goes on in the range that a call removes: from th->extra on, of th->size bytes. A function of its
 * own, as unmapped_one() is, for the verifier to look at once and not at every turn of a loop.
 */
__noinline int unmap_step(__u32 i)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);
	struct process_image *p = process_find(task);
	__u64 size;

	if (!th || !p || i >= UNMAP_MAX || !th->size)
		return 0;
	size = unmap_one(p, th->extra, th->size, th->number) ?: UNMAP_STEP;
	th->spans[i] = size;
	th->extra += size;
	th->size -= size < th->size ? size : th->size;
	th->unmapped = i + 1;
	return 1;
}

/* At entry: the last mapping may be what keeps the memory, whose handle is another's from then on.
 * One that was made before the probes may have others behind it.
 */
static __always_inline void unmap_begin(struct thread *th)
{
	__u32 i;

	th->extra = th->pointer;
	th->number = next_id();
	for (i = 0; i < UNMAP_MAX; i++)
		if (!unmap_step(i))
			break;
}

static __always_inline void remap(struct process_image *p, const struct mapping *m, __u32 api,
				  __s32 result)
{
	struct live_key key = handle_key(p, SPACE_PHYSICAL, m->handle);
	struct handle last = {.counts = HANDLE_MAPPING, .id = m->id, .flags = HANDLE_LIVES};

	if (is_of(&key, m->id))
		handle_add_reference(&key, HANDLE_MAPPING);
	else
		handle_put(p, &key, &last);
	if (m->taken.id)
		live_undo(p, &key, &m->taken, api, result);
}

static __always_inline void unmapped(struct process_image *p, struct mapping *m,
				     const struct live_key *place, __u32 api, __u64 number)
{
	/* Of two calls at once the one that began later may be the one that succeeds. */
	if (m->detached_by != number)
		stray_note(place, number);
	mapping_ended(p, m, place, COUNTER_FREES_MATCHED, api, number);
}

/* What is mapped there may be another's by now. */
__noinline int unmapped_one(__u64 at, __u32 api, __s32 result, __u64 number)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_key place = {};
	struct mapping *m;

	if (!p)
		return 0;
	m = mapping_at(p, at, &place);
	if (!m || m->made > number)
		return 0;
	if (!result) {
		unmapped(p, m, &place, api, number);
	} else if (mapping_claim(m, number)) {
		remap(p, m, api, result);
		m->detached_by = 0;
		if (stray_since(&place, m->made))
			unmapped(p, m, &place, api, number);
	}
	return 0;
}

/* There may be more mappings in what was not gone through. */
static __always_inline void unmap_end(struct process_image *p, struct thread *th, __s32 result)
{
	__u64 at = th->pointer;
	__u32 i;

	for (i = 0; i < UNMAP_MAX && i < th->unmapped; i++) {
		unmapped_one(at, COOKIE_API(th->cookie), result, th->number);
		at += th->spans[i];
	}
	th->unmapped = 0;
	if (th->size && !result)
		handle_lost(p);
}

#endif
