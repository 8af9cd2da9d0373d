/* SPDX-License-Identifier: Apache-2.0 */
/* The whole stack of a site: Python frames, then native ones, innermost first. */
#include <stdio.h>
#include <string.h>

#include "draw.h"

#define FUNCTION_SHARE 2 /* the function's column takes at most one in so many */
#define INDENT 3

static char *safe_text(const json_t *frame, const char *name)
{
	const char *value = json_string_value(json_object_get(frame, name));

	return output_escape(value ? value : "?");
}

static int function_width(const json_t *python, const struct canvas *canvas)
{
	size_t width = 1;

	for (size_t i = 0; i < json_array_size(python); i++) {
		_cleanup_free_ char *function = safe_text(json_array_get(python, i), "function");

		if (function)
			width = MAX(width, output_width(function));
	}
	return (int)MIN(width, (size_t)canvas->columns / FUNCTION_SHARE);
}

static void draw_python(const struct canvas *canvas, int y, const json_t *frame, int width,
			bool innermost)
{
	_cleanup_free_ char *function = safe_text(frame, "function");
	_cleanup_free_ char *file = safe_text(frame, "file");
	_cleanup_free_ char *place = NULL;
	const json_t *line = json_object_get(frame, "line");
	int x = INDENT + width + 2;
	int n;

	if (!function || !file)
		return;
	if (json_is_integer(line))
		n = asprintf(&place, "%s:%" JSON_INTEGER_FORMAT, file, json_integer_value(line));
	else
		n = asprintf(&place, "%s", file);
	if (n < 0) {
		place = NULL;
		return;
	}
	canvas_text(canvas, y, INDENT, width, innermost ? STYLE_YELLOW : STYLE_NONE, function);
	canvas_path(canvas, y, x, canvas->columns - x, innermost ? STYLE_YELLOW : STYLE_NONE,
		    place);
}

static void draw_native(const struct canvas *canvas, int y, const json_t *frame)
{
	_cleanup_free_ char *module = safe_text(frame, "module");
	_cleanup_free_ char *symbol = safe_text(frame, "symbol");
	const json_t *offset = json_object_get(frame, "offset");
	int x = INDENT;

	if (!module || !symbol)
		return;
	canvas_add(canvas, y, &x, STYLE_DIM, "%s", module);
	if (json_is_string(json_object_get(frame, "symbol")))
		canvas_add(canvas, y, &x, STYLE_NONE, "!%s", symbol);
	if (json_is_integer(offset))
		canvas_add(canvas, y, &x, STYLE_DIM, "+0x%llx",
			   (unsigned long long)json_integer_value(offset));
}

/* Line `i` of the stack, in which a title stands above each of the two parts. */
static void draw_line(const struct canvas *canvas, int y, const json_t *site, size_t i)
{
	const json_t *python = json_object_get(site, "python");
	const json_t *native = json_object_get(site, "native");
	size_t begin = json_array_size(python) ? json_array_size(python) + 1 : 0;
	size_t n_native = json_array_size(native);

	if (i < begin && i > 0)
		draw_python(canvas, y, json_array_get(python, i - 1),
			    function_width(python, canvas), i == 1);
	else if (i > begin && i - begin <= n_native)
		draw_native(canvas, y, json_array_get(native, i - begin - 1));
	else
		canvas_text(canvas, y, 1, canvas->columns, STYLE_DIM,
			    i < begin                ? "PYTHON, innermost first"
			    : i == begin && n_native ? "NATIVE, innermost first"
						     : "(the stack goes on)");
}

static size_t count_lines(const json_t *site)
{
	size_t python = json_array_size(json_object_get(site, "python"));
	size_t native = json_array_size(json_object_get(site, "native"));

	return python + (python > 0) + native + (native > 0) +
	       (size_t)json_is_true(json_object_get(site, "truncated"));
}

void draw_frames(struct top *top, const struct canvas *canvas, int y, int end)
{
	const json_t *site = top->site.json;
	size_t room = (size_t)MAX(end - y, 1);

	top->stack_lines = count_lines(site);
	top->stack_page = room;
	if (top->stack_first + room > top->stack_lines)
		top->stack_first = top->stack_lines - MIN(top->stack_lines, room);
	for (size_t i = 0; i < room && top->stack_first + i < top->stack_lines; i++)
		draw_line(canvas, y + (int)i, site, top->stack_first + i);
}
