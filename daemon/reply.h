/* SPDX-License-Identifier: Apache-2.0 */
/* Replies to requests of the socket, made message by message: however large the tables, a reply
 * under way holds a place in them and not a copy.
 */
#ifndef SRTLEAK_REPLY_H
#define SRTLEAK_REPLY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "discovery.h"
#include "json_writer.h"
#include "tracker.h"

/* What there is to report on. */
struct subject {
	struct tracker *tracker;
	struct discovery *discovery;
	const char *kernel;
	double started_at;      /* CLOCK_BOOTTIME seconds */
	double started_at_unix; /* Unix seconds */
};

/* Who asks, as the socket tells. */
struct caller {
	uid_t uid;
	bool may_change; /* what the daemon does, not only look */
};

struct reply;

/* One method. `begin` checks the parameters and prepares; on failure it has written the error's
 * name and parameters with reply_error() and returns false. `write` adds the members of the next
 * message to the open object and returns whether more are to come. `is_ready` says whether there is
 * something to write by now; NULL: always.
 */
struct reply_method {
	const char *name;
	bool (*begin)(struct reply *reply, const json_t *parameters);
	bool (*write)(struct reply *reply, struct json_writer *out);
	bool (*is_ready)(const struct reply *reply);
};

struct reply {
	const struct subject *subject;
	const struct caller *caller;
	const struct reply_method *method;
	bool more;  /* the client takes several messages */
	bool first; /* this message is the first */
	struct buffer *out;

	/* Of the methods about one process. */
	pid_t pid;
	uint64_t start_ticks;
	uint64_t limit; /* items still to be sent; UINT64_MAX: all */
	struct table_cursor cursor;
	struct reply_item {
		uint64_t id, order;
	} * items; /* chosen and sorted */
	size_t n_items, next_item;
	bool history;  /* with the last minutes of each item */
	uint64_t site; /* allocs: 0: of every site */
	uint64_t older_than_ns;
	struct table lowest;     /* allocs: where physical memory is mapped, by handle */
	bool mapped;             /* track: it maps a probed library */
	struct watcher *watcher; /* watch */
};

/* Starts a reply to a request of `size` bytes. NULL where the request is answered already, by an
 * error message in out. Subject and caller must outlive it.
 */
struct reply *reply_begin(const struct subject *subject, const struct caller *caller,
			  const char *request, size_t size, struct buffer *out);

/* Whether there is a next message by now. Asked again after each turn of the loop. */
bool reply_is_ready(const struct reply *reply);

/* Appends the next message to out; returns whether more are to come. */
bool reply_next(struct reply *reply, struct buffer *out);
struct reply *reply_free(struct reply *reply);

/* An error message with one parameter. */
void reply_write_error(struct buffer *out, const char *error, const char *key, const char *value);

/* For the methods. */
void reply_error(struct reply *reply, const char *error, const char *key, const char *value);
bool reply_invalid(struct reply *reply, const char *parameter); /* returns false */

/* Reads "pid"; false where that failed and was said. */
bool reply_begin_pid(struct reply *reply, const json_t *parameters);
bool reply_no_such_process(struct reply *reply); /* says so, returns false */

/* Reads "pid" and finds the process; false where that failed and was said. */
bool reply_begin_process(struct reply *reply, const json_t *parameters);

/* The process of this reply; NULL where it has ended since. */
struct process *reply_process(const struct reply *reply);

/* Reads "limit" (0: all). */
bool reply_begin_limit(struct reply *reply, const json_t *parameters, uint64_t standard);

/* Items for one message: by number, and by the bytes written so far. */
bool reply_message_full(const struct reply *reply, size_t items);

/* Reads "history". */
bool reply_begin_history(struct reply *reply, const json_t *parameters);

/* Growth, and where the request asked for it the last minutes themselves. */
void reply_history(struct json_writer *out, const struct reply *reply, const struct history *h);

/* Bytes of a kind; null where those are not known. */
void reply_bytes(struct json_writer *out, const char *key, enum memory_kind kind, uint64_t bytes);

/* The device of an allocation and the GPU behind it; process_find_gpus() comes before. */
void reply_device(struct json_writer *out, const struct process *process, long device);

void reply_partial(struct json_writer *out, const struct process *process);

/* Frames of a stack, as objects. */
void reply_python_frame(struct json_writer *out, const char *key,
			const struct site_python_frame *frame);
void reply_native_frame(struct json_writer *out, const char *key,
			const struct site_native_frame *frame);

extern const struct reply_method reply_ps, reply_sites, reply_allocs, reply_status, reply_watch,
	reply_track, reply_untrack;

#endif
