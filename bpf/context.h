/* SPDX-License-Identifier: GPL-2.0 */
/* Contexts: which one is a thread's, of which device it is, and which have ended with all that was
 * made in them.
 *
 * A thread's current context is a handle, or a device (bit 63) for that device's primary context:
 * that is all the runtime knows. Unlike allocating calls these count at any depth, as the runtime
 * gets its contexts from the driver.
 *
 * Every context has a number within its process image, which its allocations carry. A primary
 * context gets a new one when it comes to life again after a reset.
 */
#ifndef SRTLEAK_CONTEXT_H
#define SRTLEAK_CONTEXT_H

#define CURRENT_UNKNOWN 0ULL
#define CURRENT_NONE (1ULL << 62)
#define CURRENT_DEVICE (1ULL << 63)

#define DEVICES_MAX 128U

/* In place of an ordinal. Of contexts that are older than the probes no more is known, so one entry
 * stands for them all among the primary ones.
 */
#define PRIMARY_UNKNOWN ((__u8)DEVICE_UNKNOWN)
#define PRIMARY_NONE (PRIMARY_UNKNOWN - 1U)

static __always_inline __s8 device_of(__u32 ordinal)
{
	return ordinal < DEVICES_MAX ? (__s8)ordinal : DEVICE_UNKNOWN;
}

/* Whether nothing has gone unseen since then: neither what was called through this library, nor, as
 * far as the daemon knows, what the process called through another or while it was ignored.
 */
static __always_inline bool was_seen(struct task_struct *task, __u32 cookie, __u64 since_ns)
{
	__u32 library = COOKIE_LIBRARY(cookie), tgid = task->tgid;
	__u64 *armed_ns = bpf_map_lookup_elem(&armed, &library);
	struct tracked *note = bpf_map_lookup_elem(&tracked, &tgid);

	if (note && note->whole)
		return true;
	return armed_ns && since_ns > *armed_ns && (!note || since_ns > note->unseen_ns);
}

/* A thread all of whose calls were seen has no context to begin with. Of others nothing is known
 * until they choose one; and so it is again when calls have gone unseen meanwhile. One that was
 * refused has no record until it is seen.
 */
static __always_inline void contexts_begin(struct task_struct *task, const struct process_image *p,
					   struct thread *th, __u32 cookie)
{
	bool is_first = !th->contexts_ns, is_known;
	__u64 since_ns;

	if (th->contexts_ns > newest_unseen_ns)
		return;
	since_ns = th->contexts_ns ?: th->began_ns ?: task->start_boottime;
	is_known = was_seen(task, cookie, since_ns) && (!is_first || since_ns > p->unseen_ns);
	th->contexts_ns = bpf_ktime_get_boot_ns();
	if (is_known && !is_first)
		return;
	th->bottom = is_known ? CURRENT_NONE : CURRENT_UNKNOWN;
	th->current = th->bottom;
	th->depth = 0;
	th->device = 0;
}

/* False where the thread has come out of a stack of contexts that is deeper than the probes keep:
 * then its context is unknown for another reason than that it is older than they are.
 */
static __always_inline bool is_followed(const struct thread *th)
{
	return th->current != CURRENT_UNKNOWN || th->bottom == CURRENT_UNKNOWN;
}

static __always_inline void contexts_restart(struct thread *th)
{
	th->began_ns = bpf_ktime_get_boot_ns();
	th->contexts_ns = 0;
}

static __always_inline void context_push(struct thread *th, __u64 current)
{
	if (th->depth < CONTEXT_DEPTH)
		th->below[th->depth & (CONTEXT_DEPTH - 1)] = th->current;
	th->depth++;
	th->current = current;
}

static __always_inline void context_pop(struct thread *th)
{
	if (!th->depth) {
		th->current = th->bottom;
		return;
	}
	th->depth--;
	th->current = th->depth < CONTEXT_DEPTH ? th->below[th->depth & (CONTEXT_DEPTH - 1)]
						: CURRENT_UNKNOWN;
}

