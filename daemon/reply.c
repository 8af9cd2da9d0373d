/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "names.h"
#include "protocol.h"
#include "reply.h"

#define MESSAGE_BYTES (256U << 10) /* no further item is begun behind this */

static const struct reply_method *const methods[] = {
	&reply_ps,     &reply_sites, &reply_allocs,  &reply_watch,
	&reply_status, &reply_track, &reply_untrack,
};

void reply_write_error(struct buffer *out, const char *error, const char *key, const char *value)
{
	struct json_writer j = {.out = out};

	jw_begin_object(&j, NULL);
	jw_string(&j, "error", error);
	jw_begin_object(&j, "parameters");
	jw_string(&j, key, value);
	jw_end_object(&j);
	jw_end_object(&j);
	buffer_append(out, "", 1);
}

void reply_error(struct reply *reply, const char *error, const char *key, const char *value)
{
	reply_write_error(reply->out, error, key, value);
}

bool reply_invalid(struct reply *reply, const char *parameter)
{
	reply_error(reply, ERROR_INVALID_PARAMETER, "parameter", parameter);
	return false;
}

bool reply_no_such_process(struct reply *reply)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", reply->pid);
	reply_error(reply, ERROR_NO_SUCH_PROCESS, "pid", text);
	return false;
}

bool reply_begin_pid(struct reply *reply, const json_t *parameters)
{
	const json_t *pid = json_object_get(parameters, "pid");

	if (!json_is_integer(pid) || json_integer_value(pid) <= 0 ||
	    json_integer_value(pid) > INT32_MAX)
		return reply_invalid(reply, "pid");
	reply->pid = (pid_t)json_integer_value(pid);
	return true;
}

bool reply_begin_process(struct reply *reply, const json_t *parameters)
{
	struct process *process;

	if (!reply_begin_pid(reply, parameters))
		return false;
	process = tracker_find(reply->subject->tracker, reply->pid);
	if (!process)
		return reply_no_such_process(reply);
	reply->start_ticks = process->start_ticks;
	return true;
}

struct process *reply_process(const struct reply *reply)
{
	struct process *process = tracker_find(reply->subject->tracker, reply->pid);

	return process && process->start_ticks == reply->start_ticks ? process : NULL;
}

bool reply_begin_limit(struct reply *reply, const json_t *parameters, uint64_t standard)
{
	const json_t *limit = json_object_get(parameters, "limit");

	reply->limit = standard;
	if (!limit)
		return true;
	if (!json_is_integer(limit) || json_integer_value(limit) < 0)
		return reply_invalid(reply, "limit");
	reply->limit = (uint64_t)json_integer_value(limit);
	if (reply->limit == 0)
		reply->limit = UINT64_MAX;
	return true;
}

bool reply_begin_history(struct reply *reply, const json_t *parameters)
{
	const json_t *history = json_object_get(parameters, "history");

	if (history && !json_is_boolean(history))
		return reply_invalid(reply, "history");
	reply->history = json_is_true(history);
	return true;
}

void reply_history(struct json_writer *out, const struct reply *reply, const struct history *h)
{
	double growth;

	if (history_growth(h, &growth))
		jw_double(out, "growth_bytes_per_s", growth);
	else
		jw_null(out, "growth_bytes_per_s");
	if (!reply->history)
		return;
	jw_begin_object(out, "history");
	jw_u64(out, "interval_s", HISTORY_INTERVAL_S);
	jw_begin_array(out, "bytes");
	for (size_t i = 0; i < history_count(h); i++)
		jw_u64(out, NULL, (uint64_t)history_at(h, i));
	jw_end_array(out);
	jw_end_object(out);
}

bool reply_message_full(const struct reply *reply, size_t items)
{
	return items >= PROTOCOL_BATCH || reply->out->size >= MESSAGE_BYTES;
}

void reply_bytes(struct json_writer *out, const char *key, enum memory_kind kind, uint64_t bytes)
{
	if (kind_has_size(kind))
		jw_u64(out, key, bytes);
	else
		jw_null(out, key);
}

void reply_device(struct json_writer *out, const struct process *process, long device)
{
	if (device == DEVICE_UNKNOWN)
		jw_null(out, "device");
	else
		jw_i64(out, "device", device);
	jw_string(out, "gpu_uuid", visible_devices_uuid(process->gpus, device));
}

void reply_partial(struct json_writer *out, const struct process *process)
{
	jw_begin_array(out, "partial");
	for (int i = 0; i < PARTIAL_MAX; i++)
		if (process->partial & 1U << i)
			jw_string(out, NULL, partial_name((enum process_partial)i));
	jw_end_array(out);
}

void reply_python_frame(struct json_writer *out, const char *key,
			const struct site_python_frame *frame)
{
	jw_begin_object(out, key);
	jw_string(out, "function", frame->function);
	jw_string(out, "file", frame->file);
	if (frame->line > 0)
		jw_i64(out, "line", frame->line);
	else
		jw_null(out, "line");
	jw_end_object(out);
}

void reply_native_frame(struct json_writer *out, const char *key,
			const struct site_native_frame *frame)
{
	jw_begin_object(out, key);
	jw_string(out, "module", frame->module);
	jw_string(out, "symbol", frame->symbol);
	jw_u64(out, "offset", frame->offset);
	jw_end_object(out);
}

static const struct reply_method *find_method(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (strcmp(methods[i]->name, name) == 0)
			return methods[i];
	return NULL;
}

struct reply *reply_begin(const struct subject *subject, const struct caller *caller,
			  const char *request, size_t size, struct buffer *out)
{
	json_t *root = json_loadb(request, size, JSON_REJECT_DUPLICATES, NULL);
	const char *name = json_string_value(json_object_get(root, "method"));
	const json_t *parameters = json_object_get(root, "parameters");
	struct reply *reply = NULL;

	if (!name || (parameters && !json_is_object(parameters))) {
		reply_write_error(out, ERROR_INVALID_PARAMETER, "parameter",
				  name ? "parameters" : "method");
	} else if (!find_method(name)) {
		reply_write_error(out, ERROR_METHOD_NOT_FOUND, "method", name);
	} else {
		reply = calloc(1, sizeof(*reply));
		if (!reply)
			reply_write_error(out, ERROR_OVERLOADED, "reason", "no memory");
	}
	if (reply) {
		reply->subject = subject;
		reply->caller = caller;
		reply->method = find_method(name);
		reply->more = json_is_true(json_object_get(root, "more"));
		reply->first = true;
		reply->out = out;
		if (reply->method->begin && !reply->method->begin(reply, parameters))
			reply = reply_free(reply);
	}
	json_decref(root);
	return reply;
}

bool reply_is_ready(const struct reply *reply)
{
	return !reply->method->is_ready || reply->method->is_ready(reply);
}

bool reply_next(struct reply *reply, struct buffer *out)
{
	struct json_writer j = {.out = out};
	bool more;

	reply->out = out;
	jw_begin_object(&j, NULL);
	jw_begin_object(&j, "parameters");
	more = reply->method->write(reply, &j) && reply->more;
	jw_end_object(&j);
	if (more)
		jw_bool(&j, "continues", true);
	jw_end_object(&j);
	buffer_append(out, "", 1);
	reply->first = false;
	return more;
}

struct reply *reply_free(struct reply *reply)
{
	if (!reply)
		return NULL;
	free(reply->items);
	table_clear(&reply->lowest);
	watcher_free(reply->watcher);
	free(reply);
	return NULL;
}
