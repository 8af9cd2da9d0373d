/* SPDX-License-Identifier: Apache-2.0 */
/* One request at a time that never makes the caller wait: between its steps keys can be read. */
#ifndef SRTLEAK_CLI_TOP_FETCH_H
#define SRTLEAK_CLI_TOP_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

struct client;

/* To be zeroed; idle while `client` is NULL. */
struct fetch {
	struct client *client;
	const char *items;
	json_t *whole;      /* what has come so far */
	int64_t begin_ms;   /* by fetch_now_ms() */
	bool pending;       /* fetch_step() has more to do, whatever poll(2) says */
	char error[160];    /* name of the daemon's error after -EREMOTEIO */
	char parameter[64]; /* of its InvalidParameter */
};

/* Milliseconds of a clock that only goes forward. */
int64_t fetch_now_ms(void);

/* Connects and sends. `items` names the array that is spread over the replies (NULL: one reply);
 * `parameters` is taken over and may be NULL. Returns 0 or a negative errno.
 */
int fetch_start(struct fetch *fetch, const char *socket, const char *method, const char *items,
		json_t *parameters);

/* Takes what has come. Returns 1 and the whole object, which is the caller's; 0 where more is to
 * come; or a negative errno as client_next() has them, after which the fetch is idle.
 */
int fetch_step(struct fetch *fetch, json_t **ret);

/* The descriptor to poll(2) for input, -1 when idle. */
int fetch_fd(const struct fetch *fetch);

/* Gives up what is under way. */
void fetch_cancel(struct fetch *fetch);

/* What a negative errno of fetch_start() (`connecting`) or fetch_step() means, in a few words. */
const char *fetch_words(const struct fetch *fetch, int error, bool connecting);

/* Appends the items of one more reply to `*whole` (NULL before the first). Returns 0, -EPROTO where
 * they are no array of objects, -EMSGSIZE where they are too many, or -ENOMEM.
 */
int fetch_merge(json_t **whole, const json_t *reply, const char *items);

#endif