/* Others may hold it, unless all that the process ever did was seen. Global, so that the verifier
 * looks at it once.
 */
__noinline int primary_make(__u32 device, __u32 is_whole)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct handle fresh = {
		.device = device_of(device),
		.flags = is_whole ? 0 : HANDLE_UNSEEN,
	};
	struct live_key key = {};

	if (!p || (device >= DEVICES_MAX && device != PRIMARY_UNKNOWN))
		return 0;
	key = handle_key(p, SPACE_PRIMARY, device);
	/* Another thread may come first. */
	if (handle_admit(p) && bpf_map_update_elem(&handles, &key, &fresh, BPF_NOEXIST))
		grant_return(p->image, SHARED_HANDLES, 1);
	return 0;
}

/* A device's primary context, made where it is not known. */
static __always_inline struct handle *primary_get(struct process_image *p, __u32 device,
						  bool is_whole)
{
	struct live_key key = handle_key(p, SPACE_PRIMARY, device);
	struct handle *primary = bpf_map_lookup_elem(&handles, &key);

	if (primary)
		return primary;
	primary_make(device, is_whole);
	return bpf_map_lookup_elem(&handles, &key);
}

/* The number of a living primary context; it comes to life with the first use. */
static __always_inline __u32 primary_number(struct process_image *p, struct handle *primary)
{
	__u32 number = primary->number;

	if (number)
		return number;
	number = number_take(SPACE_CONTEXT_NUMBER);
	primary->id = next_id();
	if (__sync_val_compare_and_swap(&primary->number, 0, number))
		number_give_back(p, SPACE_CONTEXT_NUMBER, number); /* another thread came first */
	return primary->number;
}

/* All that was made in a context goes. Noted at the call's entry: its addresses may be another's
 * before it returns.
 */
static __always_inline void context_end(struct process_image *p, struct context_call *call,
					__u32 number)
{
	number_ending(SPACE_CONTEXT_NUMBER, number);
	call->ended = number;
}

static __always_inline bool context_has_ended(const struct process_image *p, __u32 number)
{
	return number_has_ended(p, SPACE_CONTEXT_NUMBER, number);
}

/* Takes a primary context's number away from it. 0: it is not alive, or another call was first. */
static __always_inline __u32 primary_leave(struct process_image *p, __u32 device)
{
	struct live_key key = handle_key(p, SPACE_PRIMARY, device);
	struct handle *primary = bpf_map_lookup_elem(&handles, &key);
	__u32 number = primary ? primary->number : 0;

	if (number && __sync_val_compare_and_swap(&primary->number, number, 0) == number)
		return number;
	return 0;
}

/* Any context may be the one of which nothing is known: what is in that is taken to end with each,
 * for to show what is no more is worse than to show too little.
 */
static __always_inline void primary_end(struct process_image *p, struct context_call *call)
{
	__u32 unknown;

	call->number = next_id();
	context_end(p, call, primary_leave(p, call->device));
	unknown = primary_leave(p, PRIMARY_UNKNOWN);
	if (call->ended && unknown)
		number_join(SPACE_CONTEXT_NUMBER, call->ended, unknown);
	else if (unknown)
		context_end(p, call, unknown);
}

/* References of a primary context are counted as in references.h. Those that are made while the
 * calls under way could give up all there are count as mappings do: for its next life, unless one
 * of these calls fails. Whether they came before or after the last one went only the driver knows.
 */
#define PRIMARY_NEXT REFERENCE_MAPPING

enum primary_count {
	PRIMARY_RETAIN,
	PRIMARY_UNDO,  /* of that */
	PRIMARY_LEAVE, /* a call is about to give one up … */
	PRIMARY_LEFT,  /* … and has; … */
	PRIMARY_STAY,  /* … or has failed */
};

static __always_inline bool primary_is_held(__u64 counts)
{
	return (counts & REFERENCES_MASK) > counts / REFERENCE_LEAVING;
}

static __always_inline __u64 primary_next(__u64 counts)
{
	return counts / PRIMARY_NEXT & REFERENCES_MASK;
}

