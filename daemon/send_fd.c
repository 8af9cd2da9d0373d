/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "macro.h"
#include "send_fd.h"

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

int send_with_fd(int socket, const void *message, size_t size, int fd)
{
	struct iovec body = {.iov_base = (void *)message, .iov_len = size};
	union control control = {0};
	struct msghdr m = {.msg_iov = &body, .msg_iovlen = 1};

	if (fd >= 0) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
	}
	return sendmsg(socket, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int receive_with_fd(int socket, void *message, size_t size, int *ret_fd)
{
	struct iovec body = {.iov_base = message, .iov_len = size};
	union control control = {0};
	struct msghdr m = {
		.msg_iov = &body,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	const struct cmsghdr *first;
	_cleanup_close_ int fd = -1;
	ssize_t n;

	do
		n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -ENODATA;
	first = CMSG_FIRSTHDR(&m);
	if (first && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS &&
	    first->cmsg_len == CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(first), sizeof(fd));
	if ((size_t)n != size)
		return -EBADMSG;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
