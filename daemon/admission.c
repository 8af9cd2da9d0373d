/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "admission.h"
#include "clock.h"
#include "log.h"
#include "macro.h"
#include "policy.h"
#include "process.h"
#include "procfs.h"

void admission_init(struct admission *a, const struct probes *probes, const struct scope *scope)
{
	*a = (struct admission){.probes = probes, .scope = scope};
	for (size_t i = 0; i < ARRAY_SIZE(a->dropped); i++)
		table_init(&a->dropped[i], sizeof(uint64_t));
}

void admission_done(struct admission *a)
{
	for (size_t i = 0; i < ARRAY_SIZE(a->dropped); i++)
		table_clear(&a->dropped[i]);
}

/* What it did while it was ignored is not known to whoever tracks it later. */
static void mark_unseen(const struct admission *a, pid_t pid)
{
	struct tracked note = {
		.unseen_ns = clock_boottime_ns(),
		.partial = 1U << PARTIAL_LATE_ATTACH,
	};
	struct tracked before;
	uint64_t start_ticks;

	if (procfs_start_ticks(pid, &start_ticks) < 0)
		return;
	note.start_ticks = start_ticks;
	/* What else was missing of it still is. */
	if (probes_noted(a->probes, pid, &before) == 0 && before.start_ticks == start_ticks)
		note.partial |= before.partial;
	(void)probes_note(a->probes, pid, &note);
}

int admission_start(struct admission *a, bool narrowed)
{
	_cleanup_free_ pid_t *ignored = NULL;
	int n = policy_ignored_by_rule(a->probes, &ignored);

	for (int i = 0; i < n; i++) {
		mark_unseen(a, ignored[i]);
		policy_drop(a->probes, ignored[i]);
	}
	policy_drop_options(a->probes);
	a->narrowed = narrowed;
	if (policy_others(a->probes) == VERDICT_IGNORE)
		a->unseen_before = clock_boottime_ns() / NS_PER_TICK;
	return n < 0 ? n : policy_set_others(a->probes, narrowed ? VERDICT_IGNORE : VERDICT_TRACK);
}

/* After the kernel was told to ignore the process: what it recorded until then is not looked at any
 * more, and without an image it records nothing.
 */
static void drop_image(struct admission *a, pid_t pid, uint64_t start_ticks)
{
	uint32_t image;
	void *entry;

	if (probes_drop_image(a->probes, pid, start_ticks, &image) < 0)
		return;
	a->has_dropped = a->may_be_held = true;
	if (table_add(&a->dropped[0], image, &entry) < 0)
		log_warning("process %d: not enough memory to forget it", pid);
}

int admission_decree(struct admission *a, pid_t pid, enum verdict verdict, enum policy_word word)
{
	struct policy policy = {.verdict = verdict, .fixed = word}, before;
	bool was_ignored = a->narrowed;
	uint64_t start_ticks = 0;
	int r = procfs_start_ticks(pid, &start_ticks);

	policy.start_ticks = start_ticks;
	if (r == 0 && policy_get(a->probes, pid, start_ticks, &before) == 0)
		was_ignored = before.verdict == VERDICT_IGNORE;
	if (r == 0)
		r = policy_set(a->probes, pid, &policy);
	if (r == -E2BIG)
		a->refused++;
	if (r < 0)
		return r;
	if (verdict == VERDICT_IGNORE)
		drop_image(a, pid, start_ticks);
	return was_ignored;
}

static bool is_in_scope(const struct scope *scope, pid_t pid)
{
	struct scope_subject subject = {.uid = (uid_t)-1};
	_cleanup_free_ char *exe = NULL, *cgroup = NULL;
	pid_t inner;

	if (scope_looks_at(scope, SCOPE_EXE) && procfs_exe(pid, &exe) == 0)
		subject.exe = exe;
	if (scope_looks_at(scope, SCOPE_CGROUP) && procfs_cgroup(pid, &cgroup) == 0)
		subject.cgroup = cgroup;
	if (scope_looks_at(scope, SCOPE_USER))
		(void)procfs_status(pid, &subject.uid, &inner);
	return scope_admits(scope, &subject);
}

static void ignore_by_rule(struct admission *a, pid_t pid, uint64_t start_ticks)
{
	const struct policy policy = {.start_ticks = start_ticks, .verdict = VERDICT_IGNORE};
	int r = policy_set(a->probes, pid, &policy);

	if (r == 0 || r == -ESRCH)
		return;
	a->refused++;
	log_limited(LOG_LEVEL_WARNING, "process %d: the kernel cannot be told to ignore it: %s",
		    pid, strerror(-r));
}

bool admission_admits(struct admission *a, pid_t pid)
{
	struct policy policy;
	bool known, wanted;
	uint64_t ticks;

	if (procfs_start_ticks(pid, &ticks) < 0) /* it has ended; its last news may still come */
		return !a->narrowed && is_in_scope(a->scope, pid);
	known = policy_get(a->probes, pid, ticks, &policy) == 0;
	if (known && policy.fixed)
		wanted = policy.verdict == VERDICT_TRACK;
	else
		wanted = !a->narrowed && is_in_scope(a->scope, pid);
	if (wanted && known && !policy.fixed)
		policy_drop(a->probes, pid);
	if (wanted)
		return true;
	if (!known && !a->narrowed)
		ignore_by_rule(a, pid, ticks);
	drop_image(a, pid, ticks);
	return false;
}

void admission_readmit(struct admission *a, pid_t pid, uint64_t start_ticks)
{
	struct policy policy;

	if (policy_get(a->probes, pid, start_ticks, &policy) < 0 || policy.fixed != WORD_BUDGET)
		return;
	mark_unseen(a, pid);
	policy_drop(a->probes, pid);
}

void admission_forget(struct admission *a, pid_t pid)
{
	uint64_t start_ticks;

	if (procfs_start_ticks(pid, &start_ticks) == 0)
		drop_image(a, pid, start_ticks);
}

void admission_settle(struct admission *a)
{
	probes_wait();
	a->may_be_held = false;
}

bool admission_is_dropped(const struct admission *a, uint32_t image)
{
	return table_find(&a->dropped[0], image) || table_find(&a->dropped[1], image);
}

void admission_next_period(struct admission *a)
{
	struct table swap = a->dropped[1];

	if (a->dropped[0].count + a->dropped[1].count == 0)
		return;
	table_clear(&swap);
	a->dropped[1] = a->dropped[0];
	a->dropped[0] = swap;
}
