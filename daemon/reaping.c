/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>

#include "procfs.h"
#include "reaping.h"

/* As far as this host knows: a file system that does not answer must not hold us up. */
static bool is_deleted(const struct library *library)
{
	struct statx st;

	return statx(library->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_NLINK, &st) == 0 &&
	       st.stx_nlink == 0;
}

void reaping_begin(struct reaping *r, const struct file_names *files,
		   struct library *const *libraries, size_t n, bool is_crowded)
{
	*r = (struct reaping){.files = files};
	for (size_t i = 0; i < n; i++) {
		struct library *library = libraries[i];

		if ((is_crowded && (library->owner != 0 || library->holder)) || is_deleted(library))
			r->candidates[r->n++] = library;
	}
}

void reaping_spare(struct reaping *r, const struct library *library)
{
	for (size_t i = r->n; i-- > 0;)
		if (r->candidates[i] == library)
			r->candidates[i] = r->candidates[--r->n];
}

/* A mapping may name another device or inode than fstat does: under these it has been seen before.
 */
static int spare_mapped(const struct procfs_mapping *mapping, void *userdata)
{
	struct reaping *r = userdata;
	const struct file_name *name =
		file_names_find(r->files, mapping->major, mapping->minor, mapping->inode);

	for (size_t i = r->n; mapping->inode && i-- > 0;)
		if (r->candidates[i]->inode == mapping->inode ||
		    (name && name->library == r->candidates[i]))
			r->candidates[i] = r->candidates[--r->n];
	return r->n == 0;
}

static int spare_used(pid_t pid, void *userdata)
{
	return procfs_mappings(pid, spare_mapped, userdata) == 1;
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
