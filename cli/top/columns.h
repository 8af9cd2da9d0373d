/* SPDX-License-Identifier: Apache-2.0 */
/* The columns of the two lists, and what stands in them. */
#ifndef SRTLEAK_CLI_TOP_COLUMNS_H
#define SRTLEAK_CLI_TOP_COLUMNS_H

#include "canvas.h"
#include "rows.h"

enum column_set { COLUMNS_PROCESSES, COLUMNS_SITES, COLUMN_SETS };

#define COLUMNS_MAX 20
#define CELL_MAX 256
#define RANK_SPARE 8 /* from here on one can do without a column */

/* Writes a cell, "" where there is no value, and says how it is to be shown. */
typedef enum style (*cell_fn)(const struct row *row, char out[CELL_MAX]);

struct column {
	const char *title;
	int width; /* 0: the last one, which takes the room that is left */
	int rank;  /* when room is short, the highest go first */
	int sort;  /* the sort key that orders by this column, -1: none */
	bool left; /* aligned to the left; numbers are not */
	bool chart;
	cell_fn optional; /* only where this has a value in some row; NULL: always */
	cell_fn cell;
};

extern const struct column_list {
	const struct column *columns;
	size_t n;       /* at most COLUMNS_MAX */
	int label_min;  /* room that columns leave for the last one, the label */
	int label_good; /* and that those leave that one can do without */
} column_lists[COLUMN_SETS];

/* "+12 MiB/min", or "-" where it is not known. Returns how it is to be shown. */
enum style columns_growth(double bytes_per_s, char *out, size_t size);

/* How a verdict (an index of row_verdicts) is to be shown. */
enum style columns_verdict_style(int verdict);

#endif
