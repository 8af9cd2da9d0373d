/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of numbers that serve as device addresses and handles; nothing is mapped behind them.
 *
 * What is given back goes on top of a stack of its rounded size, so that the next request of that
 * size gets it at once, as a driver's allocator does it: tests of address reuse depend on it.
 */
#ifndef SIMCUDA_ARENA_H
#define SIMCUDA_ARENA_H

#include <stdint.h>

#define ARENA_CLASSES 1024 /* chains of size classes */

struct arena_class;

struct arena {
	uint64_t next, end;             /* what nobody had yet */
	uint64_t small_next, small_end; /* rest of the chunk that small blocks are cut from */
	struct arena_class *classes[ARENA_CLASSES];
};

/* Empties `arena` and gives it the addresses [base, base + size). */
void arena_init(struct arena *arena, uint64_t base, uint64_t size);

/* What a request of `size` takes: multiples of 512 bytes, of 2 MiB from 1 MiB on. */
uint64_t arena_round(uint64_t size);

/* Returns an address for `size` bytes, or 0 if none is left. */
uint64_t arena_take(struct arena *arena, uint64_t size);

/* Gives back what arena_take() returned for the same size. */
void arena_put(struct arena *arena, uint64_t addr, uint64_t size);

#endif
