/* SPDX-License-Identifier: Apache-2.0 */
/* The last minutes of a figure: for the little charts of `top`, and for how fast it grows. */
#ifndef SRTLEAK_HISTORY_H
#define SRTLEAK_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_SAMPLES 60

/* Zeroed is empty. Floats, because there is one of these a site, and a chart has a dozen levels. */
struct history {
	uint32_t added; /* in all */
	float samples[HISTORY_SAMPLES];
};

/* To be called every HISTORY_INTERVAL_S. */
void history_add(struct history *h, double value);

/* Number of samples kept, and one of them; 0 is the oldest. */
size_t history_count(const struct history *h);
double history_at(const struct history *h, size_t i);

/* How fast the floor of the figure rises, per second: what comes and goes with the load does not
 * count. False with less than a minute of samples.
 */
bool history_growth(const struct history *h, double *ret);

/* Adds samples of two histories that were begun at the same time. */
void history_sum(struct history *h, const struct history *other);

#endif
