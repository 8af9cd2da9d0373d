/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "http.h"
#include "log.h"
#include "macro.h"
#include "metrics.h"

#define CONNECTIONS_MAX 64              /* the oldest goes where there would be more */
#define CONNECTIONS_ENDING 64           /* told to go, and not gone yet */
#define TIMEOUT_SECONDS 10U             /* without progress a connection is dropped */
#define REQUEST_NS (20 * NS_PER_SECOND) /* for a request and its answer in all */
#define REQUEST_BYTES 8192              /* memory of one connection: line and headers */
#define HELD_BYTES_MAX (16U << 20)      /* of answers that their clients have not taken yet */

/* A connection since it was made, or its last request was answered. */
struct peer {
	int fd;
	uint64_t since_ns;
	bool is_ending;
};

struct http {
	struct peer *peers[CONNECTIONS_MAX + CONNECTIONS_ENDING];
	size_t n_peers;
	const struct subject *subject;
	size_t max_series;
	size_t held; /* bytes of metrics in answers under way */
	struct MHD_Daemon *daemon;
	sd_event *loop;
	sd_event_source *source, *timer;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int status,
			      const char *type, struct MHD_Response *response)
{
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned int status,
				   const char *text) /* a constant */
{
	return answer(connection, status, "text/plain; charset=utf-8",
		      MHD_create_response_from_buffer(strlen(text), (void *)text,
						      MHD_RESPMEM_PERSISTENT));
}

/* Nothing, or a colon and digits. */
static bool is_port(const char *s)
{
	return *s == '\0' || (*s == ':' && s[1 + strspn(s + 1, "0123456789")] == '\0');
}

/* A page of another origin can make a browser here ask us under its own name (DNS rebinding), but
 * it cannot choose an address for its name.
 */
static bool host_is_address(const char *host)
{
	char name[64];
	size_t n = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");
	unsigned char address[sizeof(struct in6_addr)];

	if (host[0] == '[') {
		host++;
		n--;
	}
	if (n >= sizeof(name) || !is_port(host + n + (host[n] == ']')))
		return false;
	memcpy(name, host, n);
	name[n] = '\0';
	return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, address) == 1 ||
	       inet_pton(AF_INET6, name, address) == 1;
}

/* An answer's body, which is counted while it is held. */
struct body {
	struct http *http;
	struct buffer text;
};

static void body_free(void *userdata)
{
	struct body *b = userdata;

	b->http->held -= b->text.capacity;
	buffer_free(&b->text);
	free(b);
}

static struct body *body_new(struct http *h, bool openmetrics)
{
	struct body *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return NULL;
	b->http = h;
	r = metrics_write(h->subject, openmetrics, h->max_series, &b->text);
	h->held += b->text.capacity;
	if (r < 0)
		body_free(b);
	return r < 0 ? NULL : b;
}

/* How much a client wants a type, from 0 to 1 (RFC 9110, 12.5.1); 0 where it does not name it. */
static double quality(const char *accept, const char *type)
{
	size_t n = strlen(type);

	for (const char *item = accept; item; item = strchr(item, ',')) {
		const char *end, *q;

		item += strspn(item, ", \t");
		end = item + strcspn(item, ",");
		if (strncasecmp(item, type, n) != 0 || !strchr(",; \t", item[n]))
			continue;
		q = strcasestr(item, "q=");
		return q && q < end ? strtod(q + 2, NULL) : 1;
	}
	return 0;
}

static enum MHD_Result metrics(struct http *h, struct MHD_Connection *connection)
{
	const char *accept =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	bool openmetrics =
		accept && quality(accept, "application/openmetrics-text") > 0 &&
		quality(accept, "application/openmetrics-text") >= quality(accept, "text/plain");
	struct MHD_Response *response;
	struct body *body;

	if (h->held > HELD_BYTES_MAX)
		return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
				   "too many answers are waiting to be read\n");
	body = body_new(h, openmetrics);
	if (!body)
		return MHD_NO;
	response = MHD_create_response_from_buffer_with_free_callback_cls(
		body->text.size, body->text.data, body_free, body);
	if (!response)
		body_free(body);
	return answer(connection, MHD_HTTP_OK,
		      openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
				  : "text/plain; version=0.0.4; charset=utf-8",
		      response);
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection,
				  const char *url, const char *method, const char *version,
				  const char *upload, size_t *upload_size, void **request)
{
	struct http *h = userdata;
	const char *host =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);

	(void)version;
	(void)upload;
	(void)upload_size;
	(void)request;
	if (!host || !host_is_address(host))
		return answer_text(connection, MHD_HTTP_FORBIDDEN,
				   "Host must be an address or localhost\n");
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only\n");
	if (strcmp(url, "/metrics") == 0)
		return metrics(h, connection);
	if (strcmp(url, "/healthz") == 0)
		return answer_text(connection, MHD_HTTP_OK, "ok\n");
	return answer_text(connection, MHD_HTTP_NOT_FOUND, "try /metrics or /healthz\n");
}

static void end_peer(struct peer *peer)
{
	if (peer && !peer->is_ending)
		shutdown(peer->fd, SHUT_RDWR); /* libmicrohttpd closes it */
	if (peer)
		peer->is_ending = true;
}

