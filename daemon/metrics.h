/* SPDX-License-Identifier: Apache-2.0 */
/* The text of GET /metrics, in Prometheus' exposition format 0.0.4. */
#ifndef SRTLEAK_METRICS_H
#define SRTLEAK_METRICS_H

#include "buffer.h"
#include "reply.h"

void metrics_write(const struct subject *subject, struct buffer *out);

#endif
