/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "link.h"
#include "link_set.h"
#include "macro.h"

#define PATH_SIZE 64

size_t link_set_size(const struct link_target *target)
{
	return target->multi ? 2 : 2 * probes_wanted(target->points);
}

static int make_multi(const struct link_target *target, const char *path, pid_t pid,
		      struct link_set *set)
{
	unsigned long offsets[API_MAX];
	uint64_t cookies[API_MAX];
	uint32_t n = 0;

	for (int api = 0; api < API_MAX; api++)
		if (probe_is_wanted(&target->points[api])) {
			offsets[n] = target->points[api].offset;
			cookies[n++] = COOKIE(target->number, (uint64_t)api);
		}
	if (n == 0)
		return -ENOENT;
	/* Returns first: an entry without its return would look like a call that never ends. */
	for (int entry = 0; entry < 2; entry++) {
		int program = entry ? probes_entry(target->probes) : probes_return(target->probes);
		int fd = link_multi(program, path, !entry, offsets, cookies, n, pid);

		if (fd < 0)
			return fd;
		set->fds[set->n++] = fd;
	}
	return 0;
}

static int make_perf_pair(const struct link_target *target, const char *path, pid_t pid, int api,
			  struct link_set *set)
{
	uint64_t offset = target->points[api].offset;
	uint64_t cookie = COOKIE(target->number, (uint64_t)api);
	_cleanup_close_ int at_return =
		link_perf(probes_return(target->probes), path, true, offset, cookie, pid);
	int entry;

	if (at_return < 0)
		return at_return;
	entry = link_perf(probes_entry(target->probes), path, false, offset, cookie, pid);
	if (entry < 0)
		return entry;
	set->fds[set->n++] = TAKE_FD(at_return);
	set->fds[set->n++] = entry;
	return 0;
}

static int make_perf(const struct link_target *target, const char *path, pid_t pid,
		     struct link_set *set)
{
	int last = -ENOENT;

	for (int api = 0; api < API_MAX; api++) {
		int r;

		if (!probe_is_wanted(&target->points[api]))
			continue;
		r = make_perf_pair(target, path, pid, api, set);
		if (r < 0 && pid != LINK_EVERY_PROCESS) /* it says nothing of the function */
			return r;
		if (r < 0) {
			target->points[api].state = PROBE_FAILED;
			target->points[api].error = last = r;
		}
	}
	return set->n > 0 ? 0 : last;
}

/* One place that the kernel does not probe makes it refuse all of them. Each is tried by itself;
 * returns whether it was only some.
 */
static bool leave_out_refused(const struct link_target *target, const char *path)
{
	size_t refused = 0;

	for (int api = 0; api < API_MAX; api++) {
		struct probe_point *point = &target->points[api];
		unsigned long offset = point->offset;
		int fd;

		if (!probe_is_wanted(point))
			continue;
		fd = link_multi(probes_entry(target->probes), path, false, &offset, NULL, 1,
				LINK_EVERY_PROCESS);
		if (fd >= 0) {
			close(fd);
			continue;
		}
		point->state = PROBE_FAILED;
		point->error = fd;
		refused++;
	}
	return refused > 0 && probes_wanted(target->points) > 0;
}

static int make(const struct link_target *target, const char *path, pid_t pid, struct link_set *ret)
{
	int r;

	ret->n = 0;
	r = target->multi ? make_multi(target, path, pid, ret) : make_perf(target, path, pid, ret);
	if (r < 0)
		link_set_close(ret);
	return r;
}

int link_set_make(const struct link_target *target, pid_t pid, struct link_set *ret)
{
	char path[PATH_SIZE];
	int r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", target->fd);
	r = make(target, path, pid, ret);
	if (r < 0 && r != -ENOENT && target->multi && pid == LINK_EVERY_PROCESS &&
	    leave_out_refused(target, path))
		r = make(target, path, pid, ret);
	return r;
}

void link_set_close(struct link_set *set)
{
	while (set->n > 0)
		close(set->fds[--set->n]);
}
