/* SPDX-License-Identifier: GPL-2.0 */
/* Two threads free one pointer at once. The probes give it to the one whose call begins first, the
 * driver to either. So a free that has succeeded with nothing in hand leaves a note, which one that
 * has failed finds when it has put back what it had. Both look only when they have made theirs
 * seen, so one of them sees the other's.
 *
 * What a note speaks of is older than the call that left it: by the numbers of both.
 */
#ifndef SRTLEAK_STRAY_H
#define SRTLEAK_STRAY_H

static __always_inline void stray_note(const struct live_key *key, __u64 number)
{
	bpf_map_update_elem(&strays, key, &number, BPF_ANY);
	fence();
}

/* The same of a handle. Whether it is there, put back by a call that had it in hand. */
static __always_inline bool stray_note_handle(const struct live_key *key, __u64 number)
{
	struct handle *handle;

	stray_note(key, number);
	handle = bpf_map_lookup_elem(&handles, key);
	return handle && handle->id <= number;
}

/* Whether a call that began later has ended what the key names. */
static __always_inline bool stray_since(const struct live_key *key, __u64 number)
{
	__u64 *stray;

	fence();
	stray = bpf_map_lookup_elem(&strays, key);
	return stray && *stray >= number;
}

#endif
