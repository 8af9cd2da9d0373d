/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "macro.h"
#include "names.h"
#include "procfs.h"
#include "roster.h"
#include "sweep.h"
#include "symbols.h"
#include "tracker.h"

#define RELEASE_BATCH 1024
#define TURNS_MAX 2
#define RECOVERY_TURNS 500     /* of PROBES_TURN_NS */
#define START_TIME 30000000ULL /* in place of TIME_MAX, until the daemon has started */
#define SECOND_USEC 1000000
#define SWEEP_INTERVAL_USEC 10000000
#define LITTER_MAX (PROCESSES_MAX / 4) /* then it does not wait so long */
#define REPAIR_INTERVAL_NS 1000000000ULL
#define REPAIR_REST 4                     /* times as long as the repair: between two */
#define REPAIR_REST_MAX_NS 10000000000ULL /* for so long at most are tables left incomplete */
#define SAMPLE_INTERVAL_USEC (HISTORY_INTERVAL_S * 1000000ULL)

void tracker_init(struct tracker *t, sd_event *loop, struct probes *probes,
		  const struct scope *scope)
{
	*t = (struct tracker){.loop = loop, .probes = probes};
	admission_init(&t->admission, probes, scope);
	table_init(&t->processes, sizeof(struct process_ref));
	table_init(&t->images, sizeof(struct process_ref));
	table_init(&t->ended, sizeof(struct ended));
	ends_init(&t->ends);
	quotas_init(&t->quotas);
	/* What is there is to be known, and probed, at once, as far as that ends at all. */
	t->quotas.time.limit = START_TIME;
	put_off_init(&t->put_off);
	watch_init(&t->watch);
	restraint_init(t);
}

void tracker_done(struct tracker *t)
{
	table_foreach (&t->processes, struct process_ref, ref)
		process_free(ref->process);
	table_clear(&t->processes);
	table_clear(&t->images);
	table_clear(&t->ended);
	admission_done(&t->admission);
	ends_clear(&t->ends);
	quotas_done(&t->quotas);
	put_off_clear(&t->put_off);
	watch_done(&t->watch);
}

/* What those who watch are told costs others a comparison. */
static void tell(struct tracker *t, const struct process *p, const struct event *event)
{
	if (t->watch.count > 0)
		watch_event(&t->watch, p, event);
}

bool tracker_puts_off(const struct tracker *t, pid_t pid)
{
	return put_off_holds(&t->put_off, pid);
}

static bool is_exiting(const struct tracker *t, pid_t pid)
{
	uint64_t exiting = ends_exiting(&t->ends, pid), ticks;

	return exiting && procfs_start_ticks(pid, &ticks) == 0 && ticks == exiting;
}

/* What probes have said until now; as far as that ends at all. */
static void tell_waiting(struct tracker *t)
{
	for (int turn = 0; turn < TURNS_MAX && probes_consume(t->probes); turn++)
		continue;
}

struct process *tracker_discover(struct tracker *t, pid_t pid, unsigned int partial, bool was_armed,
				 uint64_t time_ns)
{
	struct process *p = tracker_find(t, pid);

	/* It may have become another program since, which its events say. */
	if (p && p->image) {
		tell_waiting(t);
		p = tracker_find(t, pid);
	}
	if (!p && (ends_outdate(&t->ends, pid, time_ns) || is_exiting(t, pid)))
		return NULL;
	p = roster_current(t, pid, time_ns);
	if (!p)
		return NULL;
	if (p->is_gone) {
		roster_remove(t, p);
		return NULL;
	}
	if (partial & 1U << PARTIAL_LATE_ATTACH)
		process_unseen(p);
	else
		process_mapped(p, was_armed);
	p->partial |= partial;
	roster_note(p, t->probes);
	notices_partial(&t->notices, p);
	/* It may have been found before its interpreter was ready. */
	process_find_python(p, t->probes);
	return p;
}

int tracker_untrack(struct tracker *t, pid_t pid)
{
	int r = admission_decree(&t->admission, pid, VERDICT_IGNORE, WORD_PERSON);
	struct process *p;

	admission_settle(&t->admission);
	tell_waiting(t); /* to those who watch it */
	p = tracker_find(t, pid);
	if (r >= 0 && p)
		roster_leave(t, p);
	return r;
}

