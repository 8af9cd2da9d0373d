/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "error.h"
#include "macro.h"
#include "output.h"
#include "protocol.h"
#include "request.h"
#include "stop.h"

#define DUMP_FLAGS (JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII)
#define TIME_DIGITS 16 /* of Unix seconds in a double: microseconds, and no noise behind them */

static const struct {
	int error;
	enum cli_status status;
	const char *hint;
} connect_errors[] = {
	{EACCES, CLI_PERMISSION, "Run it as root or as a member of the group srtleak."},
	{EPERM, CLI_PERMISSION, "Run it as root or as a member of the group srtleak."},
	{ENAMETOOLONG, CLI_USAGE, "Give a shorter path with --socket PATH or $SRTLEAK_SOCKET."},
};

/* What the daemon's errors mean; `detail` is the parameter that says more. */
static const struct {
	const char *name;
	enum cli_status status;
	const char *why;
	const char *detail;
	const char *hint;
} remote_errors[] = {
	{ERROR_NO_SUCH_PROCESS, CLI_NO_PROCESS, "no such process, or not tracked", NULL,
	 "Tracked processes: srtleakctl ps"},
	{ERROR_PERMISSION_DENIED, CLI_PERMISSION, "permission denied", "reason",
	 "Run it as root or as a member of the group srtleak."},
	{ERROR_OVERLOADED, CLI_FAILURE, "the daemon has too much to do", "reason",
	 "Try again in a few seconds."},
	{ERROR_METHOD_NOT_FOUND, CLI_FAILURE, "the daemon does not know this request", "method",
	 "The daemon is older than this program: systemctl restart srtleakd"},
	{ERROR_INVALID_PARAMETER, CLI_USAGE, "the daemon does not accept a parameter", "parameter",
	 NULL},
};

const char *request_connect_words(int error)
{
	switch (error) {
	case ENOENT:
		return "not running (there is no such socket)";
	case ECONNREFUSED:
		return "not running (nobody listens on the socket)";
	case EAGAIN:
	case ETIMEDOUT:
		return "it does not answer";
	default:
		return strerror(error);
	}
}

static int report_connect(const char *path, int error)
{
	char what[256];

	snprintf(what, sizeof(what), "daemon at %s", path);
	for (size_t i = 0; i < ARRAY_SIZE(connect_errors); i++)
		if (connect_errors[i].error == error)
			return error_report(connect_errors[i].status, connect_errors[i].hint, what,
					    "%s", strerror(error));
	return error_report(CLI_UNREACHABLE,
			    "Start the daemon (srtleakd, as root), or say where its socket "
			    "is with --socket PATH.",
			    what, "%s", request_connect_words(error));
}

static int report_remote(const struct client *client, const struct request *request)
{
	const json_t *parameters;
	const char *name = client_error(client, &parameters);
	const char *detail, *hint;

	for (size_t i = 0; i < ARRAY_SIZE(remote_errors); i++) {
		if (strcmp(name, remote_errors[i].name) != 0)
			continue;
		detail = remote_errors[i].detail ? json_string_value(json_object_get(
							   parameters, remote_errors[i].detail))
						 : NULL;
		hint = remote_errors[i].status == CLI_PERMISSION && request->if_denied
			       ? request->if_denied
			       : remote_errors[i].hint;
		return error_report(remote_errors[i].status, hint, request->what, "%s%s%s",
				    remote_errors[i].why, detail ? ": " : "", detail ? detail : "");
	}
	return error_report(CLI_FAILURE, NULL, request->what, "the daemon reports the error %s",
			    name);
}

static int report_failure(const struct client *client, const struct request *request, int error)
{
	const char *what = request->what;
	static const char look[] = "What happened to it: systemctl status srtleakd";

	switch (error) {
	case EREMOTEIO:
		return report_remote(client, request);
	case ECONNRESET:
		return error_report(CLI_UNREACHABLE, look, what,
				    "the daemon closed the connection before it had answered");
	case ESHUTDOWN:
		return error_report(CLI_UNREACHABLE, look, what,
				    "the daemon closed the connection: it has ended, or this "
				    "program did not read for too long");
	case ETIMEDOUT:
		return error_report(CLI_UNREACHABLE, look, what,
				    "the daemon does not answer within 10 s");
	case EMSGSIZE:
		return error_report(CLI_FAILURE, NULL, what,
				    "the daemon's answer is longer than the protocol allows");
	case EPROTO:
		return error_report(CLI_FAILURE,
				    "Are daemon and srtleakctl of the same version? srtleakctl "
				    "--version; srtleakd --version",
				    what, "the daemon's answer is malformed");
	default:
		return error_report(CLI_FAILURE, NULL, what, "%s", strerror(error));
	}
}

