/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "json_writer.h"
#include "utf8.h"

static void quote(struct buffer *out, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;
	size_t n = strlen(value);

	buffer_append(out, "\"", 1);
	while (n > 0) {
		size_t length = utf8_length(s, n);

		if (length == 0) {
			buffer_string(out, "\\ufffd");
			length = 1;
		} else if (*s == '"' || *s == '\\') {
			buffer_printf(out, "\\%c", *s);
		} else if (*s < 0x20 || *s == 0x7f) {
			buffer_printf(out, "\\u%04x", *s);
		} else {
			buffer_append(out, s, length);
		}
		s += length;
		n -= length;
	}
	buffer_append(out, "\"", 1);
}

static void begin_value(struct json_writer *j, const char *key)
{
	uint32_t bit = 1U << (j->depth & 31);

	if (j->filled & bit)
		buffer_append(j->out, ",", 1);
	j->filled |= bit;
	if (key) {
		quote(j->out, key);
		buffer_append(j->out, ":", 1);
	}
}

static void open_scope(struct json_writer *j, const char *key, const char *bracket)
{
	begin_value(j, key);
	buffer_append(j->out, bracket, 1);
	j->depth++;
	j->filled &= ~(1U << (j->depth & 31));
}

static void close_scope(struct json_writer *j, const char *bracket)
{
	j->depth--;
	buffer_append(j->out, bracket, 1);
}

void jw_begin_object(struct json_writer *j, const char *key)
{
	open_scope(j, key, "{");
}

void jw_end_object(struct json_writer *j)
{
	close_scope(j, "}");
}

void jw_begin_array(struct json_writer *j, const char *key)
{
	open_scope(j, key, "[");
}

void jw_end_array(struct json_writer *j)
{
	close_scope(j, "]");
}

void jw_null(struct json_writer *j, const char *key)
{
	begin_value(j, key);
	buffer_string(j->out, "null");
}

void jw_string(struct json_writer *j, const char *key, const char *value)
{
	if (!value) {
		jw_null(j, key);
		return;
	}
	begin_value(j, key);
	quote(j->out, value);
}

void jw_u64(struct json_writer *j, const char *key, uint64_t value)
{
	begin_value(j, key);
	/* Parsers keep integers in 64 bits with a sign. */
	buffer_printf(j->out, "%" PRIu64, MIN(value, (uint64_t)INT64_MAX));
}

void jw_i64(struct json_writer *j, const char *key, int64_t value)
{
	begin_value(j, key);
	buffer_printf(j->out, "%" PRId64, value);
}

void jw_double(struct json_writer *j, const char *key, double value)
{
	if (!isfinite(value)) {
		jw_null(j, key);
		return;
	}
	begin_value(j, key);
	buffer_printf(j->out, "%.3f", value);
}

void jw_time(struct json_writer *j, const char *key, uint64_t unix_ns)
{
	begin_value(j, key);
	buffer_printf(j->out, "%" PRIu64 ".%06" PRIu64, unix_ns / 1000000000,
		      unix_ns / 1000 % 1000000);
}

void jw_bool(struct json_writer *j, const char *key, bool value)
{
	begin_value(j, key);
	buffer_string(j->out, value ? "true" : "false");
}

void jw_hex(struct json_writer *j, const char *key, uint64_t value)
{
	begin_value(j, key);
	buffer_printf(j->out, "\"0x%" PRIx64 "\"", value);
}

void jw_id(struct json_writer *j, const char *key, uint64_t value)
{
	begin_value(j, key);
	buffer_printf(j->out, "\"%016" PRIx64 "\"", value);
}
