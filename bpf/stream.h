/* SPDX-License-Identifier: GPL-2.0 */
/* Streams, which say on which device memory is allocated in their order, whatever the thread's. One
 * ends with its context too: what is left of it then the daemon removes.
 */
#ifndef SRTLEAK_STREAM_H
#define SRTLEAK_STREAM_H

static __always_inline void stream_made(struct process_image *p, struct thread *th,
					const volatile struct api_row *row)
{
	struct live_key key = handle_key(p, SPACE_STREAM, read_user_u64(th->pointer));
	struct handle fresh = {};

	if (!key.addr)
		return;
	th->place = (struct place){.device = DEVICE_UNKNOWN};
	if (row->place == PLACE_CONTEXT)
		place_context(p, th->extra, &th->place);
	else
		place_current(p, th, row, &th->place);
	fresh.device = th->place.device;
	fresh.number = th->place.context;
	handle_put(p, &key, &fresh);
}

/* At the call's entry: another thread's next stream may have its handle before the call returns. */
static __always_inline void stream_leave(struct process_image *p, struct thread *th)
{
	struct live_key key = handle_key(p, SPACE_STREAM, th->pointer);
	struct handle *stream = bpf_map_lookup_elem(&handles, &key);

	th->stashed = 0;
	if (!stream)
		return;
	th->stash = *stream;
	th->stashed = handle_remove(p, &key);
}

static __always_inline void stream_stays(struct process_image *p, struct thread *th)
{
	struct live_key key = handle_key(p, SPACE_STREAM, th->pointer);

	if (th->stashed)
		handle_put(p, &key, &th->stash);
	th->stashed = 0;
}

#endif
