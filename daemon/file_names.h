/* SPDX-License-Identifier: Apache-2.0 */
/* Files that were looked at, by what tells them from others (real_files.h). */
#ifndef SRTLEAK_FILE_NAMES_H
#define SRTLEAK_FILE_NAMES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "library.h"
#include "table.h"

struct file_name {
	uint64_t key;
	struct library *library; /* NULL: looked at, nothing to probe */
	unsigned int missing;    /* what is to be said of who maps it (enum process_partial) */
	uint64_t looked_ns;      /* CLOCK_MONOTONIC */
};

struct file_names {
	struct table table;
};

void file_names_init(struct file_names *names);
void file_names_done(struct file_names *names);

/* NULL where it was not looked at with this content (size, time of the last change), or long ago.
 */
const struct file_name *file_names_find(const struct file_names *names, uint64_t id,
					const struct stat *st);

void file_names_add(struct file_names *names, uint64_t id, const struct stat *st,
		    struct library *library, unsigned int missing);

/* Forgets a library, or (NULL) all files that have nothing to probe. */
void file_names_forget(struct file_names *names, const struct library *library);

#endif
