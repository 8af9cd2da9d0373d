/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"
#include "names.h"
#include "protocol.h"
#include "python_reader.h"
#include "reply.h"

#define UNSEEN (1U << PARTIAL_LATE_ATTACH | 1U << PARTIAL_PATCHED | 1U << PARTIAL_SECCOMP)

/* Where nothing is seen, what went unseen may be all there is. */
static bool is_known(const struct process *p, uint64_t seen)
{
	return seen > 0 || !(p->partial & UNSEEN);
}

static void write_outstanding(struct json_writer *out, const char *key, const struct process *p)
{
	jw_begin_object(out, key);
	for (int kind = 0; kind < KIND_MAX; kind++) {
		const char *name = kind_name((enum memory_kind)kind);

		if (!kind_is_tracked((enum memory_kind)kind) ||
		    !is_known(p, p->usage[kind].count)) { /* null, not 0 */
			jw_null(out, name);
			continue;
		}
		jw_begin_object(out, name);
		reply_bytes(out, "bytes", (enum memory_kind)kind, p->usage[kind].bytes);
		jw_u64(out, "count", p->usage[kind].count);
		jw_end_object(out);
	}
	jw_end_object(out);
}

static void write_gpus(struct json_writer *out, const struct visible_devices *gpus)
{
	if (!gpus || !gpus->known) {
		jw_null(out, "gpus");
		return;
	}
	jw_begin_array(out, "gpus");
	for (size_t i = 0; i < gpus->n; i++) {
		jw_begin_object(out, NULL);
		jw_u64(out, "ordinal", i);
		jw_string(out, "uuid", visible_devices_uuid(gpus, (long)i));
		jw_end_object(out);
	}
	jw_end_array(out);
}

/* What the process itself was told: the daemon asks nobody, and it gets old. */
static void write_reserved(struct json_writer *out, const struct pool *pool)
{
	if (pool->told_ns == 0) {
		jw_null(out, "reserved");
		jw_null(out, "reserved_age_s");
		return;
	}
	jw_u64(out, "reserved", pool->reserved);
	jw_double(out, "reserved_age_s", (double)(clock_boottime_ns() - pool->told_ns) / 1e9);
}

static void write_used(struct json_writer *out, const struct process *p, const struct pool *pool)
{
	if (pool->is_own && !is_known(p, pool->count)) {
		jw_null(out, "used");
		jw_null(out, "count");
		jw_null(out, "high_water");
		return;
	}
	jw_u64(out, "used", pool->used);
	jw_u64(out, "count", pool->count);
	jw_u64(out, "high_water", pool->high_water);
}

static void write_pools(struct json_writer *out, const struct process *p)
{
	jw_begin_array(out, "pools");
	table_foreach (&p->pools, struct pool, pool) {
		jw_begin_object(out, NULL);
		if (pool->handle)
			jw_hex(out, "handle", pool->handle);
		else
			jw_null(out, "handle");
		if (pool->device == DEVICE_UNKNOWN)
			jw_null(out, "device");
		else
			jw_i64(out, "device", pool->device);
		jw_string(out, "kind", kind_name((enum memory_kind)pool->kind));
		write_used(out, p, pool);
		write_reserved(out, pool);
		jw_bool(out, "destroyed", pool->is_destroyed);
		jw_end_object(out);
	}
	jw_end_array(out);
}

static void write_graph_nodes(struct json_writer *out, const struct process *p,
			      const struct process_image *image)
{
	if (!is_known(p, (uint64_t)image->node_allocs + image->node_frees)) {
		jw_null(out, "graph_nodes");
		return;
	}
	jw_begin_object(out, "graph_nodes");
	jw_u64(out, "allocs", image->node_allocs);
	jw_u64(out, "bytes", image->node_bytes);
	jw_u64(out, "frees", image->node_frees);
	jw_end_object(out);
}

static bool begin(struct reply *reply, const json_t *parameters)
{
	return reply_begin_history(reply, parameters);
}

static void write_process(struct json_writer *out, const struct reply *reply, struct process *p)
{
	const struct probes *probes = reply->subject->tracker->probes;
	struct process_image image = {0};
	struct history history;

	process_refresh(p);
	process_find_gpus(p);
	if (p->image)
		probes_image(probes, p->pid, &image);
	jw_begin_object(out, NULL);
	jw_i64(out, "pid", p->pid);
	jw_string(out, "comm", p->comm);
	jw_string(out, "title", p->title);
	jw_string(out, "cmdline", p->cmdline);
	if (p->uid == (uid_t)-1)
		jw_null(out, "uid");
	else
		jw_u64(out, "uid", p->uid);
	jw_string(out, "cgroup", p->cgroup);
	jw_string(out, "container", p->container);
	jw_string(out, "pod", p->pod);
	if (p->inner_pid)
		jw_i64(out, "inner_pid", p->inner_pid);
	else
		jw_null(out, "inner_pid");
	jw_i64(out, "group", p->group);
	jw_string(out, "python", p->python ? python_version(p->python) : NULL);
	if (p->started_at > 0)
		jw_double(out, "started_at", p->started_at);
	else
		jw_null(out, "started_at");
	jw_double(out, "attached_at", p->attached_at);
	write_gpus(out, p->gpus);
	write_outstanding(out, "outstanding", p);
	write_pools(out, p);
	write_graph_nodes(out, p, &image);
	jw_null(out, "allocator");
	jw_null(out, "host");
	jw_null(out, "verdict");
	process_memory_history(p, &history);
	reply_history(out, reply, &history);
	jw_null(out, "oom_eta_s");
	jw_u64(out, "frees_unknown", image.frees_unknown);
	jw_u64(out, "lost_events", image.lost_events);
	if (p->budget.is_known)
		jw_double(out, "probe_share", p->budget.share);
	else
		jw_null(out, "probe_share");
	jw_string(out, "step", restraint_step_name(p->budget.step));
	reply_partial(out, p);
	jw_end_object(out);
}

static bool write_members(struct reply *reply, struct json_writer *out)
{
	const struct tracker *t = reply->subject->tracker;
	const struct process_ref *ref;
	size_t items = 0;

	jw_begin_array(out, "processes");
	while (!reply_message_full(reply, items) &&
	       (ref = table_next(&t->processes, &reply->cursor))) {
		write_process(out, reply, ref->process);
		items++;
	}
	jw_end_array(out);
	return !reply->cursor.done;
}

const struct reply_method reply_ps = {.name = METHOD_PS, .begin = begin, .write = write_members};
