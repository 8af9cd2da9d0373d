/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "macro.h"
#include "pins.h"

#define ASIDE "aside"
#define SET_PREFIX "object_"
#define SET_NEW SET_PREFIX "new"
#define SET_DIGITS 16
#define DEPTH_MAX 3 /* set, folder, pin */
#define LOCK_TRIES 50
#define LOCK_PAUSE_USEC 100000

struct pins {
	int fd;     /* the directory, locked */
	int set_fd; /* the set in use */
	char *path;
	char set[32];
};

static int check_file_system(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	return fs.f_type == BPF_FS_MAGIC ? 0 : -ENOTSUP;
}

static int check_owner(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & 07777) != 0700)
		return -EPERM;
	return 0;
}

/* bpffs gives new directories the mode that mkdir asks for, and no default. */
static int make_directory(const char *path)
{
	struct statfs fs;
	char parent[4096];
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path || (size_t)(slash - path) >= sizeof(parent))
		return -EINVAL;
	memcpy(parent, path, (size_t)(slash - path));
	parent[slash - path] = '\0';
	if (statfs(parent, &fs) < 0)
		return -errno;
	if (fs.f_type != BPF_FS_MAGIC)
		return -ENOTSUP;
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* A daemon that was killed holds its lock until the kernel has closed all that it had open. */
static int lock(int fd)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			return -errno;
		usleep(LOCK_PAUSE_USEC);
	}
	return -EBUSY;
}

static int open_directory(const char *directory, bool ours, struct pins **ret)
{
	_cleanup_(pins_freep) struct pins *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->set_fd = -1;
	p->fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (p->fd < 0)
		return -errno;
	p->path = strdup(directory);
	if (!p->path)
		return -ENOMEM;
	r = check_file_system(p->fd);
	if (r == 0 && ours)
		r = check_owner(p->fd);
	if (r == 0)
		r = lock(p->fd);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	return 0;
}

int pins_open_to_remove(const char *directory, struct pins **ret)
{
	return open_directory(directory, false, ret);
}

int pins_open(const char *directory, struct pins **ret)
{
	int r = open_directory(directory, true, ret);

	if (r != -ENOENT)
		return r;
	r = make_directory(directory);
	return r < 0 ? r : open_directory(directory, true, ret);
}

/* A listing with a position of its own; ret_fd is the listing's. */
static DIR *list(int parent, const char *name, int *ret_fd)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	*ret_fd = fd;
	return dir;
}

/* Removes what stands below a directory; nothing in bpffs is deeper than our own sets. */
static void empty_directory(int parent, const char *name, int depth)
{
	int fd;
	_cleanup_closedir_ DIR *dir = list(parent, name, &fd);
	const struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (unlinkat(fd, entry->d_name, 0) == 0 || depth >= DEPTH_MAX)
			continue;
		empty_directory(fd, entry->d_name, depth + 1);
		(void)unlinkat(fd, entry->d_name, AT_REMOVEDIR);
	}
}

static bool remove_tree(int parent, const char *name)
{
	if (unlinkat(parent, name, 0) == 0)
		return true;
	if (errno == ENOENT)
		return false;
	empty_directory(parent, name, 1);
	return unlinkat(parent, name, AT_REMOVEDIR) == 0;
}

/* The directory may have been named by mistake, and hold what others have pinned. */
static bool is_set(const char *name)
{
	const char *digits = name + strlen(SET_PREFIX);

	if (strncmp(name, SET_PREFIX, strlen(SET_PREFIX)) != 0)
		return false;
	return strcmp(name, SET_NEW) == 0 ||
	       (strlen(digits) == SET_DIGITS && strspn(digits, "0123456789abcdef") == SET_DIGITS);
}

/* Every set of the directory but the one to keep. Returns whether there was any. */
static bool remove_others(const struct pins *p, const char *keep)
{
	int fd;
	_cleanup_closedir_ DIR *dir = list(p->fd, ".", &fd);
	const struct dirent *entry;
	bool removed = false;

	if (!dir)
		return false;
	while ((entry = readdir(dir)))
		if (is_set(entry->d_name) && strcmp(entry->d_name, keep) != 0)
			removed |= remove_tree(p->fd, entry->d_name);
	return removed;
}

