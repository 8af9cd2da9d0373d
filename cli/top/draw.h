/* SPDX-License-Identifier: Apache-2.0 */
/* The screens, from the state of the live view. */
#ifndef SRTLEAK_CLI_TOP_DRAW_H
#define SRTLEAK_CLI_TOP_DRAW_H

#include "canvas.h"
#include "top.h"

/* Draws what is to be seen now, and notes in `top` how much of it had room. Returns the line of the
 * selected row, -1: none.
 */
int draw_screen(struct top *top, const struct canvas *canvas);

/* Parts of screens. They return the line below what they drew. */
int draw_summary(const struct top *top, const struct canvas *canvas, int y);
int draw_daemon(const struct top *top, const struct canvas *canvas, int y);
int draw_subject(const struct top *top, const struct canvas *canvas, int y);
int draw_totals(const struct top *top, const struct canvas *canvas, int y);
int draw_site(const struct top *top, const struct canvas *canvas, int y);

/* The frames of the chosen site from `y` to before `end`. */
void draw_frames(struct top *top, const struct canvas *canvas, int y, int end);

void draw_help(const struct canvas *canvas);

#endif
