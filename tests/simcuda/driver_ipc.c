/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of others: CUDA IPC and external memory. */
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "array.h"
#include "block.h"
#include "context.h"
#include "driver_api.h"
#include "share.h"

#define PID_SHIFT 38 /* addresses have 47 bits, the lowest 9 of which are 0 */

struct opened {
	uint64_t owner;
	struct block *found;
};

/* One number for an allocation of any process. */
static uint64_t owner_of(const struct share *share)
{
	return share->addr >> 9 | share->pid << PID_SHIFT;
}

static bool find_opened(struct block *block, void *arg)
{
	struct opened *opened = arg;

	if (block->type == BLOCK_IPC && block->parent == opened->owner)
		opened->found = block;
	return !opened->found;
}

static CUresult get_handle(CUipcMemHandle *ret, uint64_t ptr)
{
	struct block *block = block_find(ptr, BLOCK_MASK(DEVICE));
	struct share share;

	if (!ret || !block)
		return CUDA_ERROR_INVALID_VALUE;
	share = share_of(block, SHARE_IPC);
	*ret = (CUipcMemHandle){};
	memcpy(ret->reserved, &share, sizeof(share));
	return CUDA_SUCCESS;
}

/* Opening the same memory once more gives the same address, to be closed as often. */
static CUresult open_handle(const char *api, CUdeviceptr *ret, const CUipcMemHandle *handle)
{
	struct opened opened = {};
	struct context *ctx;
	struct share share;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	memcpy(&share, handle->reserved, sizeof(share));
	if (!ret || !share_valid(&share, SHARE_IPC))
		return CUDA_ERROR_INVALID_VALUE;
	if (share.pid == (uint64_t)getpid())
		return CUDA_ERROR_INVALID_CONTEXT;
	opened.owner = owner_of(&share);
	blocks_each(find_opened, &opened);
	if (!opened.found)
		r = block_add(
			&(struct block){
				.type = BLOCK_IPC,
				.api = api,
				.size = share.size,
				.device = ctx->device,
				.ctx = ctx,
				.parent = opened.owner,
				.arena = arena_device(ctx->device),
				.span = share.size,
			},
			&opened.found);
	if (r)
		return r;
	opened.found->refs++;
	*ret = opened.found->addr;
	return CUDA_SUCCESS;
}

static CUresult close_handle(uint64_t ptr)
{
	struct block *block = block_find(ptr, BLOCK_MASK(IPC));

	if (!block)
		return CUDA_ERROR_INVALID_VALUE;
	if (!--block->refs)
		block_remove(block);
	return CUDA_SUCCESS;
}

/* The descriptor belongs to the driver once it is imported. */
static CUresult import(const char *api, CUexternalMemory *ret,
		       const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *desc)
{
	struct context *ctx;
	struct block *block;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	if (!ret || !desc || !desc->size || desc->handle.fd < 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (desc->type != CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD)
		return CUDA_ERROR_NOT_SUPPORTED;
	r = block_add(
		&(struct block){
			.type = BLOCK_EXTERNAL,
			.api = api,
			.size = desc->size,
			.device = ctx->device,
			.ctx = ctx,
			.arena = arena_handles(),
			.span = BLOCK_HANDLE_SPAN,
		},
		&block);
	if (r)
		return r;
	close(desc->handle.fd);
	*ret = (CUexternalMemory)(uintptr_t)block->addr;
	return CUDA_SUCCESS;
}

/* Adds an address or handle for a part of an external memory. */
static CUresult view(enum block_type type, const char *api, CUexternalMemory memory,
		     uint64_t offset, uint64_t size, uint64_t *ret)
{
	struct block *whole = block_find((uintptr_t)memory, BLOCK_MASK(EXTERNAL)), *block;
	CUresult r;

	if (!whole)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!size || offset > whole->size || size > whole->size - offset)
		return CUDA_ERROR_INVALID_VALUE;
	r = block_add(
		&(struct block){
			.type = type,
			.api = api,
			.size = size,
			.device = whole->device,
			.ctx = whole->ctx,
			.arena = type == BLOCK_VIEW ? arena_device(whole->device) : arena_handles(),
			.span = type == BLOCK_VIEW ? size : BLOCK_HANDLE_SPAN,
		},
		&block);
	if (!r)
		*ret = block->addr;
	return r;
}

static CUresult map_buffer(const char *api, CUdeviceptr *ret, CUexternalMemory memory,
			   const CUDA_EXTERNAL_MEMORY_BUFFER_DESC *desc)
{
	uint64_t addr;
	CUresult r;

	if (!ret || !desc)
		return CUDA_ERROR_INVALID_VALUE;
	r = view(BLOCK_VIEW, api, memory, desc->offset, desc->size, &addr);
	if (!r)
		*ret = addr;
	return r;
}

static CUresult map_array(const char *api, CUmipmappedArray *ret, CUexternalMemory memory,
			  const CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC *desc)
{
	uint64_t handle;
	size_t bytes;
	CUresult r;

	if (!ret || !desc)
		return CUDA_ERROR_INVALID_VALUE;
	r = array_bytes(&desc->arrayDesc, desc->numLevels, &bytes);
	if (!r)
		r = view(BLOCK_VIEW_MIPMAP, api, memory, desc->offset, bytes, &handle);
	if (!r)
		*ret = (CUmipmappedArray)(uintptr_t)handle;
	return r;
}

CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr ptr)
{
	return CALL(OTHER, get_handle(handle, ptr));
}

CUresult cuIpcOpenMemHandle(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags)
{
	(void)flags;
	return CALL(ALLOC, open_handle(__func__, ptr, &handle));
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags)
{
	(void)flags;
	return CALL(ALLOC, open_handle(__func__, ptr, &handle));
}

CUresult cuIpcCloseMemHandle(CUdeviceptr ptr)
{
	return CALL(FREE, close_handle(ptr));
}

CUresult cuImportExternalMemory(CUexternalMemory *memory,
				const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *desc)
{
	return CALL(ALLOC, import(__func__, memory, desc));
}

CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr *ptr, CUexternalMemory memory,
					 const CUDA_EXTERNAL_MEMORY_BUFFER_DESC *desc)
{
	return CALL(MAP, map_buffer(__func__, ptr, memory, desc));
}

CUresult
cuExternalMemoryGetMappedMipmappedArray(CUmipmappedArray *array, CUexternalMemory memory,
					const CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC *desc)
{
	return CALL(MAP, map_array(__func__, array, memory, desc));
}

CUresult cuDestroyExternalMemory(CUexternalMemory memory)
{
	return CALL(FREE, block_remove_at((uintptr_t)memory, BLOCK_MASK(EXTERNAL),
					  CUDA_ERROR_INVALID_HANDLE));
}
