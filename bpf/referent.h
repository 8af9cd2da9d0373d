/* SPDX-License-Identifier: GPL-2.0 */
/* What lives while something refers to it: physical memory by its handles and mappings, others'
 * memory by its openings. Its record is found by the allocation's number, which nothing else ever
 * has, and counts the references, and the calls that are about to give one up. Multicast objects
 * are referred to in the same way and have no memory (KIND_NONE): the map of handles stands in for
 * that of allocations.
 *
 * A reference is made when the call for it begins, and unmade if that fails; it is given up when
 * the call for that has succeeded. While the calls under way could give up all there are, the
 * memory is not in the live map: its address or handle may be another's before they return.
 */
#ifndef SRTLEAK_REFERENT_H
#define SRTLEAK_REFERENT_H

static __always_inline bool is_counted(__u32 space, __u8 kind)
{
	return space == SPACE_PHYSICAL || kind == KIND_IPC;
}

#define COUNT_ATTEMPTS 32 /* against others that count at the same time */

/* Returns what `refs` was; without references: it is over, and nothing was changed. */
static __always_inline __u64 references_change(struct process_image *p, struct referent *referent,
					       __u64 add, __u64 take)
{
	int i;

	for (i = 0; i < COUNT_ATTEMPTS; i++) {
		__u64 refs = referent->refs;

		if (!references_of(refs) ||
		    __sync_val_compare_and_swap(&referent->refs, refs,
						references_after(refs, add, take)) == refs)
			return refs;
	}
	handle_lost(p);
	return 0;
}

static __always_inline struct live_key referent_key(const struct process_image *p, __u64 id)
{
	return handle_key(p, SPACE_REFERENT, id);
}

/* Where it is noted what had the name when that was taken out of the live map last. */
static __always_inline struct live_key referent_last_named(const struct live_key *name)
{
	struct live_key key = *name;

	key.space |= LAST_NAMED;
	return key;
}

/* What has the name, or had it a moment ago: a call may fail that is about to end it. 0: none. */
static __always_inline __u64 referent_named(const struct live_key *name)
{
	struct live_value *value = bpf_map_lookup_elem(&live, name);
	struct live_key last = referent_last_named(name);
	struct handle *handle;
	__u64 *id;

	if (value)
		return is_counted(name->space, value->kind) ? value->id : 0;
	handle = name->space == SPACE_PHYSICAL ? bpf_map_lookup_elem(&handles, name) : NULL;
	if (handle)
		return handle->id;
	id = bpf_map_lookup_elem(&strays, &last);
	return id ? *id : 0;
}

/* Makes the record of the allocation that is in th->taken, before the live map has it. Returns
 * whether there was room. Global, so that the verifier looks at it once, as what follows.
 */
__noinline int referent_make(__u64 addr, __u32 space)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);
	struct process_image *p = process_find(task);
	struct referent fresh = {.refs = REFERENCE_HANDLE, .name = addr, .space = space};
	struct live_key key = {};

	if (!th || !p || !handle_admit(p))
		return 0;
	fresh.value = th->taken;
	key = referent_key(p, fresh.value.id);
	if (!bpf_map_update_elem(&referents, &key, &fresh, BPF_NOEXIST))
		return 1;
	handle_refused(p);
	return 0;
}

/* False where it was not there: another call, or the daemon, has removed it. */
static __always_inline bool referent_remove(struct process_image *p, __u64 id)
{
	struct live_key key = referent_key(p, id);

	if (bpf_map_delete_elem(&referents, &key))
		return false;
	grant_return(p->image, SHARED_HANDLES, 1);
	return true;
}

/* It has no references left. said: see EVENT_FREE; counter: as what it is counted, ALLOCS_SEEN: it
 * was no allocation by itself.
 */
