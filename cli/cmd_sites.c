/* SPDX-License-Identifier: Apache-2.0 */
/* sites: outstanding memory of a process by the place in the code that allocated it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "error.h"
#include "macro.h"
#include "memory.h"
#include "output.h"
#include "protocol.h"
#include "request.h"
#include "table.h"

#define FUNCTION_WIDTH_MAX 48
#define NOTE_INDENT 4 /* what table_note() puts before a line */

static const struct table_column columns[] = {
	{.title = "BYTES", .right = true},
	{.title = "SHARE", .right = true},
	{.title = "KIND"},
	{.title = "COUNT", .right = true},
	{.title = "OLDEST", .right = true},
	{.title = "GROWTH", .right = true, .optional = true},
	{.title = "VERDICT", .optional = true},
	{.title = "API"},
	{.title = "DEVICE", .optional = true},
	{.title = "SITE"},
};

struct listing {
	struct table *table;
	json_t *total;
	size_t shown;
};

/* "device 1.5 GiB (12)": bytes and number; things without a size have the number alone. */
static void print_kind(const json_t *total, const char *kind, const char *before)
{
	double bytes = json_number_value(memory_figure(total, kind, "bytes"));
	char text[HUMAN_MAX];

	printf("%s%s ", before, kind);
	if (bytes > 0)
		printf("%s ", human_bytes(text, bytes));
	printf("(%" JSON_INTEGER_FORMAT ")",
	       json_integer_value(memory_figure(total, kind, "count")));
}

/* The kinds that add up come first; the others lie beside them or inside them. */
static void print_totals(const json_t *total, bool may_be_more)
{
	const char *before = "";

	for (size_t i = 0; i < n_memory_kinds; i++) {
		const struct memory_kind_info *kind = &memory_kinds[i];

		if (json_integer_value(memory_figure(total, kind->name, "count")) == 0)
			continue;
		print_kind(total, kind->name, *before && !kind->summed ? "; beside it " : before);
		before = ", ";
	}
	if (!*before)
		fputs(may_be_more ? "nothing outstanding that was seen" : "nothing outstanding",
		      stdout);
}

static void print_header(const json_t *parameters)
{
	const json_t *partial = json_object_get(parameters, "partial");
	char text[64];

	snprintf(text, sizeof(text), "process %" JSON_INTEGER_FORMAT ": ",
		 json_integer_value(json_object_get(parameters, "pid")));
	output_styled(STYLE_BOLD, text);
	print_totals(json_object_get(parameters, "total"), json_array_size(partial) > 0);
	putchar('\n');
	memory_print_partial(partial);
	putchar('\n');
}

static void add_share(struct table *table, const json_t *total, const json_t *site)
{
	const char *kind = json_string_value(json_object_get(site, "kind"));
	double all = kind ? json_number_value(memory_figure(total, kind, "bytes")) : 0;

	if (all > 0)
		table_printf(table, "%.1f%%",
			     100 * json_number_value(json_object_get(site, "bytes")) / all);
	else
		table_text(table, NULL);
}

static void add_growth(struct table *table, const json_t *growth)
{
	char text[HUMAN_MAX];

	if (json_is_number(growth))
		table_printf(table, "%s/s", human_bytes(text, json_number_value(growth)));
	else
		table_text(table, NULL);
}

static void add_summary(struct table *table, const json_t *total, const json_t *site)
{
	table_row(table, STYLE_BOLD);
	table_json_bytes(table, json_object_get(site, "bytes"));
	add_share(table, total, site);
	table_json_text(table, json_object_get(site, "kind"));
	table_json_count(table, json_object_get(site, "count"));
	table_json_duration(table, json_object_get(site, "oldest_age_s"));
	add_growth(table, json_object_get(site, "growth_bytes_per_s"));
	table_json_text(table, json_object_get(site, "verdict"));
	table_json_text(table, json_object_get(site, "api"));
	table_json_count(table, json_object_get(site, "device"));
	table_json_text(table, json_object_get(site, "id"));
}

/* Escaped text of a string, "?" where there is none. */
static char *safe_text(const json_t *text)
{
	const char *value = json_string_value(text);

	return output_escape(value ? value : "?");
}

static size_t function_width(const json_t *frames)
{
	size_t width = 0;

	for (size_t i = 0; i < json_array_size(frames); i++) {
		_cleanup_free_ char *function =
			safe_text(json_object_get(json_array_get(frames, i), "function"));

		if (function)
			width = MAX(width, output_width(function));
	}
	return MIN(width, (size_t)FUNCTION_WIDTH_MAX);
}

