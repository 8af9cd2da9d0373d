/* SPDX-License-Identifier: Apache-2.0 */
/* What is read from /proc, with this process and hostile children of it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include <cmocka.h>

#include "child.h"
#include "daemon/arguments.h"
#include "daemon/mappings.h"
#include "daemon/procfs.h"
#include "macro.h"

#define NO_SUCH_PID 0x7fffffff

static char scratch[] = "/tmp/srtleak-procfs-XXXXXX";

static int make_scratch(void **state)
{
	(void)state;
	return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state)
{
	(void)state;
	return rmdir(scratch);
}

static void set_name(void *name)
{
	prctl(PR_SET_NAME, name);
}

static void test_stat_with_hostile_names(void **state)
{
	static char *const names[] = {"x) S 1 2 3 4 5", ") ) (", "a\nb) R 0", "", " ", "((\xff"};
	uint64_t own, ticks;

	(void)state;
	assert_int_equal(procfs_start_ticks(getpid(), &own), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		pid_t pid = start_child(set_name, names[i]);
		char comm[PROCFS_COMM_SIZE];
		uid_t uid = ~0U;
		pid_t inner = 7, group = 0;

		assert_int_equal(procfs_start_ticks(pid, &ticks), 0);
		assert_in_range(ticks, own, own + 6000);
		assert_int_equal(procfs_comm(pid, comm), 0);
		assert_string_equal(comm, names[i]);
		assert_int_equal(procfs_status(pid, &uid, &inner), 0);
		assert_int_equal(uid, getuid());
		assert_int_equal(inner, 0); /* of the same namespace */
		/* forked, so it runs what this process runs */
		assert_int_equal(procfs_group(pid, &group), 0);
		assert_int_not_equal(group, pid);
		stop_child(pid);
	}
}

static void test_start_time(void **state)
{
	uint64_t ticks = 0;
	double started = 0;

	(void)state;
	assert_int_equal(procfs_start_ticks(getpid(), &ticks), 0);
	assert_int_equal(procfs_start_time(ticks, &started), 0);
	assert_true(started <= (double)time(NULL) + 1 && started > (double)time(NULL) - 600);
}

static void test_no_such_process(void **state)
{
	char untouched, *text = &untouched;
	char comm[PROCFS_COMM_SIZE] = "untouched";
	uint64_t ticks = 7;
	uid_t uid = 7;
	pid_t pid = 7;

	(void)state;
	assert_int_equal(procfs_start_ticks(NO_SUCH_PID, &ticks), -ESRCH);
	assert_int_equal(procfs_comm(NO_SUCH_PID, comm), -ESRCH);
	assert_int_equal(arguments_cmdline(NO_SUCH_PID, &text), -ESRCH);
	assert_int_equal(arguments_title(NO_SUCH_PID, "x", &text), -ESRCH);
	assert_int_equal(procfs_cgroup(NO_SUCH_PID, &text), -ESRCH);
	assert_int_equal(procfs_status(NO_SUCH_PID, &uid, &pid), -ESRCH);
	assert_int_equal(procfs_group(NO_SUCH_PID, &pid), -ESRCH);
	assert_int_equal(mappings_each(NO_SUCH_PID, 0, NULL, NULL), -ESRCH);
	assert_int_equal(procfs_start_ticks(-1, &ticks), -ESRCH);
	assert_true(ticks == 7 && uid == 7 && pid == 7 && text == &untouched);
	assert_string_equal(comm, "untouched");
}

/* The kernel closes files on exec before it tells the new arguments: waits for these. */
static void wait_for_arguments(pid_t pid)
{
	char *text;

	for (int i = 0; i < 10000; i++) {
		bool there;

		assert_int_equal(arguments_cmdline(pid, &text), 0);
		there = text[0] != '\0';
		free(text);
		if (there)
			return;
		usleep(1000);
	}
	fail_msg("process %d has no arguments", pid);
}

