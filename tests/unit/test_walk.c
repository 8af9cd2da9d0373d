/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/walk.h"

#define CHILDREN 5

struct family {
	pid_t children[CHILDREN];
	int seen[CHILDREN];
	int ends_at; /* the walk, with this child; -1: it does not */
};

static int meet(pid_t pid, void *userdata)
{
	const struct timespec longer_than_half_a_slice = {.tv_nsec = WALK_SLICE_NS * 2 / 3};
	struct family *family = userdata;

	for (int i = 0; i < CHILDREN; i++) {
		if (family->children[i] != pid)
			continue;
		family->seen[i]++;
		nanosleep(&longer_than_half_a_slice, NULL);
		return i == family->ends_at;
	}
	return 0;
}

static int begin(void **state)
{
	static struct family family;

	for (int i = 0; i < CHILDREN; i++) {
		family.children[i] = fork();
		if (family.children[i] == 0) {
			pause();
			_exit(0);
		}
	}
	*state = &family;
	return 0;
}

static int end(void **state)
{
	const struct family *family = *state;

	for (int i = 0; i < CHILDREN; i++) {
		kill(family->children[i], SIGKILL);
		waitpid(family->children[i], NULL, 0);
	}
	return 0;
}

static void forget(struct family *family, int ends_at)
{
	family->ends_at = ends_at;
	for (int i = 0; i < CHILDREN; i++)
		family->seen[i] = 0;
}

static void test_each_is_met_once_however_many_slices_it_takes(void **state)
{
	struct family *family = *state;
	struct walk walk = {0};
	int slices = 1;

	for (int round = 0; round < 2; round++) {
		forget(family, -1);
		while (!walk_slice(&walk, meet, family)) {
			assert_true(walk_is_under_way(&walk));
			slices++;
		}
		assert_false(walk_is_under_way(&walk));
		for (int i = 0; i < CHILDREN; i++)
			assert_int_equal(family->seen[i], 1);
	}
	assert_true(slices >= CHILDREN);
}

static void test_who_is_met_may_end_it(void **state)
{
	struct family *family = *state;
	struct walk walk = {0};
	int seen = 0;

	forget(family, 2);
	while (!walk_slice(&walk, meet, family))
		;
	for (int i = 0; i < CHILDREN; i++)
		seen += family->seen[i];
	assert_in_range(seen, 1, 3);
	assert_int_equal(family->seen[2], 1);
	assert_false(walk_is_under_way(&walk));
}

static int count(pid_t pid, void *userdata)
{
	(void)pid;
	++*(int *)userdata;
	return 0;
}

static void test_all_at_one_go_or_not_in_time(void **state)
{
	struct family *family = *state;
	int n = 0;

	assert_int_equal(walk_within(UINT64_MAX / 2, count, &n), 0);
	assert_true(n > CHILDREN);
	n = 0;
	assert_int_equal(walk_within(0, count, &n), -ETIME);
	assert_int_equal(n, 0);
	forget(family, 2);
	assert_int_equal(walk_within(UINT64_MAX / 2, meet, family), 1);
	assert_int_equal(family->seen[2], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_is_met_once_however_many_slices_it_takes),
		cmocka_unit_test(test_who_is_met_may_end_it),
		cmocka_unit_test(test_all_at_one_go_or_not_in_time),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
