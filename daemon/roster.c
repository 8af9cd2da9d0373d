/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/epoll.h>

#include "clock.h"
#include "log.h"
#include "macro.h"
#include "names.h"
#include "procfs.h"
#include "roster.h"

#define RELEASE_BATCH 1024

struct process *roster_image(const struct tracker *t, uint32_t image)
{
	struct process_ref *ref = table_find(&t->images, image);

	return ref ? ref->process : NULL;
}

/* Takes entries of the live map out; returns how many there were. */
static size_t forget_allocations(struct tracker *t, struct process *p)
{
	struct live_key keys[RELEASE_BATCH];
	size_t n = 0, removed = 0;

	table_foreach (&p->allocs, struct alloc, alloc) {
		keys[n++] = (struct live_key){
			.addr = alloc->ptr,
			.image = p->image,
			.space = api_rows[alloc->api].space,
		};
		if (n == RELEASE_BATCH) {
			removed += probes_forget(t->probes, keys, n);
			n = 0;
		}
	}
	return removed + probes_forget(t->probes, keys, n);
}

static size_t forget_stacks(struct tracker *t, struct process *p)
{
	size_t removed = 0;

	table_foreach (&p->stacks, struct site_ref, ref)
		removed += probes_forget_stack(t->probes, p->image, ref->stack);
	return removed;
}

/* What a process held is gone: from the tables, and from the kernel's maps. There it had `live`
 * entries, where that is known. Only when all that the kernel has of it is out may others have the
 * room; if there is more than was known here, the next repair sees to it.
 */
static void release(struct tracker *t, struct process *p, uint64_t live)
{
	const struct grants *grants = probes_grants(t->probes);
	size_t removed = forget_allocations(t, p), chunks = forget_stacks(t, p);

	if (p->image && removed >= live && chunks >= grants_of(grants, p->image, SHARED_CHUNKS))
		probes_release(t->probes, p->image);
	else if (p->image)
		t->is_behind = true;
	t->allocations -= p->allocs.count;
	t->litter += p->image != 0;
	table_remove(&t->images, p->image);
	restraint_end(t, p);
	process_empty(p);
	p->image = 0;
}

static void tell_life(struct tracker *t, const struct process *p, enum watch_type type,
		      uint64_t time_ns)
{
	if (t->watch.count > 0)
		watch_life(&t->watch, p, type, time_ns);
}

static void forget_process(struct tracker *t, struct process *p, uint64_t live)
{
	release(t, p, live);
	quota_give(&t->quotas.processes, p->uid, 1);
	probes_drop_python(t->probes, p->pid, p->start_ticks);
	/* The exit may have come before the note. */
	probes_drop_note(t->probes, p->pid, p->start_ticks);
	table_remove(&t->processes, (uint64_t)p->pid);
	process_free(p);
}

void roster_end(struct tracker *t, struct process *p, uint64_t time_ns, uint64_t live)
{
	ends_note(&t->ends, p->pid, time_ns);
	tell_life(t, p, WATCH_EXIT, time_ns);
	forget_process(t, p, live);
}

void roster_leave(struct tracker *t, struct process *p)
{
	watch_left(&t->watch, p);
	forget_process(t, p, ROSTER_LIVE_UNKNOWN);
}

void roster_remove(struct tracker *t, struct process *p)
{
	roster_end(t, p, clock_boottime_ns(), ROSTER_LIVE_UNKNOWN);
}

static int on_ended(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct tracker *t = userdata;
	uint64_t start_ticks = 0;
	struct process *p;
	pid_t pid = 0;

	(void)fd;
	(void)revents;
	table_foreach (&t->processes, struct process_ref, ref)
		if (ref->process->ended == source) {
			pid = ref->process->pid;
			start_ticks = ref->process->start_ticks;
		}
	/* Its last events are in the ring; they may remove it, and its pid may be another's. If
	 * there are too many for one turn, we are called again.
	 */
	if (probes_consume(t->probes))
		return 0;
	p = tracker_find(t, pid);
	if (p && p->start_ticks == start_ticks)
		roster_remove(t, p);
	return 0;
}

/* An earlier daemon may have seen more of it than can be seen now. */
static void recall(struct process *p, const struct tracker *t)
{
	struct tracked note;

	if (probes_noted(t->probes, p->pid, &note) < 0 || note.start_ticks != p->start_ticks) {
		if (p->start_ticks < t->admission.unseen_before)
			process_unseen(p);
		return;
	}
	p->partial = note.partial & ((1U << PARTIAL_MAX) - 1);
	p->partial_logged = p->partial; /* by that daemon */
	p->unseen_ns = note.unseen_ns;
	p->is_whole = note.whole;
	p->is_part = !note.whole;
	if (note.attached_at > 0)
		p->attached_at = (double)note.attached_at / 1e6;
}

