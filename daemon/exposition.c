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

	if (e->openmetrics && type == METRIC_COUNTER)
		n -= sizeof(TOTAL) - 1;
	buffer_printf(e->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)n, name, help, (int)n, name,
		      type == METRIC_COUNTER ? "counter" : "gauge");
}

void exposition_begin(struct exposition *e, const char *name)
{
	buffer_string(e->out, name);
	e->labelled = false;
}

static void label_name(struct exposition *e, const char *name)
{
	buffer_printf(e->out, "%s%s=\"", e->labelled ? "," : "{", name);
	e->labelled = true;
}

void exposition_label(struct exposition *e, const char *name, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;
	size_t n = value ? strlen(value) : 0;

	label_name(e, name);
	while (n > 0) {
		size_t length = utf8_length(s, n);

		if (length == 0)
			buffer_string(e->out, "\xef\xbf\xbd"); /* U+FFFD */
		else if (*s == '\n')
			buffer_string(e->out, "\\n");
		else if (*s == '"' || *s == '\\')
			buffer_printf(e->out, "\\%c", *s);
		else
			buffer_append(e->out, s, length);
		s += length ? length : 1;
		n -= length ? length : 1;
	}
	buffer_string(e->out, "\"");
}

void exposition_label_number(struct exposition *e, const char *name, int64_t value)
{
	label_name(e, name);
	buffer_printf(e->out, "%" PRId64 "\"", value);
}

void exposition_label_id(struct exposition *e, const char *name, uint64_t value)
{
	label_name(e, name);
	buffer_printf(e->out, "%016" PRIx64 "\"", value);
}

static void end_series(struct exposition *e)
{
	buffer_string(e->out, e->labelled ? "} " : " ");
	e->series++;
}

void exposition_u64(struct exposition *e, uint64_t value)
{
	end_series(e);
	buffer_printf(e->out, "%" PRIu64 "\n", value);
}

void exposition_double(struct exposition *e, double value)
{
	end_series(e);
	buffer_printf(e->out, "%.6f\n", value);
}

void exposition_end(struct exposition *e)
{
	if (e->openmetrics)
		buffer_string(e->out, "# EOF\n");
}
