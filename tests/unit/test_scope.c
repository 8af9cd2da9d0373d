/* SPDX-License-Identifier: Apache-2.0 */
/* Which processes the rules admit; sizes as people write them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/scope.h"
#include "daemon/size.h"
#include "macro.h"

#define UNKNOWN ((uid_t)-1)

static void add(struct scope *scope, enum scope_sort sort, bool excludes, const char *value)
{
	const char *why = NULL;

	assert_int_equal(scope_add(scope, sort, excludes, value, &why), 0);
}

static bool admits(const struct scope *scope, const char *exe, uid_t uid, const char *cgroup)
{
	const struct scope_subject subject = {.exe = exe, .uid = uid, .cgroup = cgroup};

	return scope_admits(scope, &subject);
}

static void test_no_rules_admit_all(void **state)
{
	const struct scope scope = {0};

	(void)state;
	assert_true(admits(&scope, "/usr/bin/python3", 0, "/"));
	assert_true(admits(&scope, NULL, UNKNOWN, NULL));
}

static void test_exclude(void **state)
{
	struct scope scope = {0};

	(void)state;
	add(&scope, SCOPE_EXE, true, "/opt/*/bin/python3*");
	add(&scope, SCOPE_EXE, true, "/usr/bin/exact");
	assert_false(admits(&scope, "/opt/a/bin/python3.11", 0, NULL));
	assert_false(admits(&scope, "/opt/a/b/c/bin/python3", 0, NULL)); /* * takes slashes */
	assert_false(admits(&scope, "/usr/bin/exact", 0, NULL));
	assert_true(admits(&scope, "/usr/bin/exactly", 0, NULL));
	assert_true(admits(&scope, "/srv/opt/a/bin/python3", 0, NULL));
	assert_false(admits(&scope, NULL, 0, NULL));
	scope_free(&scope);
	assert_true(admits(&scope, "/usr/bin/exact", 0, NULL));
}

static void test_include(void **state)
{
	struct scope scope = {0};

	(void)state;
	add(&scope, SCOPE_CGROUP, false, "/kubepods.slice/*");
	add(&scope, SCOPE_CGROUP, false, "/inference");
	assert_true(admits(&scope, NULL, UNKNOWN, "/kubepods.slice/a/b"));
	assert_true(admits(&scope, NULL, UNKNOWN, "/inference"));
	assert_false(admits(&scope, NULL, UNKNOWN, "/inference/a"));
	assert_false(admits(&scope, NULL, UNKNOWN, "/"));
	assert_false(admits(&scope, "/bin/a", 0, NULL));
	scope_free(&scope);
}

static void test_users(void **state)
{
	struct scope scope = {0};

	(void)state;
	add(&scope, SCOPE_USER, false, "root");
	add(&scope, SCOPE_USER, false, "65534");
	assert_true(admits(&scope, NULL, 0, NULL));
	assert_true(admits(&scope, NULL, 65534, NULL));
	assert_false(admits(&scope, NULL, 1, NULL));
	assert_false(admits(&scope, NULL, UNKNOWN, NULL));
	add(&scope, SCOPE_USER, true, "0");
	assert_false(admits(&scope, NULL, 0, NULL)); /* whatever includes it */
	assert_true(admits(&scope, NULL, 65534, NULL));
	scope_free(&scope);
}

static void test_sorts_must_all_agree(void **state)
{
	struct scope scope = {0};

	(void)state;
	add(&scope, SCOPE_EXE, false, "/usr/*");
	add(&scope, SCOPE_USER, false, "1000");
	add(&scope, SCOPE_CGROUP, true, "/user.slice/*");
	assert_true(admits(&scope, "/usr/bin/a", 1000, "/system.slice"));
	assert_false(admits(&scope, "/opt/bin/a", 1000, "/system.slice"));
	assert_false(admits(&scope, "/usr/bin/a", 1001, "/system.slice"));
	assert_false(admits(&scope, "/usr/bin/a", 1000, "/user.slice/1000"));
	assert_true(scope_looks_at(&scope, SCOPE_CGROUP));
	scope_free(&scope);
	assert_false(scope_looks_at(&scope, SCOPE_CGROUP));
}

static void test_bad_rules(void **state)
{
	static const struct {
		enum scope_sort sort;
		const char *value;
	} bad[] = {
		{SCOPE_EXE, "python3"},
		{SCOPE_CGROUP, "kubepods*"},
		{SCOPE_USER, "no such user here"},
		{SCOPE_USER, "4294967295"},
		{SCOPE_USER, "99999999999999999999"},
		{SCOPE_USER, "-1"},
	};
	struct scope scope = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *why = NULL;

		assert_int_equal(scope_add(&scope, bad[i].sort, true, bad[i].value, &why), -EINVAL);
		assert_non_null(why);
	}
	assert_int_equal(scope.n_rules, 0);
}

static void test_rules_are_bounded(void **state)
{
	struct scope scope = {0};
	const char *why = NULL;
	int n = 0;

	(void)state;
	while (scope_add(&scope, SCOPE_EXE, n & 1, "/x", &why) == 0)
		assert_true(++n <= 256);
	assert_int_equal(n, 256);
	assert_non_null(why);
	scope_free(&scope);
}

static void test_sizes_are_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"1", 1},
		{"1000000", 1000000},
		{"17B", 17},
		{"17 B", 17},
		{"512M", 512ULL << 20},
		{"512MiB", 512ULL << 20},
		{"40 GiB", 40ULL << 30},
		{"3  T", 3ULL << 40},
		{"1K", 1024},
		{"9223372036854775807", INT64_MAX},
		{"8388607TiB", 8388607ULL << 40},
	};
	static const char *const bad[] = {
		"",           "0",
		"0 GiB",      "-1",
		"+1",         " 1",
		"1 ",         "1.5G",
		"GiB",        "1GB",
		"1MB",        "1 KB",
		"1g",         "1GiBs",
		"1 Gi",       "1E",
		"0x10",       "9223372036854775808",
		"1 1",        "1\tG",
		"8388608TiB", "99999999999999999999",
	};
	uint64_t bytes = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_true(size_parse(good[i].text, &bytes));
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		bytes = 77;
		assert_false(size_parse(bad[i], &bytes));
		assert_int_equal(bytes, 77);
	}
}

static void test_sizes_are_written(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{1536, "1.5 KiB"},
		{5ULL << 20, "5.0 MiB"},
		{40ULL << 30, "40.0 GiB"},
		{3ULL << 41, "6.0 TiB"},
	};
	char text[SIZE_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(size_format(cases[i].bytes, text), cases[i].text);
	size_format(UINT64_MAX, text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_rules_admit_all),
		cmocka_unit_test(test_exclude),
		cmocka_unit_test(test_include),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_sorts_must_all_agree),
		cmocka_unit_test(test_bad_rules),
		cmocka_unit_test(test_rules_are_bounded),
		cmocka_unit_test(test_sizes_are_read),
		cmocka_unit_test(test_sizes_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
