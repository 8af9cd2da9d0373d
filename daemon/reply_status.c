/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include "capability.h"
#include "names.h"
#include "clock.h"
#include "policy.h"
#include "protocol.h"
#include "reader_service.h"
#include "reader.h"
#include "reply.h"
#include "version.h"

static void write_symbols(struct json_writer *out, const char *key, const struct library *l,
			  enum probe_state state)
{
	jw_begin_array(out, key);
	for (int api = 0; api < API_MAX; api++)
		if (l->points[api].state == state && api_rows[api].family == l->family)
			jw_string(out, NULL, api_symbol((enum api)api));
	jw_end_array(out);
}

static void write_skipped(struct json_writer *out, const struct library *l)
{
	jw_begin_array(out, "skipped");
	for (int api = 0; api < API_MAX; api++) {
		const struct probe_point *point = &l->points[api];
		char reason[128];

		if (point->state == PROBE_ALIAS)
			snprintf(reason, sizeof(reason), "same address as %s",
				 api_symbol((enum api)point->alias_of));
		else if (point->state == PROBE_FAILED)
			snprintf(reason, sizeof(reason), "%s", strerror(-point->error));
		else
			continue;
		jw_begin_object(out, NULL);
		jw_string(out, "symbol", api_symbol((enum api)api));
		jw_string(out, "reason", reason);
		jw_end_object(out);
	}
	jw_end_array(out);
}

static void write_probes(struct json_writer *out, const struct discovery *d)
{
	jw_begin_array(out, "probes");
	for (size_t i = 0; i < d->n_libraries; i++) {
		const struct library *l = d->libraries[i];
		const char *slash = strrchr(l->path, '/');

		jw_begin_object(out, NULL);
		jw_string(out, "binary", l->path);
		jw_string(out, "library", slash ? slash + 1 : l->path);
		jw_u64(out, "attached", library_attached(l));
		write_symbols(out, "missing", l, PROBE_MISSING);
		write_skipped(out, l);
		write_symbols(out, "slow", l, PROBE_SLOW);
		if (library_is_split(l))
			jw_u64(out, "one_by_one", l->n_ones);
		else
			jw_null(out, "one_by_one");
		jw_end_object(out);
	}
	jw_end_array(out);
}

/* Losses under events.lost, the others in an object of their own. */
static void write_events(struct json_writer *out, const struct subject *s,
			 const uint64_t counters[COUNTER_SLOTS])
{
	jw_begin_object(out, "events");
	jw_u64(out, "received", s->tracker->events);
	jw_begin_object(out, "lost");
	for (int i = 0; i < COUNTER_MAX; i++)
		if (counter_is_loss((enum counter)i))
			jw_u64(out, counter_name((enum counter)i), counters[i]);
	jw_u64(out, "mapping_records", s->discovery->records_lost);
	jw_end_object(out);
	jw_u64(out, "recovered", s->tracker->recovered);
	jw_end_object(out);
	jw_begin_object(out, "calls");
	for (int i = 0; i < COUNTER_MAX; i++)
		if (!counter_is_loss((enum counter)i))
			jw_u64(out, counter_name((enum counter)i), counters[i]);
	jw_end_object(out);
}

static void write_limit(struct json_writer *out, const char *name, uint64_t limit, uint64_t used,
			uint64_t refused)
{
	jw_begin_object(out, NULL);
	jw_string(out, "name", name);
	jw_u64(out, "limit", limit);
	jw_u64(out, "used", used);
	jw_u64(out, "refused", refused);
	jw_end_object(out);
}

/* What the probes have shared out. */
static void write_shared(struct json_writer *out, const struct tracker *t,
			 const uint64_t counters[COUNTER_MAX])
{
	uint64_t held[SHARED_MAX];

	grants_held(probes_grants(t->probes), held);
	write_limit(out, "images", PROCESSES_MAX, held[SHARED_IMAGES],
		    counters[COUNTER_DROPPED_PROCESSES]);
	write_limit(out, "allocations", LIVE_MAX, t->allocations,
		    counters[COUNTER_DROPPED_LIVE_FULL] + counters[COUNTER_DROPPED_LIMIT]);
	write_limit(out, "stack_pieces", STACK_CHUNKS_MAX, held[SHARED_CHUNKS],
		    counters[COUNTER_LOST_STACK]);
	write_limit(out, "handles", HANDLES_MAX, held[SHARED_HANDLES],
		    counters[COUNTER_LOST_HANDLE]);
	write_limit(out, "threads", THREADS_MAX, held[SHARED_THREADS],
		    counters[COUNTER_LOST_THREAD]);
}

static void write_quotas(struct json_writer *out, const struct quotas *q)
{
#define X(name, bound, by_process) write_limit(out, #name, bound, q->name.used, q->name.refused);
	SRTLEAK_QUOTAS(X)
#undef X
}

/* Of the library with the most. */
static void write_one_by_one(struct json_writer *out, const struct discovery *d)
{
	uint64_t most = 0, refused = 0;

	for (size_t i = 0; i < d->n_libraries; i++) {
		most = MAX(most, d->libraries[i]->n_ones);
		refused += d->libraries[i]->ones_refused;
	}
	write_limit(out, "one_by_one", LIBRARY_ONES_MAX, most, refused);
}

