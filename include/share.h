/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* How a table that all processes share is shared out, so that none can fill it.
 *
 * Of such a pool a process may hold as much as it leaves. What counts as left to a user other than
 * root is less by what that user's processes hold already. So one process gets a half of the pool,
 * or a third if it is not root's; n that are as greedy get 1/(n+1) or 1/(2n+1) each, and leave
 * others as much; and a user's processes together never get more than a half. Where single
 * processes have no part (images) root is a user like the others. Beside that each process has a
 * share of its own that no other can take: it is set aside from the beginning.
 */
#ifndef SRTLEAK_SHARE_H
#define SRTLEAK_SHARE_H

#include <linux/types.h>
#include <stdbool.h>

#include "bounds.h"

/* Pools of the probes: X(name, entries, of which each process owns) */
#define SRTLEAK_SHARED(X)                                                    \
	X(IMAGES, PROCESSES_MAX, 0U)                  /* that have called */ \
	X(LIVE, LIVE_MAX, LIVE_OWN)                   /* allocations */      \
	X(CHUNKS, STACK_CHUNKS_MAX, STACK_CHUNKS_OWN) /* of stacks */        \
	X(HANDLES, HANDLES_MAX, HANDLES_OWN)          /* and mappings */     \
	X(THREADS, THREADS_MAX, THREADS_OWN)          /* that have called */

enum shared {
#define X(name, entries, own) SHARED_##name,
	SRTLEAK_SHARED(X)
#undef X
		SHARED_MAX
};

#define X(name, entries, own) \
	_Static_assert((entries) > PROCESSES_MAX * (own), "something to share");
SRTLEAK_SHARED(X)
#undef X

/* What all may hold together beyond what is each one's own. */
static inline __u32 shared_entries(enum shared pool)
{
	static const __u32 shared[SHARED_MAX] = {
#define X(name, entries, own) (entries) - PROCESSES_MAX *(own),
		SRTLEAK_SHARED(X)
#undef X
	};

	return shared[pool];
}

static inline __u32 shared_own(enum shared pool)
{
	static const __u32 own[SHARED_MAX] = {
#define X(name, entries, own) own,
		SRTLEAK_SHARED(X)
#undef X
	};

	return own[pool];
}

/* What somebody holds of the shared part. */
struct share {
	__u32 used[SHARED_MAX];
};

/* Sums are kept in slots: of all, of root, and of the other users, some of whom have to get on with
 * one slot. No two whose ids differ by less than that do.
 */
#define SHARE_HOST 0U
#define SHARE_ROOT 1U
#define SHARE_SLOTS 4096U

/* Ids that a user may give to its containers' (subuid(5)) come in such lots, the first from here
 * on: who has a lot of ids is one user all the same.
 */
#define SHARE_LOTS_FROM 100000U
#define SHARE_LOT 65536U

static inline __u32 share_user(__u32 uid)
{
	return uid < SHARE_LOTS_FROM ? uid : SHARE_LOTS_FROM + (uid - SHARE_LOTS_FROM) / SHARE_LOT;
}

static inline __u32 share_slot(__u32 uid)
{
	return uid ? 2 + share_user(uid) % (SHARE_SLOTS - 2) : SHARE_ROOT;
}

/* Whether `n` more may go to one who holds `own`, while all hold `total` of `limit` and the user
 * holds `user` of that; for root 0, where processes have a part.
 */
static inline bool share_allows(__u64 limit, __u64 total, __u64 user, __u64 own, __u64 n)
{
	__u64 taken = total + user;

	return taken <= limit && own + n <= limit - taken;
}

#endif
