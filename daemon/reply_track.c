/* SPDX-License-Identifier: Apache-2.0 */
/* Track and Untrack: a person's word on one process, done while the request is read. */
#include <errno.h>
#include <string.h>

#include "log.h"
#include "procfs.h"
#include "protocol.h"
#include "reply.h"

static bool may_change(struct reply *reply)
{
	if (!reply->caller->may_change)
		reply_error(reply, ERROR_PERMISSION_DENIED, "reason",
			    "neither root nor in group " GROUP_ADMINS);
	return reply->caller->may_change;
}

/* Tells the outcome to whoever asked, and what was done to the log. */
static bool conclude(struct reply *reply, const char *what, int r)
{
	if (r == -ESRCH)
		return reply_no_such_process(reply);
	if (r < 0) {
		reply_error(reply, ERROR_OVERLOADED, "reason",
			    r == -E2BIG ? "no room for verdicts on more processes" : strerror(-r));
		return false;
	}
	log_notice("%s of process %d by uid %u", what, reply->pid, reply->caller->uid);
	return true;
}

static bool is_tracked(const struct reply *reply)
{
	const struct process *p = tracker_find(reply->subject->tracker, reply->pid);
	uint64_t ticks;

	return p && procfs_start_ticks(reply->pid, &ticks) == 0 && ticks == p->start_ticks;
}

static bool begin_track(struct reply *reply, const json_t *parameters)
{
	const struct subject *s = reply->subject;
	int r;

	if (!may_change(reply) || !reply_begin_pid(reply, parameters))
		return false;
	r = admission_decree(&s->tracker->admission, reply->pid, VERDICT_TRACK, WORD_PERSON);
	if (!conclude(reply, "track", r))
		return false;
	reply->mapped = is_tracked(reply) || discovery_look(s->discovery, reply->pid, r > 0);
	return true;
}

static bool write_track(struct reply *reply, struct json_writer *out)
{
	const struct process *p = tracker_find(reply->subject->tracker, reply->pid);

	jw_i64(out, "pid", reply->pid);
	jw_bool(out, "tracked", true);
	jw_bool(out, "mapped", reply->mapped);
	if (p) {
		reply_partial(out, p);
	} else {
		jw_begin_array(out, "partial");
		jw_end_array(out);
	}
	return false;
}

static bool begin_untrack(struct reply *reply, const json_t *parameters)
{
	if (!may_change(reply) || !reply_begin_pid(reply, parameters))
		return false;
	return conclude(reply, "untrack", tracker_untrack(reply->subject->tracker, reply->pid));
}

static bool write_untrack(struct reply *reply, struct json_writer *out)
{
	jw_i64(out, "pid", reply->pid);
	jw_bool(out, "tracked", false);
	return false;
}

const struct reply_method reply_track = {
	.name = METHOD_TRACK,
	.begin = begin_track,
	.write = write_track,
};
const struct reply_method reply_untrack = {
	.name = METHOD_UNTRACK,
	.begin = begin_untrack,
	.write = write_untrack,
};