static __always_inline __u64 primary_after(__u64 counts, enum primary_count how)
{
	__u64 now = counts & REFERENCES_MASK;

	switch (how) {
	case PRIMARY_RETAIN:
		return counts + (now && !primary_is_held(counts) ? PRIMARY_NEXT : 1);
	case PRIMARY_LEAVE:
		return counts + REFERENCE_LEAVING;
	case PRIMARY_UNDO:
		counts -= primary_next(counts) ? PRIMARY_NEXT : now ? 1 : 0;
		break;
	case PRIMARY_LEFT:
		counts -= REFERENCE_LEAVING + (now ? 1 : 0);
		break;
	default:
		counts -= REFERENCE_LEAVING;
		break;
	}
	/* The next life begins, or this one goes on. */
	if (!(counts & REFERENCES_MASK) || primary_is_held(counts))
		counts -= primary_next(counts) * (PRIMARY_NEXT - 1);
	return counts;
}

#define PRIMARY_ATTEMPTS 16 /* against others that count at the same time */

/* What the counts were is in ret. False where others were always first, which is counted. */
static __always_inline bool primary_count(struct process_image *p, struct handle *primary,
					  enum primary_count how, __u64 *ret)
{
	int i;

	for (i = 0; i < PRIMARY_ATTEMPTS; i++) {
		*ret = primary->counts;
		if (__sync_val_compare_and_swap(&primary->counts, *ret, primary_after(*ret, how)) ==
		    *ret)
			return true;
	}
	handle_lost(p);
	return false;
}

/* Counted at entry: another thread may release what was the last one before the call returns. */
static __always_inline void primary_retain(struct task_struct *task, struct process_image *p,
					   struct context_call *call)
{
	bool is_whole = was_seen(task, call->cookie, p->start_ns) && !p->unseen_ns;
	struct handle *primary = primary_get(p, call->device, is_whole);
	__u64 before;

	call->retained = primary && primary_count(p, primary, PRIMARY_RETAIN, &before);
}

/* The daemon may have said only after the context was made that nothing had gone unseen. */
static __always_inline bool has_others(struct task_struct *task, const struct process_image *p,
				       const struct context_call *call, struct handle *primary)
{
	if (primary->flags & HANDLE_UNSEEN && was_seen(task, call->cookie, p->start_ns) &&
	    !p->unseen_ns)
		primary->flags &= ~HANDLE_UNSEEN;
	return primary->flags & HANDLE_UNSEEN;
}

/* The calls that are about to give one up are counted beside the references, as in referent.h.
 * Those under way could give up the last: then its next life must have another number before they
 * return.
 */
static __always_inline void primary_release(struct task_struct *task, struct process_image *p,
					    struct context_call *call)
{
	struct live_key key = handle_key(p, SPACE_PRIMARY, call->device);
	struct handle *primary = bpf_map_lookup_elem(&handles, &key);
	__u64 before;

	if (!primary || !references_of(primary->counts))
		return;
	call->leaving = primary_count(p, primary, PRIMARY_LEAVE, &before);
	if (!has_others(task, p, call, primary) && !primary_is_held(primary->counts))
		primary_end(p, call);
}

/* Global, so that the verifier looks at it once. */
__noinline int primary_is_known(__u32 device)
{
	struct process_image *p = process_find(bpf_get_current_task_btf());
	struct live_key key = {};

	if (!p)
		return 0;
	key = handle_key(p, SPACE_PRIMARY, device);
	return bpf_map_lookup_elem(&handles, &key) ? 1 : 0;
}

/* The device of the only primary context that is known, if there is one. Without branches, which
 * the verifier would follow from each turn into the next.
 */
__noinline __u32 primary_only(void)
{
	__u32 device, known = 0, sum = 0;

	for (device = 0; device < DEVICES_MAX; device++) {
		__u32 is_known = primary_is_known(device);

		known += is_known;
		sum += is_known * device;
	}
	return known == 1 ? sum : PRIMARY_UNKNOWN;
}