static void write_tables(struct json_writer *out, const struct subject *s,
			 const uint64_t counters[COUNTER_SLOTS])
{
	const struct reader_counts readers = reader_counts();
	const struct tracker *t = s->tracker;
	uint64_t sites = 0, memory = table_memory(&t->processes) + table_memory(&t->images);

	table_foreach (&t->processes, struct process_ref, ref) {
		sites += ref->process->sites.count;
		memory += table_memory(&ref->process->allocs) + table_memory(&ref->process->sites) +
			  table_memory(&ref->process->stacks) +
			  table_memory(&ref->process->places) + table_memory(&ref->process->pools);
	}
	jw_begin_object(out, "tables");
	jw_u64(out, "processes", t->processes.count);
	jw_u64(out, "allocations", t->allocations);
	jw_u64(out, "live", counters[COUNTER_SLOT_LIVE]);
	jw_u64(out, "sites", sites);
	jw_u64(out, "memory_bytes", memory);
	jw_u64(out, "kernel_bytes", probes_map_memory(t->probes));
	jw_end_object(out);
	jw_begin_array(out, "limits");
	write_shared(out, t, counters);
	write_quotas(out, &t->quotas);
	write_limit(out, "policies", POLICIES_MAX, policy_count(t->probes), t->admission.refused);
	write_one_by_one(out, s->discovery);
	write_limit(out, "readers", READER_STUCK_MAX, readers.stuck, readers.refused);
	write_limit(out, "watchers", WATCHERS_MAX, t->watch.count, t->watch.refused);
	write_limit(out, "watch_queue", WATCH_QUEUE, watch_fullest(&t->watch), t->watch.dropped);
	jw_end_array(out);
}

/* What was left unread of other processes' files and memory. */
static void write_reader(struct json_writer *out)
{
	const struct reader_counts counts = reader_counts();

	jw_begin_object(out, "reader");
	jw_u64(out, "timeouts", counts.timeouts);
	jw_u64(out, "crashes", counts.crashes);
	jw_end_object(out);
}

static void write_late(struct json_writer *out, const struct discovery *d)
{
	double median, max;

	jw_begin_object(out, "late_attach");
	jw_u64(out, "count", d->late);
	if (discovery_latency(d, &median, &max)) {
		jw_double(out, "median_ms", median);
		jw_double(out, "max_ms", max);
	} else {
		jw_null(out, "median_ms");
		jw_null(out, "max_ms");
	}
	jw_end_object(out);
}

static void write_cost(struct json_writer *out, const struct probes *probes)
{
	struct probes_cost costs[PROBES_PROGRAMS];
	size_t n = probes_cost(probes, costs, ARRAY_SIZE(costs));

	if (n == 0) {
		jw_null(out, "cost");
		return;
	}
	jw_begin_object(out, "cost");
	for (size_t i = 0; i < n; i++) {
		jw_begin_object(out, costs[i].program);
		jw_u64(out, "runs", costs[i].runs);
		jw_double(out, "seconds", costs[i].seconds);
		jw_end_object(out);
	}
	jw_end_object(out);
}

/* Of whom less is recorded because probes took too much of their time. */
static void write_budget(struct json_writer *out, const struct tracker *t)
{
	const struct restraint *r = &t->restraint;
	uint64_t counts[STEP_UNTRACKED + 1] = {0}, now = clock_monotonic_ns();

	table_foreach (&t->processes, struct process_ref, ref)
		counts[ref->process->budget.step]++;
	jw_begin_object(out, "budget");
	if (r->limit > 0)
		jw_double(out, "limit", r->limit);
	else
		jw_null(out, "limit");
	jw_u64(out, "trap_ns", r->trap_ns);
	for (unsigned int step = STEP_NO_STACKS; step < STEP_UNTRACKED; step++)
		jw_u64(out, restraint_step_name(step), counts[step]);
	jw_begin_array(out, restraint_step_name(STEP_UNTRACKED));
	for (size_t i = 0; i < r->n_away; i++) {
		if (r->away[i].back_ns <= now)
			continue;
		jw_begin_object(out, NULL);
		jw_i64(out, "pid", r->away[i].pid);
		jw_double(out, "back_in_s", (double)(r->away[i].back_ns - now) / 1e9);
		jw_end_object(out);
	}
	jw_end_array(out);
	jw_u64(out, "refused", r->refused);
	jw_end_object(out);
}

static bool write_members(struct reply *reply, struct json_writer *out)
{
	const struct subject *s = reply->subject;
	uint64_t counters[COUNTER_SLOTS] = {0};
	const char *names[CAPABILITIES_MAX];
	size_t n_names = capability_names(names);

	probes_counters(s->tracker->probes, counters);
	jw_string(out, "version", SRTLEAK_VERSION);
	jw_i64(out, "pid", getpid());
	jw_double(out, "uptime_s", (double)clock_boottime_ns() / 1e9 - s->started_at);
	jw_string(out, "kernel", s->kernel);
	jw_string(out, "attach_mode", s->discovery->rules.multi ? "multi" : "perf");
	jw_string(out, "pins", pins_path(probes_pins(s->tracker->probes)));
	jw_begin_object(out, "access");
	jw_begin_array(out, "capabilities");
	for (size_t i = 0; i < n_names; i++)
		jw_string(out, NULL, names[i]);
	jw_end_array(out);
	jw_end_object(out);
	write_probes(out, s->discovery);
	write_events(out, s, counters);
	write_tables(out, s, counters);
	write_late(out, s->discovery);
	write_reader(out);
	write_budget(out, s->tracker);
	write_cost(out, s->tracker->probes);
	return false;
}

const struct reply_method reply_status = {.name = METHOD_STATUS, .write = write_members};