void tracker_rescope(struct tracker *t)
{
	_cleanup_free_ pid_t *pids = calloc(t->processes.count + 1, sizeof(*pids));
	size_t n = 0, leaving = 0;

	if (!pids) {
		log_error("not enough memory to apply the rules to known processes");
		return;
	}
	table_foreach (&t->processes, struct process_ref, ref)
		pids[n++] = ref->process->pid;
	for (size_t i = 0; i < n; i++)
		if (!admission_admits(&t->admission, pids[i]))
			pids[leaving++] = pids[i];
	admission_settle(&t->admission);
	for (size_t i = 0; i < leaving; i++)
		roster_leave(t, tracker_find(t, pids[i]));
}

void tracker_executed(struct tracker *t, pid_t pid, uint64_t time_ns)
{
	struct process *p = tracker_find(t, pid);

	/* An image that has called is ended by its own event, in order with its calls. */
	if (p && !p->image && p->found_ns < time_ns)
		roster_end(t, p, time_ns, 0);
	ends_note(&t->ends, pid, time_ns);
}

void tracker_mapped(struct tracker *t, pid_t pid)
{
	struct process *p = tracker_find(t, pid);

	if (p)
		modules_changed(p->modules);
}

/* Takes back what was recorded of an image that is not tracked. Of one that was put off it stays.
 */
static void disown(struct tracker *t, const struct event *event)
{
	const struct live_key key = {
		.addr = event->addr,
		.image = event->image,
		.space = api_rows[event->api].space,
	};

	if (event->type == EVENT_EXEC || event->type == EVENT_EXIT)
		t->is_behind = true; /* what it had is still there, and none of it is known */
	if (event->type != EVENT_ALLOC || put_off_holds(&t->put_off, (pid_t)event->tgid))
		return;
	/* To wait for each process that is left out would take too long: the next repair does it.
	 */
	if (t->admission.may_be_held)
		return;
	probes_forget(t->probes, &key, 1);
	probes_forget_stack(t->probes, event->image, event->stack);
}

static void allocated(struct tracker *t, struct process *p, const struct event *event)
{
	int r = process_allocated(p, t->probes, event);

	if (r == -EAGAIN) { /* a repair takes it up when there is time */
		t->is_behind = true;
		watch_lost(&t->watch, p, 1);
		return;
	}
	if (r > 0)
		t->allocations++;
	notices_size(&t->notices, p);
	tell(t, p, event);
}

/* What a process did before there was room for it is not known. */
#define REFUSED (1U << PARTIAL_LIMIT | 1U << PARTIAL_LATE_ATTACH)

static void note_losses(struct tracker *t, struct process *p)
{
	struct process_image image;

	if (!p->image && grants_refused(probes_grants(t->probes), p->pid, p->start_ticks)) {
		p->partial |= REFUSED;
		roster_note(p, t->probes);
	}
	if (!p->image || probes_image(t->probes, p->pid, &image) < 0 || image.image != p->image)
		return;
	if (image.lost_events != p->lost_events)
		watch_lost(&t->watch, p, image.lost_events - p->lost_events);
	p->lost_events = image.lost_events;
	restraint_look(t, p, &image);
	if (image.was_refused)
		p->partial |= REFUSED;
	if (image.over_limit > 0)
		p->partial |= 1U << PARTIAL_LIMIT;
	if (image.lost_returns > 0)
		p->partial |= 1U << PARTIAL_LOST;
	roster_note(p, t->probes);
}

