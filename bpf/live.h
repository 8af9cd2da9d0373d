/* SPDX-License-Identifier: GPL-2.0 */
/* Entries of the live map, taken out and put back. */
#ifndef SRTLEAK_LIVE_H
#define SRTLEAK_LIVE_H

/* Takes an entry, as it was looked up, out of the live map; id 0 in ret: another thread was first.
 */
static __always_inline void live_take(struct process_image *p, const struct live_key *key,
				      const struct live_value *value, struct live_value *ret)
{
	*ret = *value;
	if (bpf_map_delete_elem(&live, key))
		ret->id = 0;
	else
		live_gone(p);
}

/* Of one that has ended the daemon removes the number when nothing names it any more. */
static __always_inline bool context_is_over(const struct process_image *p, __u32 number)
{
	struct live_key key = handle_key(p, SPACE_CONTEXT_NUMBER, number);
	struct handle *entry = bpf_map_lookup_elem(&handles, &key);

	return number && (!entry || entry->flags & HANDLE_ENDED);
}

static __always_inline bool live_has(const struct live_key *key, __u64 id)
{
	struct live_value *there = bpf_map_lookup_elem(&live, key);

	return there && there->id == id;
}

/* Puts back what a call took that has failed with that result. To the daemon it is news only if it
 * repaired its tables meanwhile; told first, for once it is there another thread may take it.
 * Returns COUNTER_MAX, or as what it is to be counted that is not there.
 */
static __always_inline enum counter live_restore(struct process_image *p,
						 const struct live_key *key,
						 const struct live_value *value, __s32 result)
{
	if (live_has(key, value->id))
		return COUNTER_MAX;
	if (context_is_over(p, value->context))
		return COUNTER_ENDED;
	report(p, EVENT_ALLOC, key->addr, value, result);
	if (live_put_back(p, key, value) || live_has(key, value->id))
		return COUNTER_MAX;
	if (bpf_map_lookup_elem(&live, key))
		return COUNTER_SUPERSEDED;
	__sync_fetch_and_add(&p->over_limit, 1);
	return COUNTER_DROPPED_LIVE_FULL;
}

/* What a failed call, of the row `api`, took. Where something else is there by now, another call
 * has ended it. The daemon must not keep what the live map has not.
 */
static __always_inline void live_undo(struct process_image *p, const struct live_key *key,
				      const struct live_value *value, __u32 api, __s32 result)
{
	enum counter counter = live_restore(p, key, value, result);

	if (counter == COUNTER_MAX)
		return;
	count(counter == COUNTER_SUPERSEDED ? COUNTER_FREES_MATCHED : counter);
	report(p, EVENT_FREE, key->addr, value, counter == COUNTER_SUPERSEDED ? api : API_MAX);
}

#endif
