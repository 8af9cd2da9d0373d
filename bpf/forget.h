/* SPDX-License-Identifier: GPL-2.0 */
/* The daemon's way to take entries out of the live map. Removed and counted in one run of a
 * program: a daemon that is killed leaves either both done or neither.
 */
#ifndef SRTLEAK_FORGET_H
#define SRTLEAK_FORGET_H

static __always_inline bool forget_one(const struct forget *wanted, struct process_image *p,
				       __u32 number)
{
	struct live_key key = wanted->keys[number].key;
	__u64 id = wanted->keys[number].id;
	struct live_value *value = bpf_map_lookup_elem(&live, &key);

	/* Its address may have been handed out again. */
	if (!value || (id && value->id != id) || bpf_map_delete_elem(&live, &key))
		return false;
	count(COUNTER_ENDED);
	live_count(p && p->image == key.image ? p : NULL, -1);
	return true;
}

/* Run by the daemon alone. Returns how many there were. */
SEC("raw_tracepoint")
int forget(void *ctx)
{
	__u32 zero = 0, removed = 0, i;
	struct forget *wanted = bpf_map_lookup_elem(&forgets, &zero);
	struct process_image *p;

	if (!wanted)
		return 0;
	p = bpf_map_lookup_elem(&processes, &wanted->tgid);
	for (i = 0; i < FORGET_MAX && i < wanted->n; i++)
		removed += forget_one(wanted, p, i);
	return removed;
}

#endif
