/* SPDX-License-Identifier: GPL-2.0 */
/* The daemon's way to take out of the maps what is over. Removed and counted in one run of a
 * program: a daemon that is killed leaves either both done or neither.
 */
#ifndef SRTLEAK_FORGET_H
#define SRTLEAK_FORGET_H

static __always_inline bool forget_handle(void *map, const struct live_key *key)
{
	if (bpf_map_delete_elem(map, key))
		return false;
	grant_return(key->image, SHARED_HANDLES, 1);
	grant_settle(key->image);
	return true;
}

static __always_inline bool forget_allocation(const struct forget *wanted,
					      const struct live_key *key, __u64 id)
{
	struct live_value *value = bpf_map_lookup_elem(&live, key);
	struct process_image *p = bpf_map_lookup_elem(&processes, &wanted->tgid);
	struct live_key referent = {.image = key->image, .space = SPACE_REFERENT};

	/* Its address may have been handed out again. */
	if (!value || (id && value->id != id))
		return false;
	/* What counts its references goes with it. */
	if (is_counted(key->space, value->kind)) {
		referent.addr = value->id;
		forget_handle(&referents, &referent);
	}
	if (bpf_map_delete_elem(&live, key))
		return false;
	count(COUNTER_ENDED);
	live_gone(p && p->image == key->image ? p : NULL);
	return true;
}

/* What is left of an image that is over when its allocations are not: a call had it in hand, which
 * did not return before, or has ended it and came too late to count that.
 */
static __always_inline bool forget_referent(const struct live_key *key)
{
	struct referent *referent = bpf_map_lookup_elem(&referents, key);
	struct live_key name = {.image = key->image};
	bool is_in_hand, is_joined;

	if (!referent)
		return false;
	name.addr = referent->name;
	name.space = referent->space;
	is_joined = referent->is_joined;
	is_in_hand = referent->value.kind != KIND_NONE && !live_has(&name, key->addr);
	if (!forget_handle(&referents, key))
		return false;
	if (is_in_hand && is_joined) /* it was no allocation by itself */
		count_by(COUNTER_ALLOCS_SEEN, -1);
	else if (is_in_hand)
		count(COUNTER_ENDED);
	return true;
}

/* Global, so that the verifier looks at it once. */
__noinline int forget_one(__u32 number)
{
	__u32 zero = 0;
	struct forget *wanted = bpf_map_lookup_elem(&forgets, &zero);
	struct live_key key;

	if (!wanted || number >= FORGET_MAX)
		return 0;
	key = wanted->keys[number].key;
	switch (wanted->what) {
	case FORGET_ALLOCATIONS:
		return forget_allocation(wanted, &key, wanted->keys[number].id);
	case FORGET_HANDLES:
		return forget_handle(&handles, &key);
	case FORGET_MAPPINGS:
		return forget_handle(&mappings, &key);
	case FORGET_REFERENTS:
		return forget_referent(&key);
	default:
		return grant_release(key.image);
	}
}

/* Run by the daemon alone. Returns how many there were. */
SEC("raw_tracepoint")
int forget(void *ctx)
{
	__u32 zero = 0, removed = 0, n, i;
	struct forget *wanted = bpf_map_lookup_elem(&forgets, &zero);

	if (!wanted)
		return 0;
	n = wanted->n;
	for (i = 0; i < FORGET_MAX && i < n; i++)
		removed += forget_one(i);
	return removed;
}

#endif
