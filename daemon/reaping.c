/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "clock.h"
#include "macro.h"
#include "real_files.h"
#include "reaping.h"

/* As far as this host knows: a file system that does not answer must not hold us up. */
static bool is_deleted(const struct library *library)
{
	struct statx st;

	return statx(library->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_NLINK, &st) == 0 &&
	       st.stx_nlink == 0;
}

/* Marks the devices that a line of mountinfo(5) is about. */
static void note_mount(const char *line, struct library *const *libraries, size_t n,
		       bool *is_mounted)
{
	unsigned int major, minor;

	if (sscanf(line, "%*d %*d %u:%u", &major, &minor) != 2)
		return;
	for (size_t i = 0; i < n; i++)
		is_mounted[i] |= libraries[i]->mount == makedev(major, minor);
}

/* Where that cannot be read, or was read lately, all of them are taken to be. */
static void find_mounted(struct reaping *r, uint64_t now, struct library *const *libraries,
			 size_t n, bool *is_mounted)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	size_t capacity = 0;

	if (now >= r->mounts_due_ns) {
		f = fopen("/proc/self/mountinfo", "re");
		r->mounts_due_ns = now + UNUSED_S * NS_PER_SECOND;
	}
	for (size_t i = 0; i < n; i++)
		is_mounted[i] = !f;
	while (f && getline(&line, &capacity, f) > 0)
		note_mount(line, libraries, n, is_mounted);
}

void reaping_begin(struct reaping *r, struct library *const *libraries, size_t n, bool is_crowded)
{
	uint64_t now = clock_monotonic_ns();
	bool is_mounted[LIBRARIES_MAX];

	*r = (struct reaping){.mounts_due_ns = r->mounts_due_ns};
	find_mounted(r, now, libraries, n, is_mounted);
	for (size_t i = 0; i < n; i++) {
		struct library *library = libraries[i];
		bool is_old = now - library->used_ns >= UNUSED_S * NS_PER_SECOND;

		if ((is_crowded && (library->owner != 0 || library->holder)) ||
		    (!is_mounted[i] && is_old) || is_deleted(library))
			r->candidates[r->n++] = library;
	}
}

void reaping_spare(struct reaping *r, struct library *library)
{
	library->used_ns = clock_monotonic_ns();
	for (size_t i = r->n; i-- > 0;)
		if (r->candidates[i] == library)
			r->candidates[i] = r->candidates[--r->n];
}

static int spare_mapped(const struct procfs_mapping *mapping, void *userdata)
{
	struct reaping *r = userdata;

	for (size_t i = r->n; i-- > 0;)
		if (library_is_mapped(r->candidates[i], mapping))
			reaping_spare(r, r->candidates[i]);
	return r->n == 0;
}

static int spare_used(pid_t pid, void *userdata)
{
	return real_files_each(pid, spare_mapped, userdata) == 1;
}

bool reaping_go_on(struct reaping *r)
{
	if (r->n > 0 && !r->is_over)
		r->is_over = walk_slice(&r->walk, spare_used, r);
	return r->n == 0 || r->is_over;
}

struct library *reaping_next(struct reaping *r)
{
	return r->n > 0 && r->is_over ? r->candidates[--r->n] : NULL;
}