/* "function  file:line"; of a path too long for the terminal the end is kept. */
static int add_python_frame(struct table *table, const json_t *frame, size_t width, bool innermost)
{
	_cleanup_free_ char *function = safe_text(json_object_get(frame, "function"));
	_cleanup_free_ char *file = safe_text(json_object_get(frame, "file"));
	_cleanup_free_ char *text = NULL;
	const json_t *line = json_object_get(frame, "line");
	size_t terminal = output_columns();
	char number[24] = "";
	size_t used;

	if (!function || !file)
		return -ENOMEM;
	if (json_is_integer(line))
		snprintf(number, sizeof(number), ":%" JSON_INTEGER_FORMAT,
			 json_integer_value(line));
	used = NOTE_INDENT + width + strlen("  ") + strlen(number);
	output_shorten(function, FUNCTION_WIDTH_MAX, false);
	if (terminal > used)
		output_shorten(file, terminal - used, true);
	if (asprintf(&text, "%s%*s  %s%s", function,
		     (int)(width - MIN(output_width(function), width)), "", file, number) < 0) {
		text = NULL;
		return -ENOMEM;
	}
	table_note(table, innermost ? STYLE_YELLOW : STYLE_NONE, text);
	return 0;
}

static int add_native_frame(struct table *table, const json_t *frame, const char *before)
{
	_cleanup_free_ char *module = safe_text(json_object_get(frame, "module"));
	bool named = json_is_string(json_object_get(frame, "symbol"));
	_cleanup_free_ char *symbol =
		named ? safe_text(json_object_get(frame, "symbol")) : strdup("");
	_cleanup_free_ char *text = NULL;
	const json_t *offset = json_object_get(frame, "offset");
	size_t terminal = output_columns();
	char number[24] = "";
	size_t used;

	if (!module || !symbol)
		return -ENOMEM;
	if (json_is_integer(offset))
		snprintf(number, sizeof(number), "+0x%llx",
			 (unsigned long long)json_integer_value(offset));
	used = NOTE_INDENT + strlen(before) + output_width(module) + strlen("!") + strlen(number);
	if (terminal > used)
		output_shorten(symbol, terminal - used, false);
	if (asprintf(&text, "%s%s%s%s%s", before, module, named ? "!" : "", symbol, number) < 0) {
		text = NULL;
		return -ENOMEM;
	}
	table_note(table, STYLE_DIM, text);
	return 0;
}

/* A stack of a hundred frames would push the next site off the screen. */
#define FRAMES_SHOWN 20
#define FRAMES_INNERMOST 17

static int add_gap(struct table *table, size_t frames)
{
	char *text;

	if (asprintf(&text, "… %zu more frames (--json has them all)", frames) < 0)
		return -ENOMEM;
	table_note(table, STYLE_DIM, text);
	free(text);
	return 0;
}

/* The Python stack and who called from native code; without Python, the native stack. */
static int add_stack(struct table *table, const json_t *site)
{
	const json_t *python = json_object_get(site, "python");
	const json_t *native = json_object_get(site, "native");
	size_t width = function_width(python), n = json_array_size(python);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		if (i == FRAMES_INNERMOST && n > FRAMES_SHOWN) {
			err = add_gap(table, n - FRAMES_SHOWN);
			i = n - (FRAMES_SHOWN - FRAMES_INNERMOST);
		}
		if (!err)
			err = add_python_frame(table, json_array_get(python, i), width, i == 0);
	}
	if (json_array_size(python) == 0)
		for (size_t i = 0; i < json_array_size(native) && !err; i++)
			err = add_native_frame(table, json_array_get(native, i), "");
	if (!err && json_array_size(python) > 0 && json_array_size(native) > 0)
		err = add_native_frame(table, json_array_get(native, 0), "called by ");
	if (!err && json_is_true(json_object_get(site, "truncated")))
		table_note(table, STYLE_DIM, "(the stack goes on)");
	return err;
}

static int print_sites(const json_t *parameters, const json_t *items, bool first, void *userdata)
{
	struct listing *listing = userdata;
	int err = 0;

	if (first) {
		listing->total = json_incref(json_object_get(parameters, "total"));
		print_header(parameters);
	}
	for (size_t i = 0; i < json_array_size(items) && !err; i++) {
		const json_t *site = json_array_get(items, i);

		add_summary(listing->table, listing->total, site);
		err = add_stack(listing->table, site);
	}
	listing->shown += json_array_size(items);
	return err ? err : table_print(listing->table);
}

static json_t *parameters_of(const struct options *options)
{
	return json_pack("{s:i, s:s*, s:s*, s:I}", "pid", (int)options->pid, "kind", options->kind,
			 "sort", options->sort, "limit", (json_int_t)options->limit);
}

int cmd_sites(const struct options *options)
{
	_cleanup_(table_cleanup) struct table *table =
		table_new(columns, ARRAY_SIZE(columns), true);
	struct listing listing = {.table = table};
	char what[64];
	struct request request = {
		.what = what,
		.method = METHOD_SITES,
		.items = "sites",
		.reply = print_sites,
		.userdata = &listing,
	};
	json_t *parameters = parameters_of(options);
	int status;

	snprintf(what, sizeof(what), "call sites of process %d", (int)options->pid);
	if (!table || !parameters) {
		json_decref(parameters);
		return error_report(CLI_FAILURE, NULL, what, "out of memory");
	}
	status = request_run(options, &request, parameters);
	json_decref(listing.total);
	if (status == CLI_OK && !options->json && options->limit && listing.shown >= options->limit)
		printf("\nThe first %zu sites are shown; all: --limit 0\n", listing.shown);
	return status;
}
