/* SPDX-License-Identifier: Apache-2.0 */
/* What screens are drawn on: a terminal, or, line by line, standard output. */
#ifndef SRTLEAK_CLI_TOP_CANVAS_H
#define SRTLEAK_CLI_TOP_CANVAS_H

#include <stdbool.h>
#include <stddef.h>

#include "../output.h"
#include "macro.h"

struct canvas {
	int rows; /* INT_MAX on standard output */
	int columns;
	bool charts; /* pictures are wanted */
	/* Puts safe text that fits. Calls come from top to bottom, from left to right. */
	void (*put)(int y, int x, enum style style, const char *text);
};

/* Puts safe text, shortened to `width` columns at its end (with `keep_end`: at its start). What
 * lies outside the canvas is left out.
 */
void canvas_text(const struct canvas *canvas, int y, int x, int width, enum style style,
		 const char *text);
void canvas_path(const struct canvas *canvas, int y, int x, int width, enum style style,
		 const char *text);

/* A piece of a line at *x, which moves on past it. `text` and what is formatted must be safe. */
void canvas_add(const struct canvas *canvas, int y, int *x, enum style style, const char *format,
		...) _printf_(5, 6);

#endif
