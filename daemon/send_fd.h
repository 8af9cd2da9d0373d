/* SPDX-License-Identifier: Apache-2.0 */
/* Messages with a descriptor over a Unix socket. */
#ifndef SRTLEAK_SEND_FD_H
#define SRTLEAK_SEND_FD_H

#include <stddef.h>

/* fd: -1 for none; it stays the caller's. */
int send_with_fd(int socket, const void *message, size_t size, int fd);

/* ret_fd: -1 where none came. -ENODATA: the other side is gone; -EBADMSG: another size. */
int receive_with_fd(int socket, void *message, size_t size, int *ret_fd);

#endif