/* The device whose primary context the runtime resets: that of the thread's current one, or of the
 * one that it would make current where there is none; where that is not known, the only one that is
 * known at all. In a context of the application's own nothing is freed.
 */
static __always_inline __u32 primary_to_reset(struct process_image *p, const struct thread *th)
{
	struct live_key key = handle_key(p, SPACE_CONTEXT, th->current);
	struct handle *context;

	if (th->current == CURRENT_NONE)
		return (__u8)device_of(th->device);
	if (th->current & CURRENT_DEVICE)
		return (__u8)device_of(th->current);
	context = bpf_map_lookup_elem(&handles, &key);
	if (!context)
		return is_followed(th) ? primary_only() : PRIMARY_NONE;
	return (context->flags & (HANDLE_PRIMARY | HANDLE_GREEN)) == HANDLE_PRIMARY
		       ? (__u8)context->device
		       : PRIMARY_NONE;
}

/* Its handle goes at once too: another thread's next context may have it before the call returns.
 */
static __always_inline void context_destroy(struct process_image *p, struct context_call *call)
{
	struct live_key key = handle_key(p, SPACE_CONTEXT, call->pointer);
	struct handle *known = bpf_map_lookup_elem(&handles, &key);
	struct handle context = {};

	if (!known) {
		call->device = PRIMARY_UNKNOWN;
		primary_end(p, call);
		return;
	}
	context = *known;
	if (context.flags & HANDLE_PRIMARY || !handle_remove(p, &key)) {
		call->number = next_id(); /* after nothing was found */
		return;
	}
	call->taken = 1;
	call->number = context.id;
	call->device = (__u8)context.device;
	context_end(p, call, context.number);
}

static __always_inline void context_ended(struct process_image *p, const struct context_call *call)
{
	struct live_value none = {.device = DEVICE_UNKNOWN, .kind = KIND_NONE};

	if (!call->ended)
		return;
	number_end(SPACE_CONTEXT_NUMBER, call->ended);
	report(p, EVENT_RESET, call->ended, &none, 0);
}

/* A green context holds its device's primary context, in which its memory is. What is known of it
 * stays for whoever gets its handle next.
 */
static __always_inline void green_destroy(struct task_struct *task, struct process_image *p,
					  struct context_call *call)
{
	struct live_key key = handle_key(p, SPACE_CONTEXT, call->pointer);
	struct handle *green = bpf_map_lookup_elem(&handles, &key);

	call->device = green ? (__u8)green->device : (__u8)DEVICE_UNKNOWN;
	primary_release(task, p, call);
}

static __always_inline void green_converted(struct process_image *p,
					    const struct context_call *call)
{
	struct live_key key = handle_key(p, SPACE_CONTEXT, call->number);
	struct handle *green = bpf_map_lookup_elem(&handles, &key);
	struct handle context;

	if (!green)
		return;
	context = *green;
	context.flags |= HANDLE_GREEN;
	key = handle_key(p, SPACE_CONTEXT, read_user_u64(call->pointer));
	handle_put(p, &key, &context);
}

/* It is as it was before the call. */
static __always_inline void primary_goes_on(struct process_image *p, struct context_call *call)
{
	struct live_key key = handle_key(p, SPACE_PRIMARY, call->device);
	struct handle *primary = bpf_map_lookup_elem(&handles, &key);
	__u32 number;

	number_goes_on(SPACE_CONTEXT_NUMBER, call->ended);
	if (!primary && call->ended) /* it was all that is not known */
		primary = primary_get(p, PRIMARY_UNKNOWN, false);
	if (!primary || !call->ended)
		return;
	/* It may have been given a new one meanwhile. */
	number = __sync_val_compare_and_swap(&primary->number, 0, call->ended);
	if (number)
		number_join(SPACE_CONTEXT_NUMBER, number, call->ended);
	if (!stray_since(&key, call->number))
		return;
	__sync_val_compare_and_swap(&primary->number, call->ended, 0);
	context_ended(p, call);
}

