/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "intact.h"
#include "log.h"
#include "look.h"
#include "macro.h"
#include "procfs.h"
#include "process.h"
#include "quota.h"
#include "reach.h"
#include "walk.h"

#define LEFT_ALONE_NS 1000000000ULL /* for so long nobody looks again */
#define AROUND_NS 300000000ULL      /* for a look at everybody while the daemon does nothing else */

/* Processes that map one library. */
struct user {
	pid_t pid;
	enum intact found;
};

struct users {
	struct library *library;
	struct user *users;
	size_t n, patched;
	pid_t first;          /* is noted already */
	uint64_t since_ticks; /* others are passed over: who is older than that */
	struct looks looks;
};

static int note(struct users *u, pid_t pid)
{
	const struct look *look = u->looks.looks;
	struct user *grown;

	looks_take(&u->looks, pid);
	if (look->pieces == 0)
		return 0;
	if ((u->n & (u->n - 1)) == 0) { /* full at each power of two */
		grown = reallocarray(u->users, u->n ? 2 * u->n : 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		u->users = grown;
	}
	u->users[u->n++] = (struct user){.pid = pid, .found = look->found};
	u->patched += look->found != INTACT_YES;
	return 0;
}

static int note_user(pid_t pid, void *userdata)
{
	struct users *u = userdata;
	uint64_t ticks;

	if (pid == u->first)
		return 0;
	if (u->since_ticks && (procfs_start_ticks(pid, &ticks) < 0 || ticks < u->since_ticks))
		return 0;
	return note(u, pid);
}

unsigned int reach_attach_one(struct library *library, pid_t pid, enum intact found)
{
	uid_t uid = (uid_t)-1;
	pid_t inner;
	int r;

	if (library->spares_filtered && procfs_is_filtered(pid) != 0)
		return 1U << PARTIAL_SECCOMP;
	library->may_join &= found == INTACT_YES;
	if (found != INTACT_YES)
		return 1U << PARTIAL_PATCHED;
	(void)procfs_status(pid, &uid, &inner);
	r = library_attach_one(library, pid, uid);
	if (r < 0 && r != -ESRCH)
		log_limited(
			LOG_LEVEL_WARNING, "%s: not probed in process %d: %s", library->path, pid,
			r == -ENOSPC ? "as many others, or others of its user, are probed one "
				       "by one as there is room for"
			: r == -EOPNOTSUPP ? "this kernel's links to one process miss its threads "
					     "(Linux 6.6 to 6.9): --attach perf does without them"
					   : strerror(-r));
	if (r == 0) /* it was before */
		return 0;
	return r == -ENOSPC ? 1U << PARTIAL_LIMIT : 1U << PARTIAL_LATE_ATTACH;
}

static void place_one_by_one(const struct users *users, reach_fn fn, void *userdata)
{
	for (size_t i = 0; i < users->n; i++) {
		const struct user *user = &users->users[i];
		unsigned int partial = reach_attach_one(users->library, user->pid, user->found);

		if (partial)
			fn(user->pid, partial, userdata);
	}
}

/* What they called until now nobody saw. */
static void tell_late(const struct users *users, reach_fn fn, void *userdata)
{
	for (size_t i = 0; i < users->n; i++)
		fn(users->users[i].pid, 1U << PARTIAL_LATE_ATTACH, userdata);
}

/* Nor what their children did that were forked while the probes were placed: no news of a mapping
 * tells of these. (Who was begun in the tick in which that ended may be one.)
 */
static int note_children(struct users *users, uint64_t began_ns)
{
	users->since_ticks = MAX(began_ns / NS_PER_TICK, (uint64_t)1);
	return walk_within(AROUND_NS, note_user, users);
}

/* Who maps it for certain comes first: there may be no time for all. */
static int note_users(struct users *users, pid_t first)
{
	int r = first ? note(users, first) : 0;

	users->first = first;
	return r < 0 ? r : walk_within(AROUND_NS, note_user, users);
}

static int place(struct users *users, pid_t first, reach_fn fn, void *userdata)
{
	struct library *library = users->library;
	uint64_t began_ns = clock_boottime_ns();
	int r = note_users(users, first);

	if (r == -ETIME && !library->spares_filtered)
		log_limited(LOG_LEVEL_WARNING,
			    "%s: probed one by one until all processes have been looked at, some "
			    "of which have very many mappings",
			    library->path);
	if (r == -ETIME || (r == 0 && (library->spares_filtered || users->patched > 0))) {
		place_one_by_one(users, fn, userdata);
		return r == -ETIME;
	}
	if (r == 0)
		r = library_attach(library);
	if (r < 0)
		return r;
	r = note_children(users, began_ns);
	tell_late(users, fn, userdata);
	return r < 0;
}

int reach_place(struct library *library, pid_t first, reach_fn fn, void *userdata)
{
	struct users users = {.library = library};
	int r = looks_init(&users.looks, &users.library, 1);

	if (r == 0)
		r = place(&users, first, fn, userdata);
	looks_done(&users.looks);
	free(users.users);
	return r;
}

/* Who maps a library a thousand times asks as often. */
static bool was_left_alone(const struct library *library, pid_t pid)
{
	return library->left_alone.pid == pid &&
	       clock_monotonic_ns() - library->left_alone.at_ns < LEFT_ALONE_NS;
}

static unsigned int add(struct library *library, pid_t pid, enum intact found)
{
	unsigned int partial = reach_attach_one(library, pid, found);

	if (!library_reaches(library, pid)) {
		library->left_alone.pid = pid;
		library->left_alone.at_ns = clock_monotonic_ns();
		library->left_alone.partial = partial;
	}
	return partial;
}

unsigned int reach_add(struct library *library, pid_t pid)
{
	unsigned int partial = 0;
	struct looks looks;

	library_drop_ended(library);
	if (library_reaches(library, pid))
		return 0;
	if (was_left_alone(library, pid)) {
		library->may_join &= !(library->left_alone.partial & 1U << PARTIAL_PATCHED);
		return library->left_alone.partial;
	}
	if (looks_init(&looks, &library, 1) < 0) {
		library->may_join = false;
		return 1U << PARTIAL_LATE_ATTACH;
	}
	looks_take(&looks, pid);
	if (looks.looks->pieces > 0)
		partial = add(library, pid, looks.looks->found);
	looks_done(&looks);
	return partial;
}

bool reach_inspect(struct looks *looks, pid_t pid)
{
	bool is_patched = false;

	looks_take(looks, pid);
	for (size_t i = 0; i < looks->n; i++) {
		if (looks->looks[i].pieces == 0 || looks->looks[i].found != INTACT_NO)
			continue;
		is_patched = true;
		looks->libraries[i]->is_patched |= library_reaches(looks->libraries[i], pid);
	}
	return is_patched;
}
