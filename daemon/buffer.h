/* SPDX-License-Identifier: Apache-2.0 */
/* Growing byte buffer. A failed allocation is remembered: later calls do nothing, and whoever sends
 * the buffer asks buffer_failed() once.
 */
#ifndef SRTLEAK_BUFFER_H
#define SRTLEAK_BUFFER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macro.h"

struct buffer {
	char *data;
	size_t size;
	size_t capacity;
	bool failed;
};

void buffer_append(struct buffer *b, const void *data, size_t size);
void buffer_string(struct buffer *b, const char *s);
void buffer_printf(struct buffer *b, const char *format, ...) _printf_(2, 3);
void buffer_u64(struct buffer *b, uint64_t value); /* in decimal; far cheaper than printf */

/* Throws away the first bytes. */
void buffer_consume(struct buffer *b, size_t size);

void buffer_free(struct buffer *b);

static inline bool buffer_failed(const struct buffer *b)
{
	return b->failed;
}

#endif
