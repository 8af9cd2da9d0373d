/* SPDX-License-Identifier: Apache-2.0 */
/* Device and managed memory. */

#include "arena.h"
#include "block.h"
#include "context.h"
#include "driver_api.h"
#include "host.h"

#define PITCH_STEP 512

#define FREED_BY_FREE                                                                 \
	(BLOCK_MASK(DEVICE) | BLOCK_MASK(ASYNC) | BLOCK_MASK(ASYNC_HOST) |            \
	 BLOCK_MASK(ASYNC_MANAGED) | BLOCK_MASK(MANAGED) | BLOCK_MASK(POOL_POINTER) | \
	 BLOCK_MASK(VIEW))

static CUresult allocate(const char *api, struct arena *(*arena)(int), CUdeviceptr *ret,
			 size_t bytes)
{
	struct context *ctx;
	struct block *block;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	if (!ret || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	r = block_add(
		&(struct block){
			.type = BLOCK_DEVICE,
			.api = api,
			.size = bytes,
			.charge = arena_round(bytes),
			.device = ctx->device,
			.ctx = ctx,
			.arena = arena(ctx->device),
			.span = bytes,
		},
		&block);
	if (!r)
		*ret = block->addr;
	return r;
}

static CUresult allocate_pitch(const char *api, struct arena *(*arena)(int), CUdeviceptr *ret,
			       size_t *ret_pitch, size_t width, size_t height, unsigned int element)
{
	size_t pitch, bytes;
	CUresult r;

	if (!ret_pitch || !width || (element != 4 && element != 8 && element != 16))
		return CUDA_ERROR_INVALID_VALUE;
	if (__builtin_add_overflow(width, PITCH_STEP - 1, &pitch))
		return CUDA_ERROR_OUT_OF_MEMORY;
	pitch = pitch / PITCH_STEP * PITCH_STEP;
	if (__builtin_mul_overflow(pitch, height, &bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = allocate(api, arena, ret, bytes);
	if (!r)
		*ret_pitch = pitch;
	return r;
}

static CUresult allocate_managed(const char *api, CUdeviceptr *ret, size_t bytes)
{
	struct context *ctx;
	CUresult r = context_need(&ctx);
	void *addr;

	if (r)
		return r;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	r = host_map(BLOCK_MANAGED, api, ctx, ctx->device, bytes, &addr);
	if (!r)
		*ret = (uintptr_t)addr;
	return r;
}

CUresult cuMemAlloc(CUdeviceptr_v1 *ptr, unsigned int bytes)
{
	CUdeviceptr wide;
	CUresult r = CALL(ALLOC, allocate(__func__, arena_device_32bit, ptr ? &wide : NULL, bytes));

	if (!r)
		*ptr = (CUdeviceptr_v1)wide;
	return r;
}

CUresult cuMemAlloc_v2(CUdeviceptr *ptr, size_t bytes)
{
	return CALL(ALLOC, allocate(__func__, arena_device, ptr, bytes));
}

CUresult cuMemAllocPitch(CUdeviceptr_v1 *ptr, unsigned int *pitch, unsigned int width,
			 unsigned int height, unsigned int element)
{
	CUdeviceptr wide;
	size_t wide_pitch;
	CUresult r =
		CALL(ALLOC, allocate_pitch(__func__, arena_device_32bit, ptr ? &wide : NULL,
					   pitch ? &wide_pitch : NULL, width, height, element));

	if (!r) {
		*ptr = (CUdeviceptr_v1)wide;
		*pitch = (unsigned int)wide_pitch;
	}
	return r;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *ptr, size_t *pitch, size_t width, size_t height,
			    unsigned int element)
{
	return CALL(ALLOC,
		    allocate_pitch(__func__, arena_device, ptr, pitch, width, height, element));
}

CUresult cuMemAllocManaged(CUdeviceptr *ptr, size_t bytes, unsigned int flags)
{
	(void)flags;
	return CALL(ALLOC, allocate_managed(__func__, ptr, bytes));
}

CUresult cuMemFree(CUdeviceptr_v1 ptr)
{
	return CALL(FREE, block_remove_at(ptr, FREED_BY_FREE, CUDA_ERROR_INVALID_VALUE));
}

CUresult cuMemFree_v2(CUdeviceptr ptr)
{
	return CALL(FREE, block_remove_at(ptr, FREED_BY_FREE, CUDA_ERROR_INVALID_VALUE));
}
