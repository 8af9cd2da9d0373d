/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "macro.h"
#include "table.h"

#define MIN_HOMES 16U
#define MAX_HOMES ((size_t)1 << 40)
#define RUN_MAX 1024U

uint64_t table_seed;

/* One to one, so that equal hashes mean equal keys. Multiplication and shift as in Stafford's
 * mixers for SplitMix; the hash's share of the range chooses the slot.
 */
static uint64_t hash_of(uint64_t key)
{
	key ^= table_seed;
	key ^= key >> 30;
	key *= 0xbf58476d1ce4e5b9ULL;
	key ^= key >> 27;
	key *= 0x94d049bb133111ebULL;
	return key ^ key >> 31;
}

static void *slot_at(const struct table *t, size_t i)
{
	return t->slots + i * t->entry_size;
}

static uint64_t key_at(const struct table *t, size_t i)
{
	uint64_t key;

	memcpy(&key, slot_at(t, i), sizeof(key));
	return key;
}

static size_t home_of(const struct table *t, uint64_t hash)
{
	/* In proportion, so that the order of hashes is that of homes, whatever their number. */
	return (size_t)((unsigned __int128)hash * t->homes >> 64);
}

void table_init(struct table *t, size_t entry_size)
{
	if (!table_seed && getrandom(&table_seed, sizeof(table_seed), GRND_NONBLOCK) < 0)
		table_seed = (uintptr_t)t;
	*t = (struct table){.entry_size = entry_size};
}

void table_clear(struct table *t)
{
	free(t->slots);
	table_init(t, t->entry_size);
}

/* The first slot from the hash's home on that is free or holds an equal or larger hash. */
static size_t probe(const struct table *t, uint64_t hash)
{
	size_t i = home_of(t, hash);

	for (; i < t->slot_count; i++) {
		uint64_t key = key_at(t, i);

		if (!key || hash_of(key) >= hash)
			break;
	}
	return i;
}

void *table_find(const struct table *t, uint64_t key)
{
	size_t i;

	if (!t->slots || !key)
		return NULL;
	i = probe(t, hash_of(key));
	return i < t->slot_count && key_at(t, i) == key ? slot_at(t, i) : NULL;
}

/* Makes a hole at a slot by moving the entries from there to the next free slot up by one; false
 * where there is no free slot before the end.
 */
static bool open_gap(struct table *t, size_t at)
{
	size_t end = at;

	while (end < t->slot_count && key_at(t, end))
		end++;
	if (end == t->slot_count)
		return false;
	memmove(slot_at(t, at + 1), slot_at(t, at), (end - at) * t->entry_size);
	t->count++;
	return true;
}

/* By an eighth: copying is cheap, as it goes in order, and memory is what a million entries cost.
 */
static size_t grown(size_t homes)
{
	return homes + homes / 8;
}

static int resize(struct table *t, size_t homes)
{
	struct table fresh = {
		.entry_size = t->entry_size,
		.homes = homes,
		.is_held = t->is_held,
	};
	struct table_cursor cursor = {0};
	void *entry;

	if (homes > MAX_HOMES)
		return -ENOMEM;
	/* Slots past the last home take what is pushed over the end: a run of neighbours, and those
	 * do not get longer with the table.
	 */
	fresh.slot_count = homes + MIN(homes / 16, RUN_MAX) + 16;
	fresh.slots = calloc(fresh.slot_count, fresh.entry_size);
	if (!fresh.slots)
		return -ENOMEM;
	while ((entry = table_next(t, &cursor))) {
		uint64_t key;
		size_t at;

		memcpy(&key, entry, sizeof(key));
		at = probe(&fresh, hash_of(key));
		if (!open_gap(&fresh, at)) {
			free(fresh.slots);
			return resize(t, grown(homes));
		}
		memcpy(slot_at(&fresh, at), entry, t->entry_size);
	}
	free(t->slots);
	*t = fresh;
	return 0;
}

static void shrink_if_sparse(struct table *t)
{
	/* Failing to shrink costs memory only. */
	if (t->homes > MIN_HOMES && t->count < t->homes / 8)
		(void)resize(t, MAX(grown(t->count * 2), MIN_HOMES));
}

void table_hold(struct table *t)
{
	t->is_held = true;
}

void table_release(struct table *t)
{
	t->is_held = false;
	shrink_if_sparse(t);
}

static bool crowded(const struct table *t)
{
	return !t->slots || t->count + 1 > t->homes / 8 * 7;
}

int table_reserve(struct table *t, size_t count)
{
	size_t homes = count + count / 7 + 1;

	return homes > MAX(t->homes, MIN_HOMES) ? resize(t, homes) : 0;
}

int table_add(struct table *t, uint64_t key, void **ret_entry)
{
	uint64_t hash = hash_of(key);
	void *found = table_find(t, key);
	size_t at;
	int r;

	if (!key)
		return -EINVAL;
	if (found) {
		*ret_entry = found;
		return 0;
	}
	if (crowded(t)) {
		r = resize(t, t->slots ? grown(t->homes) : MIN_HOMES);
		if (r < 0)
			return r;
	}
	for (;;) {
		at = probe(t, hash);
		if (open_gap(t, at))
			break;
		r = resize(t, grown(t->homes));
		if (r < 0)
			return r;
	}
	memset(slot_at(t, at), 0, t->entry_size);
	memcpy(slot_at(t, at), &key, sizeof(key));
	*ret_entry = slot_at(t, at);
	return 1;
}

bool table_remove(struct table *t, uint64_t key)
{
	void *found = table_find(t, key);
	size_t i, end;

	if (!found)
		return false;
	i = ((unsigned char *)found - t->slots) / t->entry_size;
	/* Pull back what stands behind it, up to the first entry that is at home. */
	for (end = i + 1; end < t->slot_count; end++) {
		uint64_t next = key_at(t, end);

		if (!next || home_of(t, hash_of(next)) == end)
			break;
	}
	memmove(slot_at(t, i), slot_at(t, i + 1), (end - i - 1) * t->entry_size);
	memset(slot_at(t, end - 1), 0, t->entry_size);
	t->count--;
	if (!t->is_held)
		shrink_if_sparse(t);
	return true;
}

void *table_next(const struct table *t, struct table_cursor *cursor)
{
	size_t i;

	if (!t->slots)
		cursor->done = true;
	if (cursor->done)
		return NULL;
	for (i = home_of(t, cursor->from); i < t->slot_count; i++) {
		uint64_t key = key_at(t, i), hash = hash_of(key);

		if (!key || hash < cursor->from)
			continue;
		cursor->from = hash + 1;
		cursor->done = cursor->from == 0;
		return slot_at(t, i);
	}
	cursor->done = true;
	return NULL;
}

size_t table_memory(const struct table *t)
{
	return t->slot_count * t->entry_size;
}
