/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "clock.h"
#include "macro.h"
#include "names.h"
#include "pidfd.h"
#include "watch.h"

#define RESERVED 64U /* the last places of a queue are for starts and exits */

struct watcher {
	struct watch *watch;
	pid_t pid;            /* 0: every process */
	uint64_t start_ticks; /* with the pid, who it is */
	int pidfd;            /* tells exec from exit; negative where it could not be had */
	bool left;            /* nobody tracks it any more, by a person's word or a rule */
	bool untracked;   /* the process has ended, or runs something else that is not tracked */
	bool ended;       /* the process, when all was told last */
	bool over;        /* and what it had still to tell has been told since */
	uint64_t dropped; /* since the last record of the queue */
	size_t first, count;
	struct watch_record records[WATCH_QUEUE];
};

/* A site outlives neither its process nor an exec, but its name is wanted as long as records are.
 * What an id stands for never changes.
 */
struct watch_name {
	uint64_t id;
	struct site *innermost;
};

const char *watch_type_name(enum watch_type type)
{
	static const char *const names[WATCH_TYPE_MAX] = {
#define X(name, json) json,
		WATCH_TYPES(X)
#undef X
	};

	return names[type];
}

void watch_init(struct watch *watch)
{
	*watch = (struct watch){0};
	table_init(&watch->names, sizeof(struct watch_name));
}

static void forget_names(struct watch *watch)
{
	table_foreach (&watch->names, struct watch_name, name)
		site_free(name->innermost);
	table_clear(&watch->names);
}

void watch_done(struct watch *watch)
{
	forget_names(watch);
}

static void remember_name(struct watch *watch, const struct site *site)
{
	struct site_stack innermost = {.truncated = true};
	struct watch_name *name;

	if (table_find(&watch->names, site->id))
		return;
	if (watch->names.count >= WATCH_NAMES_MAX)
		forget_names(watch); /* start over rather than grow */
	if (site->n_python > 0) {
		innermost.n_python = 1;
		innermost.python[0] = site->python[0];
	} else if (site->n_native > 0) {
		innermost.n_native = 1;
		innermost.native[0] = site->native[0];
	}
	if (table_add(&watch->names, site->id, (void **)&name) < 0)
		return;
	name->innermost = site_new(site->id, site->kind, site->api, &innermost);
	if (!name->innermost)
		table_remove(&watch->names, site->id);
}

const struct site *watch_name(const struct watch *watch, uint64_t site)
{
	const struct watch_name *name = site ? table_find(&watch->names, site) : NULL;

	return name ? name->innermost : NULL;
}

static void append(struct watcher *w, const struct watch_record *record)
{
	w->records[(w->first + w->count++) % WATCH_QUEUE] = *record;
}

static struct watch_record take_dropped(struct watcher *w, uint64_t time_ns)
{
	struct watch_record record = {
		.time_ns = time_ns,
		.size = w->dropped,
		.pid = w->pid,
		.api = API_MAX,
		.kind = KIND_MAX,
		.type = WATCH_DROPPED,
	};

	w->dropped = 0;
	return record;
}

/* What is missing is told in its place, so it needs room as well. */
static void put(struct watcher *w, const struct watch_record *record)
{
	bool is_life = record->type == WATCH_START || record->type == WATCH_EXIT;
	size_t room = WATCH_QUEUE - (is_life ? 0 : RESERVED);

	if (w->count + (w->dropped > 0) >= room) {
		w->dropped++;
		w->watch->dropped++;
		return;
	}
	if (w->dropped > 0) {
		struct watch_record dropped = take_dropped(w, record->time_ns);

		append(w, &dropped);
	}
	append(w, record);
}

static bool is_watched(const struct watcher *w, const struct process *p)
{
	return w->pid == 0 || (w->pid == p->pid && w->start_ticks == p->start_ticks);
}

static void put_all(struct watch *watch, const struct process *p, const struct watch_record *record)
{
	for (size_t i = 0; i < watch->count; i++)
		if (is_watched(watch->watchers[i], p))
			put(watch->watchers[i], record);
}

static enum watch_type type_of(const struct event *event)
{
	switch (event->type) {
	case EVENT_ALLOC:
		/* What a failed free gives back was never told to be gone. */
		return event->result == 0 ? WATCH_ALLOC : WATCH_TYPE_MAX;
	case EVENT_FREE:
	case EVENT_FREE_UNKNOWN:
		return WATCH_FREE;
	case EVENT_FAIL:
		return WATCH_FAIL;
	default:
		return WATCH_TYPE_MAX; /* told by watch_life() */
	}
}

