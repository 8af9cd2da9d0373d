/* SPDX-License-Identifier: Apache-2.0 */
/* ps: tracked processes, the biggest server first and its processes together. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "command.h"
#include "error.h"
#include "macro.h"
#include "memory.h"
#include "output.h"
#include "protocol.h"
#include "request.h"
#include "table.h"

/* More processes than a kernel can run at once are no answer. */
#define PROCESSES_SHOWN_MAX (1U << 22)

static const struct table_column columns[] = {
	{.title = "PID", .right = true},
	{.title = "INNER", .right = true, .optional = true},
	{.title = "GROUP", .right = true, .optional = true},
	{.title = "AGE", .right = true},
	{.title = "CONTAINER", .max_width = 12, .optional = true},
	{.title = "PYTHON"},
	{.title = "TITLE", .max_width = 32},
	{.title = "DEVICE", .right = true},
	{.title = "MANAGED", .right = true},
	{.title = "HOST", .right = true},
	{.title = "ARRAY", .right = true, .optional = true},
	{.title = "VMM", .right = true, .optional = true},
	{.title = "ALLOCS", .right = true},
	{.title = "VERDICT", .optional = true},
	{.title = "PARTIAL", .optional = true},
};

struct process {
	json_t *json;
	int64_t pid;
	int64_t group;
	double bytes;
	double group_bytes;
};

struct processes {
	struct process *items;
	size_t n;
	size_t capacity;
};

static void processes_cleanup(struct processes *list)
{
	for (size_t i = 0; i < list->n; i++)
		json_decref(list->items[i].json);
	free(list->items);
}

static int add_process(struct processes *list, json_t *json)
{
	const json_t *group = json_object_get(json, "group");
	int64_t pid = json_integer_value(json_object_get(json, "pid"));

	if (list->n >= PROCESSES_SHOWN_MAX)
		return -EPROTO;
	if (list->n == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 64;
		struct process *items = reallocarray(list->items, capacity, sizeof(*items));

		if (!items)
			return -ENOMEM;
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->n++] = (struct process){
		.json = json_incref(json),
		.pid = pid,
		.group = json_is_integer(group) ? json_integer_value(group) : pid,
		.bytes = memory_sum(json_object_get(json, "outstanding"), "bytes"),
	};
	return 0;
}

static int take_processes(const json_t *parameters, const json_t *items, bool first, void *userdata)
{
	int err = 0;

	(void)parameters;
	(void)first;
	for (size_t i = 0; i < json_array_size(items) && !err; i++)
		err = add_process(userdata, json_array_get(items, i));
	return err;
}

static int by_group(const void *a, const void *b)
{
	const struct process *x = a;
	const struct process *y = b;

	return (x->group > y->group) - (x->group < y->group);
}

static int by_size(const void *a, const void *b)
{
	const struct process *x = a;
	const struct process *y = b;

	if (x->group_bytes != y->group_bytes)
		return x->group_bytes < y->group_bytes ? 1 : -1;
	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

static void sort_processes(struct processes *list)
{
	if (list->n == 0)
		return;
	qsort(list->items, list->n, sizeof(*list->items), by_group);
	for (size_t i = 0, end; i < list->n; i = end) {
		double sum = 0;

		for (end = i; end < list->n && list->items[end].group == list->items[i].group;
		     end++)
			sum += list->items[end].bytes;
		for (size_t j = i; j < end; j++)
			list->items[j].group_bytes = sum;
	}
	qsort(list->items, list->n, sizeof(*list->items), by_size);
}

static bool is_partial(const json_t *json)
{
	return json_array_size(json_object_get(json, "partial")) > 0;
}

/* A column that is optional has a value only where there is such memory. Unknown of a process whose
 * figures may be too low is at least nothing.
 */
static void add_bytes(struct table *table, const json_t *json, const char *kind, bool optional)
{
	const json_t *kinds = json_object_get(json, "outstanding");
	const json_t *known = memory_figure(kinds, kind, "bytes");
	bool is_unknown = json_is_null(json_object_get(kinds, kind)) && is_partial(json);
	double bytes = json_number_value(known);
	bool is_shown = optional ? bytes > 0 : known || is_unknown;
	char text[HUMAN_MAX];

	table_text(table, is_shown ? memory_text(text, bytes, is_partial(json)) : NULL);
}

static void add_count(struct table *table, const json_t *json)
{
	double count = memory_sum(json_object_get(json, "outstanding"), "count");

	table_printf(table, "%s%.0f", memory_mark(count, is_partial(json)), count);
}

static void add_partial(struct table *table, const json_t *partial)
{
	char text[256] = "";
	size_t used = 0;

	for (size_t i = 0; i < json_array_size(partial) && used < sizeof(text); i++) {
		const char *reason = json_string_value(json_array_get(partial, i));

		if (reason)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s",
						 used ? "," : "", reason);
	}
	table_text(table, used ? text : NULL);
}

static void add_row(struct table *table, const struct process *process, double now)
{
	const json_t *json = process->json;
	const json_t *started = json_object_get(json, "started_at");
	const json_t *title = json_object_get(json, "title");
	char age[HUMAN_MAX];

	table_row(table, STYLE_NONE);
	table_json_count(table, json_object_get(json, "pid"));
	table_json_count(table, json_object_get(json, "inner_pid"));
	table_json_count(table,
			 process->group != process->pid ? json_object_get(json, "group") : NULL);
	table_text(table, json_is_number(started)
				  ? human_duration(age, now - json_number_value(started))
				  : NULL);
	table_json_text(table, json_object_get(json, "container"));
	table_json_text(table, json_object_get(json, "python"));
	table_json_text(table, json_is_string(title) ? title : json_object_get(json, "comm"));
	add_bytes(table, json, "device", false);
	add_bytes(table, json, "managed", false);
	add_bytes(table, json, "host", false);
	add_bytes(table, json, "array", true);
	add_bytes(table, json, "vmm", true);
	add_count(table, json);
	table_json_text(table, json_object_get(json, "verdict"));
	add_partial(table, json_object_get(json, "partial"));
}

static int print_processes(const struct processes *list)
{
	_cleanup_(table_cleanup) struct table *table =
		table_new(columns, ARRAY_SIZE(columns), false);
	double now = (double)time(NULL);

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < list->n; i++)
		add_row(table, &list->items[i], now);
	if (list->n == 0)
		puts("No process that uses CUDA is tracked.");
	return table_print(table);
}

int cmd_ps(const struct options *options)
{
	_cleanup_(processes_cleanup) struct processes list = {0};
	struct request request = {
		.what = "list of processes",
		.method = METHOD_PS,
		.items = "processes",
		.reply = take_processes,
		.userdata = &list,
	};
	int status = request_run(options, &request, NULL);

	if (status != CLI_OK || options->json)
		return status;
	sort_processes(&list);
	if (print_processes(&list) < 0)
		return error_report(CLI_FAILURE, NULL, request.what, "out of memory");
	return CLI_OK;
}
