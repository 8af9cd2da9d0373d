/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and stream-ordered memory. Work is done at once, so that order is trivial. */
#include <string.h>

#include "arena.h"
#include "block.h"
#include "context.h"
#include "driver_api.h"
#include "pool.h"
#include "share.h"

#define STREAM_PER_THREAD 2 /* handles up to this one are CUDA's predefined streams */
#define FREED_BY_FREE_ASYNC                                                       \
	(BLOCK_MASK(ASYNC) | BLOCK_MASK(ASYNC_HOST) | BLOCK_MASK(ASYNC_MANAGED) | \
	 BLOCK_MASK(POOL_POINTER))

static bool stream_valid(CUstream stream)
{
	return (uintptr_t)stream <= STREAM_PER_THREAD ||
	       block_find((uintptr_t)stream, BLOCK_MASK(STREAM));
}

/* The default streams are of the thread's context. */
static const struct context *context_of(CUstream stream, const struct context *current)
{
	const struct block *block = block_find((uintptr_t)stream, BLOCK_MASK(STREAM));

	return block ? block->ctx : current;
}

static CUresult add_memory(const struct block *draft, CUdeviceptr *ret)
{
	struct block *block;
	CUresult r = block_add(draft, &block);

	if (!r)
		*ret = block->addr;
	return r;
}

static CUresult allocate(const char *api, CUdeviceptr *ret, size_t bytes, struct block *pool,
			 CUstream stream)
{
	struct context *ctx;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	if (!ret || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (!stream_valid(stream))
		return CUDA_ERROR_INVALID_HANDLE;
	pool = pool ? pool : pool_current(context_of(stream, ctx)->device);
	if (!pool)
		return CUDA_ERROR_OUT_OF_MEMORY;
	return add_memory(
		&(struct block){
			.type = pool->pool->memory,
			.api = api,
			.size = bytes,
			.charge = arena_round(bytes),
			.device = pool->device,
			.pool = pool->pool,
			.arena = pool->device < 0 ? arena_reservations()
						  : arena_device(pool->device),
			.span = bytes,
		},
		ret);
}

static CUresult allocate_from(const char *api, CUdeviceptr *ret, size_t bytes, CUmemoryPool handle,
			      CUstream stream)
{
	struct block *pool = pool_find(handle);

	return pool ? allocate(api, ret, bytes, pool, stream) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult release(CUdeviceptr ptr, CUstream stream)
{
	if (!stream_valid(stream))
		return CUDA_ERROR_INVALID_HANDLE;
	return block_remove_at(ptr, FREED_BY_FREE_ASYNC, CUDA_ERROR_INVALID_VALUE);
}

static CUresult stream_create_in(const char *api, CUstream *ret, struct context *ctx)
{
	struct block *block;
	CUresult r;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	r = block_add_handle(BLOCK_STREAM, api, ctx, &block);
	if (!r)
		*ret = (CUstream)(uintptr_t)block->addr;
	return r;
}

static CUresult stream_create(const char *api, CUstream *ret)
{
	struct context *ctx;
	CUresult r = context_need(&ctx);

	return r ? r : stream_create_in(api, ret, ctx);
}

static CUresult green_stream_create(const char *api, CUstream *ret, struct context *green)
{
	return green ? stream_create_in(api, ret, green) : CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult stream_wait(CUstream stream)
{
	if (!stream_valid(stream))
		return CUDA_ERROR_INVALID_HANDLE;
	pools_settle();
	return CUDA_SUCCESS;
}

static CUresult pointer_export(CUmemPoolPtrExportData *ret, CUdeviceptr ptr)
{
	struct block *block = block_find(ptr, BLOCK_MASK(ASYNC));
	struct share share;

	if (!ret || !block)
		return CUDA_ERROR_INVALID_VALUE;
	share = share_of(block, SHARE_POOL_POINTER);
	memcpy(ret->reserved, &share, sizeof(share));
	return CUDA_SUCCESS;
}

static CUresult pointer_import(const char *api, CUdeviceptr *ret, CUmemoryPool pool,
			       const CUmemPoolPtrExportData *data)
{
	struct context *ctx;
	struct share share;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	if (!ret || !pool_find(pool) || !data)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(&share, data->reserved, sizeof(share));
	if (!share_valid(&share, SHARE_POOL_POINTER))
		return CUDA_ERROR_INVALID_VALUE;
	return add_memory(
		&(struct block){
			.type = BLOCK_POOL_POINTER,
			.api = api,
			.size = share.size,
			.device = share.device,
			.arena = arena_device(share.device),
			.span = share.size,
		},
		ret);
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags)
{
	(void)flags;
	return CALL(PLACE, stream_create(__func__, stream));
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
	(void)flags;
	(void)priority;
	return CALL(PLACE, stream_create(__func__, stream));
}

CUresult cuGreenCtxStreamCreate(CUstream *stream, CUgreenCtx ctx, unsigned int flags, int priority)
{
	(void)flags;
	(void)priority;
	return CALL(PLACE, green_stream_create(__func__, stream, context_green(ctx)));
}

CUresult cuStreamDestroy(CUstream stream)
{
	return CALL(PLACE, block_remove_at((uintptr_t)stream, BLOCK_MASK(STREAM),
					   CUDA_ERROR_INVALID_HANDLE));
}

CUresult cuStreamDestroy_v2(CUstream stream)
{
	return CALL(PLACE, block_remove_at((uintptr_t)stream, BLOCK_MASK(STREAM),
					   CUDA_ERROR_INVALID_HANDLE));
}

CUresult cuStreamSynchronize(CUstream stream)
{
	return CALL(OTHER, stream_wait(stream));
}

CUresult cuMemAllocAsync(CUdeviceptr *ptr, size_t bytes, CUstream stream)
{
	return CALL(ALLOC, allocate(__func__, ptr, bytes, NULL, stream));
}

CUresult cuMemAllocAsync_ptsz(CUdeviceptr *ptr, size_t bytes, CUstream stream)
{
	return CALL(ALLOC, allocate(__func__, ptr, bytes, NULL, stream));
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool, CUstream stream)
{
	return CALL(ALLOC, allocate_from(__func__, ptr, bytes, pool, stream));
}

CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool,
				      CUstream stream)
{
	return CALL(ALLOC, allocate_from(__func__, ptr, bytes, pool, stream));
}

CUresult cuMemFreeAsync(CUdeviceptr ptr, CUstream stream)
{
	return CALL(FREE, release(ptr, stream));
}

CUresult cuMemFreeAsync_ptsz(CUdeviceptr ptr, CUstream stream)
{
	return CALL(FREE, release(ptr, stream));
}

CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData *data, CUdeviceptr ptr)
{
	return CALL(OTHER, pointer_export(data, ptr));
}

CUresult cuMemPoolImportPointer(CUdeviceptr *ptr, CUmemoryPool pool, CUmemPoolPtrExportData *data)
{
	return CALL(ALLOC, pointer_import(__func__, ptr, pool, data));
}
