/* SPDX-License-Identifier: Apache-2.0 */
/* The pools of stream-ordered memory of one process: what is used of each, and what is known of how
 * much it holds.
 */
#ifndef SRTLEAK_POOLS_H
#define SRTLEAK_POOLS_H

#include <stdbool.h>
#include <stdint.h>

#include "event.h"
#include "table.h"

/* The first member is the table's key. */
struct pool {
	uint64_t number; /* as the probes number it, from 1 */
	uint64_t handle; /* 0: a device's own, whose handle was never asked for */
	uint64_t used, count;
	uint64_t high_water; /* most that was used since it was made or trimmed; bytes */
	uint64_t reserved;   /* what the driver told the process last */
	uint64_t told_ns;    /* when it did, CLOCK_BOOTTIME; 0: not since more was used or it was
			      * trimmed
			      */
	bool is_own;         /* a device's own, which may be older than the probes */
	bool is_destroyed;   /* it lives on in what is still used of it */
	bool is_named;       /* the kernel still has its handle, as the present repair has found */
	int8_t device;
	uint8_t kind;
};

/* Applies an event of a pool. */
void pools_event(struct table *pools, const struct event *event);

/* The tables are compared with the kernel: between the first and the last of these come what is in
 * the map of handles, by the address of its key, and pools_add() for all that is live.
 */
void pools_compare(struct table *pools);
void pools_restore(struct table *pools, uint64_t addr, const struct handle *known);
void pools_compared(struct table *pools);

/* Whether anything is allocated from it; if not, and it was destroyed, it is forgotten. */
bool pools_is_used(struct table *pools, uint32_t number);

/* Adds an allocation's bytes, or takes them away. number 0: it is from no pool. */
void pools_add(struct table *pools, uint32_t number, uint64_t bytes);
void pools_take(struct table *pools, uint32_t number, uint64_t bytes);

#endif
