/* SPDX-License-Identifier: Apache-2.0 */
/* Which news are too old to be of whom a pid belongs to now. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/ends.h"

static void test_older_and_newer(void **state)
{
	struct ends ends;

	(void)state;
	ends_init(&ends);
	assert_false(ends_outdate(&ends, 10, 1));
	ends_note(&ends, 10, 100);
	assert_true(ends_outdate(&ends, 10, 99));
	assert_false(ends_outdate(&ends, 10, 100));
	assert_false(ends_outdate(&ends, 11, 99));
	ends_note(&ends, 10, 50); /* comes late itself */
	assert_true(ends_outdate(&ends, 10, 99));
	ends_note(&ends, 10, 200);
	assert_true(ends_outdate(&ends, 10, 199));
	ends_clear(&ends);
	assert_false(ends_outdate(&ends, 10, 1));
}

static void test_exit(void **state)
{
	struct ends ends;

	(void)state;
	ends_init(&ends);
	ends_note(&ends, 10, 100);
	assert_int_equal(ends_exiting(&ends, 10), 0);
	ends_exits(&ends, 10, 7);
	ends_note(&ends, 10, 200);
	assert_int_equal(ends_exiting(&ends, 10), 7);
	assert_true(ends_outdate(&ends, 10, 199));
	assert_int_equal(ends_exiting(&ends, 11), 0);
	ends_clear(&ends);
}

static void test_bound(void **state)
{
	struct ends ends;

	(void)state;
	ends_init(&ends);
	for (pid_t pid = 1; pid < 3 * ENDS_MAX; pid++) {
		ends_note(&ends, pid, 100);
		assert_true(ends_outdate(&ends, pid, 99));
		assert_true(ends.table.count <= ENDS_MAX);
	}
	ends_clear(&ends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_older_and_newer),
		cmocka_unit_test(test_exit),
		cmocka_unit_test(test_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
