/* SPDX-License-Identifier: Apache-2.0 */
#include "remote.h"

#include <errno.h>

#include "reader.h"

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
	if (count > REMOTE_PIECES_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		int r = pieces[i].size > 0 ? check_piece(&pieces[i]) : 0;

		if (r < 0)
			return r;
	}
	return reader_memory(pid, pieces, count);
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
