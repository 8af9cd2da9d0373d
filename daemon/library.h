/* SPDX-License-Identifier: Apache-2.0 */
/* One probed library file: which rows of the API table it exports, where their probes sit, and the
 * links that hold them. A link is made to the file, so it serves every process that maps it, also
 * those to come: the kernel arms them at mmap.
 */
#ifndef SRTLEAK_LIBRARY_H
#define SRTLEAK_LIBRARY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "api.h"
#include "probes.h"

enum probe_state {
	PROBE_MISSING,  /* not exported */
	PROBE_ATTACHED, /* the first instruction is emulated by the kernel */
	PROBE_SLOW,     /* attached; the first instruction is single-stepped */
	PROBE_ALIAS,    /* same address as an earlier row, which is probed */
	PROBE_FAILED,   /* could not be read or attached */
};

struct probe_point {
	enum probe_state state;
	uint64_t offset; /* in the file */
	int alias_of;    /* PROBE_ALIAS: row */
	int error;       /* PROBE_FAILED: negative errno */
};

struct library {
	dev_t device;
	ino_t inode;
	enum api_family family;
	char *path;
	uint64_t armed_ns; /* CLOCK_BOOTTIME */
	struct probe_point points[API_MAX];
	struct bpf_link *links[2 * API_MAX]; /* perf links */
	int multi_links[2];                  /* descriptors, -1 where perf links are used */
	size_t n_links;
};

/* Finds the family's functions in the file and probes them. The descriptor stays the caller's and
 * is not needed afterwards; path is for people. -ENOENT: exports none of them.
 */
int library_attach(const struct probes *probes, bool multi, int fd, const char *path,
		   enum api_family family, struct library **ret);

/* Takes the probes out. */
struct library *library_free(struct library *library);

/* Where the probes of a file would sit, without making any (for `doctor`). */
int library_survey(int fd, enum api_family family, struct probe_point ret[API_MAX]);

size_t library_count(const struct library *library, enum api_family family, enum probe_state state);
size_t library_attached(const struct library *library); /* probed functions */
enum api_family library_family_of(enum api api);
const char *api_symbol(enum api api);
const char *family_name(enum api_family family);

static inline void library_freep(struct library **library)
{
	library_free(*library);
}

#endif
