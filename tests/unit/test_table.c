/* SPDX-License-Identifier: Apache-2.0 */
/* The hash table against a naive model, and walks that are interrupted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/table.h"
#include "macro.h"

#define OPERATIONS 1000000
#define UNIVERSE 4096U

#define MANY ((size_t)1 << 21)

struct entry {
	uint64_t key;
	uint64_t value;
	uint32_t check; /* of key and value: moves keep entries whole */
	uint32_t zero;
};

static uint64_t random_state;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void fill(struct entry *entry, uint64_t value)
{
	assert_int_equal(entry->value, 0);
	assert_int_equal(entry->check, 0);
	entry->value = value;
	entry->check = (uint32_t)(entry->key * 31 + value);
}

static void check_entry(const struct entry *entry, uint64_t key, uint64_t value)
{
	assert_int_equal(entry->key, key);
	assert_int_equal(entry->value, value);
	assert_int_equal(entry->check, (uint32_t)(key * 31 + value));
}

static int insert(struct table *t, uint64_t key, uint64_t value)
{
	void *entry = NULL;
	int r = table_add(t, key, &entry);

	if (r == 1)
		fill(entry, value);
	return r;
}

/* The model: the value of each key of a small universe, 0 where it is not in the table. */
struct model {
	uint64_t (*key_of)(uint64_t i);
	uint64_t values[UNIVERSE];
	size_t count;
};

/* One step: more is added than removed for a while, then the other way round. */
static void step(struct table *t, struct model *m, int round)
{
	uint64_t i = next_random() % UNIVERSE, key = m->key_of(i), value = next_random() | 1;
	bool growing = round / 20000 % 2 == 0;
	bool adds = next_random() % 8 < (growing ? 5 : 3);
	const struct entry *entry = table_find(t, key);

	assert_int_equal(entry != NULL, m->values[i] != 0);
	if (entry)
		check_entry(entry, key, m->values[i]);
	if (adds) {
		assert_int_equal(insert(t, key, value), m->values[i] ? 0 : 1);
		m->count += m->values[i] ? 0 : 1;
		m->values[i] = m->values[i] ? m->values[i] : value;
	} else {
		assert_int_equal(table_remove(t, key), m->values[i] != 0);
		m->count -= m->values[i] ? 1 : 0;
		m->values[i] = 0;
	}
	assert_int_equal(t->count, m->count);
}

static void check_all(const struct table *t, const struct model *m)
{
	size_t seen = 0;

	for (size_t i = 0; i < UNIVERSE; i++) {
		const struct entry *entry = table_find(t, m->key_of(i));

		assert_int_equal(entry != NULL, m->values[i] != 0);
		if (entry)
			check_entry(entry, m->key_of(i), m->values[i]);
	}
	table_foreach (t, struct entry, entry)
		seen++;
	assert_int_equal(seen, m->count);
}

static void run_against_model(uint64_t (*key_of)(uint64_t))
{
	struct model *m = calloc(1, sizeof(*m));
	struct table t;

	assert_non_null(m);
	m->key_of = key_of;
	random_state = 88172645463325252ULL;
	table_init(&t, sizeof(struct entry));
	for (int round = 0; round < OPERATIONS; round++) {
		step(&t, m, round);
		if (round % 10000 == 0)
			check_all(&t, m);
	}
	check_all(&t, m);
	for (size_t i = 0; i < UNIVERSE; i++)
		table_remove(&t, key_of(i));
	assert_int_equal(t.count, 0);
	table_clear(&t);
	free(m);
}

static uint64_t small_key(uint64_t i)
{
	return i + 1;
}

/* As device addresses are: multiples of 2 MiB. */
static uint64_t address_key(uint64_t i)
{
	return 0x7f0000000000ULL + (i << 21);
}

/* Undoes x ^= x >> by. */
static uint64_t undo_shift(uint64_t x, unsigned int by)
{
	uint64_t result = x;

	for (unsigned int done = by; done < 64; done += by)
		result = x ^ result >> by;
	return result;
}

/* The key with a given hash: inverts the table's hash step by step. */
static uint64_t key_of_hash(uint64_t hash)
{
	uint64_t x = undo_shift(hash, 31);

	x = undo_shift(x * 0x319642b2d24d8ec3ULL, 27);
	return undo_shift(x * 0x96de1b173f119089ULL, 30) ^ table_seed;
}

/* All hashes at the very end, so that everything collides and is pushed past the last home. */
static uint64_t last_hash_key(uint64_t i)
{
	return key_of_hash(UINT64_MAX - i);
}

static void test_small_keys(void **state)
{
	(void)state;
	run_against_model(small_key);
}

static void test_addresses(void **state)
{
	(void)state;
	run_against_model(address_key);
}

