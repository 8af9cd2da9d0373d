/* SPDX-License-Identifier: Apache-2.0 */
/* A command's request, from the connection to the last reply, with its failures told to the user.
 */
#ifndef SRTLEAK_CLI_REQUEST_H
#define SRTLEAK_CLI_REQUEST_H

#include <stdbool.h>

#include <jansson.h>

#include "command.h"

/* What a command asks, and what to do with each reply. */
struct request {
	const char *what; /* "sites of 4242": how a failure is called */
	const char *method;
	const char *if_denied; /* what to do where permission is denied; NULL: as usual */
	const char
		*items; /* the array that is spread over the replies; NULL: one reply, no array */
	bool endless;   /* replies go on until somebody ends it; JSON is one item a line */
	/* Gets the parameters of a reply and the items in it (NULL without an array). Returns 0, or
	 * a negative errno that ends the request.
	 */
	int (*reply)(const json_t *parameters, const json_t *items, bool first, void *userdata);
	void *userdata;
};

/* Why client_open() failed, in a few words; `error` is a positive errno. */
const char *request_connect_words(int error);

/* Does a request, with `parameters` (taken over, may be NULL), from connection to the last reply.
 * With
 * --json the object goes to standard output and request->reply is not used. An endless request also
 * ends, with CLI_OK, at Ctrl-C and when nobody reads standard output any more. Returns an enum
 * cli_status and has reported what went wrong if that is not CLI_OK.
 */
int request_run(const struct options *options, const struct request *request, json_t *parameters);

#endif
