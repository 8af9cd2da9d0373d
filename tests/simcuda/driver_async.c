/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, stream-ordered memory and its pools. Work is done at once, so that order is trivial. */
#include <string.h>

#include "arena.h"
#include "block.h"
#include "context.h"
#include "driver_api.h"
#include "macro.h"
#include "share.h"

#define STREAM_PER_THREAD 2 /* handles up to this one are CUDA's predefined streams */
#define POOL_STEP (32ULL << 20)
#define FREED_BY_FREE_ASYNC (BLOCK_MASK(ASYNC) | BLOCK_MASK(POOL_POINTER))

static struct block *pool_find(CUmemoryPool pool)
{
	return block_find((uintptr_t)pool, BLOCK_MASK(POOL));
}

static bool stream_valid(CUstream stream)
{
	return (uintptr_t)stream <= STREAM_PER_THREAD ||
	       block_find((uintptr_t)stream, BLOCK_MASK(STREAM));
}

static CUresult add_memory(const struct block *draft, CUdeviceptr *ret)
{
	struct block *block;
	CUresult r = block_add(draft, &block);

	if (!r)
		*ret = block->addr;
	return r;
}

/* What a device allocates from where no pool is named, and the pool that nobody made. */
static CUmemoryPool default_pools[SIM_MAX_DEVICES], current_pools[SIM_MAX_DEVICES];

static struct block *pool_default(int device)
{
	struct block *pool = pool_find(default_pools[device]);

	if (pool)
		return pool;
	if (block_add_handle(BLOCK_POOL, "cuDeviceGetDefaultMemPool", NULL, &pool))
		return NULL;
	pool->device = device;
	default_pools[device] = (CUmemoryPool)(uintptr_t)pool->addr;
	return pool;
}

static struct block *pool_current(int device)
{
	struct block *pool = pool_find(current_pools[device]);

	return pool ? pool : pool_default(device);
}

struct pool_sum {
	uint64_t pool, used;
};

static bool add_if_of_pool(struct block *block, void *arg)
{
	struct pool_sum *sum = arg;

	if (block->type == BLOCK_ASYNC && block->parent == sum->pool)
		sum->used += block->size;
	return true;
}

static uint64_t pool_used(const struct block *pool)
{
	struct pool_sum sum = {.pool = pool->addr};

	blocks_each(add_if_of_pool, &sum);
	return sum.used;
}

/* A pool keeps what it has once taken, in whole steps, until it is trimmed. */
static void pool_grow(struct block *pool, uint64_t used)
{
	uint64_t steps = (used + POOL_STEP - 1) / POOL_STEP;

	if (pool->size < steps * POOL_STEP)
		pool->size = steps * POOL_STEP;
}

