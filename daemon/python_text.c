/* SPDX-License-Identifier: Apache-2.0 */
#include "python_text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define UTF8_MAX 4 /* bytes of one character */
#define REPLACEMENT 0xfffd
#define ELLIPSIS 0x2026

/* The bit field `state` of a str. */
#define STATE_KIND(s) ((s) >> 2 & 7)
#define STATE_COMPACT(s) ((s) >> 5 & 1)
#define STATE_ASCII(s) ((s) >> 6 & 1)

int python_text_head(const struct python_layout *layout, const uint8_t head[PYTHON_TEXT_HEAD],
		     struct python_text *ret)
{
	uint64_t length;
	uint32_t state;
	unsigned int kind;
	bool ascii;

	memcpy(&length, head + PYTHON_OBJECT_SIZE, sizeof(length));
	memcpy(&state, head + layout->unicode_state, sizeof(state));
	kind = STATE_KIND(state);
	ascii = STATE_ASCII(state);

	if (!STATE_COMPACT(state) || (kind != 1 && kind != 2 && kind != 4))
		return -EBADMSG;
	if (ascii && kind != 1)
		return -EBADMSG;
	if (length > INT64_MAX / kind)
		return -EBADMSG;
	*ret = (struct python_text){
		.length = length,
		.data = ascii ? layout->unicode_ascii : layout->unicode_compact,
		.width = kind,
	};
	return 0;
}

static uint32_t load_unit(const uint8_t *p, unsigned int width)
{
	uint32_t wide;
	uint16_t half;

	switch (width) {
	case 1:
		return *p;
	case 2:
		memcpy(&half, p, sizeof(half));
		return half;
	default:
		memcpy(&wide, p, sizeof(wide));
		return wide;
	}
}

static bool has_utf8(uint32_t c)
{
	return c != 0 && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
}

static char *put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		*out++ = (char)c;
	} else if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
		*out++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*out++ = (char)(0xe0 | c >> 12);
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	} else {
		*out++ = (char)(0xf0 | c >> 18);
		*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	}
	return out;
}

int python_text_utf8(const uint8_t *units, unsigned int width, size_t count, uint64_t length,
		     char **ret)
{
	char *text, *fit, *out;

	if (width != 1 && width != 2 && width != 4)
		return -EINVAL;
	if (count > (SIZE_MAX - 1) / UTF8_MAX)
		return -ENOMEM;
	text = malloc(count * UTF8_MAX + 1);
	if (!text)
		return -ENOMEM;

	out = text;
	for (size_t i = 0; i < count; i++) {
		uint32_t c = load_unit(units + i * width, width);

		if (i + 1 == count && length > count)
			c = ELLIPSIS;
		out = put_utf8(out, has_utf8(c) ? c : REPLACEMENT);
	}
	*out++ = '\0';

	fit = realloc(text, (size_t)(out - text));
	*ret = fit ? fit : text;
	return 0;
}
