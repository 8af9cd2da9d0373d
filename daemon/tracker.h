/* SPDX-License-Identifier: Apache-2.0 */
/* The tables: from events to processes and what they hold. */
#ifndef SRTLEAK_TRACKER_H
#define SRTLEAK_TRACKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "admission.h"
#include "ends.h"
#include "notices.h"
#include "pace.h"
#include "probes.h"
#include "process.h"
#include "put_off.h"
#include "quota.h"
#include "restraint.h"
#include "table.h"
#include "watch.h"

struct process_ref { /* entry of tracker.processes */
	uint64_t pid;
	struct process *process;
};

struct tracker {
	sd_event *loop;
	struct probes *probes;
	struct admission admission;
	struct notices notices;
	struct restraint restraint;
	struct table processes; /* struct process_ref */
	struct table images;    /* struct process_ref, by image and not by pid */
	struct ends ends;
	struct quotas quotas;
	struct put_off put_off; /* processes that there was no room or time for */
	struct watch watch;
	uint64_t events;      /* received */
	uint64_t recovered;   /* allocations and frees whose event was lost */
	uint64_t allocations; /* outstanding, all processes */
	uint64_t lost_before; /* events lost when the tables were repaired last */
	bool is_behind;       /* the tables lack what the kernel has, though no event was lost */
	uint64_t litter;      /* processes that have ended since the maps were swept last */
	struct pace repairs;
	struct table ended;  /* what the last repair has found to have ended (sweep.h) */
	uint64_t looked_at;  /* CLOCK_MONOTONIC, microseconds: after processes, every tick */
	uint64_t counted_at; /* likewise, losses, every second */
	uint64_t sampled_at; /* likewise */
	uint64_t swept_at;   /* likewise */
	uint8_t sweep;
};

/* `scope` says by rule who is tracked; it stays the caller's. */
void tracker_init(struct tracker *t, sd_event *loop, struct probes *probes,
		  const struct scope *scope);
void tracker_done(struct tracker *t);

/* What the probes call for each event; userdata is the tracker. */
void tracker_event(const struct event *event, void *userdata);

/* A process maps a CUDA library since time_ns (CLOCK_BOOTTIME); partial: what is missing of its
 * calls for that (bits by enum process_partial); was_armed: nothing is, nor of what it changed
 * otherwise. Returns it, or NULL where it is not to be tracked
 * or has ended, or there is no time for it now (tracker_puts_off()). News of mappings and exec come
 * from several CPUs, and not in order.
 */
struct process *tracker_discover(struct tracker *t, pid_t pid, unsigned int partial, bool was_armed,
				 uint64_t time_ns);

/* Whether a process was left for later, and is to be discovered again then. */
bool tracker_puts_off(const struct tracker *t, pid_t pid);

/* Takes over what the kernel holds from before this daemon; to be called when all processes that
 * are there have been discovered.
 */
void tracker_recover(struct tracker *t);

/* What is there has been found. From now on finding out about processes has its limits. */
void tracker_started(struct tracker *t);

static inline struct process *tracker_find(const struct tracker *t, pid_t pid)
{
	struct process_ref *ref = (struct process_ref *)table_find(&t->processes, (uint64_t)pid);

	return ref ? ref->process : NULL;
}

/* Ends the tracking of a process for the rest of its life; returns as admission_decree() does. */
int tracker_untrack(struct tracker *t, pid_t pid);

/* Drops the processes that are not to be tracked any more, as the rules have changed. */
void tracker_rescope(struct tracker *t);

/* The process has mapped executable code: names of its addresses may have changed. */
void tracker_mapped(struct tracker *t, pid_t pid);

/* The process runs another program since time_ns. */
void tracker_executed(struct tracker *t, pid_t pid, uint64_t time_ns);

/* Fetches what lies in the ring; repairs the tables from the live map where events were lost. To be
 * called every TRACKER_TICK_USEC and on wake-ups, and soon again where it returns true.
 */
bool tracker_tick(struct tracker *t);
#define TRACKER_TICK_USEC 100000

#endif
