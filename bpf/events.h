/* SPDX-License-Identifier: GPL-2.0 */
/* Putting events into the ring buffer. */
#ifndef SRTLEAK_EVENTS_H
#define SRTLEAK_EVENTS_H

/* A wake-up costs several times what the event does. Probes stay silent, and force one (without the
 * force the kernel wakes only a reader that had caught up) each time another eighth of the ring has
 * been written; the daemon's timer fetches what lies below that. The window is wider than a record
 * because another CPU may reserve between our reservation and the query.
 */
#define WAKE_WINDOW 1024

static __always_inline __u64 wake_flags(bool now)
{
	__u64 written = bpf_ringbuf_query(&events, BPF_RB_PROD_POS);

	return now || (written & (RING_WAKE_BYTES - 1)) < WAKE_WINDOW ? BPF_RB_FORCE_WAKEUP
								      : BPF_RB_NO_WAKEUP;
}

/* Returns false where the ring was full; that is counted here. `now` wakes the daemon at once. */
static __always_inline bool emit(__u32 type, __u32 image, __u64 addr,
				 const struct live_value *value, __s32 result, __u64 time_ns,
				 bool now)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	if (!e) {
		count(COUNTER_LOST_RING);
		return false;
	}
	e->time_ns = time_ns;
	e->id = value->id;
	e->addr = addr;
	e->size = value->size;
	e->stack = value->stack;
	e->image = image;
	e->tgid = pid_tgid >> 32;
	e->tid = pid_tgid;
	e->result = result;
	e->api = value->api;
	e->kind = value->kind;
	e->type = type;
	e->device = value->device;
	e->pool = value->pool;
	e->zero = 0;
	bpf_ringbuf_submit(e, wake_flags(now));
	return true;
}

/* Of something that happened just now; what is lost is counted for the process too. */
static __always_inline void report(struct process_image *p, __u32 type, __u64 addr,
				   const struct live_value *value, __s32 result)
{
	if (!emit(type, p->image, addr, value, result, bpf_ktime_get_boot_ns(), false))
		__sync_fetch_and_add(&p->lost_events, 1);
}

/* `live`: entries that are left when it ends. */
static __always_inline void emit_life(__u32 type, __u32 image, __u32 live)
{
	struct live_value none = {.device = DEVICE_UNKNOWN, .size = live};

	emit(type, image, 0, &none, 0, bpf_ktime_get_boot_ns(), false);
}

#endif
