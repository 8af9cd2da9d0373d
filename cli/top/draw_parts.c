/* SPDX-License-Identifier: Apache-2.0 */
/* What stands above the lists: the host, the daemon, the process and the site that were chosen. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../memory.h"
#include "draw.h"
#include "keys.h"
#include "refresh.h"

#define GROWTH_TEXT_MAX 32

static void add_growth(const struct canvas *canvas, int y, int *x, double growth)
{
	char text[GROWTH_TEXT_MAX];
	enum style style = columns_growth(growth, text, sizeof(text));

	if (!isnan(growth))
		canvas_add(canvas, y, x, style, "   %s", text);
}

/* Sums over all processes, whatever the list hides. */
int draw_summary(const struct top *top, const struct canvas *canvas, int y)
{
	const json_t *processes = json_object_get(top->answers[ASK_PS], "processes");
	size_t n = json_array_size(processes), partial = 0;
	double bytes = 0, growth = NAN;
	char text[HUMAN_MAX];
	int x = 1;

	for (size_t i = 0; i < n; i++) {
		const json_t *process = json_array_get(processes, i);
		const json_t *more = json_object_get(process, "growth_bytes_per_s");

		bytes += memory_sum(json_object_get(process, "outstanding"), "bytes");
		partial += json_array_size(json_object_get(process, "partial")) > 0;
		if (json_is_number(more))
			growth = (isnan(growth) ? 0 : growth) + json_number_value(more);
	}
	canvas_add(canvas, y, &x, STYLE_BOLD, "srtleak   %s of CUDA memory in %zu process%s",
		   memory_text(text, bytes, partial > 0), n, n == 1 ? "" : "es");
	add_growth(canvas, y, &x, growth);
	if (partial)
		canvas_add(canvas, y, &x, STYLE_YELLOW, "   %zu partial", partial);
	return y + 1;
}

static double sum_of(const json_t *object)
{
	double sum = 0;
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value) sum += json_number_value(value);
	return sum;
}

static double refused(const json_t *limits)
{
	double sum = 0;

	for (size_t i = 0; i < json_array_size(limits); i++)
		sum += json_number_value(json_object_get(json_array_get(limits, i), "refused"));
	return sum;
}

static void add_status(const json_t *status, const struct canvas *canvas, int y, int *x)
{
	const json_t *events = json_object_get(status, "events");
	const char *version = json_string_value(json_object_get(status, "version"));
	_cleanup_free_ char *safe = output_escape(version ? version : "?");
	double lost = sum_of(json_object_get(events, "lost"));
	double limit = refused(json_object_get(status, "limits"));
	char text[HUMAN_MAX];

	canvas_add(canvas, y, x, STYLE_NONE, "daemon %s up %s, %.0f events", safe ? safe : "?",
		   human_duration(text, json_number_value(json_object_get(status, "uptime_s"))),
		   json_number_value(json_object_get(events, "received")));
	canvas_add(canvas, y, x, lost > 0 ? STYLE_YELLOW : STYLE_NONE, ", %.0f lost", lost);
	if (limit > 0)
		canvas_add(canvas, y, x, STYLE_YELLOW, ", %.0f refused by limits", limit);
}

int draw_daemon(const struct top *top, const struct canvas *canvas, int y)
{
	int64_t slow = refresh_slow_s(top);
	char text[HUMAN_MAX];
	int x = 1;

	if (*top->failure)
		canvas_add(canvas, y, &x, STYLE_RED,
			   "daemon not reachable, retrying: %s; shown: %s ago", top->failure,
			   human_duration(text, (double)(fetch_now_ms() - top->answered_ms) / 1e3));
	else if (slow)
		canvas_add(canvas, y, &x, STYLE_YELLOW, "daemon slow: no answer for %" PRId64 " s",
			   slow);
	else if (top->answers[ASK_STATUS])
		add_status(top->answers[ASK_STATUS], canvas, y, &x);
	return y + 1;
}

/* One line on the process: who it is. */
int draw_subject(const struct top *top, const struct canvas *canvas, int y)
{
	const struct row *row = &top->process.row;
	const char *python = json_string_value(json_object_get(row->json, "python"));
	const char *container = json_string_value(json_object_get(row->json, "container"));
	const json_t *inner_pid = json_object_get(row->json, "inner_pid");
	_cleanup_free_ char *safe_python = output_escape(python ? python : "");
	_cleanup_free_ char *safe_container = output_escape(container ? container : "");
	char text[HUMAN_MAX];
	int x = 1;

	canvas_add(canvas, y, &x, STYLE_BOLD, "process %" PRId64, row->pid);
	if (!isnan(row->age))
		canvas_add(canvas, y, &x, STYLE_NONE, "   up %s", human_duration(text, row->age));
	if (python && safe_python)
		canvas_add(canvas, y, &x, STYLE_NONE, "   python %s", safe_python);
	canvas_add(canvas, y, &x, STYLE_BOLD, "   %s", row->label ? row->label : "");
	if (json_is_integer(inner_pid))
		canvas_add(canvas, y, &x, STYLE_DIM, "   %" JSON_INTEGER_FORMAT " in %s",
			   json_integer_value(inner_pid),
			   container && safe_container ? safe_container : "its namespace");
	else if (container && safe_container)
		canvas_add(canvas, y, &x, STYLE_DIM, "   %s", safe_container);
	return y + 1;
}

