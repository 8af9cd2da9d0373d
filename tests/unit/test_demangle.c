/* SPDX-License-Identifier: Apache-2.0 */
/* Names behind symbols, also behind those that were made to cost as much as they can. */
#include <libiberty/demangle.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "daemon/demangle.h"
#include "macro.h"

#define BOMB_PAIRS 41         /* 2^41 copies of its first type, from 420 characters or so */
#define BOMB_PAIRS_MAX 60     /* their numbers have one or two digits */
#define BOMB_SECONDS 1.0      /* by far: it takes microseconds */
#define BOMB_BYTES (16 << 20) /* resident; what is made of it without a bound is gigabytes */
#define LEAK_ROUNDS 2000
#define LEAK_BYTES (16 << 10)
#define SYMBOL_BYTES 2048

static void test_names(void **state)
{
	static const struct sample {
		const char *symbol, *name;
	} samples[] = {
		/* C++ */
		{"_Z3fooi", "foo(int)"},
		{"_ZN3c1010TensorImplD1Ev", "c10::TensorImpl::~TensorImpl()"},
		{"_ZN5torch3addERKSt6vectorIfSaIfEE",
		 "torch::add(std::vector<float, std::allocator<float> > const&)"},
		{"_Z1fv.constprop.0", "f() [clone .constprop.0]"},
		/* Rust, v0 */
		{"_RNvCs1234_7mycrate3foo", "mycrate::foo"},
		{"_RNvMs_NtCskwGfYPst2Cb_3foo3barNtB4_3Baz3qux", "<foo::bar::Baz>::qux"},
		{"_RINvNtC3std3mem8align_ofjdE", "std::mem::align_of::<usize, f64>"},
		{"_RNvC1xu8gdel_5qa", "x::gödel"},
		/* C, and what only looks like the others */
		{"main", "main"},
		{"cudaMalloc", "cudaMalloc"},
		{"_Zebra", "_Zebra"},
		{"_Realloc", "_Realloc"},
		{"_ZN", "_ZN"},
		{"_Z", "_Z"},
		{"_R", "_R"},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		_cleanup_free_ char *name = demangle(samples[i].symbol);

		assert_string_equal(name, samples[i].name);
	}
}

/* Rust before v0 is C++ with a hash as the last part of the path. */
static void test_legacy_rust(void **state)
{
	static const char path[] = "core::fmt::Write::write_fmt";
	_cleanup_free_ char *name = demangle("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE");

	(void)state;
	assert_non_null(name);
	assert_memory_equal(name, path, strlen(path));
}

#define ARGUMENTS 180

/* "a…a(int, int, …)" of that length. */
static void make_name(char name[SYMBOL_BYTES], size_t length)
{
	size_t letters = length - strlen("(int)") - (ARGUMENTS - 1) * strlen(", int");
	char *at = name + letters;

	memset(name, 'a', letters);
	at += sprintf(at, "(int");
	for (int i = 1; i < ARGUMENTS; i++)
		at += sprintf(at, ", int");
	strcpy(at, ")");
	assert_int_equal(strlen(name), length);
}

/* The symbol of a name as made above. */
static void make_symbol(char symbol[SYMBOL_BYTES], const char *name)
{
	size_t letters = strcspn(name, "(");
	char *at = symbol + sprintf(symbol, "_Z%zu", letters);

	memset(at, 'a', letters);
	memset(at + letters, 'i', ARGUMENTS);
	at[letters + ARGUMENTS] = '\0';
}

static void test_cut(void **state)
{
	(void)state;
	for (size_t length = DEMANGLED_MAX - 5; length < DEMANGLED_MAX + 5; length++) {
		char whole[SYMBOL_BYTES], symbol[SYMBOL_BYTES];
		_cleanup_free_ char *name = NULL;

		make_name(whole, length);
		make_symbol(symbol, whole);
		name = demangle(symbol);
		whole[MIN(length, DEMANGLED_MAX)] = '\0';
		assert_string_equal(name, whole);
	}
}

/* A function whose arguments are A<int, int> and then pairs of the argument before, each twice as
 * long: C++ numbers the types of a symbol, and lets later ones name them.
 */
