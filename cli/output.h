/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people: units, colours, and strings of strangers made safe for a terminal. */
#ifndef SRTLEAK_CLI_OUTPUT_H
#define SRTLEAK_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#define HUMAN_MAX 32 /* bytes that hold any result of the human_* functions */

enum style {
	STYLE_NONE,
	STYLE_BOLD,
	STYLE_DIM,
	STYLE_GREEN,
	STYLE_YELLOW,
	STYLE_RED,
};

/* To be called once, before any other function here. Colours need a terminal on standard output, no
 * `no_color` and no $NO_COLOR.
 */
void output_init(bool no_color);

/* Whether text may be coloured. */
bool output_colors(void);

/* Columns of the terminal on standard output; 0 where it is none, and lines may be of any length.
 */
size_t output_columns(void);

/* Puts `text` between the codes of a style. `text` must be safe already. */
void output_styled(enum style style, const char *text);

/* Copies `text` with all that could steer or fool a terminal spelled out: \xNN for control
 * characters and for bytes that are not UTF-8, \u{…} for characters that are invisible or change
 * the direction of writing. The result is valid UTF-8 and the caller's; NULL if memory is short.
 */
char *output_escape(const char *text);

/* Columns that escaped text takes. */
size_t output_width(const char *text);

/* Shortens what output_escape() returned (and left room in) to at most `width` columns, an ellipsis
 * included: at its end, or, with `keep_end`, at its start (a path's end tells more than its start).
 */
void output_shorten(char *text, size_t width, bool keep_end);

/* "1.5 GiB", "3m12s": written to `buffer`, which is also returned. Negative values keep their sign.
 */
const char *human_bytes(char buffer[HUMAN_MAX], double bytes);
const char *human_duration(char buffer[HUMAN_MAX], double seconds);

/* For _cleanup_(json_cleanup): drops a reference. */
void json_cleanup(json_t **json);

#endif
