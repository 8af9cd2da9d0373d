/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/mappings.h"

#define TEXT_MAX (1U << 20)
#define PAGE 4096U

/* What was told of each mapping, one line each. */
struct told {
	char text[TEXT_MAX];
	size_t n, mappings;
	size_t at_most; /* then it is ended, with 42 */
};

static int note(const struct procfs_mapping *m, void *userdata)
{
	struct told *told = userdata;
	int n;

	if (strcmp(m->path, "[vsyscall]") == 0)
		return 0; /* the kernel's own, which not every way of looking tells of */
	n = snprintf(told->text + told->n, sizeof(told->text) - told->n,
		     "%lx-%lx %d %lx %x:%x %lu %d %s\n", (unsigned long)m->start,
		     (unsigned long)m->end, m->executable, (unsigned long)m->offset, m->major,
		     m->minor, (unsigned long)m->inode, m->deleted, m->path);

	assert_true(n > 0 && told->n + (size_t)n < sizeof(told->text));
	told->n += (size_t)n;
	return ++told->mappings == told->at_most ? 42 : 0;
}

static struct told *look(uint64_t from, unsigned int wanted)
{
	struct told *told = test_calloc(1, sizeof(*told));

	assert_int_equal(mappings_from(getppid(), from, wanted, note, told), 0);
	return told;
}

/* As on a kernel before 6.11. */
static void forbid_to_ask(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	assert_non_null(filter);
	assert_int_equal(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 0), 0);
	assert_int_equal(seccomp_load(filter), 0);
	seccomp_release(filter);
}

static void map_odd_files(void)
{
	char directory[] = "/tmp/srtleak-mappings.XXXXXX", path[256];
	int fd;

	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/a\nb (deleted)", directory);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	assert_true(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, PAGE) != MAP_FAILED);
	assert_true(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	unlink(path);
	rmdir(directory);
	close(fd);
}

/* In a child, as a filter is for good, and looks at the parent, which does not change meanwhile. */
static void in_a_child(void (*check)(void))
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		check();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void check_both_ways(void)
{
	struct told *asked[4], *from;
	uint64_t middle;

	for (unsigned int wanted = 0; wanted < 4; wanted++)
		asked[wanted] = look(0, wanted);
	assert_true(asked[0]->mappings > asked[MAPPINGS_FILES]->mappings);
	assert_true(asked[MAPPINGS_FILES]->mappings > asked[MAPPINGS_CODE]->mappings);
	assert_true(asked[MAPPINGS_EXECUTABLE]->mappings > asked[MAPPINGS_CODE]->mappings);
	assert_true(asked[MAPPINGS_CODE]->mappings > 1);
	assert_non_null(strstr(asked[MAPPINGS_CODE]->text, "/a\n"));
	middle = (uintptr_t)getppid; /* another file's than the first */
	from = look(middle, MAPPINGS_CODE);
	assert_true(from->mappings < asked[MAPPINGS_CODE]->mappings);
	forbid_to_ask();
	for (unsigned int wanted = 0; wanted < 4; wanted++)
		assert_string_equal(look(0, wanted)->text, asked[wanted]->text);
	assert_string_equal(look(middle, MAPPINGS_CODE)->text, from->text);
}

static void test_asked_for_and_read_alike(void **state)
{
	(void)state;
	map_odd_files();
	in_a_child(check_both_ways);
}

static void check_end(void)
{
	struct told *told = test_calloc(1, sizeof(*told));

	told->at_most = 2;
	assert_int_equal(mappings_each(getppid(), 0, note, told), 42);
	assert_int_equal(told->mappings, 2);
	forbid_to_ask();
	told->mappings = 0;
	assert_int_equal(mappings_each(getppid(), 0, note, told), 42);
	assert_int_equal(told->mappings, 2);
}

static void test_ended_by_the_callback(void **state)
{
	(void)state;
	in_a_child(check_end);
}

/* A path longer than PATH_MAX can be made step by step; the mapping is told of without it. */
static void check_long_path(void)
{
	char name[201];
	char directory[] = "/tmp/srtleak-long.XXXXXX";
	struct told *told;
	int fd;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_non_null(mkdtemp(directory));
	assert_int_equal(chdir(directory), 0);
	for (int i = 0; i < 25; i++)
		assert_true(mkdir(name, 0700) == 0 && chdir(name) == 0);
	fd = open("file", O_RDWR | O_CREAT, 0700);
	assert_true(fd >= 0 && ftruncate(fd, PAGE) == 0);
	told = test_calloc(1, sizeof(*told));
	assert_int_equal(mappings_each(getpid(), MAPPINGS_CODE, note, told), 0);
	assert_true(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	told->at_most = told->mappings + 1;
	told->mappings = 0;
	assert_int_equal(mappings_each(getpid(), MAPPINGS_CODE, note, told), 42);
	assert_int_equal(unlink("file"), 0);
	for (int i = 0; i < 25; i++)
		assert_true(chdir("..") == 0 && rmdir(name) == 0);
	assert_int_equal(rmdir(directory), 0);
}

static void test_path_longer_than_any(void **state)
{
	(void)state;
	in_a_child(check_long_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_asked_for_and_read_alike),
		cmocka_unit_test(test_ended_by_the_callback),
		cmocka_unit_test(test_path_longer_than_any),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
