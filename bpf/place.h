/* SPDX-License-Identifier: GPL-2.0 */
/* Where an allocation is, from the thread's context, a pool, or properties that the call names. */
#ifndef SRTLEAK_PLACE_H
#define SRTLEAK_PLACE_H

/* current: a thread's, or the handle of a context. */
static __always_inline void place_context(struct process_image *p, __u64 current,
					  struct place *place)
{
	struct live_key key = handle_key(p, SPACE_CONTEXT, current);
	struct handle *context, *primary;

	if (!(current & CURRENT_DEVICE)) {
		context = bpf_map_lookup_elem(&handles, &key);
		if (context && !(context->flags & HANDLE_PRIMARY)) {
			place->device = context->device;
			place->context = context->number;
			return;
		}
		current = CURRENT_DEVICE | (context ? (__u8)context->device : PRIMARY_UNKNOWN);
	}
	place->device = device_of(current);
	primary = primary_get(p, (__u32)current, false);
	if (primary)
		place->context = primary_number(p, primary);
}

static __always_inline void place_current(struct process_image *p, struct thread *th,
					  const volatile struct api_row *row, struct place *place)
{
	/* The runtime makes the device's primary context current where there is none. */
	if (th->current == CURRENT_NONE && row->family == FAMILY_CUDART)
		th->current = CURRENT_DEVICE | th->device;
	if (th->current != CURRENT_NONE && is_followed(th))
		place_context(p, th->current, place);
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

/* Handles up to this one are the default streams of the thread's context: cudaStreamPerThread. */
#define STREAM_OF_CONTEXT 2

/* What stream-ordered allocation takes from where no pool is named: the pool that the stream's
 * device uses. Of a stream that was made unseen nothing is known.
 */
static __always_inline void place_stream(struct process_image *p, __u64 stream, struct place *place)
{
	struct live_key key = handle_key(p, SPACE_STREAM, stream);
	struct handle *known, *pool;

	if (stream > STREAM_OF_CONTEXT) {
		known = bpf_map_lookup_elem(&handles, &key);
		place->device = known ? known->device : DEVICE_UNKNOWN;
	}
	pool = pool_of_device(p, place->device);
	place->context = 0;
	if (!pool)
		return;
	place->kind = pool->kind;
	place->pool = pool->number;
}

/* All that is not simply the thread's context; in th->place. Global, so that the verifier
 * looks at it once.
 */
__noinline int place_elsewhere(__u32 api)
{
	struct place *place;
	struct caller c;

	if (!caller_find(&c, api))
		return 0;
	place = &c.th->place;
	if (c.row->place == PLACE_STREAM)
		place_stream(c.p, c.th->extra, place);
	else if (c.row->place == PLACE_POOL)
		place_pool(c.p, c.th->extra, place);
	else
		place_properties(c.th->extra, place);
	return 0;
}

/* Into th->place: of what is there the verifier does not follow every combination. */
static __always_inline void place_find(struct process_image *p, struct thread *th,
				       const volatile struct api_row *row)
{
	__u32 sort = row->place;

	th->place = (struct place){.device = DEVICE_UNKNOWN, .kind = row->kind};
	if (row->space != SPACE_PHYSICAL && sort <= PLACE_STREAM)
		place_current(p, th, row, &th->place);
	if (sort == PLACE_NONE)
		th->place.device = DEVICE_UNKNOWN;
	else if (sort != PLACE_CURRENT)
		place_elsewhere(COOKIE_API(th->cookie));
}

#endif
