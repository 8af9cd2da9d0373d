/* SPDX-License-Identifier: Apache-2.0 */
/* Page-locked host memory: allocated here, or registered. */
#include <sys/mman.h>

#include "block.h"
#include "context.h"
#include "driver_api.h"
#include "host.h"

CUresult host_map(enum block_type type, const char *api, struct context *ctx, int device,
		  size_t bytes, void **ret)
{
	struct block *block;
	CUresult r;
	void *addr;

	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (addr == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = block_add(
		&(struct block){
			.type = type,
			.api = api,
			.addr = (uintptr_t)addr,
			.size = bytes,
			.span = bytes,
			.device = device,
			.ctx = ctx,
		},
		&block);
	if (r)
		munmap(addr, bytes);
	else
		*ret = addr;
	return r;
}

static CUresult allocate(const char *api, void **ret, size_t bytes)
{
	struct context *ctx;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	return ret ? host_map(BLOCK_HOST, api, ctx, -1, bytes, ret) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult enrol(const char *api, void *ptr, size_t bytes)
{
	struct context *ctx;
	struct block *block;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	if (!ptr || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (block_find((uintptr_t)ptr, BLOCK_MASK(REGISTERED) | BLOCK_MASK(HOST)))
		return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	return block_add(
		&(struct block){
			.type = BLOCK_REGISTERED,
			.api = api,
			.addr = (uintptr_t)ptr,
			.size = bytes,
			.span = bytes,
			.device = -1,
			.ctx = ctx,
		},
		&block);
}

CUresult cuMemHostAlloc(void **ptr, size_t bytes, unsigned int flags)
{
	(void)flags;
	return CALL(ALLOC, allocate(__func__, ptr, bytes));
}

CUresult cuMemAllocHost(void **ptr, unsigned int bytes)
{
	return CALL(ALLOC, allocate(__func__, ptr, bytes));
}

CUresult cuMemAllocHost_v2(void **ptr, size_t bytes)
{
	return CALL(ALLOC, allocate(__func__, ptr, bytes));
}

CUresult cuMemFreeHost(void *ptr)
{
	return CALL(FREE,
		    block_remove_at((uintptr_t)ptr, BLOCK_MASK(HOST), CUDA_ERROR_INVALID_VALUE));
}

CUresult cuMemHostRegister(void *ptr, size_t bytes, unsigned int flags)
{
	(void)flags;
	return CALL(ALLOC, enrol(__func__, ptr, bytes));
}

CUresult cuMemHostRegister_v2(void *ptr, size_t bytes, unsigned int flags)
{
	(void)flags;
	return CALL(ALLOC, enrol(__func__, ptr, bytes));
}

CUresult cuMemHostUnregister(void *ptr)
{
	return CALL(FREE, block_remove_at((uintptr_t)ptr, BLOCK_MASK(REGISTERED),
					  CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED));
}
