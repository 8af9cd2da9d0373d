/* SPDX-License-Identifier: GPL-2.0 */
/* Calls that refer to physical memory otherwise than by its handle: that map it, retain it by an
 * address where it is mapped, unmap it.
 */
#ifndef SRTLEAK_PHYSICAL_H
#define SRTLEAK_PHYSICAL_H

static __always_inline struct mapping *mapping_at(const struct process_image *p, __u64 at,
						  struct live_key *ret_place)
{
	*ret_place = handle_key(p, SPACE_MEMORY, at);
	return bpf_map_lookup_elem(&mappings, ret_place);
}

/* Where it is noted what was mapped at the place when it was taken out of the map last. */
static __always_inline struct live_key mapping_last(const struct live_key *place)
{
	struct live_key key = *place;

	key.space = SPACE_REFERENT | LAST_NAMED;
	return key;
}

static __always_inline __u64 unit_of(const volatile struct api_row *row)
{
	return row->action == ACTION_RETAIN ? REFERENCE_HANDLE : REFERENCE_MAPPING;
}

/* The call has failed, or was left. */
static __always_inline void reference_undo(struct thread *th, const volatile struct api_row *row)
{
	if (th->referent)
		referent_change(th->referent, 0, unit_of(row), API_MAX, COUNTER_FREES_MATCHED);
	th->referent = 0;
}

/* The number of what is mapped at `at` and reaches beyond `addr`; 0: nothing. Global, so that the
 * verifier looks at it once, as what follows.
 */
__noinline __u64 mapping_over(__u64 at, __u64 addr)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_key place = {}, key = {};
	struct referent *referent;
	struct mapping *m;
	__u64 *id;

	if (!p)
		return 0;
	m = mapping_at(p, at, &place);
	if (m)
		return addr - at < m->size ? m->id : 0;
	/* A call that is about to unmap it may fail, or come second. */
	key = mapping_last(&place);
	id = bpf_map_lookup_elem(&strays, &key);
	if (!id)
		return 0;
	key = referent_key(p, *id);
	referent = bpf_map_lookup_elem(&referents, &key);
	return referent && addr - at < referent->value.size ? referent->value.id : 0;
}

#define SEARCH_STEPS 4096 /* of MAPPING_STEP, from an address back to where its mapping begins */

__noinline __u64 mapping_search(__u64 addr)
{
	__u64 at = addr & ~(MAPPING_STEP - 1), id;
	int i;

	for (i = 0; i < SEARCH_STEPS; i++) {
		id = mapping_over(at, addr);
		if (id)
			return id;
		at -= MAPPING_STEP;
	}
	return 0;
}

/* Retaining and mapping. */
__noinline int physical_begin(__u32 api)
{
	struct live_key key = {};
	struct caller c;
	__u64 id;

	if (!caller_find(&c, api))
		return 0;
	key = handle_key(c.p, SPACE_PHYSICAL, c.th->extra);
	id = c.row->action == ACTION_RETAIN ? mapping_search(c.th->extra) : referent_named(&key);
	c.th->referent = id && referent_refer(id, unit_of(c.row)) ? id : 0;
	return 0;
}

/* What it has retained the call says only now. */
static __always_inline void retain_end(struct process_image *p, struct thread *th,
				       const volatile struct api_row *row)
{
	struct live_key name = handle_key(p, SPACE_PHYSICAL, read_user_u64(th->pointer));
	__u64 id;

	if (th->referent && referent_has_name(p, th->referent, name.addr))
		return;
	reference_undo(th, row);
	id = referent_named(&name);
	if (id && !referent_refer(id, REFERENCE_HANDLE)) /* its last reference has gone meanwhile */
		handle_lost(p);
}

/* Whoever takes a mapping out of the map has ended it. */
static __always_inline void mapping_end(struct process_image *p, const struct live_key *place,
					const struct mapping *m, __u32 api, enum counter counter)
{
	__u64 id = m->id;

	if (bpf_map_delete_elem(&mappings, place))
		return;
	grant_return(p->image, SHARED_HANDLES, 1);
	referent_change(id, 0, REFERENCE_MAPPING, (__s32)api, counter);
}

/* Its memory lasts longer than the references that are left. */
static __always_inline void mapping_refused(struct process_image *p, struct thread *th,
					    const volatile struct api_row *row)
{
	struct live_key key = referent_key(p, th->referent);
	struct referent *referent = bpf_map_lookup_elem(&referents, &key);

	if (referent)
		referent->is_short = 1;
	reference_undo(th, row);
}

static __always_inline void map_end(struct process_image *p, struct thread *th,
				    const volatile struct api_row *row)
{
	struct live_key place = {};
	struct mapping *old = mapping_at(p, th->pointer, &place);
	struct mapping fresh = {
		.size = th->size,
		.id = th->referent,
		.made = next_id(),
	};

	/* Its end was not seen. */
	if (old)
		mapping_end(p, &place, old, API_MAX, COUNTER_SUPERSEDED);
	if (!th->referent)
		return;
	if (!handle_admit(p)) {
		mapping_refused(p, th, row);
	} else if (bpf_map_update_elem(&mappings, &place, &fresh, BPF_NOEXIST)) {
		handle_refused(p);
		mapping_refused(p, th, row);
	}
}