static int open_set(struct pins *p, const char *name)
{
	p->set_fd = openat(p->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return p->set_fd < 0 ? -errno : 0;
}

int pins_choose(struct pins *p, uint64_t object, bool *ret_removed)
{
	int r;

	if (p->set_fd >= 0)
		close(TAKE_FD(p->set_fd));
	snprintf(p->set, sizeof(p->set), SET_PREFIX "%0*" PRIx64, SET_DIGITS, object);
	*ret_removed = remove_others(p, p->set);
	r = open_set(p, p->set);
	if (r == 0)
		return 1;
	if (r != -ENOENT)
		return r;
	if (mkdirat(p->fd, SET_NEW, 0700) < 0)
		return -errno;
	return open_set(p, SET_NEW);
}

int pins_complete(struct pins *p)
{
	return p && renameat(p->fd, SET_NEW, p->fd, p->set) < 0 ? -errno : 0;
}

struct pins *pins_free(struct pins *p)
{
	if (!p)
		return NULL;
	if (p->set_fd >= 0)
		close(p->set_fd);
	if (p->fd >= 0)
		close(p->fd);
	free(p->path);
	free(p);
	return NULL;
}

const char *pins_path(const struct pins *p)
{
	return p ? p->path : NULL;
}

/* The kernel takes paths alone; this one leads through the directory that was checked. */
static void path_of(const struct pins *p, const char *name, char ret[PINS_NAME_MAX + 64])
{
	snprintf(ret, PINS_NAME_MAX + 64, "/proc/self/fd/%d/%.*s", p->set_fd, PINS_NAME_MAX, name);
}

int pins_put(struct pins *p, int fd, const char *name)
{
	char path[PINS_NAME_MAX + 64];

	if (!p)
		return 0;
	path_of(p, name, path);
	return bpf_obj_pin(fd, path) < 0 ? -errno : 0;
}

int pins_get(const struct pins *p, const char *name)
{
	char path[PINS_NAME_MAX + 64];
	int fd;

	path_of(p, name, path);
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

int pins_make_folder(struct pins *p, const char *name)
{
	return p && mkdirat(p->set_fd, name, 0700) < 0 ? -errno : 0;
}

int pins_rename(struct pins *p, const char *from, const char *to)
{
	return p && renameat(p->set_fd, from, p->set_fd, to) < 0 ? -errno : 0;
}

static int each_folder(int parent, const char *name, void (*fn)(const char *name, void *userdata),
		       void *userdata)
{
	int fd;
	_cleanup_closedir_ DIR *dir = list(parent, name, &fd);
	const struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			fn(entry->d_name, userdata);
	return 0;
}

int pins_each_folder(const struct pins *p, void (*fn)(const char *name, void *userdata),
		     void *userdata)
{
	return each_folder(p->set_fd, ".", fn, userdata);
}

int pins_set_aside(struct pins *p, const char *name, const char *to)
{
	char path[PINS_NAME_MAX];

	(void)mkdirat(p->fd, ASIDE, 0700);
	snprintf(path, sizeof(path), ASIDE "/%s", to);
	return renameat(p->set_fd, name, p->fd, path) < 0 ? -errno : 0;
}

int pins_each_aside(const struct pins *p, void (*fn)(const char *name, void *userdata),
		    void *userdata)
{
	int r = each_folder(p->fd, ASIDE, fn, userdata);

	return r == -ENOENT ? 0 : r;
}

void pins_remove_aside(struct pins *p, const char *name)
{
	char path[PINS_NAME_MAX];

	snprintf(path, sizeof(path), ASIDE "/%s", name);
	(void)remove_tree(p->fd, path);
}

void pins_remove(struct pins *p, const char *name)
{
	if (p)
		(void)remove_tree(p->set_fd, name);
}

void pins_remove_sets(struct pins *p)
{
	(void)remove_others(p, "");
}

int pins_remove_all(struct pins *p)
{
	pins_remove_sets(p);
	(void)unlinkat(p->fd, ASIDE, AT_REMOVEDIR); /* unless there is something in it */
	return rmdir(p->path) < 0 ? -errno : 0;
}
