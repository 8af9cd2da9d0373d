/* SPDX-License-Identifier: Apache-2.0 */
/* Files that were looked at, by the device and inode under which mappings name them. On overlayfs
 * these may differ from what fstat says, so a library has an entry for each name that it was seen
 * under.
 */
#ifndef SRTLEAK_FILE_NAMES_H
#define SRTLEAK_FILE_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "library.h"
#include "table.h"

/* The key is a hash: names are compared. */
struct file_name {
	uint64_t key;
	uint64_t inode;
	unsigned int major, minor;
	struct library *library; /* NULL: looked at, nothing to probe */
	unsigned int missing;    /* what is to be said of who maps it (enum process_partial) */
	uint64_t looked_ns;      /* CLOCK_MONOTONIC */
};

struct file_names {
	struct table table;
};

void file_names_init(struct file_names *names);
void file_names_done(struct file_names *names);

/* NULL where it was not looked at, or so long ago that the inode may be another file's by now. */
const struct file_name *file_names_find(const struct file_names *names, unsigned int major,
					unsigned int minor, uint64_t inode);

void file_names_add(struct file_names *names, unsigned int major, unsigned int minor,
		    uint64_t inode, struct library *library, unsigned int missing);

/* Forgets the names of a library, or (NULL) all files that have nothing to probe. */
void file_names_forget(struct file_names *names, const struct library *library);

#endif
