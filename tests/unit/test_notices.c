/* SPDX-License-Identifier: Apache-2.0 */
/* What is said about processes, once, and how much of it in a minute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/notices.h"
#include "macro.h"

#define GIB (1ULL << 30)
#define MINUTE_NS (60 * NS_PER_SECOND)

static FILE *written; /* in place of stderr */
static int true_stderr;

static int set_up(void **state)
{
	(void)state;
	written = tmpfile();
	true_stderr = dup(STDERR_FILENO);
	return !written || dup2(fileno(written), STDERR_FILENO) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	dup2(true_stderr, STDERR_FILENO);
	close(true_stderr);
	return fclose(written);
}

/* Lines since the last call, and a copy of the last one. */
static int lines(char last[256])
{
	char line[256];
	int n = 0;

	fflush(stderr);
	rewind(written);
	while (fgets(line, sizeof(line), written)) {
		strcpy(last, line);
		n++;
	}
	assert_int_equal(ftruncate(fileno(written), 0), 0);
	rewind(written);
	assert_int_equal(lseek(STDERR_FILENO, 0, SEEK_SET), 0);
	return n;
}

static void test_size(void **state)
{
	struct process p = {.pid = 42, .comm = (char *)"sglang\n"};
	struct notices n = {.log_above = 0};
	char line[256];

	(void)state;
	p.usage[KIND_DEVICE].bytes = 50 * GIB;
	notices_size(&n, &p);
	assert_int_equal(lines(line), 0);

	n.log_above = 40 * GIB;
	p.usage[KIND_DEVICE].bytes = 39 * GIB;
	p.usage[KIND_IPC].bytes = 30 * GIB; /* another's memory */
	notices_size(&n, &p);
	assert_int_equal(lines(line), 0);
	p.usage[KIND_HOST].bytes = 2 * GIB;
	for (int i = 0; i < 3; i++)
		notices_size(&n, &p);
	assert_int_equal(lines(line), 1);
	assert_string_equal(line,
			    "<4>srtleakd: process 42 (sglang?): holds 41.0 GiB of CUDA memory, "
			    "which is above log_above (40.0 GiB)\n");
	p.usage[KIND_DEVICE].bytes = 18 * GIB; /* half, and not below */
	notices_size(&n, &p);
	p.usage[KIND_DEVICE].bytes = 70 * GIB;
	notices_size(&n, &p);
	assert_int_equal(lines(line), 0);
	p.usage[KIND_DEVICE].bytes = 17 * GIB;
	notices_size(&n, &p);
	p.usage[KIND_DEVICE].bytes = 70 * GIB;
	notices_size(&n, &p);
	assert_int_equal(lines(line), 1);
}

static void test_partial(void **state)
{
	struct process p = {.pid = 42};
	struct notices n = {0};
	char line[256];

	(void)state;
	notices_partial(&n, &p);
	assert_int_equal(lines(line), 0);
	p.partial = 1U << PARTIAL_LIMIT;
	notices_partial(&n, &p);
	notices_partial(&n, &p);
	assert_int_equal(lines(line), 1);
	assert_int_equal(strncmp(line, "<5>srtleakd: process 42 (?): ", 29), 0);
	assert_non_null(strstr(line, ": limit ("));
	p.partial = (1U << PARTIAL_MAX) - 1;
	notices_partial(&n, &p);
	notices_partial(&n, &p);
	assert_int_equal(lines(line), PARTIAL_MAX - 1);
}

static void test_not_too_much_in_a_minute(void **state)
{
	struct notices n = {.log_above = 1};
	char line[256];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		struct process p = {.pid = i};

		p.usage[KIND_DEVICE].bytes = 2;
		notices_size(&n, &p);
		notices_tick(&n);
	}
	assert_int_equal(lines(line), NOTICES_PER_MINUTE);
	n.minute_began = clock_monotonic_ns() - MINUTE_NS;
	notices_tick(&n);
	notices_tick(&n);
	assert_int_equal(lines(line), 1);
	assert_string_equal(line,
			    "<5>srtleakd: 980 more lines about processes were left out within "
			    "a minute\n");
	for (int i = 0; i < 3; i++) {
		struct process p = {.pid = i, .partial = 1U << PARTIAL_LOST};

		notices_partial(&n, &p);
	}
	assert_int_equal(lines(line), 3);
	n.minute_began = clock_monotonic_ns() - MINUTE_NS;
	notices_tick(&n);
	assert_int_equal(lines(line), 0); /* nothing was left out */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_size, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_partial, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_too_much_in_a_minute, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
