/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libsearch.h"
#include "macro.h"

#define CACHE_PATH "/etc/ld.so.cache"
#define CACHE_MAX ((size_t)16 << 20)
#define FILES_MAX 1000

/* The names that the toolkit and drivers use, and those of wheels, which put a hash of the content
 * behind the name. Static archives and the debugger's library do not match.
 */
static const struct family_name {
	const char *pattern;
	enum api_family family;
} family_names[] = {
	{"libcudart.so*", FAMILY_CUDART},
	{"libcudart-*.so*", FAMILY_CUDART},
	{"libcuda.so*", FAMILY_CUDA},
};

#define SITE_PACKAGES "lib/python3*/{site,dist}-packages"
#define SITE_PACKAGES_LIBRARIES "/{nvidia/cuda_runtime/lib,nvidia/cu1[3-9]/lib,torch/lib}/libcuda*"

static const char *const usual_places[] = {
	"/usr/local/cuda*/{lib64,targets/*/lib,compat}/libcuda*",
	"/usr/lib/{x86_64,aarch64}-linux-gnu/libcuda*",
	"/usr/{lib/wsl/lib,local/nvidia/lib64}/libcuda*",
	"/usr/" SITE_PACKAGES SITE_PACKAGES_LIBRARIES,
	"/usr/local/" SITE_PACKAGES SITE_PACKAGES_LIBRARIES,
	/* virtual environments and conda, with its own environments */
	"/opt/{,*/,*/envs/*/}" SITE_PACKAGES SITE_PACKAGES_LIBRARIES,
};

/* As glibc's dl-cache has them; offsets of strings count from the header. */
static const char cache_magic[] = "glibc-ld.so.cache1.1";

struct cache_header {
	char magic[20];
	uint32_t entries;
	uint32_t strings_size;
	uint32_t unused[5];
};
_Static_assert(sizeof(struct cache_header) == 48, "as in the file");

struct cache_entry {
	int32_t flags;
	uint32_t name;
	uint32_t path;
	uint32_t os_version;
	uint64_t hwcap;
};
_Static_assert(sizeof(struct cache_entry) == 24, "as in the file");

int libsearch_family(const char *path)
{
	const char *name = strrchr(path, '/');

	name = name ? name + 1 : path;
	for (size_t i = 0; i < ARRAY_SIZE(family_names); i++)
		if (fnmatch(family_names[i].pattern, name, 0) == 0)
			return family_names[i].family;
	return -ENOENT;
}

int libsearch_cache(const void *data, size_t size, libsearch_fn fn, void *userdata)
{
	const char *start = memmem(data, size, cache_magic, sizeof(cache_magic) - 1);
	struct cache_header header;
	struct cache_entry entry;
	int family, r;

	if (!start)
		return -EBADMSG;
	size -= (size_t)(start - (const char *)data);
	if (size < sizeof(header))
		return -EBADMSG;
	memcpy(&header, start, sizeof(header));
	if (header.entries > (size - sizeof(header)) / sizeof(entry))
		return -EBADMSG;
	for (uint32_t i = 0; i < header.entries; i++) {
		memcpy(&entry, start + sizeof(header) + i * sizeof(entry), sizeof(entry));
		if (entry.path >= size || !memchr(start + entry.path, '\0', size - entry.path))
			return -EBADMSG;
		family = libsearch_family(start + entry.path);
		if (family < 0)
			continue;
		r = fn(start + entry.path, family, userdata);
		if (r != 0)
			return r;
	}
	return 0;
}

struct search {
	libsearch_fn fn;
	void *userdata;
	size_t count;
	struct {
		dev_t dev;
		ino_t ino;
	} files[FILES_MAX];
};

/* Returns 1 where the file is new, 0 where it was there before. */
static int remember(struct search *s, const struct stat *st)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->files[i].dev == st->st_dev && s->files[i].ino == st->st_ino)
			return 0;
	if (s->count == FILES_MAX)
		return -E2BIG;
	s->files[s->count].dev = st->st_dev;
	s->files[s->count].ino = st->st_ino;
	s->count++;
	return 1;
}

static int found(const char *path, enum api_family family, void *userdata)
{
	struct search *s = userdata;
	_cleanup_free_ char *canonical = realpath(path, NULL);
	struct stat st;
	int r;

	/* caches and links outlive the files that they name */
	if (!canonical || stat(canonical, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	r = remember(s, &st);
	return r > 0 ? s->fn(canonical, family, s->userdata) : r;
}

static int read_whole(const char *path, void **ret, size_t *ret_size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *data = NULL;
	size_t used = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || (size_t)st.st_size > CACHE_MAX)
		return -EFBIG;
	data = malloc((size_t)st.st_size);
	if (!data)
		return -ENOMEM;
	while (used < (size_t)st.st_size) {
		ssize_t n = read(fd, data + used, (size_t)st.st_size - used);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		used += n > 0 ? (size_t)n : 0;
	}
	*ret = TAKE_PTR(data);
	*ret_size = used;
	return 0;
}

static int search_cache(struct search *s)
{
	_cleanup_free_ void *data = NULL;
	size_t size = 0;
	int r = read_whole(CACHE_PATH, &data, &size);

	if (r == -ENOMEM)
		return r;
	if (r < 0 || !data)
		return 0; /* without a cache the usual places are left */
	r = libsearch_cache(data, size, found, s);
	return r == -EBADMSG ? 0 : r;
}

static int search_glob(struct search *s, const char *pattern)
{
	_cleanup_(globfree) glob_t paths = {0};
	int family, r;

	r = glob(pattern, GLOB_BRACE, NULL, &paths);
	if (r != 0)
		return r == GLOB_NOSPACE ? -ENOMEM : 0;
	for (size_t i = 0; i < paths.gl_pathc; i++) {
		family = libsearch_family(paths.gl_pathv[i]);
		if (family < 0)
			continue;
		r = found(paths.gl_pathv[i], family, s);
		if (r != 0)
			return r;
	}
	return 0;
}

static int search_globs(struct search *s, const char *const *globs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int r = search_glob(s, globs[i]);

		if (r != 0)
			return r;
	}
	return 0;
}

int libsearch_host(const char *const *globs, size_t n_globs, libsearch_fn fn, void *userdata)
{
	struct search s = {.fn = fn, .userdata = userdata};
	int r = search_cache(&s);

	if (r == 0)
		r = search_globs(&s, usual_places, ARRAY_SIZE(usual_places));
	if (r == 0)
		r = search_globs(&s, globs, n_globs);
	return r;
}
