/* SPDX-License-Identifier: Apache-2.0 */
/* The place of the Unix socket in the file system: who owns it, and that nothing of it stays. */
#ifndef SRTLEAK_SOCKET_PATH_H
#define SRTLEAK_SOCKET_PATH_H

#include <sys/types.h>

struct socket_path;

/* Takes the path for this process, by a lock on a file beside it. -EADDRINUSE: a daemon answers
 * there; one that was killed, and whose probes the kernel is still taking out, is waited for.
 * -EEXIST: something stands there that is no socket.
 */
int socket_path_claim(const char *path, struct socket_path **ret);

/* Binds a listening socket; members of the group may connect, -1: only root. The descriptor is the
 * caller's.
 */
int socket_path_listen(struct socket_path *p, gid_t group);

/* Removes what was made, and lets the path go. NULL is fine. */
void socket_path_release(struct socket_path *p);

#endif