__noinline int referent_end(__u64 id, __s32 said, __u32 counter)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_key key = {};
	struct live_value value;
	struct referent *referent;
	__u64 name;

	if (!p)
		return 0;
	key = referent_key(p, id);
	referent = bpf_map_lookup_elem(&referents, &key);
	if (!referent)
		return 0;
	value = referent->value;
	name = referent->name;
	if (referent->is_joined) {
		counter = COUNTER_ALLOCS_SEEN;
	} else if (referent->is_short && counter == COUNTER_FREES_MATCHED) {
		/* It may be mapped still: what is known of it ends, and not its memory. */
		counter = COUNTER_DROPPED_LIMIT;
		said = API_MAX;
	}
	if (!referent_remove(p, id) || value.kind == KIND_NONE)
		return 0;
	count_by(counter, counter == COUNTER_ALLOCS_SEEN ? -1 : 1);
	report(p, EVENT_FREE, name, &value, said);
	return 0;
}

/* Others' memory was opened anew, it seemed, while a call was about to close it that has failed:
 * the references that are in no call's hands become that opening's. False where there is none.
 */
static __always_inline bool referent_join(struct process_image *p, const struct live_key *name,
					  struct referent *referent)
{
	struct live_value *there = bpf_map_lookup_elem(&live, name);
	struct referent *other;
	struct live_key key;
	__u64 refs, held;
	int i;

	if (!there || there->kind != KIND_IPC)
		return false;
	key = referent_key(p, there->id);
	other = bpf_map_lookup_elem(&referents, &key);
	for (i = 0; i < COUNT_ATTEMPTS && other; i++) {
		refs = referent->refs;
		held = references_of(refs) - refs / REFERENCE_LEAVING;
		if (!is_held(refs) || held > (refs & REFERENCES_MASK))
			return is_held(refs) == 0;
		if (__sync_val_compare_and_swap(&referent->refs, refs, refs - held) != refs)
			continue;
		referent->is_joined = 1;
		return references_of(references_change(p, other, held, 0));
	}
	return false;
}

/* Puts it into the live map as it is in its record. Returns COUNTER_MAX, or as what it is to be
 * counted that it has ended.
 */
__noinline int referent_show(__u64 id, __s32 result)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_key key = {};
	struct live_value value;
	struct referent *referent;
	enum counter counter;

	if (!p)
		return COUNTER_MAX;
	key = referent_key(p, id);
	referent = bpf_map_lookup_elem(&referents, &key);
	if (!referent)
		return COUNTER_MAX;
	value = referent->value;
	key = handle_key(p, referent->space, referent->name);
	counter = live_restore(p, &key, &value, result);
	if (counter == COUNTER_MAX)
		return COUNTER_MAX;
	if (counter == COUNTER_SUPERSEDED && value.kind == KIND_IPC &&
	    referent_join(p, &key, referent))
		return references_of(referent->refs) || !referent->is_joined ? COUNTER_MAX
									     : COUNTER_ALLOCS_SEEN;
	return references_of(references_change(p, referent, 0, REFERENCES_ALL)) ? (int)counter
										: COUNTER_MAX;
}

/* Likewise a multicast object. */
__noinline int multicast_show(__u64 id, __u64 addr)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct handle nothing = {.id = id, .device = DEVICE_UNKNOWN};
	struct live_key key = {};

	if (!p)
		return 0;
	key = handle_key(p, SPACE_PHYSICAL, addr);
	if (!bpf_map_lookup_elem(&handles, &key)) /* nor another's */
		handle_put(p, &key, &nothing);
	return 0;
}

/* Takes it out of the live map. over: that it has ended may have been told before it was told to be
 * back.
 */
__noinline int referent_hide(__u64 id, __u64 addr, __u32 space, __u32 over)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_key name = {};
	struct live_value *there;
	struct handle *handle;
	bool is_live;

	if (!p)
		return 0;
	name = handle_key(p, space, addr);
	there = bpf_map_lookup_elem(&live, &name);
	handle = bpf_map_lookup_elem(&handles, &name);
	is_live = there && there->id == id;
	if (!is_live && !(handle && handle->id == id))
		return 0;
	name.space |= LAST_NAMED;
	bpf_map_update_elem(&strays, &name, &id, BPF_ANY);
	name.space = space;
	if (!is_live) {
		handle_remove(p, &name);
		return 0;
	}
	if (over)
		report(p, EVENT_FREE, addr, there, API_MAX);
	if (!bpf_map_delete_elem(&live, &name))
		live_gone(p);
	return 0;
}