/* Another call may have in hand what this one has ended too, and fail: see stray.h. */
static __always_inline void primary_ended_beside(struct process_image *p, struct context_call *call)
{
	struct live_key key = handle_key(p, SPACE_PRIMARY, call->device);

	if (!stray_note_handle(&key, call->number))
		return;
	call->ended = 0;
	primary_end(p, call);
	context_ended(p, call);
}

/* Whether it has no references left in this life. */
static __always_inline bool primary_is_over(struct process_image *p,
					    const struct context_call *call, enum primary_count how)
{
	struct live_key key = handle_key(p, SPACE_PRIMARY, call->device);
	struct handle *primary = bpf_map_lookup_elem(&handles, &key);
	__u64 before;

	if (!primary || !primary_count(p, primary, how, &before))
		return false;
	return (before & REFERENCES_MASK) == 1 && how != PRIMARY_STAY &&
	       !(how == PRIMARY_UNDO && primary_next(before)) && !(primary->flags & HANDLE_UNSEEN);
}

/* A reference has been given up. Where another was before this one, or this one would have been the
 * last but another has failed, not what this one has in hand says whether it has ended.
 */
static __always_inline void primary_released(struct process_image *p, struct context_call *call)
{
	if (primary_is_over(p, call, call->leaving ? PRIMARY_LEFT : PRIMARY_UNDO)) {
		if (!call->ended)
			primary_end(p, call);
		context_ended(p, call);
		primary_ended_beside(p, call);
	} else {
		primary_goes_on(p, call);
	}
}

/* A call whose return was not seen (longjmp, the end of the thread): what it was to end is taken to
 * have ended.
 */
static __always_inline void context_abandon(struct process_image *p, struct context_call *call)
{
	if (!call->sp || !(call->ended || call->leaving) || call->image != p->image)
		return;
	call->sp = 0;
	count(COUNTER_LOST_RETURN);
	__sync_fetch_and_add(&p->lost_returns, 1);
	if (call->leaving)
		primary_released(p, call);
	else
		context_ended(p, call);
}

/* Two calls at once: see stray.h. */
static __always_inline void context_destroyed_by_other(struct process_image *p,
						       struct context_call *call)
{
	struct live_key key = handle_key(p, SPACE_CONTEXT, call->pointer);

	if (!stray_note_handle(&key, call->number))
		return;
	context_destroy(p, call);
	context_ended(p, call);
}

/* extra: the argument that the row calls so. Global, so that the verifier looks at it once. */
__noinline int context_entry(__u64 sp, __u64 ip, __u64 pointer, __u64 extra, __u32 cookie)
{
	struct context_call *call;
	struct caller c;

	if (!caller_find(&c, COOKIE_API(cookie)))
		return 0;
	call = &c.th->calls[c.row->family % FAMILY_MAX];
	if (call->sp == sp && call->ip == ip &&
	    is_second_probe(cookie, call->cookie, &call->second))
		return 0;
	/* Made by the call that ends a context, unless that was left. */
	if (call->sp && call->ended && sp < call->sp && is_to_return(c.task, call->sp))
		return 0;
	context_abandon(c.p, call);
	call->sp = sp;
	call->ip = ip;
	call->image = c.p->image;
	call->cookie = cookie;
	call->second = 0;
	call->pointer = pointer;
	call->device = extra;
	call->ended = call->taken = call->leaving = call->retained = 0;
	call->number = 0;
	switch (c.row->action) {
	case ACTION_GREEN_CONTEXT:
		call->number = extra;
		break;
	case ACTION_GREEN_DESTROY:
		green_destroy(c.task, c.p, call);
		break;
	case ACTION_DEVICE_RESET:
		call->device = primary_to_reset(c.p, c.th);
		if (call->device != PRIMARY_NONE)
			primary_end(c.p, call);
		break;
	case ACTION_PRIMARY_RETAIN:
		primary_retain(c.task, c.p, call);
		break;
	case ACTION_PRIMARY_RESET:
		primary_end(c.p, call);
		break;
	case ACTION_PRIMARY_RELEASE:
		primary_release(c.task, c.p, call);
		break;
	case ACTION_CONTEXT_DESTROY:
		context_destroy(c.p, call);
		break;
	default:
		break;
	}
	return 0;
}

