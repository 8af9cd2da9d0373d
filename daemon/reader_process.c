/* SPDX-License-Identifier: Apache-2.0 */
/* The reader's own process: confined before it reads anything, then one call after the other. */
#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "macro.h"
#include "reader_calls.h"
#include "send_fd.h"

#define ADDRESS_SPACE_MAX (1UL << 30) /* two tables of 64 MiB, and what libelf makes of them */

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED true /* it needs terabytes of addresses, and calls of its own */
#else
#define IS_SANITIZED false
#endif

/* What it takes to read processes and their files, of what the daemon has. */
static int keep_capabilities(void)
{
	const uint64_t kept = 1ULL << CAP_SYS_PTRACE | 1ULL << CAP_DAC_READ_SEARCH |
			      1ULL << CAP_CHECKPOINT_RESTORE;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
		data[i].permitted &= (uint32_t)(kept >> 32 * i);
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* It opens files for reading, and otherwise changes nothing. */
static int filter_calls(void)
{
	static const int allowed[] = {
		SCMP_SYS(brk),
		SCMP_SYS(clock_gettime),
		SCMP_SYS(close),
		SCMP_SYS(exit),
		SCMP_SYS(exit_group),
		SCMP_SYS(fcntl),
		SCMP_SYS(fstat),
		SCMP_SYS(fstatfs),
		SCMP_SYS(futex),
		SCMP_SYS(getdents64),
		SCMP_SYS(getpid),
		SCMP_SYS(getrandom),
		SCMP_SYS(gettid),
		SCMP_SYS(lseek),
		SCMP_SYS(madvise),
		SCMP_SYS(mmap),
		SCMP_SYS(mprotect),
		SCMP_SYS(mremap),
		SCMP_SYS(munmap),
		SCMP_SYS(newfstatat),
		SCMP_SYS(open),
		SCMP_SYS(openat),
		SCMP_SYS(openat2),
		SCMP_SYS(pread64),
		SCMP_SYS(process_vm_readv),
		SCMP_SYS(read),
		SCMP_SYS(readlink),
		SCMP_SYS(readlinkat),
		SCMP_SYS(recvmsg),
		SCMP_SYS(restart_syscall),
		SCMP_SYS(rt_sigprocmask),
		SCMP_SYS(rt_sigreturn),
		SCMP_SYS(sendmsg),
		SCMP_SYS(stat),
		SCMP_SYS(statx),
		SCMP_SYS(tgkill),
		SCMP_SYS(write),
	};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = filter ? 0 : -ENOMEM;

	for (size_t i = 0; i < ARRAY_SIZE(allowed) && r == 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

static int confine(void)
{
	const struct rlimit space = {ADDRESS_SPACE_MAX, ADDRESS_SPACE_MAX}, none = {0, 0};
	int r = keep_capabilities();

	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	if (r == 0 && (setrlimit(RLIMIT_CORE, &none) < 0 ||
		       (!IS_SANITIZED && setrlimit(RLIMIT_AS, &space) < 0)))
		r = -errno;
	return r < 0 || IS_SANITIZED ? r : filter_calls();
}

static int serve_one(union reader_page *page)
{
	struct reader_request request;
	struct reader_reply reply;
	uint64_t began;
	_cleanup_close_ int fd = -1, opened = -1;
	int r = receive_with_fd(READER_SOCKET, &request, sizeof(request), &fd);

	if (r < 0)
		return r;
	began = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	reply.result =
		reader_handle((enum reader_call)request.call, request.pid, fd, page, &opened);
	reply.cpu_us = (uint32_t)((clock_ns(CLOCK_PROCESS_CPUTIME_ID) - began) / 1000);
	return send_with_fd(READER_SOCKET, &reply, sizeof(reply), opened);
}

int reader_main(void)
{
	union reader_page *page =
		mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, READER_PAGE, 0);
	int r = page == MAP_FAILED ? -errno : confine();

	prctl(PR_SET_NAME, READER_NAME);
	if (r < 0) {
		log_error("the reader cannot be confined: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	while (serve_one(page) == 0)
		continue;
	return EXIT_SUCCESS; /* the daemon has ended, or given it up */
}
