/* SPDX-License-Identifier: Apache-2.0 */
/* Processes by file descriptor: a number may be another process's by now. */
#ifndef SRTLEAK_PIDFD_H
#define SRTLEAK_PIDFD_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* glibc has it since 2.36 only. Returns a negative errno; -EINVAL, and -ENOENT since Linux 6.16:
 * the number is a thread's.
 */
static inline int process_fd_open(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

/* Whether all its threads have ended, reaped or not. */
static inline bool process_fd_is_over(int fd)
{
	struct pollfd end = {.fd = fd, .events = POLLIN};

	return poll(&end, 1, 0) > 0;
}

#endif