static void add_kind(const json_t *outstanding, size_t i, const char *before,
		     const struct canvas *canvas, int y, int *x)
{
	double bytes = json_number_value(memory_figure(outstanding, memory_kinds[i].name, "bytes"));
	char text[HUMAN_MAX];

	canvas_add(canvas, y, x, STYLE_NONE, "%s%s ", before, memory_kinds[i].name);
	if (bytes > 0)
		canvas_add(canvas, y, x, STYLE_BOLD, "%s ", human_bytes(text, bytes));
	canvas_add(canvas, y, x, STYLE_NONE, "(%" JSON_INTEGER_FORMAT ")",
		   json_integer_value(memory_figure(outstanding, memory_kinds[i].name, "count")));
}

/* What it holds by kind, and, where figures are too low, why. */
int draw_totals(const struct top *top, const struct canvas *canvas, int y)
{
	const struct row *row = &top->process.row;
	const json_t *outstanding = json_object_get(row->json, "outstanding");
	const char *before = "";
	int x = 1;

	for (size_t i = 0; i < n_memory_kinds; i++) {
		if (json_integer_value(memory_figure(outstanding, memory_kinds[i].name, "count")) ==
		    0)
			continue;
		add_kind(outstanding, i,
			 *before && !memory_kinds[i].summed ? "; beside it " : before, canvas, y,
			 &x);
		before = ", ";
	}
	add_growth(canvas, y, &x, row->growth);
	if (row->verdict >= 0)
		canvas_add(canvas, y, &x, columns_verdict_style(row->verdict), "   %s",
			   row_verdicts[row->verdict]);
	for (size_t i = 0; i < ROW_MARKS; i++)
		if (row->marks & (1U << i)) {
			x = 1;
			canvas_add(canvas, ++y, &x, STYLE_YELLOW, "figures may be too low: ");
			canvas_add(canvas, y, &x, STYLE_NONE, "%s", row_marks[i].words);
		}
	return y + 1;
}

/* Two lines on the site. */
int draw_site(const struct top *top, const struct canvas *canvas, int y)
{
	static const char *const texts[] = {"id", "kind", "api", "owner"};
	const struct row *row = &top->site.row;
	const json_t *device = json_object_get(row->json, "device");
	char text[HUMAN_MAX];
	int x = 1;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		const char *value = json_string_value(json_object_get(row->json, texts[i]));
		_cleanup_free_ char *safe = value ? output_escape(value) : NULL;

		if (safe)
			canvas_add(canvas, y, &x, i ? STYLE_NONE : STYLE_BOLD, "%s%s",
				   i ? "   " : "site ", safe);
	}
	if (json_is_integer(device))
		canvas_add(canvas, y, &x, STYLE_NONE, "   on GPU %" JSON_INTEGER_FORMAT,
			   json_integer_value(device));
	x = 1;
	canvas_add(canvas, ++y, &x, STYLE_BOLD, "%s", human_bytes(text, row->bytes));
	canvas_add(canvas, y, &x, STYLE_NONE, " in %.0f, oldest %s", row->count,
		   isnan(row->age) ? "?" : human_duration(text, row->age));
	canvas_add(canvas, y, &x, STYLE_NONE,
		   "   allocated %" JSON_INTEGER_FORMAT " times, freed %" JSON_INTEGER_FORMAT,
		   json_integer_value(json_object_get(row->json, "allocs_total")),
		   json_integer_value(json_object_get(row->json, "frees_total")));
	add_growth(canvas, y, &x, row->growth);
	if (row->verdict >= 0)
		canvas_add(canvas, y, &x, columns_verdict_style(row->verdict), "   %s",
			   row_verdicts[row->verdict]);
	return y + 1;
}

void draw_help(const struct canvas *canvas)
{
	int y = 0;

	canvas_text(canvas, y++, 1, canvas->columns, STYLE_BOLD,
		    "srtleakctl top: who holds GPU memory, and which code allocated it");
	for (size_t i = 0; i < n_key_bindings && y < canvas->rows - 1; i++, y++) {
		canvas_text(canvas, y, 1, 16, STYLE_BOLD, key_bindings[i].names);
		canvas_text(canvas, y, 18, canvas->columns, STYLE_NONE, key_bindings[i].words);
	}
	y += y + ROW_MARKS + 1 < canvas->rows; /* an empty line, where there is one to spare */
	for (size_t i = 0; i < ROW_MARKS; i++, y++) {
		int x = 1;

		canvas_add(canvas, y, &x, STYLE_YELLOW, "%c", row_marks[i].letter);
		canvas_add(canvas, y, &x, STYLE_DIM, " under MARK");
		canvas_text(canvas, y, 18, canvas->columns, STYLE_NONE, row_marks[i].words);
	}
	canvas_text(canvas, canvas->rows - 1, 1, canvas->columns, STYLE_DIM, "Any key goes back.");
}
