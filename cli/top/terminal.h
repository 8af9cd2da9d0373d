/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal as a full screen: taken at the start, given back however the program ends. */
#ifndef SRTLEAK_CLI_TOP_TERMINAL_H
#define SRTLEAK_CLI_TOP_TERMINAL_H

#include <stdbool.h>

#include "canvas.h"

/* Keys: characters are their code points, others are numbers beyond all of them. */
#define TERMINAL_FUNCTION(curses_key) (0x110000 + (curses_key))
#define TERMINAL_NO_KEY (-1)

enum terminal_event {
	TERMINAL_NOTHING,
	TERMINAL_REDRAW, /* its size changed, or it came back from a stop */
	TERMINAL_END,    /* the program is asked to end, or the terminal is gone */
};

/* Whether standard input and output are a terminal that can be taken: 0, -ENOTTY where they are
 * none, -ENOTSUP where it is of an unknown type or cannot move its cursor.
 */
int terminal_check(void);

/* Takes it; signals are from here on taken by terminal_signal(). Colours are used only where the
 * terminal has them. Returns 0 or a negative errno.
 */
int terminal_start(bool colors);
void terminal_stop(void);

/* Readable when a signal waits for terminal_signal(). */
int terminal_signal_fd(void);
enum terminal_event terminal_signal(void);

/* The next key, or TERMINAL_NO_KEY. */
int terminal_key(void);

/* Begins a frame: an empty screen of the terminal's present size. */
void terminal_begin(struct canvas *ret);
/* Shows a line as the selected one, and the frame as a whole. */
void terminal_select(int y);
void terminal_end(void);

#endif
