/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics about srtleak itself: events, losses, probes, cost, the daemon's process. */
#ifndef SRTLEAK_METRICS_SELF_H
#define SRTLEAK_METRICS_SELF_H

#include "exposition.h"
#include "reply.h"

void metrics_write_self(struct exposition *e, const struct subject *subject);

#endif
