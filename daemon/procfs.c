/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "container.h"
#include "event.h"
#include "macro.h"
#include "procfs.h"

#define PROC_PATH_MAX 128
#define STAT_MAX 4096
#define LINES_MAX 1000000U
#define ANCESTORS_MAX 64
#define STAT_PPID 4
#define STAT_UTIME 14
#define STAT_STIME 15
#define STAT_STARTTIME 22
#define NS_PER_S 1000000000ULL

static int gone_if_missing(int error)
{
	return error == ENOENT ? -ESRCH : -error;
}

static const char *proc_path(char path[PROC_PATH_MAX], pid_t pid, const char *name)
{
	snprintf(path, PROC_PATH_MAX, "/proc/%d/%s", (int)pid, name);
	return path;
}

int procfs_open(pid_t pid, const char *name, int flags)
{
	char path[PROC_PATH_MAX];
	int fd = open(proc_path(path, pid, name), flags | O_CLOEXEC);

	return fd < 0 ? gone_if_missing(errno) : fd;
}

ssize_t procfs_read(pid_t pid, const char *name, char *buf, size_t size)
{
	_cleanup_close_ int fd = procfs_open(pid, name, O_RDONLY);
	size_t used = 0;

	if (fd < 0)
		return fd;
	while (used < size) {
		ssize_t n = read(fd, buf + used, size - used);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		used += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)used;
}

static bool parse_u64(const char *s, uint64_t *ret)
{
	char *end;
	uint64_t value;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	value = strtoull(s, &end, 10);
	if (errno || (*end && !isspace((unsigned char)*end)))
		return false;
	*ret = value;
	return true;
}

/* A numeric field behind comm, counted from 1 as in proc(5). */
static int stat_field(pid_t pid, int number, uint64_t *ret)
{
	char text[STAT_MAX + 1];
	ssize_t n = procfs_read(pid, "stat", text, STAT_MAX);
	char *p;

	if (n < 0)
		return (int)n;
	text[n] = '\0';
	/* comm may hold anything, what follows it holds no parenthesis */
	p = strrchr(text, ')');
	for (int field = 2; p && field < number; field++)
		p = strchr(p + 1, ' ');
	return p && parse_u64(p + 1, ret) ? 0 : -EBADMSG;
}

int procfs_start_ticks(pid_t pid, uint64_t *ret)
{
	return stat_field(pid, STAT_STARTTIME, ret);
}

int procfs_cpu_ns(pid_t pid, uint64_t *ret)
{
	uint64_t user, system;
	int r = stat_field(pid, STAT_UTIME, &user);

	if (r == 0)
		r = stat_field(pid, STAT_STIME, &system);
	if (r == 0)
		*ret = (user + system) * NS_PER_TICK;
	return r;
}

int procfs_start_time(uint64_t ticks, double *ret_unix)
{
	struct timespec now, up;

	if (clock_gettime(CLOCK_REALTIME, &now) < 0 || clock_gettime(CLOCK_BOOTTIME, &up) < 0)
		return -errno;
	*ret_unix = (double)(now.tv_sec - up.tv_sec) + (double)(now.tv_nsec - up.tv_nsec) / 1e9 +
		    (double)ticks * ((double)NS_PER_TICK / NS_PER_S);
	return 0;
}

int procfs_comm(pid_t pid, char ret[PROCFS_COMM_SIZE])
{
	char text[PROCFS_COMM_SIZE];
	ssize_t n = procfs_read(pid, "comm", text, sizeof(text) - 1);

	if (n < 0)
		return (int)n;
	if (n > 0 && text[n - 1] == '\n')
		n--;
	text[n] = '\0';
	memcpy(ret, text, (size_t)n + 1);
	return 0;
}

int procfs_exe(pid_t pid, char **ret)
{
	static const char deleted[] = " (deleted)";
	char path[PROC_PATH_MAX], target[PATH_MAX + 1], *copy;
	size_t size;
	ssize_t n = readlink(proc_path(path, pid, "exe"), target, sizeof(target) - 1);

	if (n < 0)
		return gone_if_missing(errno);
	size = (size_t)n;
	if (size >= sizeof(deleted) &&
	    memcmp(target + size - (sizeof(deleted) - 1), deleted, sizeof(deleted) - 1) == 0)
		size -= sizeof(deleted) - 1;
	target[size] = '\0';
	copy = strdup(target);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

int procfs_each_line(pid_t pid, const char *name, int (*fn)(char *line, void *userdata),
		     void *userdata)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	char path[PROC_PATH_MAX];
	size_t capacity = 0;
	ssize_t n;
	int r;

	f = fopen(proc_path(path, pid, name), "re");
	if (!f)
		return gone_if_missing(errno);
	for (size_t lines = 0;; lines++) {
		errno = 0;
		n = getline(&line, &capacity, f);
		if (n < 0)
			return feof(f) ? 0 : errno ? -errno : -EIO;
		if (lines == LINES_MAX)
			return -E2BIG;
		if (n > 0 && line[n - 1] == '\n')
			line[n - 1] = '\0';
		r = fn(line, userdata);
		if (r != 0)
			return r;
	}
}

struct status {
	bool has_uid;
	uint64_t uid;
	uint64_t inner_pid;
};

