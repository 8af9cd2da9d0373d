/* SPDX-License-Identifier: Apache-2.0 */
/* watch: calls of one process or of all, and their beginning and end, as they happen. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "error.h"
#include "macro.h"
#include "output.h"
#include "protocol.h"
#include "request.h"
#include "table.h"

/* A stream is not known beforehand, so columns have the width that is mostly enough. */
static const struct table_column columns[] = {
	{.title = "TIME", .min_width = sizeof("12:34:56.789012") - 1},
	{.title = "PID/TID", .min_width = sizeof("1234567/1234567") - 1},
	{.title = "EVENT"},
	{.title = "KIND", .min_width = sizeof("managed") - 1},
	{.title = "API", .min_width = sizeof("cudaMallocManaged") - 1},
	{.title = "SIZE", .right = true, .min_width = sizeof("1023.9 MiB") - 1},
	{.title = "PTR", .right = true, .min_width = sizeof("0x7f0123456789") - 1},
	{.title = "SITE", .min_width = 16},
	{.title = "FRAME"},
};

static const struct {
	const char *event;
	enum style style;
} styles[] = {
	{"fail", STYLE_RED},
	{"free", STYLE_DIM},
	{"start", STYLE_GREEN},
	{"exit", STYLE_YELLOW},
};

static enum style style_of(const json_t *event)
{
	const char *name = json_string_value(json_object_get(event, "event"));

	for (size_t i = 0; name && i < ARRAY_SIZE(styles); i++)
		if (strcmp(name, styles[i].event) == 0)
			return styles[i].style;
	return STYLE_NONE;
}

static void add_time(struct table *table, const json_t *value)
{
	double seconds = json_number_value(value);
	char clock[16], fraction[16];
	struct tm tm;
	time_t whole;

	if (!json_is_number(value) || !(seconds >= 0 && seconds < 1e11)) {
		table_text(table, NULL);
		return;
	}
	whole = (time_t)seconds;
	snprintf(fraction, sizeof(fraction), "%.6f", seconds - (double)whole);
	if (!localtime_r(&whole, &tm) || strftime(clock, sizeof(clock), "%H:%M:%S", &tm) == 0)
		table_text(table, NULL);
	else
		table_printf(table, "%s%s", clock, fraction + 1); /* without its 0 */
}

static void add_thread(struct table *table, const json_t *event)
{
	const json_t *pid = json_object_get(event, "pid"), *tid = json_object_get(event, "tid");

	if (!json_is_integer(pid))
		table_text(table, NULL);
	else if (!json_is_integer(tid))
		table_json_count(table, pid);
	else
		table_printf(table, "%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT,
			     json_integer_value(pid), json_integer_value(tid));
}

/* "function  file:line" without the folders, or "module!symbol+0x10". */
static void add_frame(struct table *table, const json_t *frame)
{
	const char *function = json_string_value(json_object_get(frame, "function"));
	const char *file = json_string_value(json_object_get(frame, "file"));
	const char *module = json_string_value(json_object_get(frame, "module"));
	const char *symbol = json_string_value(json_object_get(frame, "symbol"));
	const char *slash = file ? strrchr(file, '/') : NULL;
	json_int_t line = json_integer_value(json_object_get(frame, "line"));
	json_int_t offset = json_integer_value(json_object_get(frame, "offset"));
	_cleanup_free_ char *text = NULL;
	int n;

	if (function)
		n = asprintf(&text, "%s  %s:%" JSON_INTEGER_FORMAT, function,
			     slash  ? slash + 1
			     : file ? file
				    : "?",
			     line);
	else
		n = asprintf(&text, "%s%s%s+0x%llx", module ? module : "?", symbol ? "!" : "",
			     symbol ? symbol : "", (unsigned long long)offset);
	if (n < 0)
		text = NULL;
	table_text(table, text);
}

static void add_detail(struct table *table, const json_t *event)
{
	const json_t *frame = json_object_get(event, "frame");
	const json_t *result = json_object_get(event, "result");

	if (json_is_object(frame))
		add_frame(table, frame);
	else if (json_is_integer(result))
		table_printf(table, "error %" JSON_INTEGER_FORMAT, json_integer_value(result));
	else
		table_text(table, NULL);
}

static void add_row(struct table *table, const json_t *event)
{
	table_row(table, style_of(event));
	add_time(table, json_object_get(event, "time"));
	add_thread(table, event);
	table_json_text(table, json_object_get(event, "event"));
	table_json_text(table, json_object_get(event, "kind"));
	table_json_text(table, json_object_get(event, "api"));
	table_json_bytes(table, json_object_get(event, "size"));
	table_json_text(table, json_object_get(event, "ptr"));
	table_json_text(table, json_object_get(event, "site"));
	add_detail(table, event);
}

static void add_dropped(struct table *table, const json_t *count)
{
	char text[64];

	snprintf(text, sizeof(text), "… %" JSON_INTEGER_FORMAT " events were not shown",
		 json_integer_value(count));
	table_note(table, STYLE_YELLOW, text);
}

static int print_events(const json_t *parameters, const json_t *items, bool first, void *userdata)
{
	struct table *table = userdata;

	(void)parameters;
	if (first) /* says that the watch has begun */
		table_titles(table);
	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *event = json_array_get(items, i);
		const json_t *count = json_object_get(event, "count");

		if (json_is_integer(count))
			add_dropped(table, count);
		else
			add_row(table, event);
	}
	return table_print(table);
}

int cmd_watch(const struct options *options)
{
	_cleanup_(table_cleanup) struct table *table =
		table_new(columns, ARRAY_SIZE(columns), false);
	json_t *parameters = options->pid ? json_pack("{s:i}", "pid", (int)options->pid) : NULL;
	char what[64] = "events of all processes";
	struct request request = {
		.what = what,
		.method = METHOD_WATCH,
		.items = "events",
		.endless = true,
		.reply = print_events,
		.userdata = table,
	};

	if (options->pid)
		snprintf(what, sizeof(what), "events of process %d", (int)options->pid);
	if (!table || (options->pid && !parameters)) {
		json_decref(parameters);
		return error_report(CLI_FAILURE, NULL, what, "out of memory");
	}
	return request_run(options, &request, parameters);
}
