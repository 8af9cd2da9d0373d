/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"
#include "groups.h"
#include "row_read.h"
#include "rows.h"

#define KEY_GROUP (UINT64_C(1) << 63)

static const char *const sort_names[] = {
#define X(name, word) word,
	ROWS_SORTS(X)
#undef X
};

int rows_sort_named(const char *name)
{
	for (int i = 0; i < SORT_MAX; i++)
		if (strcmp(sort_names[i], name) == 0)
			return i;
	return -1;
}

const char *rows_sort_name(enum rows_sort sort)
{
	return sort_names[sort];
}

uint64_t row_key_of_process(int64_t pid)
{
	return (uint64_t)pid & ~KEY_GROUP;
}

uint64_t row_key_of_group(int64_t group)
{
	return (uint64_t)group | KEY_GROUP;
}

void rows_clear(struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		row_clear(&rows->items[i]);
	free(rows->items);
	*rows = (struct rows){0};
}

const struct row *rows_find(const struct rows *rows, uint64_t key)
{
	for (size_t i = 0; i < rows->n; i++)
		if (rows->items[i].key == key)
			return &rows->items[i];
	return NULL;
}

/* Below zero where x comes before y: larger numbers first, unknown ones last. */
static int compare_numbers(double x, double y)
{
	if (isnan(x) || isnan(y))
		return isnan(x) - isnan(y);
	return (x < y) - (x > y);
}

static int compare(const struct row *x, const struct row *y, enum rows_sort sort)
{
	switch (sort) {
	case SORT_GROWTH:
		return compare_numbers(x->growth, y->growth);
	case SORT_COUNT:
		return compare_numbers(x->count, y->count);
	case SORT_AGE:
		return compare_numbers(x->age, y->age);
	case SORT_NAME:
		return strcmp(x->label + x->label_short, y->label + y->label_short);
	case SORT_PID:
		return compare_numbers((double)y->pid, (double)x->pid);
	default:
		return compare_numbers(x->bytes, y->bytes);
	}
}

int rows_by_order(const void *a, const void *b, void *userdata)
{
	const struct row *x = a, *y = b;
	const struct rows_order *order = userdata;
	int r = compare(x, y, order->sort);

	if (order->reversed)
		r = -r;
	return r ? r : (x->key > y->key) - (x->key < y->key);
}

static int read_processes(const json_t *list, const char *filter, double now, struct rows *ret)
{
	ret->items = calloc(json_array_size(list) + 1, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *process = json_array_get(list, i);

		if (*filter && !row_matches_process(process, filter))
			ret->filtered = true;
		else if (row_read_process(process, now, &ret->items[ret->n]) < 0)
			return -ENOMEM;
		else
			ret->n++;
	}
	return 0;
}

int rows_of_processes(const json_t *ps, const struct rows_order *order, const struct folds *folds,
		      double now, struct rows *ret)
{
	_cleanup_(rows_clear) struct rows processes = {0};
	int err = read_processes(json_object_get(ps, "processes"), order->filter, now, &processes);

	return err ? err : groups_make(&processes, order, folds, ret);
}

static int read_sites(const json_t *sites, const char *filter, struct rows *ret)
{
	const json_t *list = json_object_get(sites, "sites");
	const json_t *total = json_object_get(sites, "total");

	ret->items = calloc(json_array_size(list) + 1, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct row *row = &ret->items[ret->n];

		if (row_read_site(json_array_get(list, i), total, row) < 0)
			return -ENOMEM;
		if (*filter && !row_matches_site(row, filter)) {
			ret->filtered = true;
			row_clear(row);
		} else {
			ret->n++;
		}
	}
	return 0;
}

int rows_of_sites(const json_t *sites, const struct rows_order *order, struct rows *ret)
{
	struct rows rows = {0};

	if (read_sites(sites, order->filter, &rows) < 0) {
		rows_clear(&rows);
		return -ENOMEM;
	}
	qsort_r(rows.items, rows.n, sizeof(*rows.items), rows_by_order, (void *)order);
	*ret = rows;
	return 0;
}
