/* SPDX-License-Identifier: GPL-2.0 */
/* Others' memory: to open it once more gives the same address or handle, which lives until its last
 * close. One that returns while all that is known to be open is being closed is taken for a new
 * one; if such a close then fails, what was known becomes part of that (referent.h).
 */
#ifndef SRTLEAK_OPENING_H
#define SRTLEAK_OPENING_H

/* Whether what the live map has at the place is an opening, which can be counted once more. */
static __always_inline bool is_opening(const struct process_image *p,
				       const struct live_value *value)
{
	return value->kind == KIND_IPC && !context_has_ended(p, value->context);
}

/* Whether it is known to be open. Then that is counted once more. Global, so that the verifier
 * looks at it once.
 */
__noinline int open_again(__u64 addr, __u32 space)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_key key = {};
	struct live_value *value;

	if (!p)
		return 0;
	key = handle_key(p, space, addr);
	value = bpf_map_lookup_elem(&live, &key);
	return value && is_opening(p, value) && referent_refer(value->id, REFERENCE_HANDLE);
}

#endif
