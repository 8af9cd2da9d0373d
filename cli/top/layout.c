/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "layout.h"

#define FOLDED_MARK "[+]"
#define OPEN_MARK "[-]"

static bool any_value(const struct column *column, const struct rows *rows)
{
	char text[CELL_MAX];

	for (size_t i = 0; i < rows->n; i++) {
		*text = '\0';
		column->optional(&rows->items[i], text);
		if (*text)
			return true;
	}
	return false;
}

unsigned layout_present(enum column_set set, const struct rows *rows)
{
	unsigned present = 0;

	for (size_t i = 0; i < column_lists[set].n; i++)
		if (!column_lists[set].columns[i].optional ||
		    any_value(&column_lists[set].columns[i], rows))
			present |= 1U << i;
	return present;
}

/* Gives room to columns by rank while the label keeps enough. */
void layout_fit(enum column_set set, unsigned present, const struct canvas *canvas,
		struct layout *ret)
{
	const struct column *columns = column_lists[set].columns;
	struct layout layout = {.set = set};
	int left = canvas->columns - column_lists[set].label_min;
	int x = 0;

	for (int rank = 0; rank < COLUMNS_MAX; rank++) {
		if (rank == RANK_SPARE)
			left -= column_lists[set].label_good - column_lists[set].label_min;
		for (size_t i = 0; i + 1 < column_lists[set].n; i++) {
			if (columns[i].rank != rank || !(present & (1U << i)) ||
			    (columns[i].chart && !canvas->charts) || left <= columns[i].width)
				continue;
			layout.width[i] = columns[i].width;
			left -= columns[i].width + 1;
		}
	}
	for (size_t i = 0; i + 1 < column_lists[set].n; i++) {
		layout.x[i] = x;
		x += layout.width[i] ? layout.width[i] + 1 : 0;
	}
	layout.x[column_lists[set].n - 1] = x;
	layout.width[column_lists[set].n - 1] = MAX(canvas->columns - x, 0);
	*ret = layout;
}

static void put_cell(const struct layout *layout, const struct canvas *canvas, int y, size_t i,
		     enum style style, const char *text)
{
	const struct column *column = &column_lists[layout->set].columns[i];
	int width = layout->width[i];
	int pad = column->left ? 0 : MAX(width - (int)output_width(text), 0);

	canvas_text(canvas, y, layout->x[i] + pad, width - pad, style, text);
}

/* The column that the list is ordered by is named in another style. */
void layout_draw_titles(const struct layout *layout, const struct canvas *canvas, int y,
			enum rows_sort sort)
{
	for (size_t i = 0; i < column_lists[layout->set].n; i++) {
		const struct column *column = &column_lists[layout->set].columns[i];

		put_cell(layout, canvas, y, i, column->sort == (int)sort ? STYLE_BOLD : STYLE_DIM,
			 column->title);
	}
}

/* A server's line carries its number of processes, and what Space does with it. */
static void put_label(const struct layout *layout, const struct canvas *canvas, int y, size_t i,
		      const struct row *row)
{
	int x = layout->x[i];
	int end = x + layout->width[i];
	const char *text = row->label;

	if (row->role == ROW_GROUP)
		canvas_add(canvas, y, &x, STYLE_BOLD, "%s %zux ",
			   row->folded ? FOLDED_MARK : OPEN_MARK, row->members);
	else if (row->role == ROW_MEMBER)
		x += (int)sizeof(OPEN_MARK);
	if ((int)output_width(text) > end - x)
		text += row->label_short;
	canvas_text(canvas, y, x, end - x, row->role == ROW_GROUP ? STYLE_BOLD : STYLE_NONE, text);
}

void layout_draw_row(const struct layout *layout, const struct canvas *canvas, int y,
		     const struct row *row)
{
	const struct column *columns = column_lists[layout->set].columns;
	size_t last = column_lists[layout->set].n - 1;

	for (size_t i = 0; i < last; i++) {
		char text[CELL_MAX] = "";
		enum style style;

		if (!layout->width[i])
			continue;
		style = columns[i].cell(row, text);
		put_cell(layout, canvas, y, i, style, text);
	}
	put_label(layout, canvas, y, last, row);
}
