/* SPDX-License-Identifier: Apache-2.0 */
/* Which files processes have mapped, by the numbers of the file whose pages these are. Of an
 * overlay's file that is the one that it shows: the kernel places probes there, so that two
 * overlays of one file have the same probes. The kernel's own tables are asked by a BPF program
 * (Linux 6.1 on); else, and before real_files_start(), numbers are those in /proc/PID/maps, which
 * are the real ones too before Linux 6.8.
 *
 * Errors as in procfs.h.
 */
#ifndef SRTLEAK_REAL_FILES_H
#define SRTLEAK_REAL_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "mappings.h"

/* Without it all works as it does on older kernels. */
void real_files_start(void);
void real_files_stop(void);

/* As mappings_each() does for MAPPINGS_CODE, with real numbers and without a path. Returns 0, too,
 * where the process is gone.
 */
int real_files_each(pid_t pid, int (*fn)(const struct procfs_mapping *mapping, void *userdata),
		    void *userdata);

/* Which file it is: device and inode do not tell (the subvolumes of btrfs have numbers of their own
 * on one device; those of an overlay's layers may be equal), the kernel's own name for it does, as
 * long as the file is in use.
 */
struct real_file {
	uint64_t id;    /* not 0; a hash, as the name is the kernel's secret */
	uint32_t magic; /* of its file system, linux/magic.h; 0: not known */
};

/* Sets device, inode, size and time of the last change to those of the file that a process has
 * mapped at the address (size and time only where these are known). -ENOENT: nothing is mapped
 * there; -EAGAIN: what is mapped is being changed.
 */
int real_files_at(pid_t pid, uint64_t address, struct stat *st, struct real_file *ret);

#endif
