/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "daemon/exposition.h"

static const char *text(struct buffer *b)
{
	buffer_append(b, "", 1);
	return b->data;
}

static void write_sample(struct exposition *e)
{
	exposition_head(e, "x_total", METRIC_COUNTER, "Some.");
	exposition_begin(e, "x_total");
	exposition_u64(e, 18446744073709551615ULL);
	exposition_head(e, "y", METRIC_GAUGE, "Other.");
	exposition_begin(e, "y");
	exposition_label(e, "a", "q\"b\\c\nd");
	exposition_label(e, "b", NULL);
	exposition_label_number(e, "c", -7);
	exposition_label_id(e, "d", 0xab);
	exposition_double(e, 0.5);
	exposition_end(e);
}

static void test_classic(void **state)
{
	_cleanup_(buffer_free) struct buffer b = {0};
	struct exposition e = {.out = &b};

	(void)state;
	write_sample(&e);
	assert_int_equal(e.series, 2);
	assert_string_equal(text(&b),
			    "# HELP x_total Some.\n# TYPE x_total counter\n"
			    "x_total 18446744073709551615\n"
			    "# HELP y Other.\n# TYPE y gauge\n"
			    "y{a=\"q\\\"b\\\\c\\nd\",b=\"\",c=\"-7\",d=\"00000000000000ab\"} "
			    "0.500000\n");
}

/* A counter is described without _total, and the text has an end. */
static void test_openmetrics(void **state)
{
	_cleanup_(buffer_free) struct buffer b = {0};
	struct exposition e = {.out = &b, .openmetrics = true};
	const char *s;

	(void)state;
	write_sample(&e);
	s = text(&b);
	assert_non_null(strstr(s, "# TYPE x counter\nx_total 18446744073709551615\n"));
	assert_string_equal(s + strlen(s) - 6, "# EOF\n");
}

/* Without a place to write to, series are counted all the same. */
static void test_counting(void **state)
{
	_cleanup_(buffer_free) struct buffer b = {0};
	struct exposition written = {.out = &b}, counted = {0};

	(void)state;
	write_sample(&written);
	write_sample(&counted);
	assert_int_equal(written.series, 2);
	assert_int_equal(counted.series, 2);
}

static void test_numbers(void **state)
{
	_cleanup_(buffer_free) struct buffer b = {0};
	struct exposition e = {.out = &b};

	(void)state;
	exposition_begin(&e, "n");
	exposition_label_number(&e, "least", INT64_MIN);
	exposition_label_number(&e, "most", INT64_MAX);
	exposition_label_number(&e, "none", 0);
	exposition_u64(&e, 0);
	assert_string_equal(text(&b), "n{least=\"-9223372036854775808\","
				      "most=\"9223372036854775807\",none=\"0\"} 0\n");
}

static void test_not_utf8(void **state)
{
	_cleanup_(buffer_free) struct buffer b = {0};
	struct exposition e = {.out = &b};

	(void)state;
	exposition_begin(&e, "z");
	exposition_label(&e, "a", "\xff\xc3(\xed\xa0\x80");
	exposition_u64(&e, 0);
	assert_string_equal(text(&b),
			    "z{a=\"\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf"
			    "\xbd\"} 0\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classic),  cmocka_unit_test(test_openmetrics),
		cmocka_unit_test(test_counting), cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_not_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
