/* SPDX-License-Identifier: GPL-2.0 */
/* What is named by calls and is no allocation itself, and what counts references. */
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

static __always_inline void handle_add_reference(const struct live_key *key, __u64 unit)
{
	struct handle *handle = bpf_map_lookup_elem(&handles, key);

	if (handle)
		__sync_fetch_and_add(&handle->counts, unit);
}

#define COUNT_ATTEMPTS 16 /* against others that count at the same time */

/* One more reference, where the last one has not just gone. */
static __always_inline bool handle_share(struct handle *handle, __u64 unit)
{
	int i;

	for (i = 0; i < COUNT_ATTEMPTS; i++) {
		__u64 counts = handle->counts;

		if (!counts)
			break;
		if (__sync_val_compare_and_swap(&handle->counts, counts, counts + unit) == counts)
			return true;
	}
	return false;
}

enum drop {
	DROP_UNKNOWN, /* there is no such reference, or its number changes too fast */
	DROP_ONE,     /* others are left */
	DROP_LAST,    /* it is no more */
};

/* Takes a reference away. unit: 1 for a handle or an opening, HANDLE_MAPPING. After the last one
 * the caller removes the handle; until then others see that it has no references.
 */
static __always_inline enum drop handle_drop(struct handle *handle, __u64 unit)
{
	__u64 of_this_sort = unit == 1 ? HANDLE_MAPPING - 1 : ~(HANDLE_MAPPING - 1);
	int i;

	for (i = 0; i < COUNT_ATTEMPTS; i++) {
		__u64 counts = handle->counts;

		if (!(counts & of_this_sort))
			break;
		if (__sync_val_compare_and_swap(&handle->counts, counts, counts - unit) == counts)
			return counts == unit ? DROP_LAST : DROP_ONE;
	}
	return DROP_UNKNOWN;
}

#endif