void watch_event(struct watch *watch, const struct process *p, const struct event *event)
{
	const struct alloc *alloc = event->id ? table_find(&p->allocs, event->id) : NULL;
	struct watch_record record = {
		.time_ns = event->time_ns,
		.ptr = event->addr,
		.size = event->size,
		.pid = p->pid,
		.tid = (pid_t)event->tid,
		.api = event->api,
		.kind = event->kind < KIND_MAX ? event->kind : KIND_MAX,
		.type = (uint8_t)type_of(event),
	};

	if (record.type == WATCH_TYPE_MAX)
		return;
	if (event->type == EVENT_FREE_UNKNOWN)
		record.kind = KIND_MAX;
	if (event->type == EVENT_FREE)
		record.api = (uint16_t)MIN((uint32_t)event->result, (uint32_t)API_MAX);
	if (event->type == EVENT_FAIL)
		record.result = event->result;
	if (alloc) {
		record.site = process_site(p, alloc)->id;
		remember_name(watch, process_site(p, alloc));
	}
	put_all(watch, p, &record);
}

void watch_life(struct watch *watch, const struct process *p, enum watch_type type,
		uint64_t time_ns)
{
	struct watch_record record = {
		.time_ns = time_ns,
		.pid = p->pid,
		.api = API_MAX,
		.kind = KIND_MAX,
		.type = (uint8_t)type,
	};

	put_all(watch, p, &record);
	for (size_t i = 0; i < watch->count; i++)
		if (is_watched(watch->watchers[i], p))
			watch->watchers[i]->untracked = type == WATCH_EXIT;
}

void watch_told(struct watch *watch)
{
	for (size_t i = 0; i < watch->count; i++) {
		struct watcher *w = watch->watchers[i];

		if (w->pid == 0)
			continue;
		w->over = w->ended && w->untracked;
		w->ended = w->pidfd < 0 || process_fd_is_over(w->pidfd);
	}
}

void watch_left(struct watch *watch, const struct process *p)
{
	for (size_t i = 0; i < watch->count; i++)
		if (watch->watchers[i]->pid != 0 && is_watched(watch->watchers[i], p))
			watch->watchers[i]->left = true;
}

void watch_lost(struct watch *watch, const struct process *p, uint64_t count)
{
	for (size_t i = 0; i < watch->count; i++)
		if (is_watched(watch->watchers[i], p))
			watch->watchers[i]->dropped += count;
}

int watcher_new(struct watch *watch, const struct process *p, struct watcher **ret)
{
	struct watcher *w;

	if (watch->count == WATCHERS_MAX) {
		watch->refused++;
		return -EUSERS;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->watch = watch;
	w->pidfd = -1;
	if (p) {
		w->pid = p->pid;
		w->start_ticks = p->start_ticks;
		if (p->pidfd >= 0)
			w->pidfd = fcntl(p->pidfd, F_DUPFD_CLOEXEC, 0);
	}
	watch->watchers[watch->count++] = w;
	*ret = w;
	return 0;
}

struct watcher *watcher_free(struct watcher *w)
{
	struct watch *watch;

	if (!w)
		return NULL;
	watch = w->watch;
	for (size_t i = 0; i < watch->count; i++)
		if (watch->watchers[i] == w)
			watch->watchers[i] = watch->watchers[--watch->count];
	if (watch->count == 0)
		forget_names(watch);
	if (w->pidfd >= 0)
		close(w->pidfd);
	free(w);
	return NULL;
}

bool watcher_take(struct watcher *w, struct watch_record *ret)
{
	if (w->count == 0 && w->dropped == 0)
		return false;
	if (w->count == 0) {
		*ret = take_dropped(w, clock_boottime_ns());
		return true;
	}
	*ret = w->records[w->first];
	w->first = (w->first + 1) % WATCH_QUEUE;
	w->count--;
	return true;
}

bool watcher_is_over(const struct watcher *w)
{
	return w->count == 0 && w->dropped == 0 && (w->left || w->over);
}

bool watcher_is_ready(const struct watcher *w)
{
	return w->count > 0 || w->dropped > 0 || w->left || w->over;
}

size_t watch_fullest(const struct watch *watch)
{
	size_t most = 0;

	for (size_t i = 0; i < watch->count; i++)
		most = MAX(most, watch->watchers[i]->count);
	return most;
}