void tracker_event(const struct event *event, void *userdata)
{
	struct tracker *t = userdata;
	bool over = event->type == EVENT_EXEC || event->type == EVENT_EXIT;
	struct process *p;

	t->events++;
	if (event->api >= API_MAX || (event->type == EVENT_ALLOC && event->kind >= KIND_MAX))
		return;
	p = over ? roster_image(t, event->image)
		 : roster_of(t, event->image, (pid_t)event->tgid, event->time_ns);
	if (!p) {
		disown(t, event);
		return;
	}
	switch (event->type) {
	case EVENT_ALLOC:
		allocated(t, p, event);
		break;
	case EVENT_FREE:
		tell(t, p, event);
		if (process_freed(p, event->id, event->pool))
			t->allocations--;
		notices_size(&t->notices, p);
		break;
	case EVENT_FREE_UNKNOWN:
		tell(t, p, event);
		break;
	case EVENT_FAIL:
		p->failures[event->api]++;
		tell(t, p, event);
		break;
	case EVENT_RESET:
		t->is_behind = true;
		break;
	case EVENT_POOL:
	case EVENT_POOL_TRIM:
	case EVENT_POOL_SIZE:
		pools_event(&p->pools, event);
		break;
	case EVENT_EXIT:
		ends_exits(&t->ends, p->pid, p->start_ticks);
		roster_end(t, p, event->time_ns, event->size);
		break;
	case EVENT_EXEC:
		roster_end(t, p, event->time_ns, event->size);
		break;
	case EVENT_START:
		note_losses(t, p);
		break;
	default:
		break;
	}
}

/* One repair: what the kernel holds, and of which images. */
struct repair {
	struct tracker *tracker;
	struct table seen;   /* images that run */
	uint32_t last_image; /* handed out before the look; later ones are no concern of the repair
			      */
	struct live_key dead[RELEASE_BATCH];
	size_t n_dead;
	struct sweep sweep;
};

static bool is_over(const struct repair *r, uint32_t image)
{
	return !image_is_later(image, r->last_image) && !table_find(&r->seen, image);
}

static int repair_image(pid_t pid, const struct process_image *image, void *userdata)
{
	struct repair *r = userdata;
	void *entry;
	int added = table_add(&r->seen, image->image, &entry);
	struct process *p = roster_of(r->tracker, image->image, pid, image->start_ns);

	/* Without the room it grows step by step. */
	if (p)
		(void)table_reserve(&p->allocs, MIN(image->live, LIVE_MAX));
	return added < 0 ? added : 0;
}

/* Removes processes whose end was lost with its event. */
static int repair_ended(struct repair *r)
{
	struct tracker *t = r->tracker;
	_cleanup_free_ pid_t *ended = calloc(t->processes.count + 1, sizeof(*ended));
	size_t n = 0;

	if (!ended)
		return -ENOMEM;
	table_foreach (&t->processes, struct process_ref, ref)
		if (ref->process->image && is_over(r, ref->process->image))
			ended[n++] = ref->process->pid;
	for (size_t i = 0; i < n; i++)
		roster_remove(t, tracker_find(t, ended[i]));
	return 0;
}

static void forget_dead(struct repair *r)
{
	probes_forget(r->tracker->probes, r->dead, r->n_dead);
	r->n_dead = 0;
}

/* Its context has ended, and it with that. */
static void repair_ended_context(struct repair *r, struct process *p, const struct live_key *key,
				 uint64_t id)
{
	probes_take(r->tracker->probes, p->pid, key, id);
	if (process_freed(p, id, 0))
		r->tracker->allocations--;
}

static void repair_pool(uint32_t image, uint64_t addr, const struct handle *known, void *userdata)
{
	struct repair *r = userdata;
	struct process *p = roster_image(r->tracker, image);

	if (p)
		pools_restore(&p->pools, addr, known);
}

static int repair_live(const struct live_key *key, const struct live_value *value, void *userdata)
{
	struct repair *r = userdata;
	struct tracker *t = r->tracker;
	struct process *p = roster_image(t, key->image);
	struct event event = {
		.id = value->id,
		.addr = key->addr,
		.size = value->size,
		.time_ns = (uint64_t)value->time << TIME_SHIFT,
		.stack = value->stack,
		.image = key->image,
		.tid = value->tid,
		.api = (uint8_t)value->api,
		.kind = (uint8_t)value->kind,
		.device = (int8_t)value->device,
	};
	struct alloc *alloc;
	int added;

	if (is_over(r, key->image)) {
		r->dead[r->n_dead++] = *key;
		if (r->n_dead == RELEASE_BATCH)
			forget_dead(r);
	}
	if (!p || value->api >= API_MAX || value->kind >= KIND_MAX)
		return 0;
	if (sweep_has_ended(&r->sweep, key->image, value->context)) {
		repair_ended_context(r, p, key, value->id);
		return 0;
	}
	pools_add(&p->pools, value->pool, value->size);
	added = process_allocated(p, t->probes, &event);
	if (added > 0) {
		t->recovered++;
		t->allocations++;
	}
	t->is_behind |= added == -EAGAIN;
	alloc = table_find(&p->allocs, value->id);
	if (alloc)
		alloc->sweep = t->sweep;
	return 0;
}

