/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../memory.h"
#include "../output.h"
#include "macro.h"
#include "row_read.h"

#define LABEL_COLUMNS_MAX 512

const struct row_mark row_marks[ROW_MARKS] = {
	{"late_attach", 'A', "attached late: calls before the probes were armed are missing"},
	{"patched", 'P', "patched: the process changed probed functions, which are left alone"},
	{"seccomp", 'S', "seccomp: its filter and this kernel forbid to probe it"},
	{"file_system", 'F', "file system: a library is on one that is a process (FUSE)"},
	{"limit", 'M', "maximum: it has more allocations than are tracked"},
	{"budget", 'B', "budget: probes took too much of its time, so less is recorded"},
	{"lost", 'L', "lost: returns of calls were not seen"},
};

const char *const row_verdicts[] = {"ok", "warming", "suspect", "leak", NULL};

static double read_number(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

static int read_verdict(const json_t *object)
{
	const char *name = json_string_value(json_object_get(object, "verdict"));

	for (int i = 0; name && row_verdicts[i]; i++)
		if (strcmp(row_verdicts[i], name) == 0)
			return i;
	return -1;
}

static unsigned read_marks(const json_t *process)
{
	const json_t *partial = json_object_get(process, "partial");
	unsigned marks = 0;

	for (size_t i = 0; i < json_array_size(partial); i++) {
		const char *reason = json_string_value(json_array_get(partial, i));

		for (size_t j = 0; reason && j < ROW_MARKS; j++)
			if (strcmp(row_marks[j].reason, reason) == 0)
				marks |= 1U << j;
	}
	return marks;
}

/* The newest samples where there are more than fit. */
static void read_history(const json_t *object, struct history *ret)
{
	const json_t *history = json_object_get(object, "history");
	const json_t *bytes = json_object_get(history, "bytes");
	size_t n = json_array_size(bytes);
	size_t skipped = n > HISTORY_MAX ? n - HISTORY_MAX : 0;

	ret->n = n - skipped;
	ret->interval_s = read_number(history, "interval_s");
	for (size_t i = 0; i < ret->n; i++) {
		const json_t *sample = json_array_get(bytes, skipped + i);

		ret->bytes[i] = json_is_number(sample) ? json_number_value(sample) : NAN;
	}
}

/* Takes `label` over. */
static void set_label(struct row *row, char *label)
{
	output_shorten(label, LABEL_COLUMNS_MAX, false);
	row->label = label;
}

static char *escape_value(const json_t *value)
{
	const char *text = json_string_value(value);

	return output_escape(text ? text : "?");
}

int row_read_process(const json_t *process, double now, struct row *ret)
{
	const json_t *outstanding = json_object_get(process, "outstanding");
	const json_t *group = json_object_get(process, "group");
	const json_t *title = json_object_get(process, "title");
	struct row row = {
		.json = process,
		.pid = json_integer_value(json_object_get(process, "pid")),
		.count = memory_sum(outstanding, "count"),
		.bytes = memory_sum(outstanding, "bytes"),
		.growth = read_number(process, "growth_bytes_per_s"),
		.age = now - read_number(process, "started_at"),
		.share = NAN,
		.lost = read_number(process, "lost_events"),
		.marks = read_marks(process),
		.verdict = read_verdict(process),
	};
	char *label =
		escape_value(json_is_string(title) ? title : json_object_get(process, "comm"));

	if (!label)
		return -ENOMEM;
	row.key = row_key_of_process(row.pid);
	row.group = json_is_integer(group) ? json_integer_value(group) : row.pid;
	for (size_t i = 0; i < KIND_MAX; i++)
		row.kinds[i] =
			read_number(json_object_get(outstanding, memory_kinds[i].name), "bytes");
	read_history(process, &row.history);
	set_label(&row, label);
	*ret = row;
	return 0;
}

/* "file:line function"; the short form begins at the last component of the file's name. */
static char *python_label(const json_t *frame, size_t *ret_short)
{
	_cleanup_free_ char *function = escape_value(json_object_get(frame, "function"));
	_cleanup_free_ char *file = escape_value(json_object_get(frame, "file"));
	const json_t *line = json_object_get(frame, "line");
	const char *slash = file ? strrchr(file, '/') : NULL;
	char number[32] = "";
	char *label;

	if (!function || !file)
		return NULL;
	if (json_is_integer(line))
		snprintf(number, sizeof(number), ":%" JSON_INTEGER_FORMAT,
			 json_integer_value(line));
	if (asprintf(&label, "%s%s %s   ", file, number, function) < 0)
		return NULL;
	label[strlen(label) - 3] = '\0'; /* output_shorten() wants the room */
	*ret_short = slash ? (size_t)(slash + 1 - file) : 0;
	return label;
}

static char *native_label(const json_t *frame, size_t *ret_short)
{
	const json_t *symbol = json_object_get(frame, "symbol");
	_cleanup_free_ char *module = escape_value(json_object_get(frame, "module"));
	_cleanup_free_ char *name = escape_value(symbol);
	const char *slash = module ? strrchr(module, '/') : NULL;
	char *label;

	if (!module || !name)
		return NULL;
	if (asprintf(&label, "%s%s%s   ", module, json_is_string(symbol) ? "!" : "",
		     json_is_string(symbol) ? name : "") < 0)
		return NULL;
	label[strlen(label) - 3] = '\0';
	*ret_short = slash ? (size_t)(slash + 1 - module) : 0;
	return label;
}

int row_read_site(const json_t *site, const json_t *total, struct row *ret)
{
	const char *id = json_string_value(json_object_get(site, "id"));
	const char *kind = json_string_value(json_object_get(site, "kind"));
	const json_t *python = json_array_get(json_object_get(site, "python"), 0);
	const json_t *native = json_array_get(json_object_get(site, "native"), 0);
	struct row row = {
		.json = site,
		.key = id ? strtoull(id, NULL, 16) : 0,
		.count = read_number(site, "count"),
		.bytes = read_number(site, "bytes"),
		.growth = read_number(site, "growth_bytes_per_s"),
		.age = read_number(site, "oldest_age_s"),
		.lost = NAN,
		.verdict = read_verdict(site),
	};
	double all = kind ? json_number_value(memory_figure(total, kind, "bytes")) : 0;
	char *label = python ? python_label(python, &row.label_short)
			     : native_label(native ? native : json_object_get(site, "caller"),
					    &row.label_short);

	if (!label)
		return -ENOMEM;
	row.share = all > 0 ? row.bytes / all : NAN;
	read_history(site, &row.history);
	set_label(&row, label);
	row.label_short = MIN(row.label_short, strlen(row.label));
	*ret = row;
	return 0;
}

void row_clear(struct row *row)
{
	free(row->label);
	row->label = NULL;
}

static bool contains(const json_t *object, const char *name, const char *text)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value && strcasestr(value, text);
}

bool row_matches_process(const json_t *process, const char *text)
{
	static const char *const fields[] = {"title", "comm",   "cmdline", "container",
					     "pod",   "python", "verdict"};
	static const char *const pids[] = {"pid", "inner_pid"};

	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		char pid[32];

		snprintf(pid, sizeof(pid), "%" PRId64,
			 (int64_t)json_integer_value(json_object_get(process, pids[i])));
		if (strcmp(pid, text) == 0)
			return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (contains(process, fields[i], text))
			return true;
	return false;
}

static bool matches_frames(const json_t *frames, const char *first, const char *second,
			   const char *text)
{
	for (size_t i = 0; i < json_array_size(frames); i++) {
		const json_t *frame = json_array_get(frames, i);

		if (contains(frame, first, text) || contains(frame, second, text))
			return true;
	}
	return false;
}

bool row_matches_site(const struct row *row, const char *text)
{
	return contains(row->json, "kind", text) || contains(row->json, "api", text) ||
	       contains(row->json, "id", text) || contains(row->json, "verdict", text) ||
	       strcasestr(row->label, text) ||
	       matches_frames(json_object_get(row->json, "python"), "function", "file", text) ||
	       matches_frames(json_object_get(row->json, "native"), "symbol", "module", text);
}
