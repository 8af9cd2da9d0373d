/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "macro.h"
#include "row_read.h"
#include "top.h"

#define START_TOLERANCE_S 2.0 /* clocks are set, and a daemon that restarted computes it anew */

struct list *top_list(struct top *top)
{
	return &top->lists[top->view == VIEW_PROCESSES ? COLUMNS_PROCESSES : COLUMNS_SITES];
}

void list_keep(struct list *list)
{
	const struct row *row = rows_find(&list->rows, list->selected);

	if (row)
		list->index = (size_t)(row - list->rows.items);
	else if (list->rows.n)
		list->index = MIN(list->index, list->rows.n - 1);
	else
		list->index = 0;
	if (list->rows.n)
		list->selected = list->rows.items[list->index].key;
}

void top_rebuild(struct top *top, enum column_set set)
{
	struct list *list = &top->lists[set];
	struct rows_order order = {
		.sort = list->sort, .reversed = list->reversed, .filter = list->filter};
	struct rows rows = {0};
	int err = set == COLUMNS_PROCESSES ? rows_of_processes(top->answers[ASK_PS], &order,
							       &top->folds, top->answered_at, &rows)
					   : rows_of_sites(top->answers[ASK_SITES], &order, &rows);

	if (err)
		return;
	rows_clear(&list->rows);
	list->rows = rows;
	list->present = layout_present(set, &list->rows);
	list_keep(list);
	top->dirty = true;
}

void subject_clear(struct subject *subject)
{
	json_decref(subject->json);
	row_clear(&subject->row);
	*subject = (struct subject){0};
}

/* Reads it again from `json`; what was there stays if memory is short. */
static void subject_set(struct top *top, struct subject *subject, const json_t *json)
{
	struct row row;
	int err = subject == &top->process ? row_read_process(json, top->answered_at, &row)
					   : row_read_site(json, NULL, &row);

	if (err)
		return;
	subject_clear(subject);
	subject->json = json_incref((json_t *)json);
	subject->row = row;
}

void top_choose(struct top *top, struct subject *subject, const struct row *row)
{
	subject_set(top, subject, row->json);
}

static bool same_start(const json_t *x, const json_t *y)
{
	const json_t *a = json_object_get(x, "started_at");
	const json_t *b = json_object_get(y, "started_at");

	return !json_is_number(a) || !json_is_number(b) ||
	       fabs(json_number_value(a) - json_number_value(b)) < START_TOLERANCE_S;
}

/* Whether both are the same process, which a pid alone does not say, or the same site. */
static bool same(const json_t *x, const json_t *y, const char *identity)
{
	return json_equal(json_object_get(x, identity), json_object_get(y, identity)) &&
	       same_start(x, y);
}

void top_follow(struct top *top, enum question question)
{
	bool process = question == ASK_PS;
	struct subject *subject = process ? &top->process : &top->site;
	const json_t *list =
		json_object_get(top->answers[question], process ? "processes" : "sites");

	if (!subject->json)
		return;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *json = json_array_get(list, i);

		if (!same(json, subject->json, process ? "pid" : "id"))
			continue;
		subject_set(top, subject, json);
		subject->gone = false;
		return;
	}
	subject->gone = true;
}
