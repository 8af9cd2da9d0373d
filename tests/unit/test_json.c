/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer, read back by another library's parser. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/json_writer.h"
#include "macro.h"

#define REPLACED "\xef\xbf\xbd"

static json_t *parse(struct buffer *out)
{
	json_error_t error;
	json_t *parsed;

	assert_false(buffer_failed(out));
	parsed = json_loadb(out->data, out->size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (!parsed)
		fail_msg("%s in %.*s", error.text, (int)out->size, out->data);
	buffer_free(out);
	return parsed;
}

/* What a string is after it was written and read. */
static void check_string(const char *written, const char *expected)
{
	struct buffer out = {0};
	struct json_writer j = {.out = &out};
	json_t *parsed;

	jw_begin_object(&j, NULL);
	jw_string(&j, written, written);
	jw_end_object(&j);
	for (size_t i = 0; i < out.size; i++)
		assert_true((unsigned char)out.data[i] >= 0x20 && out.data[i] != 0x7f);
	parsed = parse(&out);
	assert_int_equal(json_object_size(parsed), 1);
	assert_string_equal(json_string_value(json_object_get(parsed, expected)), expected);
	json_decref(parsed);
}

static void test_strings(void **state)
{
	char every[256];

	(void)state;
	check_string("", "");
	check_string("plain", "plain");
	check_string("\"\\/\b\f\n\r\t", "\"\\/\b\f\n\r\t");
	check_string("f\xc3\xbcr \xe6\x97\xa5 \xf0\x9f\x98\x80",
		     "f\xc3\xbcr \xe6\x97\xa5 \xf0\x9f\x98\x80");
	check_string("</script>\x1b[31m\x7f", "</script>\x1b[31m\x7f");
	for (size_t i = 0; i < 127; i++)
		every[i] = (char)(i + 1);
	every[127] = '\0';
	check_string(every, every);
}

static void test_strings_that_are_no_utf8(void **state)
{
	(void)state;
	check_string("\xff", REPLACED);
	check_string("a\x80z", "a" REPLACED "z");
	check_string("\xc3", REPLACED);
	check_string("\xc3\"", REPLACED "\"");
	check_string("\xf0\x9f\x98", REPLACED REPLACED REPLACED);
	check_string("\xc0\x80", REPLACED REPLACED);
	check_string("\xed\xa0\x80", REPLACED REPLACED REPLACED);
	check_string("\xf4\x90\x80\x80", REPLACED REPLACED REPLACED REPLACED);
}

static void write_scalars(struct json_writer *j)
{
	jw_begin_object(j, NULL);
	jw_string(j, "absent", NULL);
	jw_u64(j, "u64", UINT64_MAX);
	jw_i64(j, "i64", INT64_MIN);
	jw_double(j, "double", 1234567.8904);
	jw_double(j, "nan", NAN);
	jw_double(j, "infinite", -INFINITY);
	jw_time(j, "time", 1790000000000123999);
	jw_bool(j, "yes", true);
	jw_bool(j, "no", false);
	jw_null(j, "null");
	jw_hex(j, "hex", 0x7f00deadbeef);
	jw_id(j, "id", 0xabc);
	jw_end_object(j);
}

static void test_scalars(void **state)
{
	static const char expected[] =
		"{\"absent\":null,\"u64\":9223372036854775807,\"i64\":-9223372036854775808,"
		"\"double\":1234567.890,\"nan\":null,\"infinite\":null,"
		"\"time\":1790000000.000123,\"yes\":true,\"no\":false,"
		"\"null\":null,\"hex\":\"0x7f00deadbeef\",\"id\":\"0000000000000abc\"}";
	struct buffer out = {0};
	struct json_writer j = {.out = &out};

	(void)state;
	write_scalars(&j);
	assert_int_equal(out.size, sizeof(expected) - 1);
	assert_memory_equal(out.data, expected, sizeof(expected) - 1);
	buffer_free(&out);
}

static void test_commas(void **state)
{
	static const char expected[] = "{\"a\":[],\"b\":{},\"c\":[1,[2,3],{\"d\":4,\"e\":[5]},6],"
				       "\"f\":7}";
	struct buffer out = {0};
	struct json_writer j = {.out = &out};

	(void)state;
	jw_begin_object(&j, NULL);
	jw_begin_array(&j, "a");
	jw_end_array(&j);
	jw_begin_object(&j, "b");
	jw_end_object(&j);
	jw_begin_array(&j, "c");
	jw_u64(&j, NULL, 1);
	jw_begin_array(&j, NULL);
	jw_u64(&j, NULL, 2);
	jw_u64(&j, NULL, 3);
	jw_end_array(&j);
	jw_begin_object(&j, NULL);
	jw_u64(&j, "d", 4);
	jw_begin_array(&j, "e");
	jw_u64(&j, NULL, 5);
	jw_end_array(&j);
	jw_end_object(&j);
	jw_u64(&j, NULL, 6);
	jw_end_array(&j);
	jw_u64(&j, "f", 7);
	jw_end_object(&j);
	assert_int_equal(out.size, sizeof(expected) - 1);
	assert_memory_equal(out.data, expected, sizeof(expected) - 1);
	json_decref(parse(&out));
}

/* As deep as the writer counts: two values at each level. */
static void test_nesting(void **state)
{
	struct buffer out = {0};
	struct json_writer j = {.out = &out};
	json_t *parsed, *at;
	int depth = 0;

	(void)state;
	for (int i = 0; i < 30; i++) {
		jw_begin_array(&j, NULL);
		jw_u64(&j, NULL, 0);
	}
	for (int i = 0; i < 30; i++) {
		jw_u64(&j, NULL, 1);
		jw_end_array(&j);
	}
	parsed = parse(&out);
	for (at = parsed; at; at = json_array_get(at, 1)) {
		if (!json_is_array(at))
			break;
		assert_int_equal(json_array_size(at), depth == 29 ? 2 : 3);
		depth++;
	}
	assert_int_equal(depth, 30);
	json_decref(parsed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings), cmocka_unit_test(test_strings_that_are_no_utf8),
		cmocka_unit_test(test_scalars), cmocka_unit_test(test_commas),
		cmocka_unit_test(test_nesting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
