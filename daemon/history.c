/* SPDX-License-Identifier: Apache-2.0 */
#include "bounds.h"
#include "history.h"
#include "macro.h"

#define SAMPLES_NEEDED 7 /* a minute */

void history_add(struct history *h, double value)
{
	h->samples[h->added++ % HISTORY_SAMPLES] = (float)value;
}

size_t history_count(const struct history *h)
{
	return MIN(h->added, HISTORY_SAMPLES);
}

double history_at(const struct history *h, size_t i)
{
	return (double)h->samples[(h->added - history_count(h) + i) % HISTORY_SAMPLES];
}

static double floor_of(const struct history *h, size_t from, size_t n)
{
	double least = history_at(h, from);

	for (size_t i = 1; i < n; i++)
		least = MIN(least, history_at(h, from + i));
	return least;
}

/* The floor of the last third against that of the first one: for steady growth these are the values
 * at their beginnings, two thirds of the time apart.
 */
bool history_growth(const struct history *h, double *ret)
{
	size_t n = history_count(h), third = n / 3;

	if (n < SAMPLES_NEEDED)
		return false;
	*ret = (floor_of(h, n - third, third) - floor_of(h, 0, third)) /
	       ((double)(n - third) * HISTORY_INTERVAL_S);
	return true;
}

void history_sum(struct history *h, const struct history *other)
{
	h->added = other->added;
	for (size_t i = 0; i < HISTORY_SAMPLES; i++)
		h->samples[i] += other->samples[i];
}