static void test_crowded_end(void **state)
{
	size_t seen = 0;
	struct table t;

	(void)state;
	table_init(&t, sizeof(struct entry));
	for (uint64_t i = 0; i < 24; i++)
		assert_int_equal(insert(&t, last_hash_key(i), i + 1), 1);
	for (uint64_t i = 0; i < 24; i++)
		check_entry(table_find(&t, last_hash_key(i)), last_hash_key(i), i + 1);
	table_foreach (&t, struct entry, entry) {
		/* in the order of hashes, and the largest of all ends the walk */
		check_entry(entry, last_hash_key(23 - seen), 24 - seen);
		seen++;
	}
	assert_int_equal(seen, 24);
	for (uint64_t i = 0; i < 24; i += 2)
		assert_true(table_remove(&t, last_hash_key(i)));
	for (uint64_t i = 0; i < 24; i++)
		assert_int_equal(table_find(&t, last_hash_key(i)) != NULL, i % 2);
	table_clear(&t);
}

static void test_edges(void **state)
{
	void *entry = &entry;
	struct table t;

	(void)state;
	table_init(&t, sizeof(struct entry));
	assert_null(table_find(&t, 1));
	assert_false(table_remove(&t, 1));
	assert_int_equal(table_memory(&t), 0);
	table_foreach (&t, struct entry, e)
		fail();
	assert_int_equal(table_add(&t, 0, &entry), -EINVAL);
	assert_ptr_equal(entry, &entry);
	assert_null(table_find(&t, 0));
	assert_int_equal(insert(&t, UINT64_MAX, 5), 1);
	assert_null(table_find(&t, 0));
	check_entry(table_find(&t, UINT64_MAX), UINT64_MAX, 5);
	table_clear(&t);
	assert_int_equal(t.count, 0);
	assert_int_equal(insert(&t, 7, 8), 1);
	check_entry(table_find(&t, 7), 7, 8);
	table_clear(&t);
}

static void test_shrinks(void **state)
{
	struct table t;
	size_t full;

	(void)state;
	table_init(&t, sizeof(struct entry));
	for (uint64_t i = 1; i <= 100000; i++)
		insert(&t, i, i);
	full = table_memory(&t);
	assert_true(full >= 100000 * sizeof(struct entry));
	assert_true(full <= 300000 * sizeof(struct entry));
	for (uint64_t i = 11; i <= 100000; i++)
		assert_true(table_remove(&t, i));
	assert_true(table_memory(&t) < 1000 * sizeof(struct entry));
	for (uint64_t i = 1; i <= 10; i++)
		check_entry(table_find(&t, i), i, i);
	table_clear(&t);
}

/* The rest must not crowd at one end: that takes the square of their number, hours for so many. */
static void test_removed_in_the_order_of_a_walk(void **state)
{
	struct table_cursor cursor = {0};
	struct entry *entry;
	size_t left = 0, full;
	struct table t;

	(void)state;
	table_init(&t, sizeof(struct entry));
	for (uint64_t i = 1; i <= MANY; i++)
		insert(&t, i, i);
	full = table_memory(&t);
	table_hold(&t);
	while ((entry = table_next(&t, &cursor)))
		if (left++ % 64)
			assert_true(table_remove(&t, entry->key));
	assert_int_equal(table_memory(&t), full);
	table_release(&t);
	assert_int_equal(t.count, MANY / 64);
	assert_true(table_memory(&t) < full / 8);
	left = 0;
	table_foreach (&t, struct entry, kept) {
		check_entry(table_find(&t, kept->key), kept->key, kept->key);
		left++;
	}
	assert_int_equal(left, MANY / 64);
	table_clear(&t);
}

/* Between two steps of the walk, entries that do not stay come and go: `busy` at once, enough to
 * make the table grow and shrink under the walk.
 */
static void disturb(struct table *t, uint64_t round, uint64_t busy)
{
	uint64_t wave = round / 50 % 2;

	for (uint64_t i = 0; i < busy; i++) {
		uint64_t key = (1ULL << 40) + next_random() % 20000;

		if (wave == 0)
			insert(t, key, 1);
		else
			table_remove(t, key);
	}
}

static void walk_disturbed(uint64_t stayers, uint64_t busy)
{
	unsigned char *seen = calloc(stayers + 1, 1);
	struct table_cursor cursor = {0};
	struct entry *entry;
	uint64_t round = 0;
	struct table t;

	assert_non_null(seen);
	table_init(&t, sizeof(struct entry));
	for (uint64_t key = 1; key <= stayers; key++)
		insert(&t, key, key);
	while ((entry = table_next(&t, &cursor))) {
		if (entry->key <= stayers) {
			assert_int_equal(seen[entry->key], 0);
			seen[entry->key] = 1;
		}
		disturb(&t, round++, busy);
	}
	for (uint64_t key = 1; key <= stayers; key++)
		assert_int_equal(seen[key], 1);
	assert_null(table_next(&t, &cursor));
	table_clear(&t);
	free(seen);
}

static void test_interrupted_walks(void **state)
{
	(void)state;
	random_state = 1181783497276652981ULL;
	walk_disturbed(1, 100);
	walk_disturbed(30, 300);
	walk_disturbed(500, 200);
	walk_disturbed(5000, 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_keys),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_crowded_end),
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_shrinks),
		cmocka_unit_test(test_interrupted_walks),
		cmocka_unit_test(test_removed_in_the_order_of_a_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
