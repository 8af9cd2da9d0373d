/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "clock.h"
#include "names.h"
#include "protocol.h"
#include "reply.h"

static bool begin(struct reply *reply, const json_t *parameters)
{
	const struct process *process = NULL;
	int r;

	if (!reply->more)
		return reply_invalid(reply, "more");
	if (json_object_get(parameters, "pid")) {
		if (!reply_begin_process(reply, parameters))
			return false;
		process = reply_process(reply);
	}
	r = watcher_new(&reply->subject->tracker->watch, process, &reply->watcher);
	if (r < 0)
		reply_error(reply, ERROR_OVERLOADED, "reason",
			    r == -EUSERS ? "too many watch already" : "no memory");
	return r == 0;
}

/* The first message comes at once, empty or not, and says that the watch has begun. */
static bool is_ready(const struct reply *reply)
{
	return reply->first || watcher_is_ready(reply->watcher);
}

static void write_dropped(struct json_writer *out, const struct watch_record *record)
{
	jw_u64(out, "count", record->size);
}

static void write_frame(struct json_writer *out, const struct site *site)
{
	if (site && site->n_python > 0)
		reply_python_frame(out, "frame", &site->python[0]);
	else if (site && site->n_native > 0)
		reply_native_frame(out, "frame", &site->native[0]);
	else
		jw_null(out, "frame");
}

static void number_or_null(struct json_writer *out, const char *key, uint64_t number)
{
	if (number)
		jw_u64(out, key, number);
	else
		jw_null(out, key);
}

static void write_call(struct json_writer *out, const struct watch_record *record,
		       const struct watch *watch)
{
	number_or_null(out, "pid", (uint64_t)record->pid);
	number_or_null(out, "tid", (uint64_t)record->tid);
	jw_string(out, "kind",
		  record->kind < KIND_MAX ? kind_name((enum memory_kind)record->kind) : NULL);
	jw_string(out, "api", record->api < API_MAX ? api_symbol((enum api)record->api) : NULL);
	if (record->ptr)
		jw_hex(out, "ptr", record->ptr);
	else
		jw_null(out, "ptr");
	number_or_null(out, "size", record->size);
	if (record->site)
		jw_id(out, "site", record->site);
	else
		jw_null(out, "site");
	write_frame(out, watch_name(watch, record->site));
	if (record->type == WATCH_FAIL)
		jw_i64(out, "result", record->result);
	else
		jw_null(out, "result");
}

/* to_unix_ns: from the clock of the events to Unix time. */
static void write_event(struct json_writer *out, const struct watch_record *record,
			const struct watch *watch, uint64_t to_unix_ns)
{
	jw_begin_object(out, NULL);
	jw_time(out, "time", record->time_ns + to_unix_ns);
	jw_string(out, "event", watch_type_name((enum watch_type)record->type));
	if (record->type == WATCH_DROPPED)
		write_dropped(out, record);
	else
		write_call(out, record, watch);
	jw_end_object(out);
}

static bool write_members(struct reply *reply, struct json_writer *out)
{
	const struct watch *watch = &reply->subject->tracker->watch;
	uint64_t to_unix_ns = clock_ns(CLOCK_REALTIME) - clock_boottime_ns();
	struct watch_record record;
	size_t items = 0;

	jw_begin_array(out, "events");
	while (!reply_message_full(reply, items) && watcher_take(reply->watcher, &record)) {
		write_event(out, &record, watch, to_unix_ns);
		items++;
	}
	jw_end_array(out);
	return !watcher_is_over(reply->watcher);
}

const struct reply_method reply_watch = {
	.name = METHOD_WATCH, .begin = begin, .write = write_members, .is_ready = is_ready};
