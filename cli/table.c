/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

#define COLUMNS_MAX 16
#define NO_VALUE "-"

/* A line of the output: a row's cells, or, where note is set, text below a row. */
struct line {
	enum style style;
	size_t n_cells;
	char *cells[COLUMNS_MAX];
	char *note;
};

struct table {
	const struct table_column *columns;
	size_t n_columns;
	size_t width[COLUMNS_MAX];
	bool hidden[COLUMNS_MAX];
	bool gap;
	bool titles_printed;
	bool rows_printed;
	int error;
	struct line *lines;
	size_t n_lines;
	size_t capacity;
};

struct table *table_new(const struct table_column *columns, size_t n, bool gap)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->columns = columns;
	table->n_columns = MIN(n, (size_t)COLUMNS_MAX);
	table->gap = gap;
	for (size_t i = 0; i < table->n_columns; i++) {
		table->width[i] = MAX(output_width(columns[i].title), columns[i].min_width);
		table->hidden[i] = columns[i].optional;
	}
	return table;
}

static void forget_lines(struct table *table)
{
	for (size_t i = 0; i < table->n_lines; i++) {
		for (size_t j = 0; j < table->lines[i].n_cells; j++)
			free(table->lines[i].cells[j]);
		free(table->lines[i].note);
	}
	table->n_lines = 0;
}

struct table *table_free(struct table *table)
{
	if (!table)
		return NULL;
	forget_lines(table);
	free(table->lines);
	free(table);
	return NULL;
}

void table_cleanup(struct table **table)
{
	table_free(*table);
}

static struct line *add_line(struct table *table, enum style style)
{
	if (table->n_lines == table->capacity) {
		size_t capacity = table->capacity ? table->capacity * 2 : 64;
		struct line *lines = reallocarray(table->lines, capacity, sizeof(*lines));

		if (!lines) {
			table->error = -ENOMEM;
			return NULL;
		}
		table->lines = lines;
		table->capacity = capacity;
	}
	table->lines[table->n_lines] = (struct line){.style = style};
	return &table->lines[table->n_lines++];
}

void table_row(struct table *table, enum style style)
{
	add_line(table, style);
}

void table_note(struct table *table, enum style style, const char *text)
{
	struct line *line = add_line(table, style);

	if (!line)
		return;
	line->note = strdup(text);
	if (!line->note) {
		table->error = -ENOMEM;
		table->n_lines--;
	}
}

void table_text(struct table *table, const char *text)
{
	struct line *line;
	size_t column;
	char *cell;

	if (table->error || table->n_lines == 0)
		return;
	line = &table->lines[table->n_lines - 1];
	column = line->n_cells;
	if (column >= table->n_columns)
		return;
	cell = output_escape(text ? text : NO_VALUE);
	if (!cell) {
		table->error = -ENOMEM;
		return;
	}
	if (table->columns[column].max_width)
		output_shorten(cell, table->columns[column].max_width, false);
	line->cells[line->n_cells++] = cell;
	table->width[column] = MAX(table->width[column], output_width(cell));
	if (text && !table->titles_printed)
		table->hidden[column] = false;
}

void table_printf(struct table *table, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	table_text(table, text);
}

void table_json_text(struct table *table, const json_t *value)
{
	table_text(table, json_string_value(value));
}

void table_json_count(struct table *table, const json_t *value)
{
	if (json_is_integer(value))
		table_printf(table, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else
		table_text(table, NULL);
}

void table_json_bytes(struct table *table, const json_t *value)
{
	char text[HUMAN_MAX];

	table_text(table,
		   json_is_number(value) ? human_bytes(text, json_number_value(value)) : NULL);
}

void table_json_duration(struct table *table, const json_t *seconds)
{
	char text[HUMAN_MAX];

	table_text(table, json_is_number(seconds) ? human_duration(text, json_number_value(seconds))
						  : NULL);
}

/* Appends one cell and the space before the next to a line that is long enough for all. */
static char *put_cell(const struct table *table, char *out, size_t column, const char *text)
{
	size_t pad = table->width[column] - MIN(output_width(text), table->width[column]);
	bool right = table->columns[column].right;

	if (right)
		out = (char *)memset(out, ' ', pad) + pad;
	out = stpcpy(out, text);
	if (!right)
		out = (char *)memset(out, ' ', pad) + pad;
	return stpcpy(out, "  ");
}

static int print_cells(const struct table *table, enum style style, char *const *cells, size_t n)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 1;
	char *out;

	for (size_t i = 0; i < n; i++)
		size += table->width[i] + strlen(cells[i]) + strlen("  ");
	text = out = malloc(size);
	if (!text)
		return -ENOMEM;
	*out = '\0';
	for (size_t i = 0; i < n; i++)
		if (!table->hidden[i])
			out = put_cell(table, out, i, cells[i]);
	while (out > text && out[-1] == ' ')
		*--out = '\0';
	output_styled(style, text);
	putchar('\n');
	return 0;
}

int table_titles(struct table *table)
{
	char *titles[COLUMNS_MAX];

	for (size_t i = 0; i < table->n_columns; i++)
		titles[i] = (char *)table->columns[i].title;
	table->titles_printed = true;
	return print_cells(table, STYLE_DIM, titles, table->n_columns);
}

static int print_line(struct table *table, const struct line *line)
{
	if (line->note) {
		fputs("    ", stdout);
		output_styled(line->style, line->note);
		putchar('\n');
		return 0;
	}
	if (table->gap && table->rows_printed)
		putchar('\n');
	table->rows_printed = true;
	return print_cells(table, line->style, line->cells, line->n_cells);
}

int table_print(struct table *table)
{
	int err = table->error;

	if (!err && !table->titles_printed && table->n_lines)
		err = table_titles(table);
	for (size_t i = 0; i < table->n_lines && !err; i++)
		err = print_line(table, &table->lines[i]);
	forget_lines(table);
	return err;
}
