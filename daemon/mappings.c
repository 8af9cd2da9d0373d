/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "macro.h"
#include "mappings.h"
#include "procfs.h"
#include "root_file.h"

#define MAP_NAME_MAX 64

/* linux/fs.h from 6.11 on, which the build does without. */
#define QUERY_EXECUTABLE 0x04U
#define QUERY_COVERING_OR_NEXT 0x10U
#define QUERY_FILE_BACKED 0x20U
#define QUERY _IOWR('f', 17, struct query)

struct query {
	uint64_t size;
	uint64_t flags;
	uint64_t address;
	uint64_t start, end;
	uint64_t mapping_flags;
	uint64_t page_size;
	uint64_t offset;
	uint64_t inode;
	uint32_t major, minor;
	uint32_t name_size, build_id_size; /* bytes, with the NUL; in: room, out: used */
	uint64_t name, build_id;           /* addresses */
};

struct search {
	uint64_t from;
	unsigned int wanted;
	int (*fn)(const struct procfs_mapping *mapping, void *userdata);
	void *userdata;
	size_t seen;
};

/* The next mapping from the query's address on. Asks again without a name that has no room. */
static int ask(int fd, struct query *query, char path[PATH_MAX])
{
	query->size = sizeof(*query);
	query->name = (uintptr_t)path;
	query->name_size = PATH_MAX;
	path[0] = '\0';
	if (ioctl(fd, QUERY, query) == 0)
		return 0;
	if (errno != ENAMETOOLONG)
		return -errno;
	query->name = 0;
	query->name_size = 0;
	path[0] = '\0';
	return ioctl(fd, QUERY, query) < 0 ? -errno : 0;
}

static int tell(const struct search *search, const struct query *query, char *path)
{
	struct procfs_mapping mapping = {
		.start = query->start,
		.end = query->end,
		.offset = query->offset,
		.major = query->major,
		.minor = query->minor,
		.inode = query->inode,
		.executable = query->mapping_flags & QUERY_EXECUTABLE,
		.path = path,
	};

	mapping.deleted = procfs_strip_deleted(path);
	return search->fn(&mapping, search->userdata);
}

/* -ENOTTY: this kernel cannot be asked. */
static int ask_for_each(pid_t pid, struct search *search)
{
	_cleanup_close_ int fd = procfs_open(pid, "maps", O_RDONLY);
	struct query query = {.address = search->from};
	char path[PATH_MAX];
	int r = fd < 0 ? fd : 0;

	while (r == 0) {
		if (search->seen == MAPPINGS_MAX)
			return -E2BIG;
		query.flags = QUERY_COVERING_OR_NEXT;
		if (search->wanted & MAPPINGS_EXECUTABLE)
			query.flags |= QUERY_EXECUTABLE;
		if (search->wanted & MAPPINGS_FILES)
			query.flags |= QUERY_FILE_BACKED;
		r = ask(fd, &query, path);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		search->seen++;
		r = tell(search, &query, path);
		query.address = query.end;
	}
	return r;
}

/* The kernel writes a newline in a name as \012 and leaves all else, backslashes too, as it is. */
static void decode_newlines(char *path)
{
	char *out = path;

	while (*path) {
		if (strncmp(path, "\\012", 4) == 0) {
			*out++ = '\n';
			path += 4;
		} else {
			*out++ = *path++;
		}
	}
	*out = '\0';
}

static bool parse_line(char *line, struct procfs_mapping *ret)
{
	struct procfs_mapping m = {0};
	char executable;
	int path_at = -1;

	/* "%x" takes signs and blanks too, but the kernel is who writes this */
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*c%*c%c%*c %" SCNx64 " %x:%x %" SCNu64 " %n",
		   &m.start, &m.end, &executable, &m.offset, &m.major, &m.minor, &m.inode,
		   &path_at) != 7 ||
	    path_at < 0 || m.start >= m.end)
		return false;
	m.executable = executable == 'x';
	m.deleted = procfs_strip_deleted(line + path_at);
	decode_newlines(line + path_at);
	m.path = line + path_at;
	*ret = m;
	return true;
}

static int on_line(char *line, void *userdata)
{
	struct search *search = userdata;
	struct procfs_mapping m;

	if (search->seen++ == MAPPINGS_MAX)
		return -E2BIG;
	if (!parse_line(line, &m))
		return -EBADMSG;
	if (m.end <= search->from || (search->wanted & MAPPINGS_EXECUTABLE && !m.executable) ||
	    (search->wanted & MAPPINGS_FILES && m.inode == 0))
		return 0;
	return search->fn(&m, search->userdata);
}

static int look(pid_t pid, struct search *search)
{
	int r = ask_for_each(pid, search);

	return r == -ENOTTY ? procfs_each_line(pid, "maps", on_line, search) : r;
}

int mappings_from(pid_t pid, uint64_t address, unsigned int wanted,
		  int (*fn)(const struct procfs_mapping *mapping, void *userdata), void *userdata)
{
	struct search search = {.from = address, .wanted = wanted, .fn = fn, .userdata = userdata};
	int r = look(pid, &search);
	pid_t thread = 0;

	if (search.seen == 0 && (r == 0 || r == -ESRCH))
		thread = procfs_other_thread(pid);
	return thread ? look(thread, &search) : r;
}

int mappings_each(pid_t pid, unsigned int wanted,
		  int (*fn)(const struct procfs_mapping *mapping, void *userdata), void *userdata)
{
	return mappings_from(pid, 0, wanted, fn, userdata);
}

/* An O_PATH descriptor of the file with the mapping's name in the process's root. */
static int find_by_name(pid_t pid, const struct procfs_mapping *mapping)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (mapping->path[0] != '/')
		return -EINVAL;
	fd = root_open(pid, mapping->path, O_PATH);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_ino != mapping->inode || major(st.st_dev) != mapping->major ||
	    minor(st.st_dev) != mapping->minor)
		return -ESTALE;
	return TAKE_FD(fd);
}

int mappings_open(pid_t pid, const struct procfs_mapping *mapping)
{
	_cleanup_close_ int found = -1;
	char name[MAP_NAME_MAX];

	/* map_files leads to the very file, also where it has no name any more; the numbers of
	 * device and inode are not compared, as stat and maps differ on overlayfs and btrfs
	 */
	snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, mapping->start,
		 mapping->end);
	found = procfs_open(pid, name, O_PATH);
	if (found < 0)
		found = find_by_name(pid, mapping);
	return found < 0 ? found : root_reopen_file(found);
}
