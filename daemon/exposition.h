/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus' text formats: the classic one (0.0.4) and OpenMetrics 1.0. They differ in the name
 * under which a counter is described, and in the mark at the end.
 */
#ifndef SRTLEAK_EXPOSITION_H
#define SRTLEAK_EXPOSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"

struct exposition {
	struct buffer *out; /* NULL: nothing is written, series are only counted */
	bool openmetrics;
	size_t series; /* written so far */
	bool labelled; /* the series being written has a label already */
};

enum metric_type { METRIC_GAUGE, METRIC_COUNTER };

/* Begins a metric; the name of a counter ends in _total, in either format. */
void exposition_head(struct exposition *e, const char *name, enum metric_type type,
		     const char *help);

/* One series: begin, its labels in order, its value. Label values may hold anything. */
void exposition_begin(struct exposition *e, const char *name);
void exposition_label(struct exposition *e, const char *name, const char *value); /* NULL: "" */
void exposition_label_number(struct exposition *e, const char *name, int64_t value);
void exposition_label_id(struct exposition *e, const char *name,
			 uint64_t value); /* 16 hex digits */
void exposition_u64(struct exposition *e, uint64_t value);
void exposition_double(struct exposition *e, double value);

void exposition_end(struct exposition *e);

#endif
