/* SPDX-License-Identifier: Apache-2.0 */
/* Pools of stream-ordered memory: made by the program, or a device's own that nobody made. */
#include "context.h"
#include "driver_api.h"
#include "pool.h"
#include "share.h"

/* The pools of a location for one kind of memory. */
struct local {
	struct block *standard; /* made when it is first used */
	struct block *current;  /* NULL: the standard one */
};

enum { LOCAL_DEVICE, LOCAL_HOST, LOCAL_MANAGED, LOCAL_KINDS };
static const enum block_type local_memory[LOCAL_KINDS] = {
	[LOCAL_DEVICE] = BLOCK_ASYNC,
	[LOCAL_HOST] = BLOCK_ASYNC_HOST,
	[LOCAL_MANAGED] = BLOCK_ASYNC_MANAGED,
};
static struct local locals[LOCAL_KINDS][SIM_MAX_DEVICES + 1]; /* the last: of the host */

struct block *pool_find(CUmemoryPool handle)
{
	return block_find((uintptr_t)handle, BLOCK_MASK(POOL));
}

static CUresult add(const char *api, enum block_type memory, int device, struct block **ret)
{
	struct pool *pool = pool_new(memory, device);
	CUresult r;

	if (!pool)
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = block_add_handle(BLOCK_POOL, api, NULL, ret);
	if (r) {
		pool_discard(pool);
		return r;
	}
	pool_take(pool, 0);
	(*ret)->device = device;
	(*ret)->pool = pool;
	return CUDA_SUCCESS;
}

static struct block *pool_standard(struct local *local)
{
	ptrdiff_t number = local - &locals[0][0];
	int device = (int)(number % (SIM_MAX_DEVICES + 1));

	if (!local->standard)
		add("cuDeviceGetDefaultMemPool", local_memory[number / (SIM_MAX_DEVICES + 1)],
		    device == SIM_MAX_DEVICES ? -1 : device, &local->standard);
	return local->standard;
}

static struct block *pool_in_use(struct local *local)
{
	return local->current ? local->current : pool_standard(local);
}

struct block *pool_current(int device)
{
	return pool_in_use(&locals[LOCAL_DEVICE][device]);
}

static struct local *local_of_device(int device)
{
	return device_valid(device) ? &locals[LOCAL_DEVICE][device] : NULL;
}

static struct local *local_of(const CUmemLocation *location, CUmemAllocationType type)
{
	int at = SIM_MAX_DEVICES;

	if (!location || location->type > CU_MEM_LOCATION_TYPE_HOST_NUMA)
		return NULL;
	if (location->type == CU_MEM_LOCATION_TYPE_DEVICE) {
		if (!device_valid(location->id))
			return NULL;
		at = location->id;
	}
	if (type == CU_MEM_ALLOCATION_TYPE_MANAGED)
		return &locals[LOCAL_MANAGED][at];
	if (!location->type)
		return NULL;
	return &locals[at == SIM_MAX_DEVICES ? LOCAL_HOST : LOCAL_DEVICE][at];
}

static CUresult hand_out(const char *api, enum block_type memory, int device, CUmemoryPool *ret)
{
	struct block *block;
	CUresult r;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	r = add(api, memory, device, &block);
	if (!r)
		*ret = (CUmemoryPool)(uintptr_t)block->addr;
	return r;
}

