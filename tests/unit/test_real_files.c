/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "daemon/real_files.h"

#define TEXT_MAX 65536
#define PAGE 4096U
#define MANY 3000U /* more than the kernel tells at once */

struct told {
	char text[TEXT_MAX];
	size_t n, mappings;
	uint64_t last;
};

static int note(const struct procfs_mapping *m, void *userdata)
{
	struct told *told = userdata;

	assert_true(m->executable && m->inode);
	assert_true(m->start < m->end);
	assert_true(told->mappings == 0 || m->start > told->last);
	told->last = m->start;
	told->mappings++;
	told->n += (size_t)snprintf(told->text + told->n, sizeof(told->text) - told->n,
				    "%lx-%lx %lx %x:%x %lu\n", (unsigned long)m->start,
				    (unsigned long)m->end, (unsigned long)m->offset, m->major,
				    m->minor, (unsigned long)m->inode);
	assert_true(told->n < sizeof(told->text));
	return 0;
}

static int count(const struct procfs_mapping *m, void *userdata)
{
	struct told *told = userdata;

	assert_true(told->mappings++ == 0 || m->start > told->last);
	told->last = m->start;
	return 0;
}

static int end_at_once(const struct procfs_mapping *m, void *userdata)
{
	(void)m;
	(void)userdata;
	return 42;
}

static void nothing(void *unused)
{
	(void)unused;
}

/* No overlay is in the way here. */
static void test_as_the_kernel_s_text_has_it(void **state)
{
	struct told *asked = test_calloc(1, sizeof(*asked)), *read = test_calloc(1, sizeof(*read));
	pid_t child = start_child(nothing, NULL);

	(void)state;
	assert_int_equal(real_files_each(child, note, asked), 0);
	assert_int_equal(mappings_each(child, MAPPINGS_CODE, note, read), 0);
	assert_true(asked->mappings > 1);
	assert_string_equal(asked->text, read->text);
	assert_int_equal(real_files_each(child, end_at_once, NULL), 42);
	stop_child(child);
	assert_true(real_files_each(child, end_at_once, NULL) <= 0); /* there are none */
	test_free(asked);
	test_free(read);
}

static void map_much(void *file)
{
	for (unsigned int i = 0; i < MANY; i++)
		assert_true(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(file),
				 i % 2 * 2 * PAGE) != MAP_FAILED);
}

static void test_more_than_is_told_at_once(void **state)
{
	struct told asked = {0}, read = {0};
	FILE *file = tmpfile();
	pid_t child;

	(void)state;
	assert_non_null(file);
	child = start_child(map_much, file);
	assert_int_equal(real_files_each(child, count, &asked), 0);
	assert_int_equal(mappings_each(child, MAPPINGS_CODE, count, &read), 0);
	assert_true(asked.mappings > MANY);
	assert_int_equal(asked.mappings, read.mappings);
	stop_child(child);
	fclose(file);
}

static void test_file_at_an_address(void **state)
{
	struct stat st = {0}, expected;
	struct real_file file;

	(void)state;
	assert_int_equal(stat("/proc/self/exe", &expected), 0);
	assert_int_equal(real_files_at(getpid(), (uintptr_t)test_file_at_an_address, &st, &file),
			 0);
	assert_int_equal(st.st_dev, expected.st_dev);
	assert_int_equal(st.st_ino, expected.st_ino);
	assert_true(file.id != 0);
	if (*state == NULL) /* as in /proc/PID/maps, there is no more */
		return;
	assert_int_equal(st.st_size, expected.st_size);
	assert_memory_equal(&st.st_mtim, &expected.st_mtim, sizeof(st.st_mtim));
	assert_true(file.magic != 0);
	assert_int_equal(real_files_at(getpid(), (uintptr_t)&st, &st, &file), -ENOENT);
}

static int begin(void **state)
{
	static int asks;

	if (geteuid() != 0) {
		printf("not root: the kernel cannot be asked, and only the other way is tested\n");
		return 0;
	}
	real_files_start();
	*state = &asks;
	return 0;
}

static int end(void **state)
{
	(void)state;
	real_files_stop();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_the_kernel_s_text_has_it),
		cmocka_unit_test(test_more_than_is_told_at_once),
		cmocka_unit_test(test_file_at_an_address),
	};

	return cmocka_run_group_tests(tests, begin, end) +
	       cmocka_run_group_tests(tests, NULL, NULL);
}
