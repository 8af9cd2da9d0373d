/* SPDX-License-Identifier: Apache-2.0 */
/* Python's str to UTF-8. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/python_text.h"
#include "macro.h"

#define REPLACED "\xef\xbf\xbd"

static const struct python_layout *const layout = &python_layouts[0];

/* Converts from the units given, four bytes each here, and compares. */
static void check(unsigned int width, const uint32_t *chars, size_t count, uint64_t length,
		  const char *expected)
{
	uint8_t units[256];
	char *text = NULL;

	assert_true(count * width <= sizeof(units));
	for (size_t i = 0; i < count; i++)
		memcpy(units + i * width, &chars[i], width); /* little endian */
	assert_int_equal(python_text_utf8(units, width, count, length, &text), 0);
	assert_string_equal(text, expected);
	free(text);
}

#define CHECK(width, expected, ...)                                       \
	check(width, (const uint32_t[]){__VA_ARGS__},                     \
	      sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), \
	      sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), expected)

static void test_widths(void **state)
{
	(void)state;
	CHECK(1, "abc", 'a', 'b', 'c');
	CHECK(1, "f\xc3\xbc\xc3\xb1\xc2\x80\xc3\xbf", 'f', 0xfc, 0xf1, 0x80, 0xff);
	CHECK(2, "a\xdf\xbf\xe0\xa0\x80\xe6\x97\xa5\xef\xbf\xbf", 'a', 0x7ff, 0x800, 0x65e5,
	      0xffff);
	CHECK(4, "a\xf0\x90\x80\x80\xf0\xa0\x80\x80\xf4\x8f\xbf\xbf", 'a', 0x10000, 0x20000,
	      0x10ffff);
	check(1, NULL, 0, 0, "");
}

static void test_what_utf8_cannot_say(void **state)
{
	(void)state;
	CHECK(2, "a" REPLACED "b" REPLACED, 'a', 0xd800, 'b', 0xdfff);
	/* two halves are two characters to Python */
	CHECK(2, REPLACED REPLACED, 0xd83d, 0xde00);
	CHECK(4, REPLACED "z" REPLACED REPLACED, 0xdc80, 'z', 0x110000, 0xffffffff);
	CHECK(1, "a" REPLACED "b", 'a', 0, 'b');
	CHECK(2, REPLACED, 0);
}

static void test_truncation(void **state)
{
	const uint32_t chars[] = {'a', 'b', 'c'};

	(void)state;
	check(1, chars, 3, 3, "abc");
	check(1, chars, 3, 4, "ab\xe2\x80\xa6");
	check(4, chars, 3, UINT64_MAX, "ab\xe2\x80\xa6");
	check(2, chars, 1, 2, "\xe2\x80\xa6");
	check(1, chars, 0, 1, "");
}

static void test_width_that_is_none(void **state)
{
	char untouched;
	char *text = &untouched;

	(void)state;
	for (unsigned int width = 0; width < 9; width++)
		if (width != 1 && width != 2 && width != 4)
			assert_int_equal(
				python_text_utf8((const uint8_t *)"abcdefgh", width, 1, 1, &text),
				-EINVAL);
	assert_ptr_equal(text, &untouched);
}

struct head {
	uint64_t length;
	uint32_t kind, compact, ascii;
	int r;
	struct python_text expect;
};

static const struct head heads[] = {
	{5, 1, 1, 1, 0, {5, 48, 1}},         {5, 1, 1, 0, 0, {5, 72, 1}},
	{0, 2, 1, 0, 0, {0, 72, 2}},         {1ULL << 40, 4, 1, 0, 0, {1ULL << 40, 72, 4}},
	{5, 4, 0, 0, -EBADMSG, {}},          /* characters elsewhere */
	{5, 0, 1, 0, -EBADMSG, {}},          /* no kind */
	{5, 3, 1, 0, -EBADMSG, {}},          /* no kind */
	{5, 2, 1, 1, -EBADMSG, {}},          /* ASCII of two bytes */
	{UINT64_MAX, 1, 1, 1, -EBADMSG, {}}, /* length below 0 */
	{INT64_MAX, 4, 1, 0, -EBADMSG, {}},  /* more bytes than there can be */
};

static void test_heads(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		const struct head *h = &heads[i];
		/* the two lowest bits say how it is interned, bit 7 that it is ready */
		uint32_t bits = 1 | h->kind << 2 | h->compact << 5 | h->ascii << 6 | 1 << 7;
		uint8_t buf[PYTHON_TEXT_HEAD] = {};
		struct python_text text = {};

		memcpy(buf + PYTHON_OBJECT_SIZE, &h->length, sizeof(h->length));
		memcpy(buf + layout->unicode_state, &bits, sizeof(bits));
		assert_int_equal(python_text_head(layout, buf, &text), h->r);
		assert_memory_equal(&text, &h->expect, sizeof(text));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_widths),     cmocka_unit_test(test_what_utf8_cannot_say),
		cmocka_unit_test(test_truncation), cmocka_unit_test(test_width_that_is_none),
		cmocka_unit_test(test_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
