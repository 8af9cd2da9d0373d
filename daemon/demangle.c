/* SPDX-License-Identifier: Apache-2.0 */
#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

#include "demangle.h"
#include "macro.h"

struct text {
	jmp_buf full;
	size_t size;
	char data[DEMANGLED_MAX];
};

/* The library offers no other way to stop it; this variant of it holds nothing but its stack. */
static void keep(const char *piece, size_t size, void *userdata)
{
	struct text *text = userdata;
	size_t fitting = MIN(size, sizeof(text->data) - text->size);

	memcpy(text->data + text->size, piece, fitting);
	text->size += fitting;
	if (fitting < size)
		longjmp(text->full, 1);
}

char *demangle(const char *symbol)
{
	const int options = DMGL_PARAMS | DMGL_ANSI;
	struct text text;

	text.size = 0;
	if (setjmp(text.full))
		return strndup(text.data, text.size);
	if (strncmp(symbol, "_R", 2) == 0
		    ? rust_demangle_callback(symbol, options, keep, &text)
		    : cplus_demangle_v3_callback(symbol, options, keep, &text))
		return strndup(text.data, text.size);
	return strdup(symbol);
}
