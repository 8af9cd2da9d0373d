/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* What bpf/files.bpf.c tells of a mapping, and is told. */
#ifndef SRTLEAK_MAPPED_FILE_H
#define SRTLEAK_MAPPED_FILE_H

#include <linux/types.h>

/* One mapping of a file. The file is the one whose pages are mapped: where file systems are laid
 * over each other, that of the lowest, which is also where the kernel places probes.
 */
struct mapped_file {
	__u64 start, end; /* addresses */
	__u64 file; /* which it is: the kernel's own name, nobody else's while the file is in use */
	__u64 page; /* where in the file it begins, in pages */
	__u64 inode;
	__u64 size;     /* of the file, bytes */
	__u64 mtime_ns; /* since 1970; 0: this kernel's is not known */
	__u32 device;   /* as the kernel has it: 20 bits of minor number */
	__u32 magic;    /* of its file system, linux/magic.h */
};

/* Which are told of. */
struct mapped_wanted {
	__u64 address; /* file_at: the mapping that has it in it */
	__u32 thread;
	__u32 others; /* out: other threads, or mappings of theirs, that were gone through */
	__s64 result; /* out: file_at: 0, or why there is none (-ENOENT, -EBUSY) */
};

#endif
