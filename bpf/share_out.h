/* SPDX-License-Identifier: GPL-2.0 */
/* What an image may take of the pools (share.h). Whoever asks too much is refused; nobody else is.
 */
#ifndef SRTLEAK_SHARE_OUT_H
#define SRTLEAK_SHARE_OUT_H

static __always_inline __u32 share_taken(__u32 used)
{
	return (__s32)used < 0 ? 0 : used; /* another's return has come before its own taking */
}

/* Takes from the shared part for one who holds `own` of it. Added first and taken back if it was
 * too much, so that those who come at once do not all find the same room.
 */
static __always_inline bool share_take(__u32 slot, enum shared pool, __u32 own, __u32 n)
{
	__u32 all = SHARE_HOST, total, mine;
	struct share *host = bpf_map_lookup_elem(&shares, &all);
	struct share *user = bpf_map_lookup_elem(&shares, &slot);

	if (!host || !user)
		return false;
	total = share_taken(__sync_fetch_and_add(&host->used[pool], n));
	mine = share_taken(__sync_fetch_and_add(&user->used[pool], n));
	if (share_allows(shared_entries(pool), total,
			 slot == SHARE_ROOT && shared_own(pool) ? 0 : mine, own, n))
		return true;
	__sync_fetch_and_add(&host->used[pool], -n);
	__sync_fetch_and_add(&user->used[pool], -n);
	return false;
}

static __always_inline void share_return(__u32 slot, enum shared pool, __u32 n)
{
	__u32 all = SHARE_HOST;
	struct share *host = bpf_map_lookup_elem(&shares, &all);
	struct share *user = bpf_map_lookup_elem(&shares, &slot);

	if (!host || !user)
		return;
	__sync_fetch_and_add(&host->used[pool], -n);
	__sync_fetch_and_add(&user->used[pool], -n);
}

/* How much of a holding is beyond what is its holder's own. */
static __always_inline __u32 beyond_own(enum shared pool, __u32 held)
{
	return held > shared_own(pool) ? held - shared_own(pool) : 0;
}

/* Takes `n` for an image, from what is its own while that lasts. */
static __always_inline bool grant_take(__u32 image, enum shared pool, __u32 n)
{
	struct grant *grant = bpf_map_lookup_elem(&grants, &image);
	__u32 held, own, more, less;

	if (!grant)
		return false;
	held = __sync_fetch_and_add(&grant->used[pool], n);
	own = beyond_own(pool, held);
	more = beyond_own(pool, held + n) - own;
	if (!more || share_take(grant->slot, pool, own, more))
		return true;
	held = __sync_fetch_and_add(&grant->used[pool], -n);
	less = beyond_own(pool, held) - beyond_own(pool, held - n);
	/* Others that came and went meanwhile have taken less, or returned more, for what was there
	 * for a moment.
	 */
	if (less != more)
		share_return(grant->slot, pool, less - more);
	return false;
}

/* An image that has ended has nothing to return: what it held has been. */
static __always_inline void grant_return(__u32 image, enum shared pool, __u32 n)
{
	struct grant *grant = bpf_map_lookup_elem(&grants, &image);
	__u32 held, less;

	if (!grant)
		return;
	held = __sync_fetch_and_add(&grant->used[pool], -n);
	if (held < n) { /* all was returned when the image was left */
		__sync_fetch_and_add(&grant->used[pool], n);
		return;
	}
	less = beyond_own(pool, held) - beyond_own(pool, held - n);
	if (less)
		share_return(grant->slot, pool, less);
}

/* Whether one more image of the current user may find room: each that asks costs a number. */
static __always_inline bool grant_may_begin(void)
{
	__u32 slot = share_slot((__u32)bpf_get_current_uid_gid()), all = SHARE_HOST;
	struct share *host = bpf_map_lookup_elem(&shares, &all);
	struct share *user = bpf_map_lookup_elem(&shares, &slot);

	return host && user &&
	       share_allows(shared_entries(SHARED_IMAGES), share_taken(host->used[SHARED_IMAGES]),
			    slot == SHARE_ROOT && shared_own(SHARED_IMAGES)
				    ? 0
				    : share_taken(user->used[SHARED_IMAGES]),
			    0, 1);
}

