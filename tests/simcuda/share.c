/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/mman.h>
#include <unistd.h>

#include "context.h"
#include "share.h"

#define SHARE_MAGIC 0x61646375636d6973ULL

_Static_assert(sizeof(struct share) <= sizeof(CUipcMemHandle), "must fit in CUDA's handles");

struct share share_of(const struct block *block, enum share_tag tag)
{
	return (struct share){
		.magic = SHARE_MAGIC,
		.tag = tag,
		.device = block->device,
		.pid = (uint64_t)getpid(),
		.addr = block->addr,
		.size = block->size,
	};
}

bool share_valid(const struct share *share, enum share_tag tag)
{
	return share->magic == SHARE_MAGIC && share->tag == tag &&
	       (device_valid(share->device) || (tag == SHARE_PHYSICAL && share->device == -1));
}

CUresult share_export_fd(const struct share *share, int *ret_fd)
{
	int fd = memfd_create("simcuda", MFD_CLOEXEC);

	if (fd < 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	if (write(fd, share, sizeof(*share)) != sizeof(*share)) {
		close(fd);
		return CUDA_ERROR_OPERATING_SYSTEM;
	}
	*ret_fd = fd;
	return CUDA_SUCCESS;
}

CUresult share_import_fd(int fd, enum share_tag tag, struct share *ret)
{
	struct share share;

	if (pread(fd, &share, sizeof(share), 0) != sizeof(share) || !share_valid(&share, tag))
		return CUDA_ERROR_INVALID_VALUE;
	*ret = share;
	return CUDA_SUCCESS;
}