static CUresult allocate(const char *api, CUdeviceptr *ret, size_t bytes, struct block *pool,
			 CUstream stream)
{
	struct context *ctx;
	CUresult r = context_need(&ctx);
	int device;

	if (r)
		return r;
	if (!ret || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (!stream_valid(stream))
		return CUDA_ERROR_INVALID_HANDLE;
	pool = pool ? pool : pool_current(ctx->device);
	if (!pool)
		return CUDA_ERROR_OUT_OF_MEMORY;
	device = pool->device;
	return add_memory(
		&(struct block){
			.type = BLOCK_ASYNC,
			.api = api,
			.size = bytes,
			.charge = arena_round(bytes),
			.device = device,
			.ctx = ctx,
			.parent = pool->addr,
			.arena = arena_device(device),
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

static CUresult stream_create(const char *api, CUstream *ret)
{
	struct context *ctx;
	struct block *block;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	r = block_add_handle(BLOCK_STREAM, api, ctx, &block);
	if (!r)
		*ret = (CUstream)(uintptr_t)block->addr;
	return r;
}

static CUresult pool_add(const char *api, int device, CUmemoryPool *ret)
{
	struct block *block;
	CUresult r;

	if (!ret || !device_valid(device))
		return CUDA_ERROR_INVALID_VALUE;
	r = block_add_handle(BLOCK_POOL, api, NULL, &block);
	if (r)
		return r;
	block->device = device;
	*ret = (CUmemoryPool)(uintptr_t)block->addr;
	return CUDA_SUCCESS;
}

static CUresult pool_create(const char *api, CUmemoryPool *ret, const CUmemPoolProps *props)
{
	if (!props || props->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	return pool_add(api, props->location.id, ret);
}

static CUresult pool_trim(CUmemoryPool handle, size_t keep)
{
	struct block *pool = pool_find(handle);
	uint64_t used;

	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	used = pool_used(pool);
	pool_grow(pool, used);
	if (pool->size > keep) {
		pool->size = 0;
		pool_grow(pool, MAX(used, keep));
	}
	return CUDA_SUCCESS;
}

static CUresult pool_attribute(CUmemoryPool handle, CUmemPool_attribute attribute, void *value)
{
	struct block *pool = pool_find(handle);
	uint64_t used;

	if (!pool || !value)
		return CUDA_ERROR_INVALID_VALUE;
	used = pool_used(pool);
	pool_grow(pool, used);
	if (attribute != CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT &&
	    attribute != CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
		return CUDA_ERROR_NOT_SUPPORTED;
	*(cuuint64_t *)value =
		attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT ? pool->size : used;
	return CUDA_SUCCESS;
}

static CUresult pool_of_device(CUmemoryPool *ret, CUdevice device,
			       struct block *(*which)(int device))
{
	struct block *pool;

	if (!device_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	pool = which(device);
	if (!pool)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret = (CUmemoryPool)(uintptr_t)pool->addr;
	return CUDA_SUCCESS;
}

static CUresult pool_choose(CUdevice device, CUmemoryPool handle)
{
	const struct block *pool = pool_find(handle);

	if (!device_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!pool || pool->device != device)
		return CUDA_ERROR_INVALID_VALUE;
	current_pools[device] = handle;
	return CUDA_SUCCESS;
}

static CUresult pool_export(int *ret_fd, CUmemoryPool handle, CUmemAllocationHandleType type)
{
	struct block *pool = pool_find(handle);
	struct share share;

	if (!ret_fd || !pool)
		return CUDA_ERROR_INVALID_VALUE;
	if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_NOT_SUPPORTED;
	share = share_of(pool, SHARE_POOL);
	return share_export_fd(&share, ret_fd);
}

static CUresult pool_import(const char *api, CUmemoryPool *ret, void *handle,
			    CUmemAllocationHandleType type)
{
	struct share share;
	CUresult r;

	if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_NOT_SUPPORTED;
	r = share_import_fd((int)(intptr_t)handle, SHARE_POOL, &share);
	return r ? r : pool_add(api, share.device, ret);
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
			.ctx = ctx,
			.arena = arena_device(share.device),
			.span = share.size,
		},
		ret);
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags)
{
	(void)flags;
	return CALL(OTHER, stream_create(__func__, stream));
}

CUresult cuStreamDestroy(CUstream stream)
{
	return CALL(OTHER, block_remove_at((uintptr_t)stream, BLOCK_MASK(STREAM),
					   CUDA_ERROR_INVALID_HANDLE));
}

CUresult cuStreamDestroy_v2(CUstream stream)
{
	return CALL(OTHER, block_remove_at((uintptr_t)stream, BLOCK_MASK(STREAM),
					   CUDA_ERROR_INVALID_HANDLE));
}

CUresult cuStreamSynchronize(CUstream stream)
{
	return CALL(OTHER, stream_valid(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE);
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

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props)
{
	return CALL(OTHER, pool_create(__func__, pool, props));
}

/* Memory of a destroyed pool lives on until it is freed. */
CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
	return CALL(OTHER,
		    block_remove_at((uintptr_t)pool, BLOCK_MASK(POOL), CUDA_ERROR_INVALID_VALUE));
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
	return CALL(OTHER, pool_trim(pool, keep));
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
	return CALL(OTHER, pool_attribute(pool, attribute, value));
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device)
{
	return CALL(OTHER, pool_of_device(pool, device, pool_default));
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device)
{
	return CALL(OTHER, pool_of_device(pool, device, pool_current));
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool)
{
	return CALL(OTHER, pool_choose(device, pool));
}

CUresult cuMemPoolExportToShareableHandle(void *handle, CUmemoryPool pool,
					  CUmemAllocationHandleType type, unsigned long long flags)
{
	(void)flags;
	return CALL(OTHER, pool_export(handle, pool, type));
}

CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool *pool, void *handle,
					    CUmemAllocationHandleType type,
					    unsigned long long flags)
{
	(void)flags;
	return CALL(OTHER, pool_import(__func__, pool, handle, type));
}

CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData *data, CUdeviceptr ptr)
{
	return CALL(OTHER, pointer_export(data, ptr));
}

CUresult cuMemPoolImportPointer(CUdeviceptr *ptr, CUmemoryPool pool, CUmemPoolPtrExportData *data)
{
	return CALL(ALLOC, pointer_import(__func__, ptr, pool, data));
}
