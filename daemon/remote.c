/* SPDX-License-Identifier: Apache-2.0 */
#include "remote.h"

#include <errno.h>
#include <sys/uio.h>

#define NULL_PAGE 4096

static int check_piece(const struct remote_piece *piece)
{
	if (piece->size > REMOTE_READ_MAX)
		return -EINVAL;
	if (piece->addr < NULL_PAGE || piece->addr + piece->size < piece->addr)
		return -EFAULT;
	return 0;
}

int remote_read_pieces(pid_t pid, const struct remote_piece *pieces, size_t count)
{
	struct iovec local[REMOTE_PIECES_MAX];
	struct iovec remote[REMOTE_PIECES_MAX];
	size_t total = 0;
	size_t used = 0;
	ssize_t got;
	int r;

	if (count > REMOTE_PIECES_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		if (pieces[i].size == 0)
			continue;
		r = check_piece(&pieces[i]);
		if (r < 0)
			return r;
		local[used].iov_base = pieces[i].buf;
		local[used].iov_len = pieces[i].size;
		remote[used].iov_base = (void *)(uintptr_t)pieces[i].addr;
		remote[used].iov_len = pieces[i].size;
		used++;
		total += pieces[i].size;
	}
	if (used == 0)
		return 0;

	got = process_vm_readv(pid, local, used, remote, used, 0);
	if (got < 0)
		return -errno;
	return (size_t)got == total ? 0 : -EFAULT;
}

int remote_read(pid_t pid, uint64_t addr, void *buf, size_t size)
{
	const struct remote_piece piece = {.addr = addr, .buf = buf, .size = size};

	return remote_read_pieces(pid, &piece, 1);
}

int remote_read_u32(pid_t pid, uint64_t addr, uint32_t *ret)
{
	uint32_t value;
	int r;

	r = remote_read(pid, addr, &value, sizeof(value));
	if (r < 0)
		return r;
	*ret = value;
	return 0;
}

int remote_read_u64(pid_t pid, uint64_t addr, uint64_t *ret)
{
	uint64_t value;
	int r;

	r = remote_read(pid, addr, &value, sizeof(value));
	if (r < 0)
		return r;
	*ret = value;
	return 0;
}
