/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA libraries by name, in a loader's cache and on disk. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "daemon/libsearch.h"
#include "macro.h"

static void test_family(void **state)
{
	static const struct sample {
		const char *path;
		int family;
	} samples[] = {
		{"/usr/local/cuda/lib64/libcudart.so", FAMILY_CUDART},
		{"libcudart.so.12.4.127", FAMILY_CUDART},
		{"/x/torch/lib/libcudart-d0da41ae.so.11.0", FAMILY_CUDART},
		{"/usr/lib/x86_64-linux-gnu/libcuda.so.1", FAMILY_CUDA},
		{"libcuda.so.580.65.06", FAMILY_CUDA},
		{"libcudart_static.a", -ENOENT},
		{"libcudart_static.so", -ENOENT},
		{"libcudadebugger.so.1", -ENOENT},
		{"libcudadevrt.a", -ENOENT},
		{"mylibcuda.so", -ENOENT},
		{"/libcuda.so.1/x", -ENOENT},
		{"/", -ENOENT},
		{"", -ENOENT},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		assert_int_equal(libsearch_family(samples[i].path), samples[i].family);
}

/* What a search reported. */
struct found {
	size_t count;
	size_t stop_at; /* 0: never */
	char paths[16][256];
	enum api_family families[16];
};

static int note(const char *path, enum api_family family, void *userdata)
{
	struct found *f = userdata;

	assert_true(f->count < ARRAY_SIZE(f->paths));
	snprintf(f->paths[f->count], sizeof(f->paths[0]), "%s", path);
	f->families[f->count++] = family;
	return f->count == f->stop_at ? 42 : 0;
}

/* Builds a cache: the header with a count, entries that name `paths`, the strings. */
struct cache {
	unsigned char bytes[1024];
	size_t size;
};

static void put(struct cache *c, const void *data, size_t size)
{
	assert_true(c->size + size <= sizeof(c->bytes));
	memcpy(c->bytes + c->size, data, size);
	c->size += size;
}

static void put_u32(struct cache *c, uint32_t value)
{
	put(c, &value, sizeof(value));
}

static void build(struct cache *c, const char *const *paths, size_t count)
{
	uint32_t string = (uint32_t)(48 + count * 24);

	put(c, "glibc-ld.so.cache1.1", 20);
	put_u32(c, (uint32_t)count);
	for (int i = 0; i < 6; i++)
		put_u32(c, 0);
	for (size_t i = 0; i < count; i++) {
		put_u32(c, 0x303);
		put_u32(c, string);
		put_u32(c, string);
		for (int j = 0; j < 3; j++)
			put_u32(c, 0);
		string += (uint32_t)strlen(paths[i]) + 1;
	}
	for (size_t i = 0; i < count; i++)
		put(c, paths[i], strlen(paths[i]) + 1);
}

static const char *const entries[] = {"/lib/libc.so.6", "/a/libcuda.so.1", "/b/libcudart.so.12"};

/* From a copy of exactly that size, so that a sanitizer sees reads past its end. */
static int search(const unsigned char *bytes, size_t size, struct found *f)
{
	unsigned char *copy = malloc(MAX(size, 1));
	int r;

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	r = libsearch_cache(copy, size, note, f);
	free(copy);
	return r;
}

static void test_cache(void **state)
{
	struct cache c = {0};
	struct found f = {0};

	(void)state;
	build(&c, entries, ARRAY_SIZE(entries));
	assert_int_equal(search(c.bytes, c.size, &f), 0);
	assert_int_equal(f.count, 2);
	assert_string_equal(f.paths[0], "/a/libcuda.so.1");
	assert_int_equal(f.families[0], FAMILY_CUDA);
	assert_string_equal(f.paths[1], "/b/libcudart.so.12");
	assert_int_equal(f.families[1], FAMILY_CUDART);

	f = (struct found){.stop_at = 1};
	assert_int_equal(search(c.bytes, c.size, &f), 42);
	assert_int_equal(f.count, 1);
}

static void test_cache_behind_old_format(void **state)
{
	struct cache c = {0};
	struct found f = {0};

	(void)state;
	put(&c, "ld.so-1.7.0\0\0\0\0\0", 16);
	build(&c, entries, ARRAY_SIZE(entries));
	assert_int_equal(search(c.bytes, c.size, &f), 0);
	assert_int_equal(f.count, 2);
}

static void test_cache_cut_short(void **state)
{
	struct cache c = {0};

	(void)state;
	build(&c, entries, ARRAY_SIZE(entries));
	for (size_t size = 0; size < c.size; size++) {
		struct found f = {0};

		assert_int_equal(search(c.bytes, size, &f), -EBADMSG);
		assert_true(f.count < 2);
	}
}

static void test_cache_with_wrong_bytes(void **state)
{
	struct cache c = {0};

	(void)state;
	build(&c, entries, ARRAY_SIZE(entries));
	for (size_t i = 0; i < c.size; i++)
		for (unsigned int bit = 0; bit < 8; bit++) {
			struct found f = {0};
			int r;

			c.bytes[i] ^= (unsigned char)(1U << bit);
			r = search(c.bytes, c.size, &f);
			assert_true(r == 0 || r == -EBADMSG);
			c.bytes[i] ^= (unsigned char)(1U << bit);
		}
}

/* The files of a scratch folder that a search of the whole host reports. */
struct host_search {
	const char *folder;
	struct found f;
};

static int note_ours(const char *path, enum api_family family, void *userdata)
{
	struct host_search *s = userdata;

	if (strncmp(path, s->folder, strlen(s->folder)) != 0)
		return 0;
	return note(path, family, &s->f);
}

static void make_file(const char *folder, const char *name)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "we");
	assert_non_null(file);
	fclose(file);
}

static void test_host(void **state)
{
	static const char *const names[] = {"libcuda.so.1.2", "libcudart.so.12", "other.so",
					    "libcuda.so", "libcuda.so.1"};
	char folder[] = "/tmp/srtleak-libsearch-XXXXXX";
	char path[256], all[256], again[256], fifo[256];
	const char *globs[] = {all, again, "/nowhere/*", "["};
	struct host_search s = {.folder = folder};

	(void)state;
	assert_non_null(mkdtemp(folder));
	for (size_t i = 0; i < 3; i++)
		make_file(folder, names[i]);
	for (size_t i = 3; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		assert_int_equal(symlink(names[0], path), 0);
	}
	snprintf(fifo, sizeof(fifo), "%s/libcuda.so.2", folder);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	snprintf(all, sizeof(all), "%s/*", folder);
	snprintf(again, sizeof(again), "%s/libcud{a,art}.so*", folder);

	assert_int_equal(libsearch_host(globs, ARRAY_SIZE(globs), note_ours, &s), 0);
	assert_int_equal(s.f.count, 2);
	assert_int_equal(s.f.families[0], FAMILY_CUDA);
	snprintf(path, sizeof(path), "%s/libcuda.so.1.2", folder);
	assert_string_equal(s.f.paths[0], path);
	assert_int_equal(s.f.families[1], FAMILY_CUDART);

	s.f = (struct found){.stop_at = 1};
	assert_int_equal(libsearch_host(globs, ARRAY_SIZE(globs), note_ours, &s), 42);

	unlink(fifo);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_family),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_cache_behind_old_format),
		cmocka_unit_test(test_cache_cut_short),
		cmocka_unit_test(test_cache_with_wrong_bytes),
		cmocka_unit_test(test_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
