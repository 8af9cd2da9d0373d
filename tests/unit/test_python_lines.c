/* SPDX-License-Identifier: Apache-2.0 */
/* Line tables: made by hand, and all of some modules as a real interpreter compiles them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/python_lines.h"
#include "macro.h"

#define TABLE_MAX (1 << 16)
#define UNITS_MAX (1 << 16)

/* First byte of an entry: its kind, and how many code units it covers. */
#define ENTRY(code, units) (0x80 | (code) << 3 | ((units)-1))

static const struct python_layout *const layout = &python_layouts[0];

struct expectation {
	uint32_t offset;
	int line; /* or a negative errno */
};

struct table {
	const char *name;
	uint8_t bytes[16];
	size_t size;
	int firstlineno;
	struct expectation expect[6];
	size_t count;
};

/* clang-format off */
static const struct table tables[] = {
	{"every kind of entry", {ENTRY(0, 1), 0, ENTRY(11, 2), 0, 0, ENTRY(12, 1), 0, 0,
				 ENTRY(13, 8), 3 /* -1 */, ENTRY(14, 1), 8 /* +4 */, 0, 0, 0}, 15,
	 10, {{0, 10}, {2, 11}, {5, 11}, {6, 13}, {8, 12}, {24, 16}}, 6},
	{"end of the table", {ENTRY(0, 1), 0}, 2, 10, {{1, 10}, {2, -ERANGE}}, 2},
	{"no table", {0}, 0, 10, {{0, -ERANGE}}, 1},
	{"no line: the one before", {ENTRY(13, 1), 4, ENTRY(15, 1), ENTRY(13, 1), 4}, 5,
	 10, {{0, 12}, {2, 12}, {4, 14}}, 3},
	{"no line: the one after", {ENTRY(15, 1), ENTRY(15, 1), ENTRY(13, 1), 4}, 4,
	 10, {{0, 12}, {2, 12}, {4, 12}}, 3},
	{"no line anywhere", {ENTRY(15, 8)}, 1, 10, {{0, 10}, {15, 10}, {16, -ERANGE}}, 3},
	{"delta of several groups", {ENTRY(13, 1), 0x40, 0x40 | 2, 1}, 4,
	 1, {{0, 1 + (((2 << 6) + (1 << 12)) >> 1)}}, 1},
	{"line 0", {ENTRY(13, 1), 3}, 2, 1, {{0, 0}}, 1},
	{"line below 0", {ENTRY(13, 1), 5}, 2, 1, {{0, -EBADMSG}}, 1},
	{"line above all", {ENTRY(10, 1), 0, 0, ENTRY(12, 1), 0, 0}, 6,
	 INT32_MAX, {{0, INT32_MAX}, {2, -EBADMSG}}, 2},
	{"not the begin of an entry", {0x11, 0}, 2, 10, {{0, -EBADMSG}}, 1},
	{"columns cut off", {ENTRY(10, 1), 0}, 2, 10, {{0, -EBADMSG}}, 1},
	{"delta cut off", {ENTRY(13, 1), 0x41}, 2, 10, {{0, -EBADMSG}}, 1},
	{"long entry cut off", {ENTRY(14, 1), 0, 0, 0}, 4, 10, {{0, -EBADMSG}}, 1},
	{"delta without end", {ENTRY(13, 1), 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 1}, 9,
	 10, {{0, -EBADMSG}}, 1},
	{"delta of more than 32 bits", {ENTRY(13, 1), 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x04}, 7,
	 10, {{0, -EBADMSG}}, 1},
};
/* clang-format on */

static void test_tables_by_hand(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		const struct table *t = &tables[i];

		for (size_t j = 0; j < t->count; j++) {
			int line = python_line(layout, t->bytes, t->size, t->firstlineno,
					       t->expect[j].offset);

			if (line != t->expect[j].line)
				fail_msg("%s: offset %u has %d, not %d", t->name,
					 t->expect[j].offset, line, t->expect[j].line);
		}
	}
}

static void test_unknown_format(void **state)
{
	struct python_layout other = *layout;
	const uint8_t table[] = {ENTRY(0, 1), 0};

	(void)state;
	other.lines = 0xff;
	assert_int_equal(python_line(&other, table, sizeof(table), 1, 0), -EOPNOTSUPP);
}