static void make_cplus_bomb(char symbol[SYMBOL_BYTES], int pairs)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char *at = symbol + sprintf(symbol, "_Z1f1AIiiE");

	assert_true(pairs <= BOMB_PAIRS_MAX);
	for (int i = 0; i < pairs; i++) {
		char number[3] = {digits[i % 36]};

		if (i >= 36)
			memcpy(number, (char[]){digits[i / 36], digits[i % 36]}, 2);
		at += sprintf(at, "S_IS%s_S%s_E", number, number);
	}
}

/* The same with tuples of Rust, which names what it repeats by its place in the symbol. */
static void make_rust_bomb(char symbol[SYMBOL_BYTES], int pairs)
{
	static const char digits[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char *at = symbol + sprintf(symbol, "_RINvC1a1b");
	size_t before = (size_t)(at - symbol) - 2;

	at += sprintf(at, "TjjE");
	for (int i = 0; i < pairs; i++) {
		size_t here = (size_t)(at - symbol) - 2, number = before - 1;
		char place[4] = {digits[number % 62]};

		if (number >= 62)
			memcpy(place, (char[]){digits[number / 62], digits[number % 62]}, 2);
		at += sprintf(at, "TB%s_B%s_E", place, place);
		before = here;
	}
	strcpy(at, "E");
}

static void test_cut_is_the_beginning(void **state)
{
	char cplus[SYMBOL_BYTES], rust[SYMBOL_BYTES];
	const char *const symbols[] = {cplus, rust};

	(void)state;
	make_cplus_bomb(cplus, 10);
	make_rust_bomb(rust, 10);
	for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
		_cleanup_free_ char *whole = cplus_demangle(symbols[i], DMGL_PARAMS | DMGL_ANSI);
		_cleanup_free_ char *name = demangle(symbols[i]);

		assert_non_null(whole);
		assert_non_null(name);
		assert_true(strlen(whole) > 4UL * DEMANGLED_MAX);
		assert_int_equal(strlen(name), DEMANGLED_MAX);
		assert_memory_equal(name, whole, DEMANGLED_MAX);
	}
}

static uint64_t peak_bytes(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	unsigned long long kib = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			break;
	assert_true(kib > 0);
	return kib << 10;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void assert_harmless(const char *symbol)
{
	uint64_t before = peak_bytes();
	double begin = now();
	_cleanup_free_ char *name = demangle(symbol);

	assert_non_null(name);
	assert_true(now() - begin < BOMB_SECONDS);
	assert_true(peak_bytes() - before < BOMB_BYTES);
	assert_int_equal(strlen(name), DEMANGLED_MAX);
}

static void test_bombs(void **state)
{
	char symbol[SYMBOL_BYTES];

	(void)state;
	make_cplus_bomb(symbol, BOMB_PAIRS);
	assert_true(strlen(symbol) > 400);
	assert_harmless(symbol);
	make_rust_bomb(symbol, BOMB_PAIRS);
	assert_true(strlen(symbol) > 300);
	assert_harmless(symbol);
}

/* Names that are cut within a letter that Rust writes encoded, for which the library needs memory:
 * the first part of the name moves it across the end.
 */
static char *demangle_cut_in_encoded(int shift)
{
	char symbol[SYMBOL_BYTES];
	char *at = symbol + sprintf(symbol, "_RINvC1a%d%.*s", shift, shift, "bbbbbbbbbbbbbbbbbbbb");
	size_t type = (size_t)(at - symbol) - 2;

	assert_true(type > 0 && type < 10 + 26);
	at += sprintf(at, "NtC1xu8gdel_5qa");
	for (int i = 0; i < 100; i++)
		at += sprintf(at, "B%c_", (char)(type <= 10 ? '0' + type - 1 : 'a' + (type - 11)));
	strcpy(at, "E");
	return demangle(symbol);
}

static void test_cut_keeps_no_memory(void **state)
{
	size_t before, after;

	(void)state;
	free(demangle_cut_in_encoded(1));
	before = mallinfo2().uordblks;
	for (int i = 0; i < LEAK_ROUNDS; i++) {
		char *name = demangle_cut_in_encoded(1 + i % 20);

		assert_non_null(name);
		assert_int_equal(strlen(name), DEMANGLED_MAX);
		free(name);
	}
	after = mallinfo2().uordblks;
	assert_true(after < before + LEAK_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names), cmocka_unit_test(test_legacy_rust),
		cmocka_unit_test(test_cut),   cmocka_unit_test(test_cut_is_the_beginning),
		cmocka_unit_test(test_bombs), cmocka_unit_test(test_cut_keeps_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
