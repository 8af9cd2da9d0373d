/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "clock.h"
#include "intact.h"
#include "log.h"
#include "macro.h"
#include "process.h"
#include "quota.h"
#include "reach.h"
#include "reader.h"

#define PIECES_MAX 64               /* mappings of one library in one process */
#define LEFT_ALONE_NS 1000000000ULL /* for so long nobody looks again */

/* What one process has mapped of one library. */
struct look {
	size_t pieces;
	enum intact found; /* the worst of them */
};

/* One process, and some libraries. */
struct looks {
	struct library *const *libraries;
	size_t n;
	pid_t pid;
	struct look looks[LIBRARIES_MAX]; /* of each */
};

/* On overlayfs a mapping may name another device than the file's. */
static bool is_of(const struct library *library, pid_t pid, const struct procfs_mapping *mapping)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (!mapping->executable || mapping->inode != library->inode)
		return false;
	if (makedev(mapping->major, mapping->minor) == library->device)
		return true;
	fd = reader_open(pid, mapping, &st);
	return fd >= 0 && st.st_dev == library->device && st.st_ino == library->inode;
}

static enum intact worse(enum intact a, enum intact b)
{
	return a == INTACT_NO || b == INTACT_YES ? a : b;
}

/* Who has mapped a library more often than anybody needs is not looked at for long, and not taken
 * to have left it as it is.
 */
static int on_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	struct looks *l = userdata;

	for (size_t i = 0; i < l->n; i++) {
		struct look *look = &l->looks[i];

		if (look->pieces > PIECES_MAX || !is_of(l->libraries[i], l->pid, mapping))
			continue;
		if (look->pieces++ == PIECES_MAX)
			look->found = INTACT_NO;
		else
			look->found = worse(look->found,
					    intact_look(l->pid, mapping, l->libraries[i]->points));
	}
	return 0;
}

/* At all of its mappings, as that with the functions may be in pieces. */
static void look_at(pid_t pid, struct library *const *libraries, size_t n, struct looks *ret)
{
	ret->libraries = libraries;
	ret->n = n;
	ret->pid = pid;
	for (size_t i = 0; i < n; i++)
		ret->looks[i] = (struct look){.found = INTACT_YES};
	(void)procfs_mappings(pid, on_mapping, ret);
}

/* Processes that map one library. */
struct user {
	pid_t pid;
	enum intact found;
};

struct users {
	struct library *library;
	struct user *users;
	size_t n, patched;
	uint64_t since_ticks; /* others are passed over: who is older than that */
	struct looks looks;
};

static int note_user(pid_t pid, void *userdata)
{
	struct users *u = userdata;
	struct user *grown;
	uint64_t ticks;

	if (u->since_ticks && (procfs_start_ticks(pid, &ticks) < 0 || ticks < u->since_ticks))
		return 0;
	look_at(pid, &u->library, 1, &u->looks);
	if (u->looks.looks[0].pieces == 0)
		return 0;
	if ((u->n & (u->n - 1)) == 0) { /* full at each power of two */
		grown = reallocarray(u->users, u->n ? 2 * u->n : 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		u->users = grown;
	}
	u->users[u->n++] = (struct user){.pid = pid, .found = u->looks.looks[0].found};
	u->patched += u->looks.looks[0].found == INTACT_NO;
	return 0;
}

static unsigned int attach_one(struct library *library, pid_t pid, enum intact found)
{
	uid_t uid = (uid_t)-1;
	pid_t inner;
	int r;

	if (library->spares_filtered && procfs_is_filtered(pid) != 0)
		return 1U << PARTIAL_SECCOMP;
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
		unsigned int partial = attach_one(users->library, user->pid, user->found);

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
	return procfs_each_pid(note_user, users);
}

int reach_place(struct library *library, reach_fn fn, void *userdata)
{
	_cleanup_free_ struct users *users = calloc(1, sizeof(*users));
	uint64_t began_ns = clock_boottime_ns();
	int r;

	if (!users)
		return -ENOMEM;
	users->library = library;
	r = procfs_each_pid(note_user, users);
	if (r == 0 && (library->spares_filtered || users->patched > 0)) {
		place_one_by_one(users, fn, userdata);
	} else if (r == 0) {
		r = library_attach(library);
		if (r == 0) {
			(void)note_children(users, began_ns);
			tell_late(users, fn, userdata);
		}
	}
	free(users->users);
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
	unsigned int partial = attach_one(library, pid, found);

	if (!library_reaches(library, pid)) {
		library->left_alone.pid = pid;
		library->left_alone.at_ns = clock_monotonic_ns();
		library->left_alone.partial = partial;
	}
	return partial;
}

unsigned int reach_add(struct library *library, pid_t pid)
{
	struct looks looks;

	library_drop_ended(library);
	if (library_reaches(library, pid))
		return 0;
	if (was_left_alone(library, pid))
		return library->left_alone.partial;
	look_at(pid, &library, 1, &looks);
	return looks.looks[0].pieces > 0 ? add(library, pid, looks.looks[0].found) : 0;
}

void reach_review(struct library *const *libraries, size_t n, pid_t pid, reach_fn fn,
		  void *userdata)
{
	struct looks looks;

	look_at(pid, libraries, n, &looks);
	for (size_t i = 0; i < n; i++) {
		const struct look *look = &looks.looks[i];
		unsigned int partial;

		if (look->pieces == 0)
			continue;
		libraries[i]->may_join &= look->found != INTACT_NO;
		partial = library_reaches(libraries[i], pid)
				  ? 0
				  : attach_one(libraries[i], pid, look->found);
		if (partial)
			fn(pid, partial, userdata);
	}
}

struct join {
	struct library *libraries[LIBRARIES_MAX];
	size_t n;
	struct looks looks;
};

static int leave_out_patched(pid_t pid, void *userdata)
{
	struct join *join = userdata;

	look_at(pid, join->libraries, join->n, &join->looks);
	for (size_t i = join->n; i-- > 0;)
		if (join->looks.looks[i].found == INTACT_NO)
			join->libraries[i] = join->libraries[--join->n];
	return join->n == 0;
}

size_t reach_join(struct library *const *libraries, size_t n,
		  uint32_t (*next_number)(void *userdata), void *userdata)
{
	_cleanup_free_ struct join *join = calloc(1, sizeof(*join));
	size_t joined = 0;

	for (size_t i = 0; join && i < n; i++)
		if (libraries[i]->may_join && !libraries[i]->spares_filtered)
			join->libraries[join->n++] = libraries[i];
	if (!join || join->n == 0 || procfs_each_pid(leave_out_patched, join) < 0)
		return 0;
	for (size_t i = 0; i < join->n; i++)
		joined += library_join(join->libraries[i], next_number(userdata)) == 0;
	return joined;
}

struct inspection {
	const struct file_names *files;
	pid_t pid;
	bool is_patched;
};

static int inspect_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	struct inspection *i = userdata;
	const struct file_name *name;

	if (!mapping->executable || mapping->inode == 0)
		return 0;
	name = file_names_find(i->files, mapping->major, mapping->minor, mapping->inode);
	if (!name || !name->library ||
	    intact_look(i->pid, mapping, name->library->points) != INTACT_NO)
		return 0;
	i->is_patched = true;
	if (library_reaches(name->library, i->pid))
		name->library->is_patched = true;
	return 0;
}

bool reach_inspect(const struct file_names *files, pid_t pid)
{
	struct inspection inspection = {.files = files, .pid = pid};

	(void)procfs_mappings(pid, inspect_mapping, &inspection);
	return inspection.is_patched;
}
