/* SPDX-License-Identifier: GPL-2.0 */
/* Where an allocation is, from the thread's context, a pool, or properties that the call names. */
#ifndef SRTLEAK_PLACE_H
#define SRTLEAK_PLACE_H

static __always_inline void place_current(struct process_image *p, struct thread *th,
					  const volatile struct api_row *row, struct place *place)
{
	struct live_key key = handle_key(p, SPACE_CONTEXT, th->current);
	__u64 current = th->current;
	struct handle *context, *primary;

	/* The runtime makes the device's primary context current where there is none. */
	if (current == CURRENT_NONE && row->family == FAMILY_CUDART)
		current = th->current = CURRENT_DEVICE | th->device;
	if (!(current & CURRENT_DEVICE)) {
		context = bpf_map_lookup_elem(&handles, &key);
		if (!context)
			return;
		place->device = context->device;
		place->context = context->number;
		if (!(context->flags & HANDLE_PRIMARY))
			return;
		current = CURRENT_DEVICE | (__u8)context->device;
	}
	place->device = device_of(current);
	primary = primary_get(p, (__u32)current, false);
	if (primary)
		place->context = primary_number(p, primary);
}

/* What is from a pool is in no context, and outlives them all. */
static __always_inline void place_pool(struct process_image *p, __u64 pool, struct place *place)
{
	struct live_key key = handle_key(p, SPACE_POOL, pool);
	struct handle *handle = bpf_map_lookup_elem(&handles, &key);

	place->context = 0;
	place->device = DEVICE_UNKNOWN;
	if (!handle)
		return;
	place->device = handle->device;
	place->kind = place->kind == KIND_IPC ? KIND_IPC : handle->kind;
	place->pool = handle->number;
}

/* What stream-ordered allocation takes from where no pool is named. */
static __always_inline void place_stream(struct process_image *p, struct place *place)
{
	struct handle *pool = pool_of_device(p, place->device);

	place->context = 0;
	if (!pool)
		return;
	place->kind = pool->kind;
	place->pool = pool->number;
}

static __always_inline void place_find(struct process_image *p, struct thread *th,
				       const volatile struct api_row *row, struct place *place)
{
	*place = (struct place){.device = DEVICE_UNKNOWN, .kind = row->kind};
	if (row->space != SPACE_PHYSICAL)
		place_current(p, th, row, place);
	switch (row->place) {
	case PLACE_NONE:
		place->device = DEVICE_UNKNOWN;
		break;
	case PLACE_STREAM:
		place_stream(p, place);
		break;
	case PLACE_POOL:
		place_pool(p, th->extra, place);
		break;
	case PLACE_PROPERTIES:
		place_properties(th->extra, place);
		break;
	default:
		break;
	}
}

#endif