__noinline int physical_end(__u32 api, __s32 result)
{
	struct caller c;

	if (!caller_find(&c, api))
		return 0;
	if (result)
		reference_undo(c.th, c.row);
	else if (c.row->action == ACTION_RETAIN)
		retain_end(c.p, c.th, c.row);
	else
		map_end(c.p, c.th, c.row);
	return 0;
}

static __always_inline void go_past(struct thread *th, __u64 size)
{
	th->extra += size;
	th->size -= size < th->size ? size : th->size;
}

/* Takes the mapping at th->extra out of the map, and goes on behind it. Returns whether there is
 * more. Part of a mapping is none.
 */
__noinline int unmap_step(__u32 i)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);
	struct process_image *p = process_find(task);
	struct span span = {.size = MAPPING_STEP};
	struct live_key place = {}, last = {};
	struct mapping *m;

	if (!th || !p || i >= UNMAP_MAX || !th->size)
		return 0;
	m = mapping_at(p, th->extra, &place);
	if (m && m->size <= th->size) {
		span = (struct span){.size = m->size, .referent = m->id};
		last = mapping_last(&place);
		bpf_map_update_elem(&strays, &last, &span.referent, BPF_ANY);
		if (bpf_map_delete_elem(&mappings, &place)) {
			span.referent = 0; /* another call has it */
		} else {
			grant_return(p->image, SHARED_HANDLES, 1);
			referent_change(span.referent, REFERENCE_LEAVING, 0, 0, 0);
		}
	}
	th->spans[i] = span;
	go_past(th, span.size);
	th->unmapped = i + 1;
	return 1;
}

/* At entry: what is mapped there next may be another's. */
static __always_inline void unmap_begin(struct thread *th)
{
	__u32 i;

	th->extra = th->pointer;
	th->number = next_id(); /* before anything is removed … */
	for (i = 0; i < UNMAP_MAX; i++)
		if (!unmap_step(i))
			break;
	th->looked = next_id(); /* … and after nothing was found */
}

/* The call has failed. */
static __always_inline void remap(struct process_image *p, const struct live_key *place,
				  const struct span *span, __u64 number)
{
	struct mapping again = {.size = span->size, .id = span->referent, .made = number};
	struct live_key key = referent_key(p, span->referent);

	if (references_now(&key) && handle_admit(p)) {
		if (!bpf_map_update_elem(&mappings, place, &again, BPF_NOEXIST))
			return;
		grant_return(p->image, SHARED_HANDLES, 1);
	}
	/* Its memory is over, something else is there by now, or others have the room. */
	referent_change(span->referent, 0, REFERENCE_MAPPING, API_MAX, COUNTER_SUPERSEDED);
}

/* Two threads may unmap one thing at once: see stray.h. */
__noinline int unmapped_one(__u64 at, __u32 i, __s32 result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);
	struct process_image *p = process_find(task);
	struct live_key place = {};
	struct mapping *m;
	struct span span;
	__u32 api;

	if (!th || !p || i >= UNMAP_MAX)
		return 0;
	span = th->spans[i];
	api = COOKIE_API(th->cookie);
	place = handle_key(p, SPACE_MEMORY, at);
	if (span.referent) {
		if (result)
			remap(p, &place, &span, th->number);
		referent_left(span.referent, REFERENCE_MAPPING, api, result);
		if (!result || !stray_since(&place, th->number))
			return 0;
	} else {
		if (result)
			return 0;
		stray_note(&place, th->looked);
	}
	m = bpf_map_lookup_elem(&mappings, &place);
	if (m && m->made <= th->looked)
		mapping_end(p, &place, m, api, COUNTER_FREES_MATCHED);
	return 0;
}

/* Goes on where unmap_begin() has stopped, after the call: what is mapped there again by now has a
 * later number. Returns whether there is more.
 */
__noinline int unmap_late(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);
	struct process_image *p = process_find(task);
	__u64 size = MAPPING_STEP;
	struct live_key place = {};
	struct mapping *m;

	if (!th || !p || !th->size)
		return 0;
	m = mapping_at(p, th->extra, &place);
	if (m && m->size <= th->size) {
		size = m->size;
		if (m->made <= th->looked)
			mapping_end(p, &place, m, COOKIE_API(th->cookie), COUNTER_FREES_MATCHED);
	}
	go_past(th, size);
	return 1;
}

#define LATE_TURNS 16 /* of SEARCH_STEPS */

__noinline int unmap_late_turn(void)
{
	int i;

	for (i = 0; i < SEARCH_STEPS; i++)
		if (!unmap_late())
			return 0;
	return 1;
}

static __always_inline void unmap_end(struct process_image *p, struct thread *th, __s32 result)
{
	__u64 at = th->pointer;
	__u32 i;

	for (i = 0; i < UNMAP_MAX && i < th->unmapped; i++) {
		unmapped_one(at, i, result);
		at += th->spans[i].size;
	}
	th->unmapped = 0;
	if (result)
		return;
	for (i = 0; i < LATE_TURNS; i++)
		if (!unmap_late_turn())
			return;
	handle_lost(p);
}

#endif
