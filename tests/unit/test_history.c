/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/history.h"

#define MIB 1048576.0

static struct history filled(size_t n, double (*value)(size_t i))
{
	struct history h = {0};

	for (size_t i = 0; i < n; i++)
		history_add(&h, value(i));
	return h;
}

static double line(size_t i)
{
	return 100 * MIB + (double)i * MIB; /* a MiB every ten seconds */
}

static double sawtooth(size_t i)
{
	return 100 * MIB + (double)(i % 5) * 10 * MIB;
}

static double leaking_sawtooth(size_t i)
{
	return sawtooth(i) + (double)i * MIB;
}

static double falling(size_t i)
{
	return 1000 * MIB - (double)i * MIB;
}

static double burst(size_t i)
{
	return i == 50 ? 9000 * MIB : 100 * MIB;
}

static double number(size_t i)
{
	return (double)i;
}

static void test_keeps_the_last_ones(void **state)
{
	struct history h = filled(3, number);

	(void)state;
	assert_int_equal(history_count(&h), 3);
	assert_true(history_at(&h, 0) == 0 && history_at(&h, 2) == 2);
	h = filled(HISTORY_SAMPLES + 7, number);
	assert_int_equal(history_count(&h), HISTORY_SAMPLES);
	assert_true(history_at(&h, 0) == 7);
	assert_true(history_at(&h, HISTORY_SAMPLES - 1) == HISTORY_SAMPLES + 6);
}

static void test_growth(void **state)
{
	static const struct {
		double (*value)(size_t i);
		double low, high; /* bytes a second */
	} cases[] = {
		{line, MIB / 10 - 1, MIB / 10 + 1},
		{sawtooth, -1, 1},
		{leaking_sawtooth, MIB / 10 * 0.85, MIB / 10 * 1.15},
		{falling, -MIB / 10 - 1, -MIB / 10 + 1},
		{burst, -1, 1},
	};
	double growth;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct history h = filled(HISTORY_SAMPLES + 13, cases[i].value);

		assert_true(history_growth(&h, &growth));
		assert_true(growth >= cases[i].low && growth <= cases[i].high);
	}
}

static void test_growth_needs_a_minute(void **state)
{
	struct history six = filled(6, line), seven = filled(7, line);
	double growth = -1;

	(void)state;
	assert_false(history_growth(&six, &growth));
	assert_true(growth == -1);
	assert_true(history_growth(&seven, &growth));
	assert_true(growth > MIB / 10 - 1 && growth < MIB / 10 + 1);
}

static void test_sum(void **state)
{
	struct history sum = {0}, one = filled(HISTORY_SAMPLES + 9, number), two;

	(void)state;
	two = filled(HISTORY_SAMPLES + 9, number);
	history_sum(&sum, &one);
	history_sum(&sum, &two);
	assert_int_equal(history_count(&sum), HISTORY_SAMPLES);
	assert_true(history_at(&sum, 4) == history_at(&one, 4) + history_at(&two, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeps_the_last_ones),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_growth_needs_a_minute),
		cmocka_unit_test(test_sum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