/* What was made in a context that has ended was taken out on the way here. A pool of which nothing
 * is used is forgotten.
 */
static bool is_named(const struct live_key *number, void *userdata)
{
	struct repair *r = userdata;
	struct process *p = roster_image(r->tracker, number->image);

	if (!p)
		return true; /* nothing is known of it */
	return number->space == SPACE_POOL_NUMBER &&
	       pools_is_used(&p->pools, (uint32_t)number->addr);
}

static bool image_is_over(uint32_t image, void *userdata)
{
	return is_over(userdata, image);
}

static void release_grant(uint32_t image, void *userdata)
{
	const struct repair *r = userdata;

	if (is_over(r, image))
		probes_release(r->tracker->probes, image);
}

/* Removes what the live map no longer has. */
static void repair_freed(struct tracker *t, struct process *p)
{
	struct table_cursor cursor = {0};
	struct alloc *alloc;

	table_hold(&p->allocs);
	while ((alloc = table_next(&p->allocs, &cursor)))
		if (alloc->sweep != t->sweep && process_freed(p, alloc->id, 0)) {
			t->recovered++;
			t->allocations--;
		}
	table_release(&p->allocs);
}

static int compare_with_kernel(struct repair *repair)
{
	const struct probes *probes = repair->tracker->probes;
	int r;

	r = probes_each_image(probes, repair_image, repair);
	if (r == 0)
		r = repair_ended(repair);
	if (r < 0)
		return r;
	repair->tracker->sweep = repair->tracker->sweep == 1 ? 2 : 1;
	table_foreach (&repair->tracker->processes, struct process_ref, ref)
		pools_compare(&ref->process->pools);
	r = sweep_run(&repair->sweep);
	if (r < 0)
		return r;
	r = probes_each_live(probes, repair_live, repair);
	if (r < 0)
		return r;
	table_foreach (&repair->tracker->processes, struct process_ref, ref)
		pools_compared(&ref->process->pools);
	forget_dead(repair);
	repair->tracker->is_behind |= sweep_give_back(&repair->sweep, is_named);
	probes_drop_stacks(probes, image_is_over, repair);
	grants_each(probes_grants(probes), release_grant, repair);
	return 0;
}

static struct repair *repair_new(struct tracker *t)
{
	struct repair *repair = calloc(1, sizeof(*repair));

	if (!repair)
		return NULL;
	repair->tracker = t;
	repair->last_image = probes_last_image(t->probes);
	table_init(&repair->seen, sizeof(uint64_t));
	/* A process that begins takes its number a moment before its image can be found. */
	admission_settle(&t->admission);
	sweep_init(&repair->sweep, t->probes);
	repair->sweep.is_over = image_is_over;
	repair->sweep.userdata = repair;
	return repair;
}

/* The memory stays the caller's. */
static void repair_done(struct repair *repair)
{
	sweep_done(&repair->sweep);
	table_clear(&repair->seen);
}

/* The live map is the truth, the ring was only the news. What happens while the map is read is in
 * the ring, behind what was fetched before, and is applied afterwards by id. Where more than that
 * is waiting there, it may speak of what the map has lost since; then another repair is due.
 */
static void repair(struct tracker *t, bool more)
{
	uint64_t began = clock_monotonic_ns();
	_cleanup_free_ struct repair *repair = repair_new(t);
	int r = -ENOMEM;

	t->is_behind = more;
	if (repair) {
		repair->sweep.pool = repair_pool;
		repair->sweep.before = &t->ended;
		r = compare_with_kernel(repair);
		repair_done(repair);
	}
	if (r < 0) {
		t->is_behind = true;
		log_limited(LOG_LEVEL_ERROR,
			    "tables could not be repaired from the live map, to be tried again: %s",
			    r == -EAGAIN ? "processes come and go too fast" : strerror(-r));
	} else {
		t->litter = 0;
		table_foreach (&t->processes, struct process_ref, ref)
			repair_freed(t, ref->process);
	}
	pace_ran(&t->repairs, began, REPAIR_REST, REPAIR_INTERVAL_NS, REPAIR_REST_MAX_NS);
}