/* Prints each code object: first line and table, then one line for each range of its bytecode. */
static const char script[] =
	"import types, argparse, asyncio.tasks, typing, inspect, dataclasses\n"
	"far = 'def f(a):\\n' + '\\n' * 9000 + '  x = [a\\n' + '\\n' * 300 + ' , f(\\n\\na)]\\n'\n"
	"far += '  with x as y:\\n    try:\\n      yield y\\n    finally:\\n      del x\\n'\n"
	"def show(code):\n"
	"  print('code', code.co_firstlineno, code.co_linetable.hex() or '-')\n"
	"  for start, end, line in code.co_lines():\n"
	"    print('range', start, end, -1 if line is None else line)\n"
	"  print('end')\n"
	"  for const in code.co_consts:\n"
	"    if isinstance(const, types.CodeType): show(const)\n"
	"show(compile(far, 'far', 'exec'))\n"
	"for module in argparse, asyncio.tasks, typing, inspect, dataclasses:\n"
	"  with open(module.__file__) as f: show(compile(f.read(), 'x', 'exec'))\n";

struct real_code {
	int firstlineno;
	uint8_t table[TABLE_MAX];
	size_t size;
	int lines[UNITS_MAX]; /* -1: the compiler gave none */
	size_t units;
};

static void parse_table(const char *hex, struct real_code *code)
{
	unsigned int byte;

	code->size = 0;
	while (sscanf(hex + 2 * code->size, "%2x", &byte) == 1) {
		assert_true(code->size < TABLE_MAX);
		code->table[code->size++] = (uint8_t)byte;
	}
}

static void fill_range(const char *text, struct real_code *code)
{
	size_t start, end;
	int line;

	assert_int_equal(sscanf(text, "range %zu %zu %d", &start, &end, &line), 3);
	assert_true(start / 2 == code->units && end / 2 <= UNITS_MAX);
	while (code->units < end / 2)
		code->lines[code->units++] = line;
}

static int expected_line(const struct real_code *code, size_t unit)
{
	for (size_t i = unit + 1; i-- > 0;)
		if (code->lines[i] >= 0)
			return code->lines[i];
	for (size_t i = unit; i < code->units; i++)
		if (code->lines[i] >= 0)
			return code->lines[i];
	return code->firstlineno;
}

static void check_code(const struct real_code *code)
{
	for (uint32_t offset = 0; offset < 2 * code->units; offset++)
		assert_int_equal(
			python_line(layout, code->table, code->size, code->firstlineno, offset),
			expected_line(code, offset / 2));
	assert_int_equal(python_line(layout, code->table, code->size, code->firstlineno,
				     (uint32_t)(2 * code->units)),
			 -ERANGE);
}

/* Runs the script and checks every code object that it prints; how many there were. */
static size_t check_all(const char *command)
{
	struct real_code *code = calloc(1, sizeof(*code));
	size_t checked = 0;
	char *text = NULL;
	size_t room = 0;
	FILE *f = popen(command, "r");
	int at;

	assert_non_null(code);
	assert_non_null(f);
	while (getline(&text, &room, f) > 0) {
		if (sscanf(text, "code %d %n", &code->firstlineno, &at) == 1) {
			parse_table(text + at, code);
			code->units = 0;
		} else if (strcmp(text, "end\n") == 0) {
			check_code(code);
			checked++;
		} else {
			fill_range(text, code);
		}
	}
	pclose(f);
	free(text);
	free(code);
	return checked;
}

static void test_tables_of_an_interpreter(void **state)
{
	char command[sizeof(script) + 64];
	size_t checked;

	(void)state;
	if (system("python3.11 -c '' 2>/dev/null") != 0) {
		print_message("no python3.11 here: its line tables are not compared\n");
		skip();
	}
	snprintf(command, sizeof(command), "python3.11 - <<'EOF'\n%sEOF\n", script);
	checked = check_all(command);
	print_message("%zu code objects compared\n", checked);
	assert_true(checked > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables_by_hand),
		cmocka_unit_test(test_unknown_format),
		cmocka_unit_test(test_tables_of_an_interpreter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
