/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what belongs to strangers: files that they map, their memory. A file system may not
 * answer for ever (FUSE, NFS), also where it is only a page of memory that is read, and a file may
 * be made to break whoever reads it. So another process does it (reader_process.c), which has no
 * more rights than it takes and can be given up.
 *
 * All functions return a negative errno where it did not work out: that of the reading itself, or
 * -ETIMEDOUT, -EIO (the reader has ended over it) and -EAGAIN (not now: it was so lately, or too
 * many have been given up).
 */
#ifndef SRTLEAK_READER_H
#define SRTLEAK_READER_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "elf_file.h"
#include "gpu_boards.h"
#include "mappings.h"
#include "remote.h"
#include "survey.h"

/* Whether a result says nothing of what was to be read. */
static inline bool reader_is_to_be_asked_again(int r)
{
	return r == -ETIMEDOUT || r == -EIO || r == -EAGAIN;
}

/* From here on another process reads; before, as in tests, this one. */
void reader_start(void);
void reader_stop(void);

/* remote.h; a piece of no size is left out. */
int reader_memory(pid_t pid, const struct remote_piece *pieces, size_t n);

/* Opens a mapped file, as mappings_open() does, and says what it is. */
int reader_open(pid_t pid, const struct procfs_mapping *mapping, struct stat *ret);

/* Sets in st, which is that of the open file, what real_files_at() finds of it, and which file it
 * is. pid: who maps it, or 0. -EMEDIUMTYPE: its file system, or that which it shows, is a process
 * (FUSE): while probes are placed the kernel reads from the file, and lets nobody on the host fork
 * until it has.
 */
int reader_real_file(pid_t pid, int fd, struct stat *st, uint64_t *ret_id);

/* survey.h; pid: who maps it, or 0. */
int reader_survey(pid_t pid, int fd, const struct stat *st, enum api_family family,
		  struct probe_point ret[API_MAX]);

/* The function that covers an offset in a mapped file, and how far that is from its beginning.
 * -ENOENT: none does.
 */
int reader_symbol(pid_t pid, const struct procfs_mapping *mapping, uint64_t offset,
		  char ret_name[ELF_NAME_MAX], uint64_t *ret_distance);

/* Values of exported symbols, 0 for those that the file lacks, and the address that it has for the
 * mapping's beginning. n: at most READER_NAMES_MAX.
 */
int reader_exports(pid_t pid, const struct procfs_mapping *mapping, const char *const *names,
		   size_t n, uint64_t *ret_values, uint64_t *ret_linked);

/* "cmdline" or "environ" of a process: up to `size` bytes, of which it returns how many. -EINVAL:
 * more than READER_BYTES_MAX.
 */
ssize_t reader_text(pid_t pid, const char *name, char *ret, size_t size);

int reader_boards(pid_t pid, struct gpu_boards *ret);

struct reader_counts {
	uint64_t timeouts, crashes, refused;
	size_t stuck;
};
struct reader_counts reader_counts(void);

#endif
