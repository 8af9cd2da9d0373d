/* SPDX-License-Identifier: Apache-2.0 */
#include "python_lines.h"

#include <errno.h>
#include <stdbool.h>

#define CODE_UNIT 2 /* bytes */

struct reader {
	const uint8_t *p;
	const uint8_t *end;
};

/* One entry of a location table: it covers `length` bytes of bytecode. */
struct location {
	unsigned int length;
	bool has_line;
	int64_t line_delta;
};

/* The kinds of an entry; those below stay on the line and have one byte of columns. */
enum {
	ONE_LINE_FIRST = 10,
	ONE_LINE_LAST = 12,
	NO_COLUMNS = 13,
	LONG = 14,
	NO_LOCATION = 15,
};

static int skip_bytes(struct reader *r, size_t n)
{
	if ((size_t)(r->end - r->p) < n)
		return -EBADMSG;
	r->p += n;
	return 0;
}

/* Groups of six bits, lowest first; bit 6 says that another follows. */
static int read_varint(struct reader *r, uint32_t *ret)
{
	uint64_t value = 0;
	unsigned int shift = 0;
	uint8_t byte;

	do {
		if (r->p == r->end || shift > 30)
			return -EBADMSG;
		byte = *r->p++;
		value |= (uint64_t)(byte & 0x3f) << shift;
		shift += 6;
	} while (byte & 0x40);

	if (value > UINT32_MAX)
		return -EBADMSG;
	*ret = (uint32_t)value;
	return 0;
}

/* The lowest bit is the sign. */
static int read_signed_varint(struct reader *r, int64_t *ret)
{
	uint32_t value;
	int e;

	e = read_varint(r, &value);
	if (e < 0)
		return e;
	*ret = value & 1 ? -(int64_t)(value >> 1) : (int64_t)(value >> 1);
	return 0;
}

static int read_long(struct reader *r, int64_t *ret_delta)
{
	uint32_t ignored;
	int e;

	e = read_signed_varint(r, ret_delta);
	/* end line, column, end column */
	for (int i = 0; i < 3 && e >= 0; i++)
		e = read_varint(r, &ignored);
	return e;
}

static int read_location(struct reader *r, struct location *ret)
{
	uint8_t first = *r->p++;
	unsigned int code = first >> 3 & 15;

	if (!(first & 0x80))
		return -EBADMSG;
	*ret = (struct location){
		.length = ((first & 7U) + 1) * CODE_UNIT,
		.has_line = code != NO_LOCATION,
	};
	switch (code) {
	case NO_LOCATION:
		return 0;
	case LONG:
		return read_long(r, &ret->line_delta);
	case NO_COLUMNS:
		return read_signed_varint(r, &ret->line_delta);
	case ONE_LINE_FIRST ... ONE_LINE_LAST:
		ret->line_delta = code - ONE_LINE_FIRST;
		return skip_bytes(r, 2);
	default:
		return skip_bytes(r, 1);
	}
}

static int line_from_locations(const uint8_t *table, size_t size, int firstlineno, uint32_t offset)
{
	struct reader r = {.p = table, .end = table + size};
	int64_t line = firstlineno;
	uint64_t end = 0;
	bool known = false;
	struct location l;
	int e;

	while (r.p < r.end) {
		e = read_location(&r, &l);
		if (e < 0)
			return e;
		line += l.line_delta;
		if (line < 0 || line > INT32_MAX)
			return -EBADMSG;
		known |= l.has_line;
		end += l.length;
		/* once past the instruction, the first line that there is serves */
		if (end > offset && known)
			return (int)line;
	}
	return end > offset ? (int)line : -ERANGE;
}

int python_line(const struct python_layout *layout, const uint8_t *table, size_t size,
		int firstlineno, uint32_t offset)
{
	switch (layout->lines) {
	case PYTHON_LINES_LOCATIONS:
		return line_from_locations(table, size, firstlineno, offset);
	default:
		return -EOPNOTSUPP;
	}
}