/* Makes room for a new one: whoever takes his time must not keep others out. */
static void end_oldest(struct http *h)
{
	struct peer *oldest = NULL;
	size_t staying = 0;

	for (size_t i = 0; i < h->n_peers; i++) {
		struct peer *peer = h->peers[i];

		if (peer->is_ending)
			continue;
		staying++;
		if (!oldest || peer->since_ns < oldest->since_ns)
			oldest = peer;
	}
	if (staying <= CONNECTIONS_MAX)
		return;
	log_limited(LOG_LEVEL_WARNING, "HTTP: more than %d connections: the oldest has to go",
		    CONNECTIONS_MAX);
	end_peer(oldest);
}

static void end_slow(struct http *h)
{
	uint64_t now = clock_monotonic_ns();

	for (size_t i = 0; i < h->n_peers; i++)
		if (now - h->peers[i]->since_ns > REQUEST_NS)
			end_peer(h->peers[i]);
}

static struct peer *add_peer(struct http *h, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct peer *peer =
		info && h->n_peers < ARRAY_SIZE(h->peers) ? calloc(1, sizeof(*peer)) : NULL;

	if (!peer)
		return NULL;
	*peer = (struct peer){.fd = info->connect_fd, .since_ns = clock_monotonic_ns()};
	h->peers[h->n_peers++] = peer;
	end_oldest(h);
	return peer;
}

static void remove_peer(struct http *h, struct peer *peer)
{
	for (size_t i = 0; i < h->n_peers; i++)
		if (h->peers[i] == peer)
			h->peers[i] = h->peers[--h->n_peers];
	free(peer);
}

static void on_connection(void *userdata, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		*context = add_peer(userdata, connection);
	else
		remove_peer(userdata, *context);
}

/* Its time begins anew with each request. */
static void on_completed(void *userdata, struct MHD_Connection *connection, void **request,
			 enum MHD_RequestTerminationCode how)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct peer *peer = info ? info->socket_context : NULL;

	(void)userdata;
	(void)request;
	(void)how;
	if (peer)
		peer->since_ns = clock_monotonic_ns();
}

/* libmicrohttpd says when it next has a timeout to see to. */
static void arm_timer(struct http *h)
{
	MHD_UNSIGNED_LONG_LONG milliseconds;
	uint64_t now;

	if (MHD_get_timeout(h->daemon, &milliseconds) != MHD_YES) {
		sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_now(h->loop, CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(h->timer, now + milliseconds * 1000);
	sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

static int on_activity(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct http *h = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	MHD_run(h->daemon);
	arm_timer(h);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http *h = userdata;

	(void)source;
	(void)usec;
	end_slow(h);
	MHD_run(h->daemon);
	arm_timer(h);
	return 0;
}

static void freeaddrinfop(struct addrinfo **address)
{
	if (*address)
		freeaddrinfo(*address);
}

/* The numeric address that listen names; "localhost" stands for 127.0.0.1. */
static int parse_listen(const char *listen, struct addrinfo **ret)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
	};
	_cleanup_free_ char *host = strdup(listen);
	char *colon = host ? strrchr(host, ':') : NULL, *name = host;

	if (!colon)
		return -EINVAL;
	*colon = '\0';
	if (name[0] == '[' && colon > name && colon[-1] == ']') {
		colon[-1] = '\0';
		name++;
	}
	if (strcmp(name, "localhost") == 0)
		name = (char *)"127.0.0.1";
	return getaddrinfo(name, colon + 1, &hints, ret) == 0 ? 0 : -EINVAL;
}

static int open_listener(const char *listen_on)
{
	_cleanup_(freeaddrinfop) struct addrinfo *address = NULL;
	_cleanup_close_ int fd = -1;
	const int on = 1;
	int r = parse_listen(listen_on, &address);

	if (r < 0)
		return r;
	fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int http_start(sd_event *loop, const char *listen_on, size_t max_series,
	       const struct subject *subject, struct http **ret)
{
	_cleanup_(http_freep) struct http *h = calloc(1, sizeof(*h));
	const union MHD_DaemonInfo *info;
	int fd, r;

	if (!h)
		return -ENOMEM;
	h->subject = subject;
	h->max_series = max_series;
	h->loop = loop;
	fd = open_listener(listen_on);
	if (fd < 0)
		return fd;
	h->daemon = MHD_start_daemon(
		MHD_USE_EPOLL, 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX + CONNECTIONS_ENDING,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, h, MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_SECONDS,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_BYTES, MHD_OPTION_END);
	if (!h->daemon) {
		close(fd);
		return -EIO;
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -EIO;
	r = sd_event_add_io(loop, &h->source, info->epoll_fd, EPOLLIN, on_activity, h);
	if (r >= 0)
		r = sd_event_add_time(loop, &h->timer, CLOCK_MONOTONIC, 0, 0, on_timer, h);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(h);
	return 0;
}

void http_set_max_series(struct http *h, size_t max_series)
{
	h->max_series = max_series;
}

struct http *http_free(struct http *h)
{
	if (!h)
		return NULL;
	sd_event_source_disable_unref(h->source);
	sd_event_source_disable_unref(h->timer);
	if (h->daemon)
		MHD_stop_daemon(h->daemon);
	free(h);
	return NULL;
}
