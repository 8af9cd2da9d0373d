/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../client.h"
#include "../output.h"
#include "../request.h"
#include "fetch.h"
#include "macro.h"
#include "protocol.h"

#define PATIENCE_MS 10000
#define ITEMS_MAX 65536

int64_t fetch_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

void fetch_cancel(struct fetch *fetch)
{
	fetch->client = client_free(fetch->client);
	json_decref(fetch->whole);
	fetch->whole = NULL;
	fetch->pending = false;
}

int fetch_start(struct fetch *fetch, const char *socket, const char *method, const char *items,
		json_t *parameters)
{
	_cleanup_(json_cleanup) json_t *owned = parameters;
	_cleanup_(client_cleanup) struct client *client = NULL;
	int err;

	fetch_cancel(fetch);
	err = client_open_nowait(socket, &client);
	if (!err)
		err = client_send(client, method, owned, items != NULL);
	if (err)
		return err;
	fetch->client = TAKE_PTR(client);
	fetch->items = items;
	fetch->begin_ms = fetch_now_ms();
	return 0;
}

static bool all_objects(const json_t *array)
{
	for (size_t i = 0; i < json_array_size(array); i++)
		if (!json_is_object(json_array_get(array, i)))
			return false;
	return true;
}

int fetch_merge(json_t **whole, const json_t *reply, const char *items)
{
	json_t *more = items ? json_object_get(reply, items) : NULL;
	json_t *array;

	if (items && (!json_is_array(more) || !all_objects(more)))
		return -EPROTO;
	if (*whole) {
		array = items ? json_object_get(*whole, items) : NULL;
		if (!array)
			return -EPROTO;
		return json_array_size(array) + json_array_size(more) > ITEMS_MAX ? -EMSGSIZE
		       : json_array_extend(array, more) < 0                       ? -ENOMEM
										  : 0;
	}
	*whole = json_incref((json_t *)reply);
	return 0;
}

/* Remembers what the daemon's error says before the connection goes. */
static void keep_error(struct fetch *fetch)
{
	const json_t *parameters;
	const char *name = client_error(fetch->client, &parameters);
	const char *parameter = json_string_value(json_object_get(parameters, "parameter"));

	snprintf(fetch->error, sizeof(fetch->error), "%s", name);
	snprintf(fetch->parameter, sizeof(fetch->parameter), "%s", parameter ? parameter : "");
}

int fetch_step(struct fetch *fetch, json_t **ret)
{
	_cleanup_(json_cleanup) json_t *reply = NULL;
	int r = client_try_next(fetch->client, &reply);

	/* One message a step, so that a long list leaves time for the keyboard. */
	fetch->pending = r > 0;
	if (r > 0)
		r = fetch_merge(&fetch->whole, reply, fetch->items);
	else if (r == 0)
		r = fetch->whole ? 1 : -EPROTO;
	else if (r == -EAGAIN)
		r = 0;
	if (r == 0 && fetch_now_ms() - fetch->begin_ms > PATIENCE_MS)
		r = -ETIMEDOUT;
	if (r == 1)
		*ret = TAKE_PTR(fetch->whole);
	if (r == -EREMOTEIO)
		keep_error(fetch);
	if (r != 0)
		fetch_cancel(fetch);
	return r;
}

int fetch_fd(const struct fetch *fetch)
{
	return fetch->client ? client_fd(fetch->client) : -1;
}

const char *fetch_words(const struct fetch *fetch, int error, bool connecting)
{
	if (connecting)
		return request_connect_words(-error);
	switch (error) {
	case -EREMOTEIO:
		return strcmp(fetch->error, ERROR_OVERLOADED) == 0 ? "it has too much to do"
		       : strcmp(fetch->error, ERROR_PERMISSION_DENIED) == 0
			       ? "it refuses: permission denied"
			       : "it answers with an error";
	case -ECONNRESET:
		return "it closed the connection";
	case -ETIMEDOUT:
		return "it does not answer";
	case -EMSGSIZE:
		return "its answer is too long";
	case -EPROTO:
		return "its answer is malformed";
	default:
		return strerror(-error);
	}
}
