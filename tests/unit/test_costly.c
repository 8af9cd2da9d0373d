/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "child.h"
#include "daemon/clock.h"
#include "daemon/costly.h"

#define STACK 65536

static int wait_for_the_end(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return 0;
}

static pid_t start_sharer(void)
{
	static char stack[STACK] __attribute__((aligned(16)));
	pid_t pid = clone(wait_for_the_end, stack + STACK, CLONE_VM | SIGCHLD, NULL);

	assert_true(pid > 0);
	return pid;
}

static void nothing(void *unused)
{
	(void)unused;
}

static void test_found_by_who_shares_the_memory(void **state)
{
	struct costly costly = {0};
	pid_t sharer = start_sharer(), child = start_child(nothing, NULL);

	(void)state;
	assert_int_equal(costly_find(&costly, sharer), -1);
	assert_int_equal(costly_note(&costly, child, clock_monotonic_ns()), -1);
	assert_int_equal(costly_find(&costly, child), -1);
	assert_int_equal(costly_note(&costly, getpid(), 0), 0);
	assert_int_equal(costly_find(&costly, sharer), 0);
	assert_int_equal(costly_find(&costly, child), -1);
	assert_int_equal(costly_note(&costly, child, 0), 1);
	assert_int_equal(costly_find(&costly, child), 1);
	stop_child(sharer);
	assert_int_equal(costly_find(&costly, sharer), -1);
	stop_child(child);
	assert_int_equal(costly_find(&costly, child), -1);
}

static void test_the_oldest_gives_way(void **state)
{
	struct costly costly = {0};
	pid_t child = start_child(nothing, NULL);

	(void)state;
	assert_int_equal(costly_note(&costly, child, 0), 0);
	for (int i = 1; i < COSTLY_MAX; i++)
		assert_int_equal(costly_note(&costly, getpid(), 0), i);
	assert_int_equal(costly_find(&costly, child), 0);
	assert_int_equal(costly_note(&costly, getpid(), 0), 0);
	assert_int_equal(costly_find(&costly, child), -1);
	stop_child(child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_by_who_shares_the_memory),
		cmocka_unit_test(test_the_oldest_gives_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
