/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "macro.h"
#include "socket_path.h"

#define LOCK_WAIT_SECONDS 120

struct socket_path {
	struct sockaddr_un address;
	char *lock_path, *parent;
	int lock_fd;
	bool bound, made_parent;
};

/* The lock on a file beside the socket. The file goes with its holder, so whoever comes to hold a
 * lock looks whether its file is still the one with that name.
 */
static int try_lock(const char *lock)
{
	for (;;) {
		_cleanup_close_ int fd =
			open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat held, named;

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0)
			return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
		if (fstat(fd, &held) < 0)
			return -errno;
		if (stat(lock, &named) == 0 && named.st_dev == held.st_dev &&
		    named.st_ino == held.st_ino)
			return TAKE_FD(fd);
	}
}

/* A daemon that was killed holds its lock until the kernel has taken its probes out, and answers no
 * more.
 */
static bool is_answered(const struct socket_path *p)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ||
	       connect(fd, (const struct sockaddr *)&p->address, sizeof(p->address)) == 0 ||
	       (errno != ECONNREFUSED && errno != ENOENT);
}

static int lock(const struct socket_path *p)
{
	int fd = try_lock(p->lock_path);

	for (int i = 0; fd == -EADDRINUSE && i < LOCK_WAIT_SECONDS * 10; i++) {
		if (is_answered(p))
			return fd;
		if (i == 0)
			log_notice("%s: waiting for the earlier daemon to end",
				   p->address.sun_path);
		usleep(100000);
		fd = try_lock(p->lock_path);
	}
	return fd;
}

/* What stands at the path must be nothing, or a socket that a dead daemon left. */
static int check_path(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	log_notice("%s: an earlier daemon ended without cleaning up: taking its place", path);
	return 0;
}

static int fill_in(struct socket_path *p, const char *path)
{
	const char *slash = strrchr(path, '/');

	p->lock_fd = -1;
	p->address.sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(p->address.sun_path))
		return -ENAMETOOLONG;
	strcpy(p->address.sun_path, path);
	if (asprintf(&p->lock_path, "%s.lock", path) < 0) {
		p->lock_path = NULL;
		return -ENOMEM;
	}
	if (slash && slash != path) {
		p->parent = strndup(path, (size_t)(slash - path));
		if (!p->parent)
			return -ENOMEM;
	}
	return 0;
}

int socket_path_claim(const char *path, struct socket_path **ret)
{
	struct socket_path *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	r = fill_in(p, path);
	if (r == 0) {
		/* On hosts without tmpfiles.d the default path has no directory yet. */
		p->made_parent = p->parent && mkdir(p->parent, 0755) == 0;
		p->lock_fd = lock(p);
		r = p->lock_fd < 0 ? p->lock_fd : check_path(path);
	}
	if (r < 0) {
		socket_path_release(p);
		return r;
	}
	*ret = p;
	return 0;
}

int socket_path_listen(struct socket_path *p, gid_t group)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int r;

	if (fd < 0)
		return -errno;
	(void)unlink(p->address.sun_path); /* a dead daemon's: the lock is ours */
	mask = umask(0177);                /* never open wider than at the end */
	r = bind(fd, (const struct sockaddr *)&p->address, sizeof(p->address)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return r;
	p->bound = true;
	if (group != (gid_t)-1 && chown(p->address.sun_path, (uid_t)-1, group) == 0)
		(void)chmod(p->address.sun_path, 0660);
	return listen(fd, SOMAXCONN) < 0 ? -errno : TAKE_FD(fd);
}

void socket_path_release(struct socket_path *p)
{
	if (!p)
		return;
	if (p->bound)
		unlink(p->address.sun_path);
	if (p->lock_fd >= 0 && p->lock_path) {
		unlink(p->lock_path);
		close(p->lock_fd);
	}
	if (p->made_parent && p->parent)
		(void)rmdir(p->parent);
	free(p->lock_path);
	free(p->parent);
	free(p);
}
