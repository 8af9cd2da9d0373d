/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA libraries: which files are some, and which of them are on this host's disk, so that they can
 * be armed before anyone maps them.
 */
#ifndef SRTLEAK_LIBSEARCH_H
#define SRTLEAK_LIBSEARCH_H

#include <stddef.h>

#include "api.h"

/* The enum api_family of a library by its base name; -ENOENT where it is none of interest. */
int libsearch_family(const char *path);

/* Called with what was found. Not 0 ends the search and is returned by it. */
typedef int (*libsearch_fn)(const char *path, enum api_family family, void *userdata);

/* The CUDA libraries among the entries of an ld.so.cache (format 1.1, alone or behind the old one).
 * Returns 0 or what fn returned; -EBADMSG where the buffer is no such cache or an entry leads out
 * of it: what stood before that was reported.
 */
int libsearch_cache(const void *data, size_t size, libsearch_fn fn, void *userdata);

/* Searches the loader's cache, the usual places and the given globs (glob(3) with braces). Every
 * regular file is reported once, by its canonical path. A cache or place that cannot be read is
 * passed over. Returns 0 or what fn returned; -E2BIG for more than a thousand files, -ENOMEM.
 */
int libsearch_host(const char *const *globs, size_t n_globs, libsearch_fn fn, void *userdata);

#endif
