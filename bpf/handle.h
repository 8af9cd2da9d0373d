/* SPDX-License-Identifier: GPL-2.0 */
/* What is named by calls and is no allocation itself. */
#ifndef SRTLEAK_HANDLE_H
#define SRTLEAK_HANDLE_H

static __always_inline struct live_key handle_key(const struct process_image *p, __u32 space,
						  __u64 addr)
{
	return (struct live_key){.addr = addr, .image = p->image, .space = space};
}

static __always_inline void handle_lost(struct process_image *p)
{
	count_dropped(p, COUNTER_LOST_HANDLE);
}

/* Counts one more entry of these maps; false where the process has its share. */
static __always_inline bool handle_admit(struct process_image *p)
{
	if (grant_take(p->image, SHARED_HANDLES, 1))
		return true;
	handle_lost(p);
	return false;
}

/* The entry that was counted found no room. */
static __always_inline void handle_refused(struct process_image *p)
{
	grant_return(p->image, SHARED_HANDLES, 1);
	handle_lost(p);
}

/* Adds or replaces. */
static __always_inline bool handle_put(struct process_image *p, const struct live_key *key,
				       const struct handle *handle)
{
	bool is_new = !bpf_map_lookup_elem(&handles, key);

	if (is_new && !handle_admit(p))
		return false;
	if (!bpf_map_update_elem(&handles, key, handle, BPF_ANY))
		return true;
	if (is_new)
		handle_refused(p);
	return false;
}

static __always_inline bool handle_remove(struct process_image *p, const struct live_key *key)
{
	if (bpf_map_delete_elem(&handles, key))
		return false;
	grant_return(p->image, SHARED_HANDLES, 1);
	return true;
}

#endif
