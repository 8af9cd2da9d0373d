/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of the live view: one table for what they do, the help screen and the last line. */
#ifndef SRTLEAK_CLI_TOP_KEYS_H
#define SRTLEAK_CLI_TOP_KEYS_H

#include "top.h"

struct key_binding {
	int keys[4];       /* as terminal_key() returns them, 0: none */
	unsigned views;    /* a bit a view: where it does something */
	const char *names; /* how the help calls the keys */
	const char *words; /* what they do */
	const char *hint;  /* the same in the last line of the screen, NULL: not there */
	void (*act)(struct top *top, int key);
};

extern const struct key_binding key_bindings[];
extern const size_t n_key_bindings;

/* Does what a key means now. */
void keys_press(struct top *top, int key);

#endif