static __always_inline bool referent_has_name(const struct process_image *p, __u64 id, __u64 name)
{
	struct live_key key = referent_key(p, id);
	struct referent *referent = bpf_map_lookup_elem(&referents, &key);

	return referent && referent->name == name;
}

/* 0: it is over. */
static __always_inline __u64 references_now(const struct live_key *key)
{
	struct referent *referent = bpf_map_lookup_elem(&referents, key);

	return referent ? referent->refs : 0;
}

#define SETTLE_ATTEMPTS 8

/* Makes the live map have it or not, as its references want. Whoever changes these does it after
 * that, so what the last one leaves is right. Returns as referent_show().
 */
static __always_inline int referent_settle(const struct live_key *key,
					   const struct referent *referent, __s32 said)
{
	__u64 addr = referent->name, refs = referent->refs;
	bool is_multicast = referent->value.kind == KIND_NONE;
	__u32 space = referent->space;
	int i, shown = COUNTER_MAX;
	bool held, was_shown = false;

	for (i = 0; i < SETTLE_ATTEMPTS && shown == COUNTER_MAX; i++) {
		held = is_held(refs);
		if (held && is_multicast)
			multicast_show(key->addr, addr);
		else if (held)
			shown = referent_show(key->addr, said);
		else
			referent_hide(key->addr, addr, space, was_shown && !references_of(refs));
		was_shown |= held;
		refs = references_now(key);
		if (is_held(refs) == held)
			break;
	}
	return shown;
}

enum referent_state {
	REFERENT_NONE, /* there is no record */
	REFERENT_OVER,
	REFERENT_THERE,
};

/* Changes a referent's references: see references_after(). said: if it ends, see EVENT_FREE; if it
 * is back in the live map, see EVENT_ALLOC. counter: of its end. Returns an enum referent_state.
 */
__noinline int referent_change(__u64 id, __u64 add, __u64 take, __s32 said, __u32 counter)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_key key = {};
	struct referent *referent;
	int settled = COUNTER_MAX;
	__u64 before, after;

	if (!p)
		return REFERENT_NONE;
	key = referent_key(p, id);
	referent = bpf_map_lookup_elem(&referents, &key);
	if (!referent)
		return REFERENT_NONE;
	before = references_change(p, referent, add, take);
	if (!references_of(before))
		return REFERENT_OVER;
	after = references_after(before, add, take);
	if (is_held(after) != is_held(before))
		settled = referent_settle(&key, referent, said);
	if (settled != COUNTER_MAX) {
		referent_end(id, API_MAX, (__u32)settled);
		return REFERENT_OVER;
	}
	if (references_of(after))
		return REFERENT_THERE;
	/* A call that is still under way has ended it, and not one that went unseen. */
	if (counter == COUNTER_SUPERSEDED && before >= REFERENCE_LEAVING)
		counter = COUNTER_FREES_MATCHED;
	referent_end(id, said, counter);
	return REFERENT_OVER;
}

/* Where that puts it back into the live map it is no new allocation. */
static __always_inline bool referent_refer(__u64 id, __u64 unit)
{
	return referent_change(id, unit, 0, 1, 0) == REFERENT_THERE;
}

/* A call has ended the reference that it was about to give up, or has failed with that result. */
static __always_inline void referent_left(__u64 id, __u64 unit, __u32 api, __s32 result)
{
	if (result)
		referent_change(id, 0, REFERENCE_LEAVING, result, COUNTER_FREES_MATCHED);
	else
		referent_change(id, 0, REFERENCE_LEAVING | unit, (__s32)api, COUNTER_FREES_MATCHED);
}

#endif
