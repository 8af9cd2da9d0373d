/* SPDX-License-Identifier: Apache-2.0 */
#include "api.h"
#include "macro.h"
#include "pools.h"

static struct pool *get(struct table *pools, uint64_t number)
{
	struct pool *pool = table_find(pools, number);

	if (pool || number == 0)
		return pool;
	if (table_add(pools, number, (void **)&pool) < 0)
		return NULL;
	pool->device = DEVICE_UNKNOWN;
	pool->kind = KIND_DEVICE;
	return pool;
}

static void drop_if_over(struct table *pools, struct pool *pool)
{
	if (pool->is_destroyed && pool->count == 0)
		table_remove(pools, pool->number);
}

static void name(struct pool *pool, uint64_t handle, int device, unsigned int kind)
{
	/* A device's own is told of twice: when it is first used, and when its handle is asked for.
	 */
	if (handle)
		pool->handle = handle;
	pool->device = (int8_t)device;
	if (kind < KIND_MAX)
		pool->kind = (uint8_t)kind;
}

void pools_event(struct table *pools, const struct event *event)
{
	struct pool *pool = get(pools, event->pool);

	if (!pool)
		return;
	switch (event->type) {
	case EVENT_POOL_TRIM:
		pool->high_water = MAX(pool->used, MIN(pool->high_water, event->size));
		pool->told_ns = 0;
		break;
	case EVENT_POOL_SIZE:
		pool->reserved = event->size;
		pool->told_ns = event->time_ns;
		break;
	default:
		pool->is_destroyed = event->result != 0;
		if (!pool->is_destroyed)
			name(pool, event->addr, event->device, event->kind);
		drop_if_over(pools, pool);
	}
}

void pools_restore(struct table *pools, uint64_t handle, const struct handle *known)
{
	/* What stands for a device has no handle, and its own number beside the one it uses. */
	uint64_t number = known->id ? known->id : known->number;
	struct pool *pool = get(pools, number);

	if (pool)
		name(pool, known->id ? 0 : handle, known->device,
		     known->id ? KIND_DEVICE : known->kind);
}

void pools_add(struct table *pools, uint32_t number, uint64_t bytes)
{
	struct pool *pool = get(pools, number);

	if (!pool)
		return;
	pool->used += bytes;
	pool->count++;
	pool->high_water = MAX(pool->high_water, pool->used);
	if (pool->used > pool->reserved)
		pool->told_ns = 0;
}

void pools_take(struct table *pools, uint32_t number, uint64_t bytes)
{
	struct pool *pool = table_find(pools, number);

	if (!pool || pool->count == 0)
		return;
	pool->used -= MIN(pool->used, bytes);
	pool->count--;
	drop_if_over(pools, pool);
}

bool pools_is_used(struct table *pools, uint32_t number)
{
	struct pool *pool = table_find(pools, number);

	if (!pool || pool->count > 0)
		return pool;
	drop_if_over(pools, pool);
	return false;
}

void pools_recount(struct table *pools)
{
	table_foreach (pools, struct pool, pool)
		pool->used = pool->count = 0;
}
