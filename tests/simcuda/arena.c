/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "arena.h"

#define SMALL_STEP 512ULL
#define LARGE_STEP (2ULL << 20)
#define LARGE_FROM (1ULL << 20)

struct arena_class {
	struct arena_class *next;
	uint64_t size;
	uint64_t *free; /* a stack */
	unsigned int used, room;
};

void arena_init(struct arena *arena, uint64_t base, uint64_t size)
{
	*arena = (struct arena){.next = base, .end = base + size};
}

uint64_t arena_round(uint64_t size)
{
	uint64_t step = size < LARGE_FROM ? SMALL_STEP : LARGE_STEP;

	if (size > UINT64_MAX - step)
		return UINT64_MAX;
	return (size + step - 1) / step * step;
}

static struct arena_class **class_slot(struct arena *arena, uint64_t size)
{
	struct arena_class **slot =
		&arena->classes[size / SMALL_STEP * 0x9e3779b1U % ARENA_CLASSES];

	while (*slot && (*slot)->size != size)
		slot = &(*slot)->next;
	return slot;
}

static uint64_t cut(uint64_t *next, uint64_t end, uint64_t size)
{
	uint64_t addr = *next;

	if (size > end - addr)
		return 0;
	*next += size;
	return addr;
}

uint64_t arena_take(struct arena *arena, uint64_t size)
{
	struct arena_class *class;

	size = arena_round(size);
	class = *class_slot(arena, size);
	if (class && class->used)
		return class->free[--class->used];
	if (size >= LARGE_FROM)
		return cut(&arena->next, arena->end, size);
	if (size > arena->small_end - arena->small_next) {
		arena->small_next = cut(&arena->next, arena->end, LARGE_STEP);
		arena->small_end = arena->small_next ? arena->small_next + LARGE_STEP : 0;
	}
	return cut(&arena->small_next, arena->small_end, size);
}

void arena_put(struct arena *arena, uint64_t addr, uint64_t size)
{
	struct arena_class **slot, *class;

	size = arena_round(size);
	slot = class_slot(arena, size);
	if (!*slot) {
		*slot = calloc(1, sizeof(**slot));
		if (!*slot)
			abort();
		(*slot)->size = size;
	}
	class = *slot;
	if (class->used == class->room) {
		class->room = class->room ? 2 * class->room : 8;
		class->free = realloc(class->free, class->room * sizeof(*class->free));
		if (!class->free)
			abort();
	}
	class->free[class->used++] = addr;
}
