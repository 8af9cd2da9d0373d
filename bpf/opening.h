/* SPDX-License-Identifier: GPL-2.0 */
/* Others' memory: to open it once more gives the same address or handle, which lives until its last
 * close. What counts the openings is there before the live map has the memory, and goes after that
 * has; so threads that open or close it at once agree on who was first, and who last.
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
	struct handle *handle;

	if (!p)
		return 0;
	key = handle_key(p, space, addr);
	value = bpf_map_lookup_elem(&live, &key);
	if (value && !is_opening(p, value))
		return 0;
	handle = bpf_map_lookup_elem(&handles, &key);
	return handle && handle->flags & HANDLE_LIVES && handle_share(handle, 1);
}

#define OPEN_ATTEMPTS 32 /* while another thread is at it */

/* Counts an opening that is the allocation `id` if it is the first. Returns whether it is. Global,
 * likewise.
 */
__noinline int open_count(__u64 addr, __u32 space, __u64 id)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct handle first = {.counts = 1, .id = id, .flags = HANDLE_LIVES};
	struct live_key key = {};
	struct handle *other;
	int i;

	if (!p || !handle_admit(p))
		return 1; /* its first close will be taken for the last */
	key = handle_key(p, space, addr);
	other = bpf_map_lookup_elem(&handles, &key);
	if (other && !(other->flags & HANDLE_LIVES)) /* its end was not seen */
		handle_remove(p, &key);
	for (i = 0; i < OPEN_ATTEMPTS; i++) {
		if (!bpf_map_update_elem(&handles, &key, &first, BPF_NOEXIST))
			return 1;
		if (open_again(addr, space)) {
			grant_return(p->image, SHARED_HANDLES, 1);
			return 0;
		}
	}
	handle_refused(p);
	return !bpf_map_lookup_elem(&handles, &key);
}

/* The allocation is over, and what counts it goes with it. */
static __always_inline void open_forget(struct process_image *p, const struct live_key *key,
					__u64 id)
{
	struct handle *counted = bpf_map_lookup_elem(&handles, key);

	if (counted && counted->flags & HANDLE_LIVES && counted->id == id)
		handle_remove(p, key);
}

#endif
