/* SPDX-License-Identifier: Apache-2.0 */
/* Small pictures of a history in block characters. */
#ifndef SRTLEAK_CLI_TOP_CHART_H
#define SRTLEAK_CLI_TOP_CHART_H

#include "canvas.h"
#include "rows.h"

/* One line of at most `width` columns into `out`; empty where there is no history. */
#define CHART_LINE_MAX 40
void chart_line(const struct history *history, int width, char out[CHART_LINE_MAX * 4 + 1]);

/* A chart of `height` lines, the last of which is its axis of time. It says so in one line where
 * there is no history. Returns the lines used.
 */
int chart_draw(const struct canvas *canvas, int y, int height, const struct history *history);

#endif
