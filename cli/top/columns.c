/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../memory.h"
#include "chart.h"
#include "columns.h"

#define SPARKLINE 20

static void put_bytes(const struct row *row, double bytes, char *out)
{
	char text[HUMAN_MAX];

	snprintf(out, CELL_MAX, "%s",
		 isnan(bytes) ? "-" : memory_text(text, bytes, row->marks != 0));
}

/* Text of a stranger; what is longer than any column is not a whole cell of it. */
static void put_string(const struct row *row, const char *name, char *out)
{
	const char *value = json_string_value(json_object_get(row->json, name));
	_cleanup_free_ char *safe = value ? output_escape(value) : NULL;

	if (safe)
		output_shorten(safe, CELL_MAX / 8, false);
	snprintf(out, CELL_MAX, "%s", !safe ? "-" : strlen(safe) < CELL_MAX ? safe : "?");
}

static enum style cell_pid(const struct row *row, char *out)
{
	snprintf(out, CELL_MAX, "%" PRId64, row->pid);
	return STYLE_NONE;
}

static enum style cell_age(const struct row *row, char *out)
{
	char text[HUMAN_MAX];

	snprintf(out, CELL_MAX, "%s", isnan(row->age) ? "-" : human_duration(text, row->age));
	return STYLE_NONE;
}

static enum style cell_bytes(const struct row *row, char *out)
{
	put_bytes(row, row->bytes, out);
	return STYLE_NONE;
}

static enum style cell_device(const struct row *row, char *out)
{
	put_bytes(row, row->kinds[KIND_DEVICE], out);
	return STYLE_NONE;
}

static enum style cell_host(const struct row *row, char *out)
{
	put_bytes(row, row->kinds[KIND_HOST], out);
	return STYLE_NONE;
}

/* Kinds that many programs never use have a column only where there is such memory. */
static enum style put_rare(const struct row *row, enum memory_kind kind, char *out)
{
	if (row->kinds[kind] > 0)
		put_bytes(row, row->kinds[kind], out);
	return STYLE_NONE;
}

static enum style cell_managed(const struct row *row, char *out)
{
	return put_rare(row, KIND_MANAGED, out);
}

static enum style cell_array(const struct row *row, char *out)
{
	return put_rare(row, KIND_ARRAY, out);
}

static enum style cell_vmm(const struct row *row, char *out)
{
	return put_rare(row, KIND_VMM, out);
}

/* The sum is worth a column where it is not that of DEVICE and HOST. */
static enum style cell_total(const struct row *row, char *out)
{
	if (row->kinds[KIND_MANAGED] > 0 || row->kinds[KIND_ARRAY] > 0 || row->kinds[KIND_VMM] > 0)
		put_bytes(row, row->bytes, out);
	return STYLE_NONE;
}

