/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bounds.h"
#include "log.h"
#include "protocol.h"
#include "server.h"
#include "socket_path.h"

#define CLIENTS_MAX 64
#define SILENCE_USEC (SILENCE_S * 1000000ULL)
#define SWEEP_USEC 5000000ULL
#define MESSAGES_PER_TURN 8 /* then others have theirs */
#define ACCEPT_PAUSE_USEC 1000000ULL
#define GROUPS_MAX 1024

struct client {
	LIST_ENTRY(client) link;
	struct server *server;
	int fd;
	sd_event_source *source;
	uint64_t progress_at; /* CLOCK_MONOTONIC, microseconds */
	struct caller caller;
	struct buffer in, out;
	struct reply *reply;
	bool waits; /* it has taken all there is, and the reply goes on when something happens */
};

struct server {
	struct socket_path *path;
	int fd;
	gid_t group, admins; /* -1: there is no such group */
	sd_event *loop;
	sd_event_source *source, *sweep, *post, *resume;
	bool is_exhausted; /* there was no descriptor for a client, which was said */
	const struct subject *subject;
	LIST_HEAD(, client) clients;
	size_t n_clients;
};

static void drop(struct client *c)
{
	LIST_REMOVE(c, link);
	c->server->n_clients--;
	sd_event_source_disable_unref(c->source);
	close(c->fd);
	buffer_free(&c->in);
	buffer_free(&c->out);
	reply_free(c->reply);
	free(c);
}

static gid_t find_group(const char *name)
{
	const struct group *group = getgrnam(name);

	return group ? group->gr_gid : (gid_t)-1;
}

static bool has_group(int fd, const struct ucred *peer, gid_t wanted)
{
	gid_t groups[GROUPS_MAX];
	socklen_t size = sizeof(groups);

	if (wanted == (gid_t)-1)
		return false;
	if (peer->gid == wanted)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return false;
	for (size_t i = 0; i < size / sizeof(*groups); i++)
		if (groups[i] == wanted)
			return true;
	return false;
}

/* Says who asks and returns whether he may. The socket's mode keeps strangers out; this holds where
 * somebody has changed it.
 */
static bool may_connect(const struct server *s, int fd, struct caller *ret)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return false;
	ret->uid = peer.uid;
	ret->may_change = peer.uid == 0 || has_group(fd, &peer, s->admins);
	return peer.uid == 0 || peer.uid == geteuid() || has_group(fd, &peer, s->group);
}

/* Sends what is there; false where the client is gone. */
static bool send_out(struct client *c)
{
	while (c->out.size > 0) {
		ssize_t n = send(c->fd, c->out.data, c->out.size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0)
			return false;
		buffer_consume(&c->out, (size_t)n);
		sd_event_now(c->server->loop, CLOCK_MONOTONIC, &c->progress_at);
	}
	return true;
}

static const char *has_request(const struct client *c)
{
	return c->in.size > 0 ? memchr(c->in.data, 0, c->in.size) : NULL;
}

/* Begins the next reply if a whole request has come; false: the client sends nonsense. */
static bool take_request(struct client *c)
{
	const char *end = has_request(c);
	size_t size;

	if (!end)
		return c->in.size < PROTOCOL_REQUEST_MAX;
	size = (size_t)(end - c->in.data);
	c->reply = reply_begin(c->server->subject, &c->caller, c->in.data, size, &c->out);
	buffer_consume(&c->in, size + 1);
	return true;
}

/* What the socket is to be watched for. A client reads on when it has taken what it asked for; what
 * is left of its turn comes later. While its reply waits, only its hanging up is of interest.
 */
static uint32_t events_of(const struct client *c)
{
	if (c->waits)
		return 0;
	return c->out.size > 0 || c->reply || has_request(c) ? EPOLLOUT : EPOLLIN;
}

/* One turn of replying; false where the client is to be dropped. */
static bool serve(struct client *c)
{
	for (int i = 0; i < MESSAGES_PER_TURN; i++) {
		if (!send_out(c))
			return false;
		if (c->out.size > 0)
			break;
		if (!c->reply && !take_request(c))
			return false;
		if (c->reply && !reply_is_ready(c->reply))
			break;
		if (c->reply && !reply_next(c->reply, &c->out))
			c->reply = reply_free(c->reply);
		if (buffer_failed(&c->out) || buffer_failed(&c->in))
			return false;
		if (!c->reply && c->out.size == 0)
			break;
	}
	if (!send_out(c))
		return false;
	c->waits = c->out.size == 0 && c->reply && !reply_is_ready(c->reply);
	return sd_event_source_set_io_events(c->source, events_of(c)) >= 0;
}

/* Runs after others have: what they did may be what a reply has waited for. */
static int on_post(sd_event_source *source, void *userdata)
{
	struct server *s = userdata;
	struct client *c, *next;

	(void)source;
	for (c = LIST_FIRST(&s->clients); c; c = next) {
		next = LIST_NEXT(c, link);
		if (!c->waits || !reply_is_ready(c->reply))
			continue;
		c->waits = false;
		sd_event_now(s->loop, CLOCK_MONOTONIC, &c->progress_at);
		if (sd_event_source_set_io_events(c->source, events_of(c)) < 0)
			drop(c);
	}
	return 0;
}

