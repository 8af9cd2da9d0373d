/* SPDX-License-Identifier: Apache-2.0 */
/* A table with aligned columns, printed in portions so that its size is not limited by memory. */
#ifndef SRTLEAK_CLI_TABLE_H
#define SRTLEAK_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "macro.h"
#include "output.h"

struct table_column {
	const char *title;
	bool right;       /* aligned to the right, as numbers are */
	bool optional;    /* left out where no row of the first portion has a value */
	size_t max_width; /* longer text is cut; 0: never */
	size_t min_width; /* of a column whose first values do not tell how wide it will be */
};

struct table;

/* `columns` must outlive the table; `gap` asks for an empty line between rows. NULL if memory is
 * short.
 */
struct table *table_new(const struct table_column *columns, size_t n, bool gap);

/* Always returns NULL. */
struct table *table_free(struct table *table);
void table_cleanup(struct table **table);

/* Prints the titles now, rows or not. Returns 0 or -ENOMEM. */
int table_titles(struct table *table);

/* Begins a row; cells are then added from left to right. Memory that ran short in any of these
 * functions is told by the next table_print().
 */
void table_row(struct table *table, enum style style);
void table_text(struct table *table, const char *text); /* NULL: no value */
void table_printf(struct table *table, const char *format, ...) _printf_(2, 3);

/* Cells from JSON, in which null, absence and a wrong type are no value. */
void table_json_text(struct table *table, const json_t *value);
void table_json_count(struct table *table, const json_t *value);
void table_json_bytes(struct table *table, const json_t *value);
void table_json_duration(struct table *table, const json_t *seconds);

/* Adds a line below the current row. `text` is printed as it is, after an indentation. */
void table_note(struct table *table, enum style style, const char *text);

/* Prints and forgets the rows that are there, below the titles the first time. Columns only become
 * wider. Returns 0 or -ENOMEM.
 */
int table_print(struct table *table);

#endif
