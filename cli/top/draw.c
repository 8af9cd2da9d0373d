/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "chart.h"
#include "draw.h"
#include "keys.h"

#define ROWS_MIN 8
#define COLUMNS_MIN 40
#define CHART_ROWS_PROCESS 5
#define CHART_ROWS_SITE 6
#define CHART_FROM_ROWS 20 /* a lower screen has no room for a chart */

/* How the list is ordered, narrowed and renewed; where the filter is typed. */
static int draw_state(struct top *top, const struct canvas *canvas, int y)
{
	const struct list *list = top_list(top);
	_cleanup_free_ char *filter = output_escape(list->filter);
	int x = 1;

	canvas_add(canvas, y, &x, STYLE_NONE, "by %s%s", rows_sort_name(list->sort),
		   list->reversed ? ", reversed" : "");
	canvas_add(canvas, y, &x, STYLE_NONE, "   every %g s", top->delay_s);
	if (top->paused)
		canvas_add(canvas, y, &x, STYLE_YELLOW, "   PAUSED");
	if (top->typing || *list->filter)
		canvas_add(canvas, y, &x, STYLE_BOLD, "   filter: %s%s", filter ? filter : "",
			   top->typing ? "_" : "");
	if (list->rows.n > list->page && list->page > 0)
		canvas_add(canvas, y, &x, STYLE_DIM, "   %zu of %zu", list->index + 1,
			   list->rows.n);
	return y + 1;
}

/* Keeps the selected row on the screen. */
static void scroll(struct list *list, size_t page)
{
	list->page = page;
	if (list->index < list->first)
		list->first = list->index;
	if (list->index >= list->first + page)
		list->first = list->index + 1 - page;
	if (list->first + page > list->rows.n)
		list->first = list->rows.n - MIN(list->rows.n, page);
}

static const char *words_for_empty(const struct top *top)
{
	bool sites = top->view == VIEW_SITES;

	if (sites && !top->answers[ASK_SITES])
		return top->process.gone ? "" : "Asking the daemon...";
	if (top->lists[sites ? COLUMNS_SITES : COLUMNS_PROCESSES].rows.filtered)
		return "Nothing matches the filter.";
	return sites ? "Nothing is outstanding." : "No process that uses CUDA is tracked.";
}

/* The titles and as many rows as fit. Returns the line of the selected one. */
static int draw_list(struct top *top, const struct canvas *canvas, int y, int end)
{
	enum column_set set = top->view == VIEW_SITES ? COLUMNS_SITES : COLUMNS_PROCESSES;
	struct list *list = &top->lists[set];
	struct layout layout;

	layout_fit(set, list->present, canvas, &layout);
	layout_draw_titles(&layout, canvas, y++, list->sort);
	scroll(list, (size_t)MAX(end - y, 1));
	if (list->rows.n == 0) {
		canvas_text(canvas, y, 1, canvas->columns, STYLE_DIM, words_for_empty(top));
		return -1;
	}
	for (size_t i = list->first; i < list->rows.n && y + (int)(i - list->first) < end; i++)
		layout_draw_row(&layout, canvas, y + (int)(i - list->first), &list->rows.items[i]);
	return y + (int)(list->index - list->first);
}

static void draw_hints(const struct top *top, const struct canvas *canvas, int y)
{
	int x = 1;

	for (size_t i = 0; i < n_key_bindings; i++)
		if (key_bindings[i].hint && key_bindings[i].views & (1U << top->view) &&
		    x + (int)output_width(key_bindings[i].hint) < canvas->columns)
			canvas_add(canvas, y, &x, STYLE_DIM, "%s  ", key_bindings[i].hint);
	if (top->view == VIEW_STACK && top->stack_lines > top->stack_page)
		canvas_add(canvas, y, &x, STYLE_NONE, "  lines %zu to %zu of %zu",
			   top->stack_first + 1, top->stack_first + top->stack_page,
			   top->stack_lines);
}

/* The last line: what has become of what one looks at, or the keys. */
static void draw_last_line(const struct top *top, const struct canvas *canvas)
{
	int y = canvas->rows - 1;
	int x = 1;

	if (top->typing)
		canvas_add(canvas, y, &x, STYLE_DIM, "Enter: keep the filter   Esc: take it off");
	else if (top->view != VIEW_PROCESSES && top->process.gone)
		canvas_add(canvas, y, &x, STYLE_RED,
			   "This process has ended or is not tracked any more. Esc goes back.");
	else if (top->view == VIEW_STACK && top->site.gone)
		canvas_add(canvas, y, &x, STYLE_YELLOW,
			   "This site is free now, or no longer among the first. Esc goes back.");
	else
		draw_hints(top, canvas, y);
}

static int draw_chart(const struct canvas *canvas, int y, int height, const struct history *history)
{
	if (canvas->rows < CHART_FROM_ROWS)
		return y;
	return y + chart_draw(canvas, y, height, history);
}

int draw_screen(struct top *top, const struct canvas *canvas)
{
	int end = canvas->rows - 1;
	int selected = -1;
	int y = 0;

	if (canvas->rows < ROWS_MIN || canvas->columns < COLUMNS_MIN) {
		canvas_text(canvas, 0, 0, canvas->columns, STYLE_NONE, "Too small.");
		return -1;
	}
	if (top->help) {
		draw_help(canvas);
		return -1;
	}
	switch (top->view) {
	case VIEW_PROCESSES:
		y = draw_summary(top, canvas, y);
		y = draw_daemon(top, canvas, y);
		y = draw_state(top, canvas, y);
		selected = draw_list(top, canvas, y, end);
		break;
	case VIEW_SITES:
		y = draw_subject(top, canvas, y);
		y = draw_daemon(top, canvas, y);
		y = draw_totals(top, canvas, y);
		y = draw_chart(canvas, y, CHART_ROWS_PROCESS, &top->process.row.history);
		y = draw_state(top, canvas, y);
		selected = draw_list(top, canvas, y, end);
		break;
	case VIEW_STACK:
		y = draw_subject(top, canvas, y);
		y = draw_daemon(top, canvas, y);
		y = draw_site(top, canvas, y);
		y = draw_chart(canvas, y, CHART_ROWS_SITE, &top->site.row.history);
		draw_frames(top, canvas, y, end);
		break;
	}
	draw_last_line(top, canvas);
	return selected;
}