enum style columns_growth(double bytes_per_s, char *out, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = bytes_per_s * 60;
	size_t unit = 0;

	if (isnan(bytes_per_s)) {
		snprintf(out, size, "-");
		return STYLE_NONE;
	}
	while (fabs(value) >= 1023.5 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	value = MIN(MAX(value, -99999), 99999);
	if (fabs(value) < 0.05)
		snprintf(out, size, "0");
	else
		snprintf(out, size, "%+.*f %s/min", unit && fabs(value) < 9.95 ? 1 : 0, value,
			 units[unit]);
	return value >= 0.05 ? STYLE_YELLOW : STYLE_NONE;
}

static enum style cell_growth(const struct row *row, char *out)
{
	return columns_growth(row->growth, out, CELL_MAX);
}

static enum style cell_count(const struct row *row, char *out)
{
	if (isnan(row->count))
		strcpy(out, "-");
	else
		snprintf(out, CELL_MAX, "%s%.0f", memory_mark(row->count, row->marks != 0),
			 row->count);
	return STYLE_NONE;
}

static enum style cell_share(const struct row *row, char *out)
{
	if (isnan(row->share))
		strcpy(out, "-");
	else
		snprintf(out, CELL_MAX, "%.1f%%", 100 * MIN(MAX(row->share, 0), 1));
	return STYLE_NONE;
}

static enum style cell_lost(const struct row *row, char *out)
{
	if (row->lost > 0)
		snprintf(out, CELL_MAX, "%.0f", row->lost);
	return STYLE_YELLOW;
}

static enum style cell_marks(const struct row *row, char *out)
{
	for (size_t i = 0; i < ROW_MARKS; i++)
		if (row->marks & (1U << i))
			*out++ = row_marks[i].letter;
	*out = '\0';
	return STYLE_YELLOW;
}

enum style columns_verdict_style(int verdict)
{
	static const enum style styles[] = {STYLE_GREEN, STYLE_NONE, STYLE_YELLOW, STYLE_RED};

	return verdict < 0 ? STYLE_NONE : styles[verdict];
}

static enum style cell_verdict(const struct row *row, char *out)
{
	snprintf(out, CELL_MAX, "%s", row->verdict < 0 ? "" : row_verdicts[row->verdict]);
	return columns_verdict_style(row->verdict);
}

static enum style cell_oom(const struct row *row, char *out)
{
	const json_t *eta = json_object_get(row->json, "oom_eta_s");
	char text[HUMAN_MAX];

	if (json_is_number(eta))
		snprintf(out, CELL_MAX, "%s", human_duration(text, json_number_value(eta)));
	return STYLE_RED;
}

static enum style cell_history(const struct row *row, char *out)
{
	chart_line(&row->history, SPARKLINE, out);
	return STYLE_GREEN;
}

static enum style cell_python(const struct row *row, char *out)
{
	put_string(row, "python", out);
	return STYLE_NONE;
}

static enum style cell_container(const struct row *row, char *out)
{
	if (json_is_string(json_object_get(row->json, "container")))
		put_string(row, "container", out);
	return STYLE_NONE;
}

static enum style cell_kind(const struct row *row, char *out)
{
	put_string(row, "kind", out);
	return STYLE_NONE;
}

static enum style cell_api(const struct row *row, char *out)
{
	put_string(row, "api", out);
	return STYLE_NONE;
}

static enum style cell_site(const struct row *row, char *out)
{
	put_string(row, "id", out);
	return STYLE_NONE;
}

static const struct column process_columns[] = {
	{"PID", 7, 0, SORT_PID, false, false, NULL, cell_pid},
	{"AGE", 6, 4, SORT_AGE, false, false, NULL, cell_age},
	{"TOTAL", 10, 6, SORT_BYTES, false, false, cell_total, cell_bytes},
	{"DEVICE", 10, 1, SORT_BYTES, false, false, NULL, cell_device},
	{"HOST", 10, 7, -1, false, false, NULL, cell_host},
	{"VMM", 10, 8, -1, false, false, cell_vmm, cell_vmm},
	{"MANAGED", 10, 9, -1, false, false, cell_managed, cell_managed},
	{"ARRAY", 10, 10, -1, false, false, cell_array, cell_array},
	{"GROWTH", 13, 2, SORT_GROWTH, false, false, NULL, cell_growth},
	{"VERDICT", 7, 3, -1, true, false, cell_verdict, cell_verdict},
	{"MARK", 4, 5, -1, true, false, NULL, cell_marks},
	{"LOST", 8, 15, -1, false, false, cell_lost, cell_lost},
	{"OOM IN", 6, 11, -1, false, false, cell_oom, cell_oom},
	{"ALLOCS", 8, 12, SORT_COUNT, false, false, NULL, cell_count},
	{"HISTORY", SPARKLINE, 14, -1, true, true, cell_history, cell_history},
	{"PYTHON", 8, 13, -1, true, false, NULL, cell_python},
	{"CONTAINER", 12, 16, -1, true, false, cell_container, cell_container},
	{"TITLE", 0, 0, SORT_NAME, true, false, NULL, NULL},
};

static const struct column site_columns[] = {
	{"BYTES", 10, 0, SORT_BYTES, false, false, NULL, cell_bytes},
	{"SHARE", 6, 6, -1, false, false, NULL, cell_share},
	{"COUNT", 7, 3, SORT_COUNT, false, false, NULL, cell_count},
	{"OLDEST", 6, 4, SORT_AGE, false, false, NULL, cell_age},
	{"GROWTH", 13, 1, SORT_GROWTH, false, false, NULL, cell_growth},
	{"VERDICT", 7, 2, -1, true, false, cell_verdict, cell_verdict},
	{"KIND", 7, 5, -1, true, false, NULL, cell_kind},
	{"HISTORY", SPARKLINE, 8, -1, true, true, cell_history, cell_history},
	{"API", 18, 9, -1, true, false, NULL, cell_api},
	{"SITE", 16, 7, -1, true, false, NULL, cell_site},
	{"ALLOCATED AT", 0, 0, SORT_NAME, true, false, NULL, NULL},
};

const struct column_list column_lists[COLUMN_SETS] = {
	[COLUMNS_PROCESSES] = {process_columns, ARRAY_SIZE(process_columns), 16, 30},
	[COLUMNS_SITES] = {site_columns, ARRAY_SIZE(site_columns), 30, 48},
};

_Static_assert(ARRAY_SIZE(process_columns) <= COLUMNS_MAX, "layouts have room for all columns");
_Static_assert(ARRAY_SIZE(site_columns) <= COLUMNS_MAX, "layouts have room for all columns");
