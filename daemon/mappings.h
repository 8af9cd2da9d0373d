/* SPDX-License-Identifier: Apache-2.0 */
/* What processes have mapped, and the files behind that. Errors as in procfs.h. */
#ifndef SRTLEAK_MAPPINGS_H
#define SRTLEAK_MAPPINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* One line of /proc/PID/maps. */
struct procfs_mapping {
	uint64_t start; /* addresses, end is the first one behind */
	uint64_t end;
	uint64_t offset; /* in the file, bytes */
	unsigned int major;
	unsigned int minor;
	uint64_t inode; /* 0: no file */
	uint64_t file;  /* from real_files.h only: which it is */
	bool executable;
	bool deleted;     /* the file has no name any more; path is the one it had */
	const char *path; /* good during the call; "" or "[…]": no file; "" also: too long */
};

/* Which mappings: all, or those that have these properties. */
enum {
	MAPPINGS_EXECUTABLE = 1,
	MAPPINGS_FILES = 2,
};
#define MAPPINGS_CODE (MAPPINGS_EXECUTABLE | MAPPINGS_FILES)

/* Calls fn for every such mapping in the order of addresses. What fn returns, if not 0, ends the
 * walk and is returned. A process may have tens of thousands. From Linux 6.11 on only those asked
 * for take time worth speaking of; before, all do. -E2BIG after MAPPINGS_MAX.
 */
#define MAPPINGS_MAX 200000U
int mappings_each(pid_t pid, unsigned int wanted,
		  int (*fn)(const struct procfs_mapping *mapping, void *userdata), void *userdata);

/* The same from the mapping on that has the address in it, or is the next behind it. */
int mappings_from(pid_t pid, uint64_t address, unsigned int wanted,
		  int (*fn)(const struct procfs_mapping *mapping, void *userdata), void *userdata);

/* Opens the mapped file for reading, which may take for ever (reader.h), and returns the file
 * descriptor. Files are never opened by a name that leads out of the process's root, and nothing
 * but a regular file is opened (-EINVAL): opening a device or FIFO has effects. -ESTALE where the
 * name leads to another file by now.
 */
int mappings_open(pid_t pid, const struct procfs_mapping *mapping);

#endif