static __always_inline void context_stays(struct process_image *p, struct context_call *call)
{
	struct live_key key = handle_key(p, SPACE_CONTEXT, call->pointer);
	struct handle context = {
		.id = call->number,
		.device = (__s8)call->device,
		.number = call->ended,
	};

	handle_put(p, &key, &context);
	if (!stray_since(&key, context.id))
		return;
	call->ended = call->taken = 0;
	context_destroy(p, call);
	context_ended(p, call);
}

static __always_inline void context_failed(struct process_image *p, struct context_call *call,
					   __u8 action)
{
	if (call->retained) { /* others may have released theirs since */
		primary_released(p, call);
		return;
	}
	if (action != ACTION_CONTEXT_DESTROY || !call->taken) {
		if (call->leaving)
			primary_is_over(p, call, PRIMARY_STAY);
		primary_goes_on(p, call);
		return;
	}
	number_goes_on(SPACE_CONTEXT_NUMBER, call->ended);
	context_stays(p, call);
}

static __always_inline void context_created(struct process_image *p, struct thread *th,
					    const struct context_call *call)
{
	__u64 context = read_user_u64(call->pointer);
	struct live_key key = handle_key(p, SPACE_CONTEXT, context);
	struct handle *known = bpf_map_lookup_elem(&handles, &key);
	struct handle fresh = {
		.id = next_id(),
		.device = device_of(call->device),
		.number = number_take(SPACE_CONTEXT_NUMBER),
	};

	/* The end of one that had its handle was not seen. */
	if (known) {
		number_end(SPACE_CONTEXT_NUMBER, known->number);
		number_ask(p);
	}
	if (!handle_put(p, &key, &fresh))
		number_give_back(p, SPACE_CONTEXT_NUMBER, fresh.number);
	context_push(th, context);
}

static __always_inline void primary_retained(struct process_image *p,
					     const struct context_call *call)
{
	struct live_key key = handle_key(p, SPACE_CONTEXT, read_user_u64(call->pointer));
	struct handle *known = bpf_map_lookup_elem(&handles, &key);
	struct handle fresh = {.device = device_of(call->device), .flags = HANDLE_PRIMARY};

	if (!known || known->device != fresh.device || known->flags != HANDLE_PRIMARY)
		handle_put(p, &key, &fresh);
}

static __always_inline void context_return(struct task_struct *task, struct process_image *p,
					   struct thread *th, const volatile struct api_row *row,
					   __s32 result)
{
	struct context_call *call = &th->calls[row->family % FAMILY_MAX];

	if (result) {
		context_failed(p, call, row->action);
		return;
	}
	if (call->leaving)
		primary_released(p, call);
	else
		context_ended(p, call);
	switch (row->action) {
	case ACTION_DEVICE_SET:
		th->device = call->device;
		th->current = CURRENT_DEVICE | call->device;
		break;
	case ACTION_PRIMARY_RETAIN:
		primary_retained(p, call);
		break;
	case ACTION_GREEN_CONTEXT:
		green_converted(p, call);
		break;
	case ACTION_DEVICE_RESET:
	case ACTION_PRIMARY_RESET:
		if (call->number)
			primary_ended_beside(p, call);
		break;
	case ACTION_CONTEXT_CREATE:
		context_created(p, th, call);
		break;
	case ACTION_CONTEXT_DESTROY:
		if (!call->taken)
			context_destroyed_by_other(p, call);
		if (th->current == call->pointer)
			context_pop(th);
		break;
	case ACTION_CONTEXT_SET:
		if (call->pointer)
			th->current = call->pointer;
		else
			context_pop(th);
		break;
	case ACTION_CONTEXT_PUSH:
		context_push(th, call->pointer);
		break;
	case ACTION_CONTEXT_POP:
		context_pop(th);
		break;
	default:
		break;
	}
}

#endif
