/* SPDX-License-Identifier: Apache-2.0 */
/* Streaming JSON writer. Strings may hold anything: control characters are escaped, bytes that are
 * no UTF-8 become U+FFFD. A key of NULL stands for an element of an array.
 */
#ifndef SRTLEAK_JSON_WRITER_H
#define SRTLEAK_JSON_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"

struct json_writer {
	struct buffer *out;
	uint32_t filled; /* bit per depth: something was written there, a comma is due */
	unsigned int depth;
};

void jw_begin_object(struct json_writer *j, const char *key);
void jw_end_object(struct json_writer *j);
void jw_begin_array(struct json_writer *j, const char *key);
void jw_end_array(struct json_writer *j);

void jw_string(struct json_writer *j, const char *key, const char *value); /* NULL: null */
void jw_u64(struct json_writer *j, const char *key, uint64_t value);       /* at most INT64_MAX */
void jw_i64(struct json_writer *j, const char *key, int64_t value);
void jw_double(struct json_writer *j, const char *key, double value);   /* not finite: null */
void jw_time(struct json_writer *j, const char *key, uint64_t unix_ns); /* seconds, to the µs */
void jw_bool(struct json_writer *j, const char *key, bool value);
void jw_null(struct json_writer *j, const char *key);
void jw_hex(struct json_writer *j, const char *key, uint64_t value); /* "0x…" */
void jw_id(struct json_writer *j, const char *key, uint64_t value);  /* 16 hex digits */

#endif
