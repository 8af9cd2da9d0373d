/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers by which allocations name their pool and their context: few bits in each. A number is in
 * use as long as it has an entry of its own among the handles. When what had it is gone that entry
 * says so, and the daemon removes it when no allocation names it any more.
 */
#ifndef SRTLEAK_NUMBER_H
#define SRTLEAK_NUMBER_H

#define NUMBER_ATTEMPTS 256 /* in a row; the next search begins behind them */
#define NUMBERS_A_LOOK 256  /* handed out before the daemon is to look which are free again */

static __always_inline void number_ask(struct process_image *p)
{
	struct live_value none = {.device = DEVICE_UNKNOWN, .kind = KIND_NONE};

	report(p, EVENT_RESET, 0, &none, 0);
}

static __always_inline bool number_enter(struct process_image *p, __u32 space, __u32 number)
{
	struct live_key key = handle_key(p, space, number);
	struct handle fresh = {.device = DEVICE_UNKNOWN};

	if (!grant_take(p->image, SHARED_HANDLES, 1))
		return false;
	if (!bpf_map_update_elem(&handles, &key, &fresh, BPF_NOEXIST))
		return true;
	grant_return(p->image, SHARED_HANDLES, 1);
	return false;
}

/* Global, so that the verifier looks at it once. 0 where none was found that is free. */
__noinline __u32 number_search(__u32 space)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	bool is_pool = space == SPACE_POOL_NUMBER;
	__u32 last = (1U << (is_pool ? POOL_BITS : CONTEXT_BITS)) - 1;
	struct live_key key = {};
	int i;

	if (!p)
		return 0;
	for (i = 0; i < NUMBER_ATTEMPTS; i++) {
		__u32 given = __sync_fetch_and_add(is_pool ? &p->pools : &p->contexts, 1);

		key = handle_key(p, space, (given + 1) & last);
		if (key.addr && !bpf_map_lookup_elem(&handles, &key))
			return key.addr;
	}
	return 0;
}

__noinline __u32 number_take(__u32 space)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	__u32 number = number_search(space);

	if (!p)
		return 0;
	if (number % NUMBERS_A_LOOK == 0)
		number_ask(p);
	if (number && number_enter(p, space, number))
		return number;
	handle_lost(p);
	return 0;
}

#define NUMBERS_ALIKE 8 /* that end together: once more than ending one may fail beside others */

/* Of this one and all that end with it. Global, likewise. */
__noinline int number_flag(__u32 space, __u32 number, __u32 flags)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_key key = {};
	struct handle *entry;
	int i;

	for (i = 0; i < NUMBERS_ALIKE && p && number; i++) {
		key = handle_key(p, space, number);
		entry = bpf_map_lookup_elem(&handles, &key);
		if (!entry)
			break;
		entry->flags = flags;
		/* Atomic, so that number_join() sees the flags where this does not see its number.
		 */
		number = __sync_fetch_and_add(&entry->number, 0);
	}
	return 0;
}

/* The last of those that end with a number. NULL where it is not known, or they are more than are
 * left of NUMBERS_ALIKE.
 */
static __always_inline struct handle *number_last(const struct process_image *p, __u32 space,
						  __u32 number, int *left)
{
	struct handle *last = NULL;

	while (number && --*left >= 0) {
		struct live_key key = handle_key(p, space, number);

		last = bpf_map_lookup_elem(&handles, &key);
		if (!last)
			return NULL;
		number = last->number;
	}
	return number ? NULL : last;
}

/* What has the number `old` goes on under a new one, and ends with that. */
__noinline int number_join(__u32 space, __u32 number, __u32 old)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	int left = NUMBERS_ALIKE;
	struct handle *last;

	if (!p)
		return 0;
	last = number_last(p, space, old, &left);
	if (last)
		last = number_last(p, space, number, &left);
	if (!last || __sync_val_compare_and_swap(&last->number, 0, old)) {
		handle_lost(p);
		return 0;
	}
	if (last->flags)
		number_flag(space, old, last->flags);
	return 0;
}

/* A call is about to end what has it; has; or has not. Of the first the daemon takes no notice. */
static __always_inline void number_ending(__u32 space, __u32 number)
{
	number_flag(space, number, HANDLE_ENDING);
}

static __always_inline void number_end(__u32 space, __u32 number)
{
	number_flag(space, number, HANDLE_ENDED);
}

static __always_inline void number_goes_on(__u32 space, __u32 number)
{
	number_flag(space, number, 0);
}

static __always_inline bool number_has_ended(const struct process_image *p, __u32 space,
					     __u32 number)
{
	struct live_key key = handle_key(p, space, number);
	struct handle *entry = number ? bpf_map_lookup_elem(&handles, &key) : NULL;

	return entry && entry->flags & (HANDLE_ENDED | HANDLE_ENDING);
}

/* Nothing was ever named by it. */
static __always_inline void number_give_back(struct process_image *p, __u32 space, __u32 number)
{
	struct live_key key = handle_key(p, space, number);

	if (number)
		handle_remove(p, &key);
}

#endif
