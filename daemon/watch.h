/* SPDX-License-Identifier: Apache-2.0 */
/* Events as they happen, for those who watch: a bounded queue for each. Who does not take them in
 * time loses the newest, and finds how many in their place.
 */
#ifndef SRTLEAK_WATCH_H
#define SRTLEAK_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event.h"
#include "process.h"
#include "site.h"
#include "table.h"

#define WATCHERS_MAX 8
#define WATCH_QUEUE 16384U    /* records that wait for one watcher, 768 KiB */
#define WATCH_NAMES_MAX 4096U /* call sites whose innermost frame is kept at hand */

/* X(name, JSON name) */
#define WATCH_TYPES(X)    \
	X(ALLOC, "alloc") \
	X(FREE, "free")   \
	X(FAIL, "fail")   \
	X(START, "start") \
	X(EXIT, "exit")   \
	X(DROPPED, "dropped")

enum watch_type {
#define X(name, json) WATCH_##name,
	WATCH_TYPES(X)
#undef X
		WATCH_TYPE_MAX
};

const char *watch_type_name(enum watch_type type);

struct watch_record {
	uint64_t time_ns; /* CLOCK_BOOTTIME */
	uint64_t ptr;     /* 0: unknown, as in all that follows */
	uint64_t size;    /* bytes; of WATCH_DROPPED how many events are missing here */
	uint64_t site;
	pid_t pid;
	pid_t tid;
	int32_t result; /* of WATCH_FAIL: what the call returned */
	uint16_t api;   /* of the call; API_MAX: unknown */
	uint8_t kind;   /* KIND_MAX: unknown */
	uint8_t type;   /* enum watch_type */
};
_Static_assert(sizeof(struct watch_record) == 48, "queues stay small");

struct watcher;

/* A part of the tracker. */
struct watch {
	size_t count;
	struct watcher *watchers[WATCHERS_MAX];
	uint64_t refused; /* watchers beyond WATCHERS_MAX */
	uint64_t dropped; /* events that found a queue full */
	struct table names;
};

void watch_init(struct watch *watch);
void watch_done(struct watch *watch); /* watchers stay their owners' */

/* The news. With no watcher they need not be told: callers look at `count` first. Of a free, and of
 * an allocation that is known by then, the process's tables give the site.
 */
void watch_event(struct watch *watch, const struct process *process, const struct event *event);
void watch_life(struct watch *watch, const struct process *process, enum watch_type type,
		uint64_t time_ns);

/* The process is not tracked any more, and lives on: who watches it is told no more. */
void watch_left(struct watch *watch, const struct process *process);

/* All events that were waiting have been told: a process that had ended before they were fetched
 * has none left.
 */
void watch_told(struct watch *watch);

/* So many events of the process never reached the daemon. */
void watch_lost(struct watch *watch, const struct process *process, uint64_t count);

/* Watches a process (NULL: all, also those to come) until watcher_free(). Returns 0, -EUSERS where
 * there are too many watchers, or -ENOMEM. `watch` must outlive the watcher.
 */
int watcher_new(struct watch *watch, const struct process *process, struct watcher **ret);
struct watcher *watcher_free(struct watcher *watcher);

/* Takes the next record out; false where there is none. */
bool watcher_take(struct watcher *watcher, struct watch_record *ret);

/* The process that is watched has ended and all is told. Exec is no end. */
bool watcher_is_over(const struct watcher *watcher);

/* There is something to be taken, or the watch is over. */
bool watcher_is_ready(const struct watcher *watcher);

/* Records in the fullest queue. */
size_t watch_fullest(const struct watch *watch);

/* A site with the innermost frame alone, good until the next event; NULL where it is not known. */
const struct site *watch_name(const struct watch *watch, uint64_t site);

#endif
