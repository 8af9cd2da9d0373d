/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "macro.h"
#include "pidfd.h"
#include "policy.h"
#include "procfs.h"

static int update(int map, uint32_t key, const struct policy *policy)
{
	return bpf_map_update_elem(map, &key, policy, BPF_ANY) < 0 ? -errno : 0;
}

int policy_set_others(const struct probes *probes, enum verdict verdict)
{
	const struct policy policy = {.verdict = verdict};

	return update(probes_policies_fd(probes), POLICY_OTHERS, &policy);
}

enum verdict policy_others(const struct probes *probes)
{
	uint32_t key = POLICY_OTHERS;
	struct policy policy = {.verdict = VERDICT_TRACK};

	(void)bpf_map_lookup_elem(probes_policies_fd(probes), &key, &policy);
	return (enum verdict)policy.verdict;
}

int policy_get(const struct probes *probes, pid_t pid, uint64_t start_ticks, struct policy *ret)
{
	uint32_t key = (uint32_t)pid;
	struct policy policy;

	if (bpf_map_lookup_elem(probes_policies_fd(probes), &key, &policy) < 0)
		return -errno;
	if (policy.start_ticks != start_ticks)
		return -ENOENT;
	*ret = policy;
	return 0;
}

void policy_drop(const struct probes *probes, pid_t pid)
{
	uint32_t key = (uint32_t)pid;

	bpf_map_delete_elem(probes_policies_fd(probes), &key);
}

/* Calls fn for each entry of a process. They are collected first, as fn may remove some, which
 * would send the kernel's walk back to its start.
 */
static int each(const struct probes *probes,
		void (*fn)(pid_t pid, const struct policy *policy, void *userdata), void *userdata)
{
	int fd = probes_policies_fd(probes);
	_cleanup_free_ uint32_t *keys = calloc(POLICIES_MAX, sizeof(*keys));
	uint32_t *previous = NULL;
	struct policy policy;
	size_t n = 0;

	if (!keys)
		return -ENOMEM;
	while (n < POLICIES_MAX && bpf_map_get_next_key(fd, previous, &keys[n]) == 0)
		previous = &keys[n++];
	for (size_t i = 0; i < n; i++)
		if (keys[i] != POLICY_OTHERS && bpf_map_lookup_elem(fd, &keys[i], &policy) == 0)
			fn((pid_t)keys[i], &policy, userdata);
	return 0;
}

static void drop_if_gone(pid_t pid, const struct policy *policy, void *userdata)
{
	uint64_t ticks;

	if (procfs_start_ticks(pid, &ticks) < 0 || ticks != policy->start_ticks)
		policy_drop(userdata, pid);
}

int policy_set(const struct probes *probes, pid_t pid, const struct policy *policy)
{
	_cleanup_close_ int pidfd = process_fd_open(pid);
	int r;

	if (pidfd < 0)
		return pidfd == -EINVAL || pidfd == -ENOENT ? -ESRCH : pidfd;
	r = update(probes_policies_fd(probes), (uint32_t)pid, policy);
	if (r == -E2BIG) {
		each(probes, drop_if_gone, (void *)probes);
		r = update(probes_policies_fd(probes), (uint32_t)pid, policy);
	}
	/* Its exit takes the entry out, unless it came before the entry. */
	if (r == 0 && process_fd_is_over(pidfd)) {
		policy_drop(probes, pid);
		r = -ESRCH;
	}
	return r;
}

static void count_one(pid_t pid, const struct policy *policy, void *userdata)
{
	(void)pid;
	(void)policy;
	++*(size_t *)userdata;
}

size_t policy_count(const struct probes *probes)
{
	size_t n = 0;

	(void)each(probes, count_one, &n);
	return n;
}

static void drop_if_option(pid_t pid, const struct policy *policy, void *userdata)
{
	if (policy->fixed == WORD_OPTION)
		policy_drop(userdata, pid);
}

void policy_drop_options(const struct probes *probes)
{
	(void)each(probes, drop_if_option, (void *)probes);
}

struct collection {
	pid_t *pids;
	size_t n;
};

static void collect_ignored(pid_t pid, const struct policy *policy, void *userdata)
{
	struct collection *found = userdata;

	if (policy->verdict == VERDICT_IGNORE && (!policy->fixed || policy->fixed == WORD_BUDGET))
		found->pids[found->n++] = pid;
}

int policy_ignored_by_rule(const struct probes *probes, pid_t **ret_pids)
{
	struct collection found = {.pids = calloc(POLICIES_MAX, sizeof(*found.pids))};
	int r = found.pids ? each(probes, collect_ignored, &found) : -ENOMEM;

	if (r < 0) {
		free(found.pids);
		return r;
	}
	*ret_pids = found.pids;
	return (int)found.n;
}
