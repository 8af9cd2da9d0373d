/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRTLEAK_CLOCK_H
#define SRTLEAK_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_SECOND 1000000000ULL

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SECOND + (uint64_t)ts.tv_nsec;
}

/* The clock of the events. */
static inline uint64_t clock_boottime_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

static inline uint64_t clock_monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* Seconds since the Unix epoch. */
static inline double clock_unix(void)
{
	return (double)clock_ns(CLOCK_REALTIME) / (double)NS_PER_SECOND;
}

#endif
