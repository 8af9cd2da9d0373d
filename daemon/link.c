/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "link.h"
#include "macro.h"
#include "uapi.h"

#define UPROBE_PMU "/sys/bus/event_source/devices/uprobe/"

static int make_multi(int program_fd, const char *path, bool at_return,
		      const unsigned long *offsets, const uint64_t *cookies, uint32_t n, pid_t pid)
{
	struct uapi_uprobe_multi_attr attr = {
		.prog_fd = (uint32_t)program_fd,
		.attach_type = UAPI_BPF_TRACE_UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)offsets,
		.cookies = (uintptr_t)cookies,
		.cnt = n,
		.multi_flags = at_return ? UAPI_BPF_F_UPROBE_MULTI_RETURN : 0,
		.pid = (uint32_t)pid,
	};
	long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	return fd < 0 ? -errno : (int)fd;
}

static void *name_thread(void *userdata)
{
	int *program_fd = userdata;
	const unsigned long offset = 0; /* no code is there */

	*program_fd = make_multi(*program_fd, "/proc/self/exe", false, &offset, NULL, 1, gettid());
	return NULL;
}

/* The kernels that have these links first (6.6 to 6.9, without the fix of 6.10) run the program on
 * the one thread whose number is given. Those with the fix refuse a number that is no process's.
 */
static bool means_process(int program_fd)
{
	int link = program_fd;
	pthread_t thread;

	if (pthread_create(&thread, NULL, name_thread, &link) != 0)
		return false;
	pthread_join(thread, NULL);
	if (link >= 0)
		close(link);
	return link == -ESRCH;
}

int link_multi_supported(void)
{
	const struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options,
		    .expected_attach_type = UAPI_BPF_TRACE_UPROBE_MULTI);
	_cleanup_close_ int program_fd = -1, link = -1;
	const unsigned long offset = 0;

	program_fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, NULL, "GPL", program, ARRAY_SIZE(program),
				   &options);
	if (program_fd < 0)
		return -errno;
	/* A directory is no file to probe: kernels that know the link type say so with EBADF. */
	link = make_multi(program_fd, "/", false, &offset, NULL, 1, LINK_EVERY_PROCESS);
	if (link < 0 && link != -EBADF)
		return LINK_MULTI_NONE;
	return means_process(program_fd) ? LINK_MULTI_FULL : LINK_MULTI_FOR_ALL;
}

int link_multi(int program_fd, const char *path, bool at_return, const unsigned long *offsets,
	       const uint64_t *cookies, uint32_t n, pid_t pid)
{
	static enum { UNKNOWN, YES, NO } of_processes;

	if (pid != LINK_EVERY_PROCESS && of_processes == UNKNOWN)
		of_processes = means_process(program_fd) ? YES : NO;
	if (pid != LINK_EVERY_PROCESS && of_processes == NO)
		return -EOPNOTSUPP;
	return make_multi(program_fd, path, at_return, offsets, cookies, n, pid);
}

/* The number that a file of sysfs holds behind a prefix. */
static int read_number(const char *path, const char *prefix, unsigned int *ret)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	size_t n = strlen(prefix);
	char line[64];

	if (!f)
		return -errno;
	if (!fgets(line, sizeof(line), f) || strncmp(line, prefix, n) != 0)
		return -EBADMSG;
	return sscanf(line + n, "%u", ret) == 1 ? 0 : -EBADMSG;
}

/* The uprobe event source; perf_event_open(2), "dynamic PMU". */
static int open_event(const char *path, bool at_return, uint64_t offset, pid_t pid)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.config1 = (uintptr_t)path,
		.config2 = offset,
	};
	unsigned int return_bit = 0;
	long fd;
	int r;

	r = read_number(UPROBE_PMU "type", "", &attr.type);
	if (r == 0 && at_return)
		r = read_number(UPROBE_PMU "format/retprobe", "config:", &return_bit);
	if (r < 0)
		return r;
	attr.config = at_return ? 1ULL << (return_bit & 63) : 0;
	/* Of every process it is opened on one CPU, which does for all. */
	if (pid == LINK_EVERY_PROCESS)
		fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	else
		fd = syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	return fd < 0 ? -errno : (int)fd;
}

int link_perf(int program_fd, const char *path, bool at_return, uint64_t offset, uint64_t cookie,
	      pid_t pid)
{
	_cleanup_close_ int event = open_event(path, at_return, offset, pid);
	LIBBPF_OPTS(bpf_link_create_opts, options, .perf_event.bpf_cookie = cookie);
	_cleanup_close_ int link = -1;

	if (event < 0)
		return event;
	link = bpf_link_create(program_fd, event, BPF_PERF_EVENT, &options);
	if (link < 0)
		return -errno;
	/* The link holds the event from here on. */
	return ioctl(event, PERF_EVENT_IOC_ENABLE, 0) < 0 ? -errno : TAKE_FD(link);
}
