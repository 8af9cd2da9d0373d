/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/budget.h"

#define SECOND 1000000000ULL
#define WINDOW (BUDGET_WINDOW_S * SECOND)
#define LIMIT 0.01
#define MUCH (WINDOW / 50)     /* 2 % */
#define SOME (WINDOW / 125)    /* 0.8 % */
#define LITTLE (WINDOW / 1000) /* 0.1 % */

struct life {
	struct budget budget;
	uint64_t now, spent, cpu;
};

static struct life life_begin(void)
{
	struct life life = {.now = 7 * SECOND};

	assert_int_equal(budget_judge(&life.budget, LIMIT, 0, 0, life.now), 0);
	return life;
}

/* One window in which so much is spent, while the process uses `cpu` in all. */
static int window_of(struct life *life, uint64_t spent, uint64_t cpu)
{
	struct budget *b = &life->budget;

	life->now += WINDOW;
	life->spent += spent;
	life->cpu += cpu;
	assert_true(budget_is_due(b, life->now));
	return budget_judge(b, LIMIT, life->spent,
			    budget_needs_cpu(b, LIMIT, life->spent, life->now) ? life->cpu : 0,
			    life->now);
}

/* How many windows it takes until the step changes; 0: it does not. */
static unsigned int until_change(struct life *life, uint64_t spent, int *ret_change)
{
	for (unsigned int n = 1; n <= 2 * BUDGET_CALM_MAX; n++) {
		*ret_change = window_of(life, spent, WINDOW / 2);
		if (*ret_change)
			return n;
	}
	return 0;
}

static void test_down_to_the_end(void **state)
{
	struct life life = life_begin();
	int change;

	(void)state;
	/* The first window is not counted, for the CPU time was not known. */
	assert_int_equal(until_change(&life, MUCH, &change), 1 + BUDGET_OVER);
	assert_int_equal(change, 1);
	assert_int_equal(life.budget.step, STEP_NO_STACKS);
	assert_int_equal(until_change(&life, MUCH, &change), BUDGET_OVER);
	assert_int_equal(life.budget.step, STEP_SAMPLED);
	assert_int_equal(until_change(&life, MUCH, &change), BUDGET_OVER);
	assert_int_equal(life.budget.step, STEP_UNTRACKED);
	assert_int_equal(until_change(&life, MUCH, &change), 0);
}

static void test_up_again(void **state)
{
	struct life life = life_begin();
	int change;

	(void)state;
	(void)until_change(&life, MUCH, &change);
	assert_int_equal(until_change(&life, SOME, &change), 0); /* neither much nor little */
	assert_int_equal(life.budget.step, STEP_NO_STACKS);
	assert_int_equal(until_change(&life, LITTLE, &change), BUDGET_CALM);
	assert_int_equal(change, -1);
	assert_int_equal(life.budget.step, STEP_FULL);
	assert_int_equal(until_change(&life, LITTLE, &change), 0);
}

/* Where a step up is followed by one down each time, the waits grow, to a bound. */
static void test_patience(void **state)
{
	struct life life = life_begin();
	unsigned int wait, before = BUDGET_CALM;
	int change;

	(void)state;
	(void)until_change(&life, MUCH, &change);
	assert_int_equal(until_change(&life, LITTLE, &change), before);
	for (int i = 0; i < 10; i++) {
		(void)until_change(&life, MUCH, &change);
		assert_int_equal(change, 1);
		wait = until_change(&life, LITTLE, &change);
		assert_int_equal(change, -1);
		assert_int_equal(wait, before * 2 < BUDGET_CALM_MAX ? before * 2 : BUDGET_CALM_MAX);
		before = wait;
	}
}

/* One that uses sixteen CPUs may have as many times the time in probes; bursts are let pass. */
static void test_what_is_not_too_much(void **state)
{
	struct life life = life_begin();

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(window_of(&life, 4 * MUCH, 16 * WINDOW), 0);
	assert_true(life.budget.share < LIMIT && life.budget.share > LIMIT / 4);
	life = life_begin();
	for (int i = 0; i < 100; i++)
		assert_int_equal(window_of(&life, i % 2 ? 50 * MUCH : LITTLE, WINDOW), 0);
}

/* Another program in its place has another account. */
static void test_account_that_begins_anew(void **state)
{
	struct life life = life_begin();

	(void)state;
	assert_int_equal(window_of(&life, MUCH, WINDOW), 0);
	life.now += WINDOW;
	assert_int_equal(budget_judge(&life.budget, LIMIT, 5, 0, life.now), 0);
	assert_false(life.budget.is_known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_down_to_the_end),
		cmocka_unit_test(test_up_again),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_what_is_not_too_much),
		cmocka_unit_test(test_account_that_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