static int status_line(char *line, void *userdata)
{
	struct status *s = userdata;

	if (strncmp(line, "Uid:\t", 5) == 0) {
		s->has_uid = parse_u64(line + 5, &s->uid);
		return 0;
	}
	if (strncmp(line, "NSpid:\t", 7) != 0)
		return 0;
	/* one pid for each namespace, from ours on inwards */
	if (strchr(line + 7, '\t') && !parse_u64(strrchr(line, '\t') + 1, &s->inner_pid))
		return -EBADMSG;
	return s->has_uid; /* Uid stands before: nothing else to look for */
}

int procfs_status(pid_t pid, uid_t *ret_uid, pid_t *ret_inner_pid)
{
	struct status s = {0};
	int r = procfs_each_line(pid, "status", status_line, &s);

	if (r < 0)
		return r;
	if (!s.has_uid || s.uid > UINT32_MAX || s.inner_pid > INT32_MAX)
		return -EBADMSG;
	*ret_uid = (uid_t)s.uid;
	*ret_inner_pid = (pid_t)s.inner_pid;
	return 0;
}

#define FILTER "Seccomp:\t2" /* SECCOMP_MODE_FILTER */

static int filter_line(char *line, void *userdata)
{
	(void)userdata;
	return strcmp(line, FILTER) == 0;
}

int procfs_is_filtered(pid_t pid)
{
	return procfs_each_line(pid, "status", filter_line, NULL);
}

/* The path to be told of those seen so far. */
struct cgroups {
	char *path;
	int rank;
};

static void cleanup_cgroups(struct cgroups *c)
{
	free(c->path);
}

static bool is_wanted_hierarchy(char *controllers)
{
	static const char *const wanted[] = {"memory", "pids", "name=systemd"};
	char *next;

	for (char *name = controllers; name; name = next) {
		next = strchr(name, ',');
		if (next)
			*next++ = '\0';
		for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
			if (strcmp(name, wanted[i]) == 0)
				return true;
	}
	return false;
}

bool procfs_strip_deleted(char *path)
{
	static const char mark[] = " (deleted)";
	size_t n = strlen(path), m = sizeof(mark) - 1;
	bool is_deleted = n > m && strcmp(path + n - m, mark) == 0;

	if (is_deleted)
		path[n - m] = '\0';
	return is_deleted;
}

static int rank_cgroup(const char *path, bool unified)
{
	struct container container;

	container_parse(path, &container);
	return 2 * (container.id[0] != '\0') + (unified && strcmp(path, "/") != 0);
}

/* "ID:CONTROLLERS:PATH"; the unified hierarchy has no controllers. */
static int cgroup_line(char *line, void *userdata)
{
	struct cgroups *c = userdata;
	char *controllers = strchr(line, ':'), *copy;
	char *path = controllers ? strchr(controllers + 1, ':') : NULL;
	bool unified;
	int rank;

	if (!path)
		return -EBADMSG;
	*controllers++ = '\0';
	*path++ = '\0';
	unified = *controllers == '\0';
	if (!unified && !is_wanted_hierarchy(controllers))
		return 0;
	(void)procfs_strip_deleted(path);
	rank = rank_cgroup(path, unified);
	if (c->path && (rank < c->rank || (rank == c->rank && strlen(path) <= strlen(c->path))))
		return 0;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	free(c->path);
	c->path = copy;
	c->rank = rank;
	return 0;
}

int procfs_cgroup(pid_t pid, char **ret)
{
	_cleanup_(cleanup_cgroups) struct cgroups c = {0};
	int r = procfs_each_line(pid, "cgroup", cgroup_line, &c);

	if (r < 0)
		return r;
	if (!c.path)
		return -ENODATA;
	*ret = TAKE_PTR(c.path);
	return 0;
}

int procfs_exe_file(pid_t pid, struct statx *ret)
{
	char path[PROC_PATH_MAX];

	if (statx(AT_FDCWD, proc_path(path, pid, "exe"), AT_STATX_DONT_SYNC, STATX_INO, ret) < 0)
		return gone_if_missing(errno);
	return 0;
}

int procfs_group(pid_t pid, pid_t *ret)
{
	struct statx program, st;
	pid_t group = pid, ancestor = pid;
	int r = procfs_exe_file(pid, &program);

	if (r < 0)
		return r;
	for (int i = 0; i < ANCESTORS_MAX; i++) {
		uint64_t parent = 0;

		if (stat_field(ancestor, STAT_PPID, &parent) < 0 || parent == 0)
			break;
		ancestor = (pid_t)parent;
		if (procfs_exe_file(ancestor, &st) == 0 && st.stx_ino == program.stx_ino &&
		    st.stx_dev_major == program.stx_dev_major &&
		    st.stx_dev_minor == program.stx_dev_minor)
			group = ancestor;
	}
	*ret = group;
	return 0;
}

pid_t procfs_other_thread(pid_t pid)
{
	char path[PROC_PATH_MAX];
	_cleanup_closedir_ DIR *dir = opendir(proc_path(path, pid, "task"));
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		uint64_t thread;

		if (parse_u64(entry->d_name, &thread) && thread <= INT32_MAX &&
		    (pid_t)thread != pid)
			return (pid_t)thread;
	}
	return 0;
}

int procfs_each_pid(int (*fn)(pid_t pid, void *userdata), void *userdata)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc");
	struct dirent *entry;
	int r;

	if (!dir)
		return -errno;
	while (errno = 0, (entry = readdir(dir))) {
		uint64_t pid;

		if (!parse_u64(entry->d_name, &pid) || pid == 0 || pid > INT32_MAX)
			continue;
		r = fn((pid_t)pid, userdata);
		if (r != 0)
			return r;
	}
	return -errno;
}
