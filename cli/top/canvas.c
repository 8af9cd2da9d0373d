/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "canvas.h"

#define ELLIPSIS_BYTES 3

static void put(const struct canvas *canvas, int y, int x, int width, enum style style,
		const char *text, bool keep_end)
{
	_cleanup_free_ char *copy = NULL;

	width = MIN(width, canvas->columns - x);
	if (y < 0 || y >= canvas->rows || x < 0 || width <= 0 || !*text)
		return;
	copy = malloc(strlen(text) + ELLIPSIS_BYTES + 1);
	if (!copy)
		return; /* a gap on the screen; the next frame tries again */
	strcpy(copy, text);
	output_shorten(copy, (size_t)width, keep_end);
	canvas->put(y, x, style, copy);
}

void canvas_text(const struct canvas *canvas, int y, int x, int width, enum style style,
		 const char *text)
{
	put(canvas, y, x, width, style, text, false);
}

void canvas_path(const struct canvas *canvas, int y, int x, int width, enum style style,
		 const char *text)
{
	put(canvas, y, x, width, style, text, true);
}

void canvas_add(const struct canvas *canvas, int y, int *x, enum style style, const char *format,
		...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0) {
		text = NULL;
		return;
	}
	put(canvas, y, *x, canvas->columns - *x, style, text, false);
	*x += (int)MIN(output_width(text), (size_t)canvas->columns);
}