static bool receive(struct client *c)
{
	char chunk[16384];
	ssize_t n = recv(c->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN;
	if (n == 0)
		return false;
	buffer_append(&c->in, chunk, (size_t)n);
	sd_event_now(c->server->loop, CLOCK_MONOTONIC, &c->progress_at);
	return true;
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct client *c = userdata;

	(void)source;
	(void)fd;
	if ((revents & EPOLLIN && !receive(c)) || revents & (EPOLLHUP | EPOLLERR) || !serve(c))
		drop(c);
	return 0;
}

static void refuse(int fd, const char *error, const char *reason)
{
	struct buffer out = {0};

	reply_write_error(&out, error, "reason", reason);
	if (!buffer_failed(&out))
		(void)send(fd, out.data, out.size, MSG_NOSIGNAL | MSG_DONTWAIT);
	buffer_free(&out);
}

static int add_client(struct server *s, int fd, const struct caller *caller)
{
	struct client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->server = s;
	c->fd = fd;
	c->caller = *caller;
	sd_event_now(s->loop, CLOCK_MONOTONIC, &c->progress_at);
	r = sd_event_add_io(s->loop, &c->source, fd, EPOLLIN, on_client, c);
	if (r < 0) {
		free(c);
		return r;
	}
	LIST_INSERT_HEAD(&s->clients, c, link);
	s->n_clients++;
	return 0;
}

static int on_resume(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *s = userdata;

	(void)source;
	(void)usec;
	return sd_event_source_set_enabled(s->source, SD_EVENT_ON);
}

/* A client that cannot be accepted stays in the queue and would wake us for ever. */
static void pause_accepting(struct server *s, int error)
{
	if (!s->is_exhausted)
		log_error("clients have to wait: %s", strerror(error));
	s->is_exhausted = true;
	if (sd_event_source_set_time_relative(s->resume, ACCEPT_PAUSE_USEC) >= 0 &&
	    sd_event_source_set_enabled(s->resume, SD_EVENT_ONESHOT) >= 0)
		sd_event_source_set_enabled(s->source, SD_EVENT_OFF);
}

static int on_connect(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata)
{
	struct server *s = userdata;
	_cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct caller caller;

	(void)source;
	(void)revents;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
		pause_accepting(s, errno);
	if (fd < 0)
		return 0;
	s->is_exhausted = false;
	if (!may_connect(s, fd, &caller))
		refuse(fd, ERROR_PERMISSION_DENIED, "neither root nor in group " GROUP_USERS);
	else if (s->n_clients == CLIENTS_MAX)
		refuse(fd, ERROR_OVERLOADED, "too many connections");
	else if (add_client(s, fd, &caller) == 0)
		(void)TAKE_FD(fd);
	return 0;
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *s = userdata;
	struct client *c, *next;

	for (c = LIST_FIRST(&s->clients); c; c = next) {
		next = LIST_NEXT(c, link);
		if (!c->waits && usec > c->progress_at && usec - c->progress_at > SILENCE_USEC)
			drop(c);
	}
	sd_event_source_set_time(source, usec + SWEEP_USEC);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int server_claim(const char *path, struct server **ret)
{
	struct server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->fd = -1;
	s->group = find_group(GROUP_USERS);
	s->admins = find_group(GROUP_ADMINS);
	LIST_INIT(&s->clients);
	r = socket_path_claim(path, &s->path);
	if (r < 0) {
		server_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int server_start(struct server *s, sd_event *loop, const struct subject *subject)
{
	uint64_t now;
	int r;

	s->fd = socket_path_listen(s->path, s->group);
	if (s->fd < 0)
		return s->fd;
	s->loop = loop;
	s->subject = subject;
	r = sd_event_add_io(loop, &s->source, s->fd, EPOLLIN, on_connect, s);
	if (r < 0)
		return r;
	r = sd_event_add_post(loop, &s->post, on_post, s);
	if (r < 0)
		return r;
	r = sd_event_add_time(loop, &s->resume, CLOCK_MONOTONIC, 0, 0, on_resume, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->resume, SD_EVENT_OFF);
	if (r < 0)
		return r;
	sd_event_now(loop, CLOCK_MONOTONIC, &now);
	return sd_event_add_time(loop, &s->sweep, CLOCK_MONOTONIC, now + SWEEP_USEC, 0, on_sweep,
				 s);
}

struct server *server_free(struct server *s)
{
	struct client *c;

	if (!s)
		return NULL;
	while ((c = LIST_FIRST(&s->clients)))
		drop(c);
	sd_event_source_disable_unref(s->source);
	sd_event_source_disable_unref(s->sweep);
	sd_event_source_disable_unref(s->post);
	sd_event_source_disable_unref(s->resume);
	if (s->fd >= 0)
		close(s->fd);
	socket_path_release(s->path);
	free(s);
	return NULL;
}
