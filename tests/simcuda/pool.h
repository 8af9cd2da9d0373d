/* SPDX-License-Identifier: Apache-2.0 */
/* Pools of stream-ordered memory: what each has in use, and what it holds for the next.
 *
 * What a pool holds grows in whole steps as soon as its use does. It gives back what exceeds its
 * threshold (0 unless set) when a stream or context is waited for, and what it is told to when it
 * is trimmed; never what is in use. The device's free memory counts what is in use only. All
 * functions need the call's lock.
 */
#ifndef SIMCUDA_POOL_H
#define SIMCUDA_POOL_H

#include "block.h"

#define POOL_STEP (32ULL << 20)

struct pool {
	struct pool *next;      /* of all that there are */
	unsigned int users;     /* its handle, and memory from it: it is freed with the last */
	enum block_type memory; /* what comes from it: BLOCK_ASYNC and its likes */
	int device;             /* -1: the host's */
	uint64_t used, used_high, reserved, reserved_high, threshold; /* bytes */
};

/* A pool without users yet, or NULL. */
struct pool *pool_new(enum block_type memory, int device);
void pool_discard(struct pool *pool);

/* One more user, or one less, with so many bytes. */
void pool_take(struct pool *pool, uint64_t bytes);
void pool_give(struct pool *pool, uint64_t bytes);

/* Gives back what exceeds `keep` bytes, and is not in use. */
void pool_trim(struct pool *pool, uint64_t keep);

/* Some work is done: every pool gives back what exceeds its threshold. */
void pools_settle(void);

/* The block of a handle, or NULL. */
struct block *pool_find(CUmemoryPool handle);

/* The block of the pool that a device uses where none is named, or NULL for want of memory. */
struct block *pool_current(int device);

#endif
