/* SPDX-License-Identifier: Apache-2.0 */
/* What GET /metrics says; the names and labels are those of interface.md. */
#ifndef SRTLEAK_METRICS_H
#define SRTLEAK_METRICS_H

#include <stdbool.h>

#include "buffer.h"
#include "reply.h"

/* Writes at most `max_series` series, or, if that is more, the daemon's own and the sum: the
 * processes that hold most have series of their own, the others are summed under pid="other".
 * -ENOMEM: what `out` holds then is of no use.
 */
int metrics_write(const struct subject *subject, bool openmetrics, size_t max_series,
		  struct buffer *out);

#endif
