/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "macro.h"
#include "pool.h"

static struct pool *pools;

struct pool *pool_new(enum block_type memory, int device)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->memory = memory;
	pool->device = device;
	pool->next = pools;
	pools = pool;
	return pool;
}

void pool_discard(struct pool *pool)
{
	struct pool **link = &pools;

	while (*link != pool)
		link = &(*link)->next;
	*link = pool->next;
	free(pool);
}

static uint64_t whole_steps(uint64_t bytes)
{
	return (bytes + POOL_STEP - 1) / POOL_STEP * POOL_STEP;
}

void pool_take(struct pool *pool, uint64_t bytes)
{
	pool->users++;
	pool->used += bytes;
	pool->used_high = MAX(pool->used_high, pool->used);
	pool->reserved = MAX(pool->reserved, whole_steps(pool->used));
	pool->reserved_high = MAX(pool->reserved_high, pool->reserved);
}

void pool_give(struct pool *pool, uint64_t bytes)
{
	pool->used -= bytes;
	if (!--pool->users)
		pool_discard(pool);
}

void pool_trim(struct pool *pool, uint64_t keep)
{
	uint64_t least = MAX(pool->used, MIN(keep, pool->reserved));

	pool->reserved = MIN(pool->reserved, whole_steps(least));
}

void pools_settle(void)
{
	for (struct pool *pool = pools; pool; pool = pool->next)
		pool_trim(pool, pool->threshold);
}
