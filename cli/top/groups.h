/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of one server as one row, with theirs below it. */
#ifndef SRTLEAK_CLI_TOP_GROUPS_H
#define SRTLEAK_CLI_TOP_GROUPS_H

#include "rows.h"

/* Puts the members of groups below a row of their sum, and sorts both. Moves the rows of
 * `processes` into `ret`. Returns 0 or -ENOMEM.
 */
int groups_make(struct rows *processes, const struct rows_order *order, const struct folds *folds,
		struct rows *ret);

/* For qsort_r(3) over rows: the order of a struct rows_order. */
int rows_by_order(const void *a, const void *b, void *order);

#endif
