/* SPDX-License-Identifier: Apache-2.0 */
/* What is a well-formed UTF-8 character. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/utf8.h"
#include "macro.h"

/* From a copy of exactly that size, so that a sanitizer sees reads past its end. */
static size_t length_of(const void *bytes, size_t n)
{
	unsigned char *copy = malloc(n);
	size_t length;

	assert_non_null(copy);
	memcpy(copy, bytes, n);
	length = utf8_length(copy, n);
	free(copy);
	return length;
}

static size_t encode(uint32_t c, size_t length, unsigned char out[4])
{
	static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

	if (length == 1) {
		out[0] = (unsigned char)c;
		return 1;
	}
	for (size_t i = length - 1; i > 0; i--) {
		out[i] = (unsigned char)(0x80 | (c & 0x3f));
		c >>= 6;
	}
	out[0] = (unsigned char)(lead[length] | c);
	return length;
}

static size_t shortest(uint32_t c)
{
	return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/* Every number that two, three and four bytes can say, in every length that can say it. */
static void test_all_code_points(void **state)
{
	static const uint32_t limit[] = {0, 0x80, 0x800, 0x10000, 0x200000};

	(void)state;
	for (size_t length = 1; length <= 4; length++)
		for (uint32_t c = 0; c < limit[length]; c++) {
			unsigned char bytes[4];
			bool good = length == shortest(c) && c <= 0x10ffff &&
				    (c < 0xd800 || c > 0xdfff);

			encode(c, length, bytes);
			if (utf8_length(bytes, length) != (good ? length : 0))
				fail_msg("U+%04x in %zu bytes", c, length);
		}
}

static void test_cut_short(void **state)
{
	static const uint32_t characters[] = {0xe4, 0x20ac, 0x1f600};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(characters); i++) {
		unsigned char bytes[4];
		size_t length = encode(characters[i], shortest(characters[i]), bytes);

		for (size_t n = 1; n < length; n++)
			assert_int_equal(length_of(bytes, n), 0);
		assert_int_equal(length_of(bytes, length), length);
	}
}

static void test_what_follows_does_not_matter(void **state)
{
	(void)state;
	assert_int_equal(length_of("a\xff", 2), 1);
	assert_int_equal(length_of("\xc3\xa4\xa4", 3), 2);
	assert_int_equal(length_of("\0", 1), 1);
}

static void test_bytes_that_never_begin_one(void **state)
{
	(void)state;
	for (unsigned int lead = 0x80; lead <= 0xff; lead++) {
		unsigned char bytes[] = {(unsigned char)lead, 0x80, 0x80, 0x80, 0x80, 0x80};

		if (lead < 0xc2 || lead > 0xf4)
			assert_int_equal(length_of(bytes, sizeof(bytes)), 0);
	}
}

static void test_wrong_continuation(void **state)
{
	(void)state;
	assert_int_equal(length_of("\xc3(", 2), 0);
	assert_int_equal(length_of("\xc3\xc3", 2), 0);
	assert_int_equal(length_of("\xe2\x82(", 3), 0);
	assert_int_equal(length_of("\xe2(\xac", 3), 0);
	assert_int_equal(length_of("\xf0\x9f\x98(", 4), 0);
	assert_int_equal(length_of("\xf0\x9f\x98\0", 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_code_points),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_what_follows_does_not_matter),
		cmocka_unit_test(test_bytes_that_never_begin_one),
		cmocka_unit_test(test_wrong_continuation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