static CUresult create(const char *api, CUmemoryPool *ret, const CUmemPoolProps *props)
{
	enum block_type memory = BLOCK_ASYNC;

	if (!props || props->location.type < CU_MEM_LOCATION_TYPE_DEVICE ||
	    props->location.type > CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT)
		return CUDA_ERROR_INVALID_VALUE;
	if (props->allocType == CU_MEM_ALLOCATION_TYPE_MANAGED)
		memory = BLOCK_ASYNC_MANAGED;
	else if (props->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		memory = BLOCK_ASYNC_HOST;
	if (props->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return hand_out(api, memory, -1, ret);
	if (!device_valid(props->location.id))
		return CUDA_ERROR_INVALID_VALUE;
	return hand_out(api, memory, props->location.id, ret);
}

/* Its memory lives on until it is freed. Where a device used it, that goes back to its own. */
static CUresult destroy(CUmemoryPool handle)
{
	struct block *pool = pool_find(handle);

	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	for (int i = 0; i < LOCAL_KINDS * (SIM_MAX_DEVICES + 1); i++) {
		struct local *local = &locals[0][0] + i;

		if (pool == local->standard)
			return CUDA_ERROR_INVALID_VALUE;
		if (pool == local->current)
			local->current = NULL;
	}
	block_remove(pool);
	return CUDA_SUCCESS;
}

static CUresult trim(CUmemoryPool handle, uint64_t keep)
{
	struct block *pool = pool_find(handle);

	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	pool_trim(pool->pool, keep);
	return CUDA_SUCCESS;
}

/* Only what is a number of bytes. */
static uint64_t *attribute_of(struct pool *pool, CUmemPool_attribute attribute)
{
	switch (attribute) {
	case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
		return &pool->threshold;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
		return &pool->reserved;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
		return &pool->reserved_high;
	case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
		return &pool->used;
	case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
		return &pool->used_high;
	default:
		return NULL;
	}
}

static CUresult get(CUmemoryPool handle, CUmemPool_attribute attribute, cuuint64_t *ret)
{
	struct block *pool = pool_find(handle);
	uint64_t *value = pool ? attribute_of(pool->pool, attribute) : NULL;

	if (!value || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = *value;
	return CUDA_SUCCESS;
}

/* The most there was can be set to nothing, which means to what there is. */
static CUresult set(CUmemoryPool handle, CUmemPool_attribute attribute, const cuuint64_t *value)
{
	struct block *block = pool_find(handle);
	struct pool *pool = block ? block->pool : NULL;

	if (!pool || !value)
		return CUDA_ERROR_INVALID_VALUE;
	if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
		pool->threshold = *value;
	else if (attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH && !*value)
		pool->reserved_high = pool->reserved;
	else if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH && !*value)
		pool->used_high = pool->used;
	else
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

/* local: NULL, which gives `error` */
static CUresult tell(CUmemoryPool *ret, struct local *local,
		     struct block *(*which)(struct local *local), CUresult error)
{
	struct block *pool;

	if (!local)
		return error;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	pool = which(local);
	if (!pool)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret = (CUmemoryPool)(uintptr_t)pool->addr;
	return CUDA_SUCCESS;
}

static CUresult choose(struct local *local, CUmemoryPool handle, CUresult error)
{
	struct block *pool = pool_find(handle), *standard;

	if (!local)
		return error;
	standard = pool_standard(local);
	if (!standard)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (!pool || pool->device != standard->device ||
	    pool->pool->memory != standard->pool->memory)
		return CUDA_ERROR_INVALID_VALUE;
	local->current = pool;
	return CUDA_SUCCESS;
}

static CUresult export_pool(int *ret_fd, CUmemoryPool handle, CUmemAllocationHandleType type)
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

static CUresult import_pool(const char *api, CUmemoryPool *ret, void *handle,
			    CUmemAllocationHandleType type)
{
	struct share share;
	CUresult r;

	if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_NOT_SUPPORTED;
	r = share_import_fd((int)(intptr_t)handle, SHARE_POOL, &share);
	return r ? r : hand_out(api, BLOCK_ASYNC, share.device, ret);
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props)
{
	return CALL(PLACE, create(__func__, pool, props));
}

CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
	return CALL(PLACE, destroy(pool));
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
	return CALL(PLACE, trim(pool, keep));
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
	return CALL(PLACE, get(pool, attribute, value));
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
	return CALL(PLACE, set(pool, attribute, value));
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device)
{
	return CALL(PLACE,
		    tell(pool, local_of_device(device), pool_standard, CUDA_ERROR_INVALID_DEVICE));
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device)
{
	return CALL(PLACE,
		    tell(pool, local_of_device(device), pool_in_use, CUDA_ERROR_INVALID_DEVICE));
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool)
{
	return CALL(PLACE, choose(local_of_device(device), pool, CUDA_ERROR_INVALID_DEVICE));
}

CUresult cuMemGetDefaultMemPool(CUmemoryPool *pool, CUmemLocation *location,
				CUmemAllocationType type)
{
	return CALL(PLACE,
		    tell(pool, local_of(location, type), pool_standard, CUDA_ERROR_INVALID_VALUE));
}

CUresult cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type)
{
	return CALL(PLACE,
		    tell(pool, local_of(location, type), pool_in_use, CUDA_ERROR_INVALID_VALUE));
}

CUresult cuMemSetMemPool(CUmemLocation *location, CUmemAllocationType type, CUmemoryPool pool)
{
	return CALL(PLACE, choose(local_of(location, type), pool, CUDA_ERROR_INVALID_VALUE));
}

CUresult cuMemPoolExportToShareableHandle(void *handle, CUmemoryPool pool,
					  CUmemAllocationHandleType type, unsigned long long flags)
{
	(void)flags;
	return CALL(PLACE, export_pool(handle, pool, type));
}

CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool *pool, void *handle,
					    CUmemAllocationHandleType type,
					    unsigned long long flags)
{
	(void)flags;
	return CALL(PLACE, import_pool(__func__, pool, handle, type));
}
