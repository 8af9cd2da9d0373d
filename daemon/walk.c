/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "clock.h"
#include "procfs.h"
#include "walk.h"

enum { ENDED = 1, PAUSED = 2 };

struct slice {
	struct walk *walk;
	uint64_t ends_ns;
	int (*fn)(pid_t pid, void *userdata);
	void *userdata;
};

/* The kernel lists processes in the order of their numbers. */
static int step(pid_t pid, void *userdata)
{
	struct slice *slice = userdata;

	if (pid < slice->walk->next)
		return 0;
	if (slice->fn(pid, slice->userdata) != 0)
		return ENDED;
	slice->walk->next = pid + 1;
	return clock_monotonic_ns() < slice->ends_ns ? 0 : PAUSED;
}

bool walk_slice(struct walk *walk, int (*fn)(pid_t pid, void *userdata), void *userdata)
{
	struct slice slice = {
		.walk = walk,
		.ends_ns = clock_monotonic_ns() + WALK_SLICE_NS,
		.fn = fn,
		.userdata = userdata,
	};

	if (procfs_each_pid(step, &slice) == PAUSED)
		return false;
	walk->next = 0;
	return true;
}

struct limited {
	uint64_t ends_ns;
	int (*fn)(pid_t pid, void *userdata);
	void *userdata;
};

static int limited_step(pid_t pid, void *userdata)
{
	const struct limited *limited = userdata;

	return clock_monotonic_ns() < limited->ends_ns ? limited->fn(pid, limited->userdata)
						       : -ETIME;
}

int walk_within(uint64_t limit_ns, int (*fn)(pid_t pid, void *userdata), void *userdata)
{
	struct limited limited = {
		.ends_ns = clock_monotonic_ns() + limit_ns,
		.fn = fn,
		.userdata = userdata,
	};

	return procfs_each_pid(limited_step, &limited);
}