static int note_running(pid_t pid, const struct process_image *image, void *userdata)
{
	struct repair *r = userdata;
	void *entry;

	(void)pid;
	return table_add(&r->seen, image->image, &entry) < 0 ? -ENOMEM : 0;
}

/* What processes that have ended have left in the kernel, besides what they had allocated. */
static void sweep_litter(struct tracker *t)
{
	_cleanup_free_ struct repair *repair = repair_new(t);

	if (!repair)
		return; /* later */
	if (probes_each_image(t->probes, note_running, repair) == 0)
		(void)sweep_run(&repair->sweep);
	repair_done(repair);
}

void tracker_recover(struct tracker *t)
{
	uint64_t counters[COUNTER_SLOTS];

	/* What comes faster than it can be read waits for its turn; the map has it already. */
	for (int turn = 0; turn < RECOVERY_TURNS && probes_consume(t->probes); turn++)
		continue;
	if (probes_counters(t->probes, counters) == 0)
		t->lost_before = counters[COUNTER_LOST_RING];
	repair(t, false);
}

void tracker_started(struct tracker *t)
{
	t->quotas.time.limit = TIME_MAX;
	quotas_next_second(&t->quotas);
}

static void sample(struct tracker *t, uint64_t now)
{
	if (now - t->sampled_at < SAMPLE_INTERVAL_USEC)
		return;
	/* In step with the clock, however late this turn is; but no catching up on a long sleep. */
	t->sampled_at = MAX(t->sampled_at + SAMPLE_INTERVAL_USEC, now - SAMPLE_INTERVAL_USEC / 2);
	table_foreach (&t->processes, struct process_ref, ref)
		process_sample(ref->process);
}

/* Soon after its first call, as it may change its environment later. */
static void find_gpus(struct tracker *t, struct process *p)
{
	uint64_t began;

	if (p->gpus || !p->image || !quota_has(&t->quotas.time, p->uid, 0, 1))
		return;
	began = quota_time();
	process_find_gpus(p);
	quota_charge(&t->quotas.time, p->uid, quota_time() - began);
}

static void look_after_processes(struct tracker *t)
{
	table_foreach (&t->processes, struct process_ref, ref) {
		ref->process->rechecks = RECHECKS_PER_TICK;
		if (ref->process->python_search == PYTHON_NOT_READY || ref->process->python_wanted)
			process_find_python(ref->process, t->probes);
		find_gpus(t, ref->process);
	}
}

static void count_losses(struct tracker *t)
{
	table_foreach (&t->processes, struct process_ref, noted) {
		note_losses(t, noted->process);
		notices_size(&t->notices, noted->process);
		notices_partial(&t->notices, noted->process);
	}
	notices_tick(&t->notices);
	restraint_tick(t);
	admission_next_period(&t->admission);
	quotas_next_second(&t->quotas);
}

static void repair_if_needed(struct tracker *t, bool more)
{
	uint64_t counters[COUNTER_SLOTS];

	if (!pace_is_due(&t->repairs) || probes_counters(t->probes, counters) < 0)
		return;
	if (counters[COUNTER_LOST_RING] == t->lost_before && !t->is_behind &&
	    !t->admission.has_dropped)
		return;
	t->admission.has_dropped = false;
	t->lost_before = counters[COUNTER_LOST_RING];
	repair(t, more);
}

bool tracker_tick(struct tracker *t)
{
	bool more = probes_consume(t->probes);
	uint64_t now;

	if (!more)
		watch_told(&t->watch);
	if (sd_event_now(t->loop, CLOCK_MONOTONIC, &now) < 0)
		return more;
	/* First what is waiting; but where that does not end, the rest must not wait for it. */
	if (more && now - t->looked_at < SECOND_USEC)
		return true;
	t->looked_at = now;
	look_after_processes(t);
	sample(t, now);
	if (now - t->counted_at < SECOND_USEC)
		return more;
	t->counted_at = now;
	repair_if_needed(t, more);
	if (t->litter >= LITTER_MAX || (t->litter && now - t->swept_at >= SWEEP_INTERVAL_USEC)) {
		t->swept_at = now;
		t->litter = 0;
		sweep_litter(t);
	}
	count_losses(t);
	return more;
}
