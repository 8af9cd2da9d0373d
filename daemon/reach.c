/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "intact.h"
#include "log.h"
#include "macro.h"
#include "process.h"
#include "reach.h"

struct users_walk {
	struct library *library;
	void (*fn)(struct users_walk *walk, pid_t pid, enum intact found);
	pid_t pid;
	enum intact found; /* the worst of its mappings */
	bool is_mapped;
	size_t patched;
	reach_fn tell;
	void *userdata;
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
	fd = procfs_open_mapping(pid, mapping);
	return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == library->device &&
	       st.st_ino == library->inode;
}

static enum intact worse(enum intact a, enum intact b)
{
	return a == INTACT_NO || b == INTACT_YES ? a : b;
}

static int on_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	struct users_walk *walk = userdata;

	if (!is_of(walk->library, walk->pid, mapping))
		return 0;
	walk->is_mapped = true;
	walk->found = worse(walk->found, intact_look(walk->pid, mapping, walk->library->points));
	return 0;
}

/* At all of its mappings of the file, as that with the functions may be in pieces. */
static void look_at(pid_t pid, struct users_walk *walk)
{
	walk->pid = pid;
	walk->found = INTACT_YES;
	walk->is_mapped = false;
	(void)procfs_mappings(pid, on_mapping, walk);
}

static int on_process(pid_t pid, void *userdata)
{
	struct users_walk *walk = userdata;

	look_at(pid, walk);
	if (walk->is_mapped)
		walk->fn(walk, pid, walk->found);
	return 0;
}

static void count_patched(struct users_walk *walk, pid_t pid, enum intact found)
{
	(void)pid;
	walk->patched += found == INTACT_NO;
}

static size_t patched_users(struct library *library)
{
	struct users_walk walk = {.library = library, .fn = count_patched};

	(void)procfs_each_pid(on_process, &walk);
	return walk.patched;
}

static unsigned int attach_one(struct library *library, pid_t pid, enum intact found)
{
	int r;

	if (library->spares_filtered && procfs_is_filtered(pid) != 0)
		return 1U << PARTIAL_SECCOMP;
	if (found != INTACT_YES)
		return 1U << PARTIAL_PATCHED;
	r = library_attach_one(library, pid);
	if (r < 0 && r != -ESRCH)
		log_limited(
			LOG_LEVEL_WARNING, "%s: not probed in process %d: %s", library->path, pid,
			r == -ENOSPC ? "as many others are probed one by one as there is room for"
				     : strerror(-r));
	if (r == 0) /* it was before */
		return 0;
	return r == -ENOSPC ? 1U << PARTIAL_LIMIT : 1U << PARTIAL_LATE_ATTACH;
}

static void place_one(struct users_walk *walk, pid_t pid, enum intact found)
{
	unsigned int partial = attach_one(walk->library, pid, found);

	if (partial)
		walk->tell(pid, partial, walk->userdata);
}

static int place_one_by_one(struct library *library, reach_fn fn, void *userdata)
{
	struct users_walk walk = {
		.library = library,
		.fn = place_one,
		.tell = fn,
		.userdata = userdata,
	};

	library_drop_ended(library);
	return procfs_each_pid(on_process, &walk);
}

int reach_place(struct library *library, uint32_t *numbers, reach_fn fn, void *userdata)
{
	int r;

	if (library->spares_filtered || patched_users(library) > 0)
		return place_one_by_one(library, fn, userdata);
	r = library->n_ones > 0 ? library_join(library, ++*numbers) : library_attach(library);
	return r < 0 ? r : 1;
}

unsigned int reach_add(struct library *library, pid_t pid)
{
	struct users_walk walk = {.library = library};

	library_drop_ended(library);
	if (library_reaches(library, pid))
		return 0;
	look_at(pid, &walk);
	return walk.is_mapped ? attach_one(library, pid, walk.found) : 0;
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
