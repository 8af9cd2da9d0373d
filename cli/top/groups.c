/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "macro.h"
#include "row_read.h"

bool folds_has(const struct folds *folds, int64_t group)
{
	for (size_t i = 0; i < folds->n; i++)
		if (folds->groups[i] == group)
			return true;
	return false;
}

int folds_set(struct folds *folds, int64_t group, bool folded)
{
	size_t kept = 0;
	int64_t *groups;

	for (size_t i = 0; i < folds->n; i++)
		if (folds->groups[i] != group)
			folds->groups[kept++] = folds->groups[i];
	folds->n = kept;
	if (!folded)
		return 0;
	groups = reallocarray(folds->groups, kept + 1, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	groups[kept] = group;
	*folds = (struct folds){.groups = groups, .n = kept + 1};
	return 0;
}

void folds_clear(struct folds *folds)
{
	free(folds->groups);
	*folds = (struct folds){0};
}

static int by_group(const void *a, const void *b, void *userdata)
{
	const struct row *x = a, *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	return rows_by_order(a, b, userdata);
}

/* Adds up what is known. */
static void add(double *sum, double value)
{
	if (!isnan(value))
		*sum = isnan(*sum) ? value : *sum + value;
}

/* Members that are younger than the oldest had nothing before they were there; a gap in one is a
 * gap in the sum.
 */
static void add_history(struct history *sum, const struct history *one)
{
	size_t n = MAX(sum->n, one->n);
	size_t shift = n - sum->n;

	memmove(sum->bytes + shift, sum->bytes, sum->n * sizeof(*sum->bytes));
	for (size_t i = 0; i < shift; i++)
		sum->bytes[i] = 0;
	for (size_t i = 0; i < one->n; i++)
		sum->bytes[n - one->n + i] += one->bytes[i];
	sum->n = n;
	if (!(sum->interval_s > 0))
		sum->interval_s = one->interval_s;
}

static void add_member(struct row *sum, const struct row *member)
{
	for (size_t i = 0; i < KIND_MAX; i++)
		add(&sum->kinds[i], member->kinds[i]);
	add(&sum->bytes, member->bytes);
	add(&sum->count, member->count);
	add(&sum->growth, member->growth);
	add(&sum->lost, member->lost);
	if (!(sum->age >= member->age))
		sum->age = member->age;
	sum->marks |= member->marks;
	sum->verdict = MAX(sum->verdict, member->verdict);
	add_history(&sum->history, &member->history);
}

/* The line of a server. It is called as the process that the group is named by, if that is here. */
static int sum_group(const struct row *members, size_t n, bool folded, struct row *ret)
{
	const struct row *first = &members[0];
	struct row sum;

	for (size_t i = 0; i < n; i++)
		if (members[i].pid == members[i].group)
			first = &members[i];
	sum = (struct row){
		.key = row_key_of_group(first->group),
		.role = ROW_GROUP,
		.json = first->json,
		.pid = first->group,
		.group = first->group,
		.members = n,
		.folded = folded,
		.bytes = NAN,
		.count = NAN,
		.growth = NAN,
		.age = NAN,
		.share = NAN,
		.lost = NAN,
		.verdict = -1,
		.label = strdup(first->label),
		.label_short = first->label_short,
	};
	if (!sum.label)
		return -ENOMEM;
	for (size_t i = 0; i < KIND_MAX; i++)
		sum.kinds[i] = NAN;
	for (size_t i = 0; i < n; i++)
		add_member(&sum, &members[i]);
	*ret = sum;
	return 0;
}

/* A line of the first level, and the members that follow it. */
struct unit {
	struct row row;
	struct row *members;
	size_t n;
};

static int unit_order(const void *a, const void *b, void *userdata)
{
	return rows_by_order(&((const struct unit *)a)->row, &((const struct unit *)b)->row,
			     userdata);
}

/* Splits processes, which are sorted by group, into units. Rows that stand alone move over. */
static int make_units(struct rows *processes, const struct folds *folds, struct unit *units,
		      size_t *ret_n)
{
	size_t end;

	for (size_t i = 0; i < processes->n; i = end) {
		struct row *first = &processes->items[i];
		struct unit *unit = &units[*ret_n];

		for (end = i + 1; end < processes->n; end++)
			if (processes->items[end].group != first->group)
				break;
		*unit = (struct unit){.members = first, .n = end - i};
		if (unit->n == 1) {
			unit->row = *first;
			unit->n = 0;
			first->label = NULL;
		} else if (sum_group(first, unit->n, folds_has(folds, first->group), &unit->row) <
			   0) {
			return -ENOMEM;
		}
		++*ret_n;
	}
	return 0;
}

/* Moves the units' rows to the list, below each other. */
static void put_units(struct unit *units, size_t n, struct rows *ret)
{
	for (size_t i = 0; i < n; i++) {
		ret->items[ret->n++] = units[i].row;
		units[i].row.label = NULL;
		for (size_t j = 0; j < units[i].n && !units[i].row.folded; j++) {
			struct row *member = &units[i].members[j];

			ret->items[ret->n] = *member;
			ret->items[ret->n++].role = ROW_MEMBER;
			member->label = NULL;
		}
	}
}

int groups_make(struct rows *processes, const struct rows_order *order, const struct folds *folds,
		struct rows *ret)
{
	struct unit *units = calloc(processes->n + 1, sizeof(*units));
	struct rows rows = {.items = calloc(2 * processes->n + 1, sizeof(*rows.items))};
	size_t n = 0;
	int err = -ENOMEM;

	if (units && rows.items) {
		qsort_r(processes->items, processes->n, sizeof(*processes->items), by_group,
			(void *)order);
		err = make_units(processes, folds, units, &n);
		qsort_r(units, n, sizeof(*units), unit_order, (void *)order);
	}
	if (!err)
		put_units(units, n, &rows);
	for (size_t i = 0; i < n; i++)
		row_clear(&units[i].row);
	free(units);
	if (err) {
		free(rows.items);
		return err;
	}
	rows.filtered = processes->filtered;
	*ret = rows;
	return 0;
}
