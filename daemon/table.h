/* SPDX-License-Identifier: Apache-2.0 */
/* Hash table of fixed-size entries held by value, keyed by a non-zero 64-bit number.
 *
 * Entries stand in the order of their hash (linear probing, smaller hash first), so a walk can be
 * put aside and taken up later by the last hash alone: whatever stays in the table throughout is
 * seen exactly once, however much is added and removed meanwhile.
 *
 * Adding and removing move entries: pointers to entries are good until the next of either.
 */
#ifndef SRTLEAK_TABLE_H
#define SRTLEAK_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table {
	unsigned char *slots; /* NULL while empty */
	size_t entry_size;    /* bytes; the first 8 of an entry are its key */
	size_t count;
	size_t slot_count;
	size_t homes; /* places that a hash can lead to */
	bool is_held;
};

struct table_cursor {
	uint64_t from; /* smallest hash not yet seen */
	bool done;
};

/* Drawn with the first table of a run: who chooses in which order things go must not know which of
 * them are neighbours.
 */
extern uint64_t table_seed;

void table_init(struct table *t, size_t entry_size);
void table_clear(struct table *t); /* frees the memory; the table can be used again */

/* NULL where there is none. */
void *table_find(const struct table *t, uint64_t key);

/* Makes room for so many entries at once; a larger table stays as it is. -ENOMEM: nothing changed.
 */
int table_reserve(struct table *t, size_t count);

/* Adds a zeroed entry. Returns 1 where it was added, 0 where the key is there already (ret_entry is
 * that one), -ENOMEM.
 */
int table_add(struct table *t, uint64_t key, void **ret_entry);

bool table_remove(struct table *t, uint64_t key);

/* A table that is held does not get smaller: for removing many entries in a walk's order, which is
 * that of their places, so that those that are left would have to crowd into a part of it.
 */
void table_hold(struct table *t);
void table_release(struct table *t);

/* The next entry of a walk that began with a zeroed cursor; NULL at the end. */
void *table_next(const struct table *t, struct table_cursor *cursor);

size_t table_memory(const struct table *t); /* bytes */

#define table_foreach(t, type, entry)                                                   \
	for (struct table_cursor cursor_##entry = {0}, *once_##entry = &cursor_##entry; \
	     once_##entry; once_##entry = NULL)                                         \
		for (type * entry; (entry = table_next(t, &cursor_##entry));)

#endif
