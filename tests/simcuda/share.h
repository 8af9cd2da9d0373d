/* SPDX-License-Identifier: Apache-2.0 */
/* What one process hands to another so that it can open the first one's memory. */
#ifndef SIMCUDA_SHARE_H
#define SIMCUDA_SHARE_H

#include "block.h"

enum share_tag { SHARE_IPC, SHARE_POOL, SHARE_POOL_POINTER, SHARE_PHYSICAL };

/* Fits in CUDA's 64 bytes of CUipcMemHandle and CUmemPoolPtrExportData. */
struct share {
	uint64_t magic;
	uint32_t tag;
	int32_t device;
	uint64_t pid;
	uint64_t addr;
	uint64_t size;
};

/* Describes a block of this process. */
struct share share_of(const struct block *block, enum share_tag tag);

/* Whether bytes of unknown origin are a description of that sort, with a device of this machine
 * (physical memory may be the host's: device -1). */
bool share_valid(const struct share *share, enum share_tag tag);

/* Makes a descriptor that carries the description; the caller owns it. */
CUresult share_export_fd(const struct share *share, int *ret_fd);

/* Reads it back; fails with CUDA_ERROR_INVALID_VALUE where it is not one of that sort. */
CUresult share_import_fd(int fd, enum share_tag tag, struct share *ret);

#endif
