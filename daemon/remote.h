/* SPDX-License-Identifier: Apache-2.0 */
/* Reading another process's memory while it runs (through reader.h, whose errors there may be too).
 *
 * Nothing here stops the process, so what spans more than a word may be torn between two of its
 * writes: callers check what they read. All functions return 0 or a negative errno: -EFAULT where
 * the memory is not there (any byte of it; the null page and ranges that wrap count as not there),
 * -EINVAL for more than one read may bring, -ESRCH where the process is gone, -EPERM where it may
 * not be read. Buffers hold arbitrary bytes after a failure.
 */
#ifndef SRTLEAK_REMOTE_H
#define SRTLEAK_REMOTE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#define REMOTE_READ_MAX (1U << 20) /* bytes of all pieces */
#define REMOTE_PIECES_MAX 8

/* A range of the other process's memory and where its bytes go here. A size of 0 is no read at all,
 * whatever the address.
 */
struct remote_piece {
	uint64_t addr;
	void *buf;
	size_t size;
};

/* A word out of what was read. */
static inline uint64_t remote_u64(const void *buf, size_t offset)
{
	uint64_t value;

	memcpy(&value, (const char *)buf + offset, sizeof(value));
	return value;
}

int remote_read(pid_t pid, uint64_t addr, void *buf, size_t size);
int remote_read_u32(pid_t pid, uint64_t addr, uint32_t *ret);
int remote_read_u64(pid_t pid, uint64_t addr, uint64_t *ret);

/* Reads up to REMOTE_PIECES_MAX ranges at once. */
int remote_read_pieces(pid_t pid, const struct remote_piece *pieces, size_t count);

#endif
