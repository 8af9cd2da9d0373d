/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

static bool reserve(struct buffer *b, size_t more)
{
	size_t need, capacity;
	char *data;

	if (b->failed || __builtin_add_overflow(b->size, more, &need)) {
		b->failed = true;
		return false;
	}
	if (need <= b->capacity)
		return true;
	capacity = MAX(need, b->capacity * 2);
	data = realloc(b->data, capacity);
	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->capacity = capacity;
	return true;
}

void buffer_append(struct buffer *b, const void *data, size_t size)
{
	if (size == 0 || !reserve(b, size))
		return;
	memcpy(b->data + b->size, data, size);
	b->size += size;
}

void buffer_string(struct buffer *b, const char *s)
{
	buffer_append(b, s, strlen(s));
}

void buffer_printf(struct buffer *b, const char *format, ...)
{
	size_t room = b->capacity - b->size;
	va_list args;
	int n;

	if (b->failed)
		return;
	va_start(args, format);
	n = vsnprintf(room > 0 ? b->data + b->size : NULL, room, format, args);
	va_end(args);
	if (n >= 0 && (size_t)n >= room) {
		/* One byte more for the terminating NUL, which is not counted. */
		if (!reserve(b, (size_t)n + 1))
			return;
		va_start(args, format);
		n = vsnprintf(b->data + b->size, (size_t)n + 1, format, args);
		va_end(args);
	}
	b->size += n > 0 ? (size_t)n : 0;
}

void buffer_u64(struct buffer *b, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	buffer_append(b, digits + at, sizeof(digits) - at);
}

void buffer_consume(struct buffer *b, size_t size)
{
	b->size -= size;
	memmove(b->data, b->data + size, b->size);
}

void buffer_free(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){0};
}
