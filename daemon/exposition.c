/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "exposition.h"
#include "utf8.h"

#define TOTAL "_total"

void exposition_head(struct exposition *e, const char *name, enum metric_type type,
		     const char *help)
{
	size_t n = strlen(name);

	if (!e->out)
		return;
	if (e->openmetrics && type == METRIC_COUNTER)
		n -= sizeof(TOTAL) - 1;
	buffer_printf(e->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)n, name, help, (int)n, name,
		      type == METRIC_COUNTER ? "counter" : "gauge");
}

void exposition_begin(struct exposition *e, const char *name)
{
	if (e->out)
		buffer_string(e->out, name);
	e->labelled = false;
}

static void label_name(struct exposition *e, const char *name)
{
	buffer_string(e->out, e->labelled ? "," : "{");
	buffer_string(e->out, name);
	buffer_string(e->out, "=\"");
	e->labelled = true;
}

static bool is_plain(unsigned char c)
{
	return c < 0x80 && c != '\n' && c != '"' && c != '\\';
}

/* What cannot stand as it is; returns how many bytes of the value it was. */
static size_t append_special(struct buffer *out, const unsigned char *s, size_t n)
{
	size_t length = utf8_length(s, n);

	if (length == 0)
		buffer_string(out, "\xef\xbf\xbd"); /* U+FFFD */
	else if (*s == '\n')
		buffer_string(out, "\\n");
	else if (*s == '"' || *s == '\\')
		buffer_printf(out, "\\%c", *s);
	else
		buffer_append(out, s, length);
	return length ? length : 1;
}

void exposition_label(struct exposition *e, const char *name, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;
	size_t n = value ? strlen(value) : 0;

	if (!e->out)
		return;
	label_name(e, name);
	while (n > 0) {
		size_t length = 0;

		while (length < n && is_plain(s[length]))
			length++;
		buffer_append(e->out, s, length);
		if (length < n)
			length += append_special(e->out, s + length, n - length);
		s += length;
		n -= length;
	}
	buffer_string(e->out, "\"");
}

void exposition_label_number(struct exposition *e, const char *name, int64_t value)
{
	if (!e->out)
		return;
	label_name(e, name);
	if (value < 0)
		buffer_string(e->out, "-");
	buffer_u64(e->out, value < 0 ? -(uint64_t)value : (uint64_t)value);
	buffer_string(e->out, "\"");
}

void exposition_label_id(struct exposition *e, const char *name, uint64_t value)
{
	if (!e->out)
		return;
	label_name(e, name);
	buffer_printf(e->out, "%016" PRIx64 "\"", value);
}

void exposition_u64(struct exposition *e, uint64_t value)
{
	e->series++;
	if (!e->out)
		return;
	buffer_string(e->out, e->labelled ? "} " : " ");
	buffer_u64(e->out, value);
	buffer_string(e->out, "\n");
}

void exposition_double(struct exposition *e, double value)
{
	e->series++;
	if (e->out)
		buffer_printf(e->out, "%s%.6f\n", e->labelled ? "} " : " ", value);
}

void exposition_end(struct exposition *e)
{
	if (e->openmetrics)
		buffer_string(e->out, "# EOF\n");
}
