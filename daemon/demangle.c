/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

#include "demangle.h"
#include "macro.h"

struct text {
	jmp_buf full;
	bool rust;
	size_t size;
	char data[DEMANGLED_MAX];
};

/* Around the pieces of a name itself, libiberty's Rust part holds memory. */
static bool can_stop(const struct text *text, const char *piece)
{
	return !text->rust || (piece[0] != '_' && ispunct((unsigned char)piece[0]));
}

/* The library offers no other way to stop it; this variant of it holds nothing but its stack. */
static void keep(const char *piece, size_t size, void *userdata)
{
	struct text *text = userdata;
	size_t fitting = MIN(size, sizeof(text->data) - text->size);

	memcpy(text->data + text->size, piece, fitting);
	text->size += fitting;
	if (fitting < size && can_stop(text, piece))
		longjmp(text->full, 1);
}

char *demangle(const char *symbol)
{
	const int options = DMGL_PARAMS | DMGL_ANSI;
	struct text text;

	text.size = 0;
	if (setjmp(text.full))
		return strndup(text.data, text.size);
	/* Rust first: its older symbols pass for C++, with a hash that changes with every build. */
	text.rust = true;
	if (rust_demangle_callback(symbol, options, keep, &text))
		return strndup(text.data, text.size);
	text.rust = false;
	text.size = 0;
	if (cplus_demangle_v3_callback(symbol, options, keep, &text))
		return strndup(text.data, text.size);
	return strndup(symbol, DEMANGLED_MAX);
}
