/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on the socket, of one who may only look, to a daemon that tracks nobody. */
#include "daemon/buffer.h"
#include "daemon/reply.h"
#include "daemon/tracker.h"
#include "fuzz.h"

static struct tracker tracker;

static const struct subject *subject(void)
{
	static struct subject subject;

	if (!subject.tracker) {
		table_init(&tracker.processes, sizeof(struct process_ref));
		table_init(&tracker.images, sizeof(struct process_ref));
		subject.tracker = &tracker;
		subject.kernel = "fuzz";
	}
	return &subject;
}

/* What is counted in the kernel is not there to be shown. */
static bool is_without_kernel(const struct reply *reply)
{
	return strcmp(reply->method->name, reply_status.name) != 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct caller caller = {.uid = 1000};
	struct buffer out = {0};
	struct reply *reply = reply_begin(subject(), &caller, (const char *)data, size, &out);

	if (!reply && out.size == 0)
		abort(); /* who asks gets an answer */
	if (reply && is_without_kernel(reply) && reply_is_ready(reply))
		(void)reply_next(reply, &out);
	if (out.size > 0 && out.data[out.size - 1] != '\0')
		abort();
	reply_free(reply);
	buffer_free(&out);
	return 0;
}