static int print_value(const json_t *value)
{
	return json_dumpf(value, stdout, DUMP_FLAGS) < 0 ? -EIO : 0;
}

static int print_member(const char *key, const json_t *value)
{
	_cleanup_(json_cleanup) json_t *name = json_string(key);
	int err = name ? print_value(name) : -ENOMEM;

	if (err)
		return err;
	putchar(':');
	return print_value(value);
}

/* The first reply's fields but for the array, which is left open as the last one. */
static int print_head(const json_t *parameters, const char *items)
{
	const char *separator = "{";
	const char *key;
	json_t *value;
	int err;

	error_output_begun();
	json_object_foreach((json_t *)parameters, key, value)
	{
		if (items && strcmp(key, items) == 0)
			continue;
		fputs(separator, stdout);
		separator = ",";
		err = print_member(key, value);
		if (err)
			return err;
	}
	if (items)
		printf("%s\"%s\":[", separator, items);
	else if (*separator == '{')
		putchar('{');
	return 0;
}

struct json_stream {
	const char *items;
	bool any;
};

/* Lists are printed as they come, so that a long one needs no memory here. */
static int print_reply(const json_t *parameters, const json_t *items, bool first, void *userdata)
{
	struct json_stream *stream = userdata;
	int err = first ? print_head(parameters, stream->items) : 0;
	size_t n = json_array_size(items);

	for (size_t i = 0; i < n && !err; i++) {
		if (stream->any)
			putchar(',');
		stream->any = true;
		err = print_value(json_array_get(items, i));
	}
	return err;
}

/* An object a line. */
static int print_lines(const json_t *parameters, const json_t *items, bool first, void *userdata)
{
	(void)parameters;
	(void)first;
	(void)userdata;
	for (size_t i = 0; i < json_array_size(items); i++) {
		if (json_dumpf(json_array_get(items, i), stdout,
			       DUMP_FLAGS | JSON_REAL_PRECISION(TIME_DIGITS)) < 0)
			return -EIO;
		putchar('\n');
	}
	return 0;
}

static int handle_reply(const struct request *request, const json_t *parameters, bool first)
{
	const json_t *items = NULL;

	if (request->items) {
		items = json_object_get(parameters, request->items);
		if (!json_is_array(items))
			return -EPROTO;
	}
	for (size_t i = 0; i < json_array_size(items); i++)
		if (!json_is_object(json_array_get(items, i)))
			return -EPROTO;
	return request->reply(parameters, items, first, request->userdata);
}

static int exchange(struct client *client, const struct request *request, json_t *parameters)
{
	bool first = true;
	int r = client_send(client, request->method, parameters, request->items != NULL);

	if (r < 0)
		return r;
	for (;;) {
		_cleanup_(json_cleanup) json_t *reply = NULL;

		r = client_next(client, &reply);
		if (r <= 0)
			return r;
		/* More than one reply has to be asked for. */
		if (!first && !request->items)
			return -EPROTO;
		r = handle_reply(request, reply, first);
		if (r < 0)
			return r;
		first = false;
		/* Nobody is to wait for lines until a buffer is full. main() tells of a failure. */
		if (request->endless && fflush(stdout) != 0)
			return 0;
	}
}

static int exchange_endless(struct client *client, const struct request *request,
			    json_t *parameters)
{
	int stop_fd = stop_on_signals(), r;

	if (stop_fd < 0)
		return stop_fd;
	client_follow(client, stop_fd);
	r = exchange(client, request, parameters);
	if (r == -ECANCELED)
		return 0;
	return r == -ECONNRESET ? -ESHUTDOWN : r;
}

int request_run(const struct options *options, const struct request *request, json_t *parameters)
{
	_cleanup_(json_cleanup) json_t *owned = parameters;
	_cleanup_(client_cleanup) struct client *client = NULL;
	struct json_stream stream = {.items = request->items};
	struct request asked = *request;
	int r = client_open(options->socket, &client);

	if (r < 0)
		return report_connect(options->socket, -r);
	if (options->json) {
		asked.reply = request->endless ? print_lines : print_reply;
		asked.userdata = &stream;
	}
	r = (request->endless ? exchange_endless : exchange)(client, &asked, owned);
	if (r < 0)
		return report_failure(client, request, -r);
	if (options->json && !request->endless)
		puts(request->items ? "]}" : "}");
	return CLI_OK;
}
