/* SPDX-License-Identifier: Apache-2.0 */
/* Which columns of a list fit a terminal, and where; titles and rows in them. */
#ifndef SRTLEAK_CLI_TOP_LAYOUT_H
#define SRTLEAK_CLI_TOP_LAYOUT_H

#include "canvas.h"
#include "columns.h"
#include "rows.h"

/* Where the columns that are shown stand; those that are not have the width 0. */
struct layout {
	enum column_set set;
	int x[COLUMNS_MAX];
	int width[COLUMNS_MAX];
};

/* Which optional columns have something to show: a bit a column. */
unsigned layout_present(enum column_set set, const struct rows *rows);

void layout_fit(enum column_set set, unsigned present, const struct canvas *canvas,
		struct layout *ret);

void layout_draw_titles(const struct layout *layout, const struct canvas *canvas, int y,
			enum rows_sort sort);
void layout_draw_row(const struct layout *layout, const struct canvas *canvas, int y,
		     const struct row *row);

#endif