void roster_note(struct process *p, const struct probes *probes)
{
	const struct tracked note = {
		.start_ticks = p->start_ticks,
		.attached_at = (uint64_t)(p->attached_at * 1e6),
		.unseen_ns = p->unseen_ns,
		.partial = p->partial,
		.whole = p->is_whole,
	};
	int r = 0;

	if (p->noted_partial != p->partial || !p->is_noted)
		r = probes_note(probes, p->pid, &note);
	p->is_noted = r == 0;
	p->noted_partial = p->partial;
}

/* Finding out about a process takes time, of which its user's others may have used up what there
 * is.
 */
static struct process *get_to_know(struct tracker *t, pid_t pid)
{
	struct quotas *q = &t->quotas;
	struct process *p = NULL;
	uid_t uid = (uid_t)-1;
	pid_t inner;

	(void)procfs_status(pid, &uid, &inner);
	if (!quota_has(&q->time, uid, 0, 1))
		q->time.refused++;
	else if (quota_take(&q->processes, uid, 0, 1))
		p = process_new(pid, q);
	else
		log_limited(LOG_LEVEL_WARNING,
			    "process %d: not tracked: user %u has as many processes as there is "
			    "room for",
			    pid, uid);
	if (!p) {
		put_off_note(&t->put_off, pid);
		return NULL;
	}
	if (p->uid != uid) { /* it has ended, or has changed its user, meanwhile */
		quota_give(&q->processes, uid, 1);
		quota_charge(&q->processes, p->uid, 1);
	}
	return p;
}

static struct process *add_known(struct tracker *t, struct process *p, uint64_t time_ns)
{
	struct process_ref *ref;

	if (table_add(&t->processes, (uint64_t)p->pid, (void **)&ref) < 0) {
		quota_give(&t->quotas.processes, p->uid, 1);
		return process_free(p);
	}
	ref->process = p;
	p->found_ns = time_ns;
	if (p->pidfd >= 0 &&
	    sd_event_add_io(t->loop, &p->ended, p->pidfd, EPOLLIN, on_ended, t) < 0)
		log_warning("process %d: its end cannot be watched", p->pid);
	recall(p, t);
	roster_note(p, t->probes);
	process_find_python(p, t->probes);
	tell_life(t, p, WATCH_START, time_ns);
	return p;
}

static struct process *add_process(struct tracker *t, pid_t pid, uint64_t time_ns)
{
	uint64_t began;
	struct process *p = NULL;

	if (put_off_holds(&t->put_off, pid)) {
		t->is_behind = true;
		return NULL;
	}
	began = quota_time();
	if (admission_admits(&t->admission, pid)) {
		p = get_to_know(t, pid);
		t->is_behind |= !p;
	}
	if (p)
		p = add_known(t, p, time_ns);
	if (p)
		quota_charge(&t->quotas.time, p->uid, quota_time() - began);
	return p;
}

struct process *roster_current(struct tracker *t, pid_t pid, uint64_t time_ns)
{
	struct process *p = tracker_find(t, pid);
	uint64_t ticks;

	if (p && procfs_start_ticks(pid, &ticks) == 0 && ticks != p->start_ticks) {
		roster_remove(t, p);
		p = NULL;
	}
	return p ? p : add_process(t, pid, time_ns);
}

struct process *roster_of(struct tracker *t, uint32_t image, pid_t pid, uint64_t time_ns)
{
	struct process *p = roster_image(t, image);
	struct process_ref *ref;

	if (p)
		return p;
	if (admission_is_dropped(&t->admission, image))
		return NULL;
	p = roster_current(t, pid, time_ns);
	/* News of a predecessor must not be taken for its successor's. */
	if (!p || (p->image && image_is_later(p->image, image)) ||
	    time_ns / NS_PER_TICK < p->start_ticks)
		return NULL;
	if (p->image) {
		tell_life(t, p, WATCH_EXIT, time_ns);
		tell_life(t, p, WATCH_START, time_ns);
		release(t, p, ROSTER_LIVE_UNKNOWN);
	}
	if (table_add(&t->images, image, (void **)&ref) < 0)
		return NULL;
	ref->process = p;
	p->image = image;
	restraint_begin(t, p);
	return p;
}
