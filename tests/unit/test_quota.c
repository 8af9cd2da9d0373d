/* SPDX-License-Identifier: Apache-2.0 */
/* How what all share is shared out, and what is put off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/put_off.h"
#include "daemon/quota.h"
#include "include/share.h"

#define LIMIT 100000ULL
#define USERS 40

/* What each of n processes has when all of them take one at a time, until none gets any more. */
static uint64_t greed(uint64_t n, uid_t uid)
{
	struct quota quota;
	uint64_t held = 0;

	quota_init(&quota, LIMIT, true);
	for (bool more = true; more;) {
		more = false;
		for (uint64_t i = 0; i < n; i++)
			more |= quota_take(&quota, uid, held, 1);
		held += more;
	}
	assert_true(quota.used <= LIMIT);
	assert_int_equal(quota.refused > 0, 1);
	quota_done(&quota);
	return held;
}

static void test_equal_greed(void **state)
{
	(void)state;
	for (uint64_t n = 1; n < 20; n++) {
		assert_in_range(greed(n, 0), LIMIT / (n + 1) - 1, LIMIT / (n + 1) + 1);
		assert_in_range(greed(n, 1000), LIMIT / (2 * n + 1) - 1, LIMIT / (2 * n + 1) + 1);
	}
}

static void test_user_gets_no_more_than_a_half(void **state)
{
	struct quota quota;
	uint64_t held = 0;

	(void)state;
	quota_init(&quota, LIMIT, false);
	/* Many small ones, of which none holds much; the next user gets a half of the rest. */
	for (uid_t uid = 0; uid < 4; uid++) {
		uint64_t left = LIMIT - held;

		while (quota_take(&quota, uid, 0, 1))
			held++;
		assert_int_equal(held, LIMIT - left / 2);
	}
	quota_done(&quota);
}

static void test_root_has_as_much_as_its_processes(void **state)
{
	struct quota quota;

	(void)state;
	quota_init(&quota, LIMIT, true);
	for (uint64_t left = LIMIT, held = 0; left > LIMIT / 100; left -= held) {
		for (held = 0; quota_take(&quota, 0, held, 1);)
			held++;
		assert_in_range(held, left / 2, left / 2 + 1);
	}
	assert_true(quota_take(&quota, 0, 0, 1));
	quota_done(&quota);
}

/* Against a naive account of random takes and returns. */
static void test_account(void **state)
{
	uint64_t held[USERS] = {0}, sum = 0;
	struct quota quota;

	(void)state;
	srand(7);
	quota_init(&quota, LIMIT, true);
	for (int i = 0; i < 200000; i++) {
		uint64_t uid = (uint64_t)rand() % USERS, n = (uint64_t)rand() % 500;
		uint64_t counted = uid ? held[uid] : 0;

		if (rand() % 2) {
			bool fits = sum + counted + n <= LIMIT;

			assert_int_equal(quota_take(&quota, (uid_t)uid, 0, n), fits);
			sum += fits ? n : 0;
			held[uid] += fits ? n : 0;
		} else {
			n = n > held[uid] ? held[uid] : n;
			quota_give(&quota, (uid_t)uid, n);
			sum -= n;
			held[uid] -= n;
		}
		assert_int_equal(quota.used, sum);
	}
	for (uid_t uid = 0; uid < USERS; uid++)
		quota_give(&quota, uid, held[uid]);
	assert_int_equal(quota.used, 0);
	assert_int_equal(quota.users.count, 0);
	quota_done(&quota);
}

static void test_what_is_known_afterwards(void **state)
{
	struct quotas quotas;

	(void)state;
	quotas_init(&quotas);
	quota_charge(&quotas.time, 1000, 10ULL * TIME_MAX);
	assert_false(quota_has(&quotas.time, 1000, 0, 1));
	assert_false(quota_has(&quotas.time, 0, 0, 1));
	quotas_next_second(&quotas);
	quota_charge(&quotas.time, 0, TIME_MAX / 2);
	assert_false(quota_has(&quotas.time, 0, 0, 1));
	assert_true(quota_has(&quotas.time, 1000, 0, 1));
	quotas_next_second(&quotas);
	assert_true(quota_has(&quotas.time, 1000, 0, 1));
	quotas_done(&quotas);
}

/* Whoever took seconds gets nothing for as long as that makes several of his shares. */
static void test_debts(void **state)
{
	struct quotas quotas;
	unsigned int seconds = 0;

	(void)state;
	quotas_init(&quotas);
	quota_owe(&quotas.time, 1000, 2ULL * TIME_MAX);
	quota_owe(&quotas.time, 0, 2ULL * TIME_MAX);
	for (; quota_owes(&quotas.time, 1000); seconds++) {
		assert_false(quota_owes(&quotas.time, 1001));
		assert_false(quota_owes(&quotas.time, 0));
		assert_true(quota_has(&quotas.time, 1000, 0, 1));
		quotas_next_second(&quotas);
	}
	assert_int_equal(seconds, 8);
	assert_int_equal(quotas.time.debts.count, 0);
	quotas_done(&quotas);
}

static void test_slots_of_users(void **state)
{
	(void)state;
	assert_int_equal(share_slot(0), SHARE_ROOT);
	for (uint32_t uid = 1; uid < 100000; uid += 7) {
		assert_in_range(share_slot(uid), SHARE_ROOT + 1, SHARE_SLOTS - 1);
		if (uid + SHARE_SLOTS < SHARE_LOTS_FROM)
			assert_int_not_equal(share_slot(uid), share_slot(uid + SHARE_SLOTS - 3));
	}
	assert_in_range(share_slot(UINT32_MAX), SHARE_ROOT + 1, SHARE_SLOTS - 1);
}

static void test_lots_of_ids_are_one_user(void **state)
{
	struct quota quota;

	(void)state;
	quota_init(&quota, 300, false);
	for (uint32_t uid = 100000; uid < 100150; uid++)
		(void)quota_take(&quota, uid, 0, 1);
	assert_int_equal(quota.used, 150);
	assert_false(quota_take(&quota, 165535, 0, 1));
	assert_true(quota_take(&quota, 165536, 0, 1));
	assert_true(quota_take(&quota, 99999, 0, 1));
	for (uint32_t uid = 100000; uid < 100150; uid++)
		quota_give(&quota, uid, 1);
	assert_int_equal(quota.used, 2);
	assert_int_equal(share_slot(100000), share_slot(165535));
	assert_int_not_equal(share_slot(100000), share_slot(165536));
	quota_done(&quota);
}

static void test_put_off(void **state)
{
	struct put_off put_off;

	(void)state;
	put_off_init(&put_off);
	assert_false(put_off_holds(&put_off, 7));
	put_off_note(&put_off, 7);
	assert_true(put_off_holds(&put_off, 7));
	assert_false(put_off_holds(&put_off, 8));
	for (pid_t pid = 1; pid < 3 * PUT_OFF_MAX; pid++)
		put_off_note(&put_off, pid);
	assert_true(put_off.table.count <= PUT_OFF_MAX);
	assert_true(put_off_holds(&put_off, 3 * PUT_OFF_MAX - 1));
	put_off_clear(&put_off);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal_greed),
		cmocka_unit_test(test_user_gets_no_more_than_a_half),
		cmocka_unit_test(test_root_has_as_much_as_its_processes),
		cmocka_unit_test(test_account),
		cmocka_unit_test(test_what_is_known_afterwards),
		cmocka_unit_test(test_debts),
		cmocka_unit_test(test_slots_of_users),
		cmocka_unit_test(test_lots_of_ids_are_one_user),
		cmocka_unit_test(test_put_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
