/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "macro.h"
#include "output.h"
#include "protocol.h"

#define TIMEOUT_S 10
#define READ_SIZE 65536U

struct client {
	int fd;
	int stop_fd;   /* of client_follow(), else -1 */
	bool is_begun; /* a reply has come */
	bool done;
	char *buffer; /* what was received and not yet handed out */
	size_t length;
	size_t capacity;
	size_t searched; /* bytes at its start that hold no end of a message */
	json_t *error;   /* the last reply, if it was an error */
};

static int connect_to(const char *path, int flags)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = TIMEOUT_S};
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0)
		return -errno;
	/* Bounds connect(), too: it waits while the daemon's backlog is full. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == EAGAIN && !(flags & SOCK_NONBLOCK) ? -ETIMEDOUT : -errno;
	return TAKE_FD(fd);
}

static int open_with(const char *path, int flags, struct client **ret)
{
	struct client *client;
	int fd = connect_to(path, flags);

	if (fd < 0)
		return fd;
	client = calloc(1, sizeof(*client));
	if (!client) {
		close(fd);
		return -ENOMEM;
	}
	client->fd = fd;
	client->stop_fd = -1;
	*ret = client;
	return 0;
}

int client_open(const char *path, struct client **ret)
{
	return open_with(path, 0, ret);
}

int client_open_nowait(const char *path, struct client **ret)
{
	return open_with(path, SOCK_NONBLOCK, ret);
}

struct client *client_free(struct client *client)
{
	if (!client)
		return NULL;
	close(client->fd);
	free(client->buffer);
	json_decref(client->error);
	free(client);
	return NULL;
}

void client_cleanup(struct client **client)
{
	client_free(*client);
}

static int send_all(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		/* A daemon that turns a client away may have said why before it hung up. */
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return 0;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		data += n;
		length -= (size_t)n;
	}
	return 0;
}

void client_follow(struct client *client, int stop_fd)
{
	client->stop_fd = stop_fd;
}

int client_send(struct client *client, const char *method, json_t *parameters, bool more)
{
	_cleanup_(json_cleanup) json_t *request = json_pack("{s:s}", "method", method);
	_cleanup_free_ char *text = NULL;

	if (!request || (parameters && json_object_set(request, "parameters", parameters) < 0) ||
	    (more && json_object_set_new(request, "more", json_true()) < 0))
		return -ENOMEM;
	text = json_dumps(request, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	if (strlen(text) + 1 > PROTOCOL_REQUEST_MAX)
		return -EMSGSIZE;
	return send_all(client->fd, text, strlen(text) + 1);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A stream that never pauses must not keep the user from ending it. */
static bool is_to_stop(const struct client *client)
{
	struct pollfd entries[] = {
		{.fd = client->stop_fd, .events = POLLIN}, /* skipped by poll() where negative */
		{.fd = client->stop_fd >= 0 ? STDOUT_FILENO : -1},
	};

	return client->stop_fd >= 0 && poll(entries, ARRAY_SIZE(entries), 0) > 0 &&
	       (entries[0].revents || entries[1].revents & POLLERR);
}

static int wait_readable(const struct client *client, int64_t deadline_ms)
{
	bool follows = client->stop_fd >= 0;
	struct pollfd entries[] = {
		{.fd = client->fd, .events = POLLIN},
		{.fd = client->stop_fd, .events = POLLIN}, /* skipped by poll() where negative */
		{.fd = follows ? STDOUT_FILENO : -1},
	};
	int64_t left = deadline_ms - now_ms();
	int timeout = follows && client->is_begun ? -1 : left > 0 ? (int)left : 0;
	int n = poll(entries, ARRAY_SIZE(entries), timeout);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (entries[1].revents || entries[2].revents & POLLERR)
		return -ECANCELED;
	return n == 0 ? -ETIMEDOUT : 0;
}

static int reserve(struct client *client, size_t size)
{
	size_t capacity = MAX(client->capacity * 2, client->length + size);
	char *buffer;

	if (client->capacity - client->length >= size)
		return 0;
	buffer = realloc(client->buffer, capacity);
	if (!buffer)
		return -ENOMEM;
	client->buffer = buffer;
	client->capacity = capacity;
	return 0;
}

/* Takes in what has arrived. Returns 0, or -EAGAIN where that is nothing. */
static int receive(struct client *client)
{
	ssize_t n;
	int err = reserve(client, READ_SIZE);

	if (err)
		return err;
	n = recv(client->fd, client->buffer + client->length, READ_SIZE, MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -ECONNRESET;
	client->length += (size_t)n;
	return 0;
}

/* Receives until the buffer begins with a whole message. Returns its length without the NUL, or
 * -EAGAIN where the rest has not arrived.
 */
static ssize_t receive_message(struct client *client)
{
	for (;;) {
		const char *end = client->length == client->searched
					  ? NULL
					  : memchr(client->buffer + client->searched, '\0',
						   client->length - client->searched);
		int err;

		if (end && end - client->buffer < (ssize_t)PROTOCOL_REPLY_MAX)
			return end - client->buffer;
		if (end || client->length >= PROTOCOL_REPLY_MAX)
			return -EMSGSIZE;
		client->searched = client->length;
		err = receive(client);
		if (err)
			return err;
	}
}

/* Takes the message that the buffer begins with. */
static json_t *take_message(struct client *client, size_t length)
{
	json_t *message = json_loadb(client->buffer, length, JSON_REJECT_DUPLICATES, NULL);

	client->length -= length + 1;
	memmove(client->buffer, client->buffer + length + 1, client->length);
	client->searched = 0;
	return message;
}

int client_try_next(struct client *client, json_t **ret)
{
	_cleanup_(json_cleanup) json_t *reply = NULL;
	json_t *parameters;
	ssize_t length;

	if (client->done)
		return 0;
	length = receive_message(client);
	if (length < 0)
		return (int)length;
	reply = take_message(client, (size_t)length);
	if (!json_is_object(reply))
		return -EPROTO;
	client->is_begun = true;
	client->done = !json_is_true(json_object_get(reply, "continues"));
	if (json_object_get(reply, "error")) {
		client->done = true;
		client->error = TAKE_PTR(reply);
		return -EREMOTEIO;
	}
	parameters = json_object_get(reply, "parameters");
	if (!json_is_object(parameters))
		return -EPROTO;
	*ret = json_incref(parameters);
	return 1;
}

int client_next(struct client *client, json_t **ret)
{
	int64_t deadline_ms = now_ms() + TIMEOUT_S * INT64_C(1000);

	for (;;) {
		int r = is_to_stop(client) ? -ECANCELED : client_try_next(client, ret);

		if (r != -EAGAIN)
			return r;
		r = wait_readable(client, deadline_ms);
		if (r < 0)
			return r;
	}
}

int client_fd(const struct client *client)
{
	return client->fd;
}

const char *client_error(const struct client *client, const json_t **ret_parameters)
{
	const char *name = json_string_value(json_object_get(client->error, "error"));

	*ret_parameters = json_object_get(client->error, "parameters");
	return name ? name : "unnamed";
}
