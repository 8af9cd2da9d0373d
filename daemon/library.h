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
#include <systemd/sd-event.h>

#include "probes.h"
#include "survey.h"

struct library {
	dev_t device;
	ino_t inode;
	uint32_t number; /* part of its probes' cookies */
	enum api_family family;
	char *path;
	uint64_t armed_ns;        /* CLOCK_BOOTTIME */
	sd_event_source *written; /* for whoever watches the file; may be NULL */
	struct probe_point points[API_MAX];
	struct bpf_link *links[2 * API_MAX]; /* perf links */
	int multi_links[2];                  /* descriptors, -1 where perf links are used */
	size_t n_links;
};

/* Finds the family's functions in the file and probes them. The descriptor stays the caller's and
 * is not needed afterwards; path is for people; no two libraries have the same number. -ENOENT:
 * exports none of them.
 */
int library_attach(const struct probes *probes, bool multi, int fd, const char *path,
		   enum api_family family, uint32_t number, struct library **ret);

/* Takes the probes out. */
struct library *library_free(struct library *library);

/* Functions of a family that are in a state; those probed. */
size_t library_count(const struct library *library, enum api_family family, enum probe_state state);
size_t library_attached(const struct library *library);

static inline void library_freep(struct library **library)
{
	library_free(*library);
}

#endif
