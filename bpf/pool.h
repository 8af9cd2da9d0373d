/* SPDX-License-Identifier: GPL-2.0 */
/* Pools of stream-ordered memory. Each has a number within its process image, which what comes from
 * it carries. A device has a pool that nobody made, and one that it uses: the same, unless told
 * otherwise.
 */
#ifndef SRTLEAK_POOL_H
#define SRTLEAK_POOL_H

static __always_inline void pool_report(struct process_image *p, __u32 type, __u64 addr,
					const struct handle *pool, __u64 size, __s32 result)
{
	struct live_value value = {
		.kind = pool->kind,
		.device = pool->device,
		.size = size,
		.pool = pool->number,
	};

	if (!(size >> SIZE_BITS) && pool->number)
		report(p, type, addr, &value, result);
}

/* Its memory lives on until it is freed. A device that used it uses its own again. Global, so that
 * the verifier looks at it once.
 */
__noinline int pool_end(__u64 addr, __u32 number, __u32 device, __u32 kind)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct handle over = {.number = number, .device = (__s8)device, .kind = (__u8)kind};
	struct live_key key = {};
	struct handle *of_device;

	if (!p)
		return 0;
	key = handle_key(p, SPACE_POOL, POOL_OF_DEVICE | (__u8)device);
	of_device = bpf_map_lookup_elem(&handles, &key);
	if (of_device && of_device->counts == addr && of_device->number == number) {
		of_device->number = of_device->id;
		of_device->counts = 0;
		of_device->kind = KIND_DEVICE;
	}
	number_end(SPACE_POOL_NUMBER, number);
	pool_report(p, EVENT_POOL, addr, &over, 0, 1);
	return 0;
}

static __always_inline void pool_destroyed(__u64 addr, const struct handle *pool)
{
	pool_end(addr, pool->number, (__u8)pool->device, pool->kind);
}

/* A device stands for the pool that it uses: its number and, unless it is the one that nobody made,
 * in place of `counts` its handle. `id` is the number of that one.
 */
static __always_inline struct handle *pool_of_device(struct process_image *p, __s8 device)
{
	struct live_key key = handle_key(p, SPACE_POOL, POOL_OF_DEVICE | (__u8)device);
	struct handle *pool = bpf_map_lookup_elem(&handles, &key);
	struct handle fresh = {.device = device, .kind = KIND_DEVICE};

	if (pool || device == DEVICE_UNKNOWN)
		return pool;
	fresh.id = fresh.number = number_take(SPACE_POOL_NUMBER);
	if (!handle_put(p, &key, &fresh)) {
		number_give_back(p, SPACE_POOL_NUMBER, fresh.number);
		return NULL;
	}
	pool_report(p, EVENT_POOL, 0, &fresh, 0, 0);
	return bpf_map_lookup_elem(&handles, &key);
}

/* What calls of a location's pool name: of a device's own memory, or of what else pools can be of.
 */
static __always_inline void pool_place(const volatile struct api_row *row, __u64 which,
				       __u32 allocation, struct place *place)
{
	*place = (struct place){.device = DEVICE_UNKNOWN, .kind = KIND_DEVICE};
	if (row->place == PLACE_LOCATION)
		place_location(which, allocation, place);
	else
		place->device = device_of(which);
}

static __always_inline void pool_got(struct process_image *p, const struct thread *th,
				     const volatile struct api_row *row)
{
	struct live_key key = handle_key(p, SPACE_POOL, read_user_u64(th->pointer));
	struct handle *of_device = NULL;
	struct handle fresh = {.counts = 1};
	struct place place;

	pool_place(row, th->extra, th->size, &place);
	if (place.kind == KIND_DEVICE)
		of_device = pool_of_device(p, place.device);
	if ((place.kind == KIND_DEVICE && !of_device) || bpf_map_lookup_elem(&handles, &key))
		return;
	fresh.device = place.device;
	fresh.kind = place.kind;
	fresh.number = of_device ? of_device->id : number_take(SPACE_POOL_NUMBER);
	if (handle_put(p, &key, &fresh))
		pool_report(p, EVENT_POOL, key.addr, &fresh, 0, 0);
	else if (!of_device)
		number_give_back(p, SPACE_POOL_NUMBER, fresh.number);
}

/* The end of a pool that had this handle was not seen. */
static __always_inline void pool_supersede(struct process_image *p, const struct live_key *key)
{
	struct handle *known = bpf_map_lookup_elem(&handles, key);

	if (known)
		pool_destroyed(key->addr, known);
}

/* Only from a device's own memory is anything allocated without naming a pool. */
static __always_inline void pool_set(struct process_image *p, const struct thread *th,
				     const volatile struct api_row *row)
{
	struct live_key key = handle_key(p, SPACE_POOL, th->extra);
	struct handle *pool = bpf_map_lookup_elem(&handles, &key);
	struct handle *of_device = NULL;
	struct place place;

	pool_place(row, th->pointer, th->size, &place);
	if (place.kind == KIND_DEVICE)
		of_device = pool_of_device(p, place.device);

	if (!of_device || !pool)
		return;
	of_device->number = pool->number;
	of_device->counts = key.addr;
	of_device->kind = pool->kind;
}

/* CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, cudaMemPoolAttrReservedMemCurrent */
#define POOL_RESERVED 5

static __always_inline void pool_told(struct process_image *p, const struct thread *th,
				      const volatile struct api_row *row)
{
	struct live_key key = handle_key(p, SPACE_POOL, th->pointer);
	struct handle *pool = bpf_map_lookup_elem(&handles, &key);

	if (pool && row->action == ACTION_TRIM)
		pool_report(p, EVENT_POOL_TRIM, key.addr, pool, th->size, 0);
	else if (pool && (__u32)th->size == POOL_RESERVED)
		pool_report(p, EVENT_POOL_SIZE, key.addr, pool, read_user_u64(th->extra), 0);
}

#endif
