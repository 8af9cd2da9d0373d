/* SPDX-License-Identifier: Apache-2.0 */
/* Frames for logs: one below the other as text, or a line of JSON each. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>

#include "../error.h"
#include "../output.h"
#include "../request.h"
#include "draw.h"
#include "macro.h"
#include "protocol.h"
#include "top.h"

#define COLUMNS_OF_FILES 200 /* room for every column and long titles */

static int take_processes(const json_t *parameters, const json_t *items, bool first, void *userdata)
{
	(void)items;
	(void)first;
	return fetch_merge(userdata, parameters, "processes");
}

int top_ask_processes(const struct options *options, json_t **ret)
{
	_cleanup_(json_cleanup) json_t *ps = NULL;
	struct options plain = *options;
	struct request request = {
		.what = "list of processes",
		.method = METHOD_PS,
		.items = "processes",
		.reply = take_processes,
		.userdata = &ps,
	};
	int status;

	plain.json = false; /* the object is wanted here, not on standard output */
	status = request_run(&plain, &request, NULL);
	if (status != CLI_OK)
		return status;
	*ret = TAKE_PTR(ps);
	return CLI_OK;
}

/* Where standard output is within a frame. */
static int at_y, at_x;

static void put(int y, int x, enum style style, const char *text)
{
	for (; at_y < y; at_y++, at_x = 0)
		putchar('\n');
	if (x > at_x)
		printf("%*s", x - at_x, "");
	output_styled(style, text);
	at_x = x + (int)output_width(text);
}

static void print_time(double seconds)
{
	time_t time = (time_t)seconds;
	struct tm parts;
	char text[64] = "";

	if (gmtime_r(&time, &parts))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
	puts(text);
}

static void print_frame(struct top *top)
{
	const struct list *list = &top->lists[COLUMNS_PROCESSES];
	int columns = (int)output_columns();
	struct canvas canvas = {
		.rows = INT_MAX, .columns = columns ? columns : COLUMNS_OF_FILES, .put = put};
	struct layout layout;
	int y;

	print_time(top->answered_at);
	at_y = at_x = 0;
	y = draw_summary(top, &canvas, 0);
	layout_fit(COLUMNS_PROCESSES, list->present, &canvas, &layout);
	if (list->rows.n)
		layout_draw_titles(&layout, &canvas, y++, list->sort);
	for (size_t i = 0; i < list->rows.n; i++)
		layout_draw_row(&layout, &canvas, y++, &list->rows.items[i]);
	puts("\n");
}

static int print_json(json_t *ps, double now)
{
	if (json_object_set_new(ps, "time", json_real(now)) < 0 ||
	    json_dumpf(ps, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) < 0)
		return -EIO;
	putchar('\n');
	return 0;
}

/* One look at the daemon. Returns an enum cli_status, and has reported what went wrong. */
static int frame(const struct options *options)
{
	struct top top = {0};
	struct timespec now;
	int status = top_ask_processes(options, &top.answers[ASK_PS]);
	int err = 0;

	if (status != CLI_OK)
		return status;
	clock_gettime(CLOCK_REALTIME, &now);
	top.answered_at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
	if (options->sort)
		top.lists[COLUMNS_PROCESSES].sort = (enum rows_sort)rows_sort_named(options->sort);
	if (options->json) {
		err = print_json(top.answers[ASK_PS], top.answered_at);
	} else {
		top_rebuild(&top, COLUMNS_PROCESSES);
		print_frame(&top);
	}
	rows_clear(&top.lists[COLUMNS_PROCESSES].rows);
	json_decref(top.answers[ASK_PS]);
	return err ? error_report(CLI_FAILURE, NULL, "top", "out of memory") : CLI_OK;
}

static void add_seconds(struct timespec *time, double seconds)
{
	int64_t ns = time->tv_nsec + (int64_t)(seconds * 1e9);

	time->tv_sec += ns / INT64_C(1000000000);
	time->tv_nsec = ns % INT64_C(1000000000);
}

/* A daemon that restarts leaves a gap in the log, not its end: only the first frame has to be
 * there.
 */
int top_batch(const struct options *options)
{
	double delay = options->delay > 0 ? options->delay : DELAY_STANDARD_S;
	struct timespec next;
	int status = frame(options);
	bool endless = options->frames == 0;

	if (status != CLI_OK)
		return status;
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (uint32_t i = 1; endless || i < options->frames; i++) {
		if (fflush(stdout) != 0)
			break; /* main() reports that */
		add_seconds(&next, delay);
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR)
			;
		status = frame(options);
	}
	return status;
}
