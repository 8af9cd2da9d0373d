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

/* A number that another pool had is handed out again only when nothing of that is left. */
static void begin_anew_if_other(struct pool *pool, uint64_t handle)
{
	if (!pool->is_destroyed && (!handle || !pool->handle || handle == pool->handle))
		return;
	pool->is_destroyed = pool->is_own = false;
	pool->handle = 0;
	pool->high_water = pool->used;
	pool->told_ns = 0;
}

static void name(struct pool *pool, uint64_t handle, int device, unsigned int kind)
{
	begin_anew_if_other(pool, handle);
	/* A device's own is told of twice: when it is first used, and when its handle is asked for.
	 */
	if (handle)
		pool->handle = handle;
	else
		pool->is_own = true;
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
		if (event->result == 0)
			name(pool, event->addr, event->device, event->kind);
		else
			pool->is_destroyed = true;
		drop_if_over(pools, pool);
	}
}

void pools_compare(struct table *pools)
{
	table_foreach (pools, struct pool, pool) {
		pool->used = pool->count = 0;
		pool->is_named = false;
	}
}

void pools_restore(struct table *pools, uint64_t addr, const struct handle *known)
{
	/* What stands for a device has no handle, and its own number beside the one it uses. */
	bool is_device = addr & POOL_OF_DEVICE;
	struct pool *pool = get(pools, is_device ? known->id : known->number);

	if (!pool)
		return;
	name(pool, is_device ? 0 : addr, known->device, is_device ? KIND_DEVICE : known->kind);
	pool->is_named = true;
}

void pools_compared(struct table *pools)
{
	struct table_cursor cursor = {0};
	struct pool *pool;

	while ((pool = table_next(pools, &cursor))) {
		pool->is_destroyed = !pool->is_named;
		pool->high_water = MAX(pool->high_water, pool->used);
		drop_if_over(pools, pool);
	}
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