/* Makes the grant of a new image. */
static __always_inline bool grant_begin(__u32 image, __u32 tgid)
{
	struct grant grant = {
		.slot = share_slot((__u32)bpf_get_current_uid_gid()),
		.tgid = tgid,
		.used = {[SHARED_IMAGES] = 1, [SHARED_LIVE] = LIVE_OWN},
	};

	if (!share_take(grant.slot, SHARED_IMAGES, 0, 1))
		return false;
	if (!bpf_map_update_elem(&grants, &image, &grant, BPF_NOEXIST))
		return true;
	share_return(grant.slot, SHARED_IMAGES, 1);
	return false;
}

/* Of an image that never was. */
static __always_inline void grant_end(__u32 image)
{
	grant_return(image, SHARED_IMAGES, 1);
	bpf_map_delete_elem(&grants, &image);
}

/* An image that is over keeps its grant while it has handles, and nothing else. */
static __always_inline void grant_settle(__u32 image)
{
	struct grant *grant = bpf_map_lookup_elem(&grants, &image);

	if (grant && !grant->used[SHARED_IMAGES] && !grant->used[SHARED_HANDLES])
		bpf_map_delete_elem(&grants, &image);
}

/* Of an image that is over: all is returned but its handles, which are returned one by one. */
static __always_inline bool grant_release(__u32 image)
{
	struct grant *grant = bpf_map_lookup_elem(&grants, &image);
	int pool;

	if (!grant)
		return false;
	for (pool = 0; pool < SHARED_MAX; pool++)
		if (pool != SHARED_HANDLES)
			grant_return(image, pool, grant->used[pool]);
	grant_settle(image);
	return true;
}

/* Counts an entry of the live map that is to be made; false where the process has its share. Asking
 * costs more than the rest, so entries are granted many at a time.
 */
static __always_inline bool live_admit(struct process_image *p)
{
	__u32 before = __sync_fetch_and_add(&p->live, 1);

	if (before < p->granted)
		return true;
	if (grant_take(p->image, SHARED_LIVE, LIVE_STEP)) {
		__sync_fetch_and_add(&p->granted, LIVE_STEP);
		return true;
	}
	__sync_fetch_and_add(&p->live, -1);
	return false;
}

/* Takes back what live_admit() counted. What is returned leaves some, so that coming and going does
 * not ask again each time.
 */
static __always_inline void live_leave(struct process_image *p)
{
	__u32 live = __sync_fetch_and_add(&p->live, -1) - 1, granted = p->granted;

	if (granted <= LIVE_OWN || live + 2 * LIVE_STEP >= granted)
		return;
	/* Of threads that come at once, one does it. */
	if (__sync_val_compare_and_swap(&p->granted, granted, granted - LIVE_STEP) == granted)
		grant_return(p->image, SHARED_LIVE, LIVE_STEP);
}

/* An entry of the live map is there; is gone, where p is NULL that of an image that is over. */
static __always_inline void live_made(void)
{
	count_by(COUNTER_SLOT_LIVE, 1);
}

static __always_inline void live_gone(struct process_image *p)
{
	if (p)
		live_leave(p);
	count_by(COUNTER_SLOT_LIVE, -1);
}

/* Makes an entry again whose free has failed. */
static __always_inline bool live_put_back(struct process_image *p, const struct live_key *key,
					  const struct live_value *value)
{
	if (!live_admit(p))
		return false;
	if (!bpf_map_update_elem(&live, key, value, BPF_NOEXIST)) {
		live_made();
		return true;
	}
	live_leave(p);
	return false;
}

#endif
