/* SPDX-License-Identifier: Apache-2.0 */
/* Environment variables of other processes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "child.h"
#include "daemon/environment.h"
#include "macro.h"

static const char *const names[] = {"CUDA_VISIBLE_DEVICES", "OTHER"};

/* Strings are written with '|' where the kernel has NUL. */
static const struct sample {
	const char *strings;
	int result;
	const char *first, *second;
} samples[] = {
	{"", 0, NULL, NULL},
	{"PATH=/bin|", 0, NULL, NULL},
	{"PATH=/bin|CUDA_VISIBLE_DEVICES=0,2|OTHER=x=y|", 0, "0,2", "x=y"},
	{"CUDA_VISIBLE_DEVICES=|OTHER=1|", 0, "", "1"},
	{"CUDA_VISIBLE_DEVICES=1|CUDA_VISIBLE_DEVICES=2|", 0, "1", NULL},
	{"CUDA_VISIBLE_DEVICES_=1|XCUDA_VISIBLE_DEVICES=2|=x|", 0, NULL, NULL},
	{"OTHER=1|CUDA_VISIBLE_DEVICES=3", 0, "3", "1"}, /* the last NUL is missing */
	/* overwritten by a title */
	{"eduler_TP0|", -ENODATA, NULL, NULL},
	{"|||||||", -ENODATA, NULL, NULL},
	{"||OTHER=1|", -ENODATA, NULL, NULL},
	{"OTHER=1||||", -ENODATA, NULL, NULL},
};

static void test_samples(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const struct sample *s = &samples[i];
		char strings[128], untouched, *found[] = {&untouched, &untouched};
		size_t size = strlen(s->strings);

		strcpy(strings, s->strings);
		for (char *c = strings; *c; c++)
			*c = *c == '|' ? '\0' : *c;
		assert_int_equal(environment_parse(strings, size, names, 2, found), s->result);
		for (size_t k = 0; k < 2; k++) {
			const char *wanted = k ? s->second : s->first;

			if (s->result < 0) {
				assert_ptr_equal(found[k], &untouched);
				continue;
			}
			assert_int_equal(found[k] == NULL, wanted == NULL);
			if (wanted)
				assert_string_equal(found[k], wanted);
			free(found[k]);
		}
	}
}

static void test_length(void **state)
{
	static char strings[2 * ENVIRONMENT_VALUE_MAX];
	char *found = NULL;
	size_t begin;

	(void)state;
	begin = (size_t)snprintf(strings, sizeof(strings), "%s=", names[0]);
	memset(strings + begin, '1', ENVIRONMENT_VALUE_MAX - 1);
	assert_int_equal(environment_parse(strings, strlen(strings), names, 1, &found), 0);
	assert_int_equal(strlen(found), ENVIRONMENT_VALUE_MAX - 1);
	free(found);
	memset(strings + begin, '1', ENVIRONMENT_VALUE_MAX);
	assert_int_equal(environment_parse(strings, strlen(strings), names, 1, &found), -E2BIG);
}

static void set_variable(void *value)
{
	if (value)
		setenv(names[0], value, 1);
	else
		unsetenv(names[0]);
}

static void test_memory(void **state)
{
	static char longest[ENVIRONMENT_VALUE_MAX];
	static char uuid[] = "GPU-8932f937", empty[] = "";
	char *const values[] = {uuid, NULL, empty, longest};

	(void)state;
	memset(longest, '7', sizeof(longest) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		pid_t pid = start_child(set_variable, values[i]);
		char *found[] = {NULL, NULL};

		assert_int_equal(environment_read(pid, names, 2, found), 0);
		assert_null(found[1]);
		assert_int_equal(found[0] == NULL, values[i] == NULL);
		if (values[i])
			assert_string_equal(found[0], values[i]);
		free(found[0]);
		stop_child(pid);
	}
}

static void test_failures(void **state)
{
	const char *many[ENVIRONMENT_NAMES_MAX + 1];
	char untouched, *found[ENVIRONMENT_NAMES_MAX + 1] = {&untouched};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = "A";
	assert_int_equal(environment_read(INT32_MAX, names, 1, found), -ESRCH);
	assert_int_equal(environment_read(getpid(), many, ARRAY_SIZE(many), found), -EINVAL);
	assert_ptr_equal(found[0], &untouched);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_failures),
	};

	unsetenv(names[0]);
	unsetenv(names[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