/* Runs a program under the arguments given; the pipe closes as exec succeeds. */
static pid_t exec_program(const char *program, char *const args[])
{
	int running[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(running, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv(program, args);
		_exit(1);
	}
	close(running[1]);
	assert_int_equal(read(running[0], &byte, 1), 0);
	close(running[0]);
	wait_for_arguments(pid);
	return pid;
}

static pid_t exec_child(char *const args[])
{
	return exec_program("/bin/sleep", args);
}

static void test_exe(void **state)
{
	char program[64], copy[128], *args[] = {(char *)"x", (char *)"600", NULL}, *exe = NULL;
	pid_t pid;

	(void)state;
	snprintf(program, sizeof(program), "%s/a program", scratch);
	snprintf(copy, sizeof(copy), "cp /bin/sleep '%s'", program);
	assert_int_equal(system(copy), 0);
	pid = exec_program(program, args);
	for (int deleted = 0; deleted < 2; deleted++) {
		assert_int_equal(procfs_exe(pid, &exe), 0);
		assert_string_equal(exe, program);
		free(exe);
		unlink(program);
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	exe = program;
	assert_int_equal(procfs_exe(pid, &exe), -ESRCH);
	assert_ptr_equal(exe, program);
	waitpid(pid, NULL, 0);
}

static void test_cmdline(void **state)
{
	char *plain[] = {"sleep", "600", NULL};
	char *secret[] = {"x --api-key abc", "600", NULL};
	pid_t pid;
	char *text = NULL;
	pid_t group = 0;

	(void)state;
	pid = exec_child(plain);
	assert_int_equal(arguments_cmdline(pid, &text), 0);
	assert_string_equal(text, "sleep 600");
	free(text);
	assert_int_equal(arguments_title(pid, "comm", &text), 0);
	assert_string_equal(text, "comm");
	free(text);
	/* another program than this one */
	assert_int_equal(procfs_group(pid, &group), 0);
	assert_int_equal(group, pid);
	stop_child(pid);

	pid = exec_child(secret);
	assert_int_equal(arguments_cmdline(pid, &text), 0);
	assert_string_equal(text, "x --api-key *** 600");
	free(text);
	stop_child(pid);
}

static void test_cmdline_is_bounded(void **state)
{
	static char many[200000];
	char *args[] = {"sleep", "600", many, NULL};
	char *text = NULL;
	pid_t pid;

	(void)state;
	memset(many, '0', sizeof(many) / 2); /* one argument's limit is 128 KiB */
	pid = exec_child(args);
	assert_int_equal(arguments_cmdline(pid, &text), 0);
	assert_int_equal(strlen(text), ARGUMENTS_MAX);
	free(text);
	stop_child(pid);
}

struct title {
	const char *text;
	char padding;
};

/* Overwrites the arguments that the kernel shows, as setproctitle does. */
static void set_title(void *userdata)
{
	const struct title *title = userdata;
	unsigned long start, end;
	FILE *f = fopen("/proc/self/stat", "re");

	if (!f || fscanf(f, "%*d %*s %*c") != 0)
		_exit(1);
	for (int field = 4; field < 48; field++)
		if (fscanf(f, "%*s") != 0)
			_exit(1);
	if (fscanf(f, "%lu %lu", &start, &end) != 2 || strlen(title->text) >= end - start)
		_exit(1);
	memset((void *)start, title->padding, end - start - 1);
	memcpy((void *)start, title->text, strlen(title->text));
	*(char *)(end - 1) = '\0';
}

static void check_title(struct title title, const char *expected)
{
	pid_t pid = start_child(set_title, &title);
	char *text = NULL;

	assert_int_equal(arguments_title(pid, "comm", &text), 0);
	assert_string_equal(text, expected);
	free(text);
	stop_child(pid);
}

static void test_title(void **state)
{
	char name[64], login_shell[65];

	(void)state;
	/* copied, as the original stands among the arguments */
	snprintf(name, sizeof(name), "%s", program_invocation_short_name);
	snprintf(login_shell, sizeof(login_shell), "-%s", name);
	check_title((struct title){"srv: w", '\0'}, "srv: w");
	check_title((struct title){"srv: w", ' '}, "srv: w");
	check_title((struct title){"key=abc", '\0'}, "key=***");
	check_title((struct title){"", '\0'}, "comm");
	check_title((struct title){"", ' '}, "comm");
	check_title((struct title){"/bin/srv", '\0'}, "comm");
	check_title((struct title){name, ' '}, "comm");
	check_title((struct title){login_shell, '\0'}, "comm");
}

static void test_zombie(void **state)
{
	siginfo_t info;
	char *text = NULL;
	uint64_t ticks;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(procfs_start_ticks(pid, &ticks), 0);
	assert_int_equal(arguments_cmdline(pid, &text), 0);
	assert_string_equal(text, "");
	free(text);
	waitpid(pid, NULL, 0);
}

static void test_cgroup(void **state)
{
	char *cgroup = NULL;

	(void)state;
	assert_int_equal(procfs_cgroup(getpid(), &cgroup), 0);
	assert_int_equal(cgroup[0], '/');
	free(cgroup);
}

/* A file of one page in the scratch folder, mapped; unmaps and unlinks with release(). */
struct mapped {
	char path[128];
	void *addr;
	struct stat st;
};

static void map_file(struct mapped *m, const char *name)
{
	int fd;

	snprintf(m->path, sizeof(m->path), "%s/%s", scratch, name);
	fd = open(m->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(fstat(fd, &m->st), 0);
	m->addr = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(m->addr, MAP_FAILED);
	close(fd);
}

static void release(struct mapped *m)
{
	munmap(m->addr, 4096);
	unlink(m->path);
}

/* Copies the mapping at an address. */
struct search {
	uint64_t addr;
	struct procfs_mapping found;
	char path[4096];
};

static int match(const struct procfs_mapping *mapping, void *userdata)
{
	struct search *s = userdata;

	if (mapping->start != s->addr)
		return 0;
	s->found = *mapping;
	snprintf(s->path, sizeof(s->path), "%s", mapping->path);
	s->found.path = s->path;
	return 42;
}

static void find_mapping(struct search *s, const void *addr)
{
	s->addr = (uintptr_t)addr;
	assert_int_equal(mappings_each(getpid(), 0, match, s), 42);
}

static void check_opens(const struct procfs_mapping *mapping, const struct mapped *m)
{
	int fd = mappings_open(getpid(), mapping);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_dev == m->st.st_dev && st.st_ino == m->st.st_ino);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}

static void test_mapping_of_file(void **state)
{
	static const char *const names[] = {"lib.so", "a b\nc", "x (deleted)y", "\\", "\xff"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct mapped m;
		struct search s;

		map_file(&m, names[i]);
		find_mapping(&s, m.addr);
		assert_string_equal(s.path, m.path);
		assert_int_equal(s.found.end, s.addr + 4096);
		assert_int_equal(s.found.inode, m.st.st_ino);
		assert_true(s.found.executable && !s.found.deleted);
		check_opens(&s.found, &m);
		/* an address that map_files does not know: by name */
		s.found.end += 4096;
		check_opens(&s.found, &m);
		s.found.inode++;
		assert_int_equal(mappings_open(getpid(), &s.found), -ESTALE);
		release(&m);
	}
}

static void test_mapping_of_deleted_file(void **state)
{
	struct mapped m;
	struct search s;
	int fd;

	(void)state;
	map_file(&m, "gone");
	unlink(m.path);
	find_mapping(&s, m.addr);
	assert_string_equal(s.path, m.path);
	assert_true(s.found.deleted);
	fd = mappings_open(getpid(), &s.found);
	/* map_files needs a capability */
	assert_true(fd >= 0 || fd == -ENOENT);
	if (fd >= 0)
		close(fd);
	release(&m);
}

static void test_mapping_without_file(void **state)
{
	void *addr = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct search s;

	(void)state;
	assert_ptr_not_equal(addr, MAP_FAILED);
	/* neighbours would be merged into one mapping otherwise */
	addr = mmap(addr, 4096, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1,
		    0);
	find_mapping(&s, addr);
	assert_string_equal(s.path, "/dev/zero");
	munmap(addr, 4096);

	addr = mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	find_mapping(&s, addr);
	assert_string_equal(s.path, "");
	assert_int_equal(s.found.inode, 0);
	assert_int_equal(mappings_open(getpid(), &s.found), -EINVAL);
	munmap(addr, 4096);
}

/* Mapping that another program has: what its name leads to here must not be opened. */
static void test_refuses_what_is_no_file(void **state)
{
	char path[128];
	struct procfs_mapping m = {.start = 0x1000, .end = 0x2000, .path = path};
	struct stat st;

	(void)state;
	snprintf(path, sizeof(path), "%s/fifo", scratch);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(stat(path, &st), 0);
	m.inode = st.st_ino;
	m.major = major(st.st_dev);
	m.minor = minor(st.st_dev);
	assert_int_equal(mappings_open(getpid(), &m), -EINVAL);
	unlink(path);
	m.path = "/proc/self/exe";
	assert_int_equal(mappings_open(getpid(), &m), -ELOOP);
	m.path = "relative";
	assert_int_equal(mappings_open(getpid(), &m), -EINVAL);
}

static int count_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	assert_true(mapping->start < mapping->end);
	(*(size_t *)userdata)++;
	return 0;
}

static int find_own_pid(pid_t pid, void *userdata)
{
	(*(size_t *)userdata)++;
	return pid == getpid() ? 42 : 0;
}

static int count_pid(pid_t pid, void *userdata)
{
	assert_true(pid > 0);
	(*(size_t *)userdata)++;
	return 0;
}

static void test_walks(void **state)
{
	size_t n = 0, pids = 0;

	(void)state;
	assert_int_equal(mappings_each(getpid(), 0, count_mapping, &n), 0);
	assert_true(n > 5);
	assert_int_equal(procfs_each_pid(count_pid, &pids), 0);
	assert_true(pids > 0);
	assert_int_equal(procfs_each_pid(find_own_pid, &n), 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stat_with_hostile_names),
		cmocka_unit_test(test_start_time),
		cmocka_unit_test(test_no_such_process),
		cmocka_unit_test(test_exe),
		cmocka_unit_test(test_cmdline),
		cmocka_unit_test(test_cmdline_is_bounded),
		cmocka_unit_test(test_title),
		cmocka_unit_test(test_zombie),
		cmocka_unit_test(test_cgroup),
		cmocka_unit_test(test_mapping_of_file),
		cmocka_unit_test(test_mapping_of_deleted_file),
		cmocka_unit_test(test_mapping_without_file),
		cmocka_unit_test(test_refuses_what_is_no_file),
		cmocka_unit_test(test_walks),
	};

	return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
