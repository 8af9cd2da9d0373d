/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual memory management: physical memory lives while a handle or a mapping refers to it. */
#include <stdlib.h>

#include "arena.h"
#include "block.h"
#include "context.h"
#include "driver_api.h"
#include "share.h"

#define GRANULARITY (2ULL << 20)
#define MAX_RESERVATIONS 1024
#define MAX_RESERVATION (2ULL << 40)

#define MAPPABLE (BLOCK_MASK(PHYSICAL) | BLOCK_MASK(IMPORTED) | BLOCK_MASK(MULTICAST))

struct reservation {
	uint64_t addr; /* 0: not in use */
	uint64_t size;
	struct block **pages; /* the mapping that covers each granule, or NULL */
};

static struct reservation reservations[MAX_RESERVATIONS];

static bool granular(uint64_t value)
{
	return value && value % GRANULARITY == 0;
}

static struct reservation *reservation_at(uint64_t addr)
{
	for (unsigned int i = 0; i < MAX_RESERVATIONS; i++)
		if (reservations[i].addr && addr >= reservations[i].addr &&
		    addr - reservations[i].addr < reservations[i].size)
			return &reservations[i];
	return NULL;
}

/* Sets *ret_pages to the granules of a range that one reservation covers wholly. */
static CUresult pages_of(uint64_t addr, uint64_t size, struct block ***ret_pages)
{
	struct reservation *reservation = reservation_at(addr);

	if (!reservation || !granular(addr) || !granular(size) ||
	    size > reservation->addr + reservation->size - addr)
		return CUDA_ERROR_INVALID_VALUE;
	*ret_pages = &reservation->pages[(addr - reservation->addr) / GRANULARITY];
	return CUDA_SUCCESS;
}

static CUresult reserve(CUdeviceptr *ret, uint64_t size)
{
	struct reservation *free_one = NULL;

	if (!ret || !granular(size) || size > MAX_RESERVATION)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < MAX_RESERVATIONS && !free_one; i++)
		if (!reservations[i].addr)
			free_one = &reservations[i];
	if (!free_one)
		return CUDA_ERROR_OUT_OF_MEMORY;
	free_one->pages = calloc(size / GRANULARITY, sizeof(*free_one->pages));
	if (!free_one->pages)
		return CUDA_ERROR_OUT_OF_MEMORY;
	free_one->addr = arena_take(arena_reservations(), size);
	if (!free_one->addr) {
		free(free_one->pages);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	free_one->size = size;
	*ret = free_one->addr;
	return CUDA_SUCCESS;
}

static CUresult unreserve(uint64_t addr, uint64_t size)
{
	struct reservation *reservation = reservation_at(addr);

	if (!reservation || reservation->addr != addr || reservation->size != size)
		return CUDA_ERROR_INVALID_VALUE;
	for (uint64_t i = 0; i < size / GRANULARITY; i++)
		if (reservation->pages[i])
			return CUDA_ERROR_INVALID_VALUE;
	arena_put(arena_reservations(), addr, size);
	free(reservation->pages);
	*reservation = (struct reservation){};
	return CUDA_SUCCESS;
}

static struct block *handle_find(uint64_t handle)
{
	struct block *block = block_find(handle, MAPPABLE);

	return block && block->refs ? block : NULL;
}

static void drop_if_unused(struct block *block)
{
	if (!block->refs && !block->maps)
		block_remove(block);
}

static CUresult add(enum block_type type, const char *api, uint64_t size, int device, bool own,
		    CUmemGenericAllocationHandle *ret)
{
	struct block *block;
	CUresult r;

	if (!ret || !granular(size))
		return CUDA_ERROR_INVALID_VALUE;
	r = block_add(
		&(struct block){
			.type = type,
			.api = api,
			.size = size,
			.charge = own ? size : 0,
			.device = device,
			.arena = arena_handles(),
			.span = BLOCK_HANDLE_SPAN,
			.refs = 1,
		},
		&block);
	if (!r)
		*ret = block->addr;
	return r;
}

static CUresult create(const char *api, CUmemGenericAllocationHandle *ret, uint64_t size,
		       const CUmemAllocationProp *prop)
{
	if (!prop || prop->location.type < CU_MEM_LOCATION_TYPE_DEVICE ||
	    prop->location.type > CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT)
		return CUDA_ERROR_INVALID_VALUE;
	if (prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return add(BLOCK_PHYSICAL, api, size, -1, true, ret);
	if (!device_valid(prop->location.id))
		return CUDA_ERROR_INVALID_DEVICE;
	return add(BLOCK_PHYSICAL, api, size, prop->location.id, true, ret);
}

static CUresult release(uint64_t handle)
{
	struct block *block = handle_find(handle);

	if (!block)
		return CUDA_ERROR_INVALID_VALUE;
	block->refs--;
	drop_if_unused(block);
	return CUDA_SUCCESS;
}

static CUresult retain(CUmemGenericAllocationHandle *ret, uint64_t addr)
{
	struct reservation *reservation = reservation_at(addr);
	struct block *mapping, *block;

	if (!ret || !reservation)
		return CUDA_ERROR_INVALID_VALUE;
	mapping = reservation->pages[(addr - reservation->addr) / GRANULARITY];
	if (!mapping)
		return CUDA_ERROR_INVALID_VALUE;
	block = block_find(mapping->parent, MAPPABLE);
	block->refs++;
	*ret = block->addr;
	return CUDA_SUCCESS;
}

static CUresult map(const char *api, uint64_t addr, uint64_t size, uint64_t offset, uint64_t handle)
{
	struct block *block = handle_find(handle), *mapping, **pages;
	CUresult r = pages_of(addr, size, &pages);

	if (r)
		return r;
	if (!block || offset || size > block->size)
		return CUDA_ERROR_INVALID_VALUE;
	for (uint64_t i = 0; i < size / GRANULARITY; i++)
		if (pages[i])
			return CUDA_ERROR_INVALID_VALUE;
	r = block_add(
		&(struct block){
			.type = BLOCK_MAPPING,
			.api = api,
			.addr = addr,
			.size = size,
			.device = -1,
			.parent = handle,
		},
		&mapping);
	if (r)
		return r;
	for (uint64_t i = 0; i < size / GRANULARITY; i++)
		pages[i] = mapping;
	block->maps++;
	return CUDA_SUCCESS;
}

/* Whether a range consists of whole mappings, without gaps. */
static bool whole_mappings(struct block **pages, uint64_t addr, uint64_t size)
{
	for (uint64_t at = 0; at < size; at += pages[at / GRANULARITY]->size) {
		const struct block *mapping = pages[at / GRANULARITY];

		if (!mapping || mapping->addr != addr + at || mapping->size > size - at)
			return false;
	}
	return true;
}

static CUresult unmap(uint64_t addr, uint64_t size)
{
	struct block **pages;
	CUresult r = pages_of(addr, size, &pages);

	if (r)
		return r;
	if (!whole_mappings(pages, addr, size))
		return CUDA_ERROR_INVALID_VALUE;
	for (uint64_t i = 0; i < size / GRANULARITY; i++) {
		struct block *mapping = pages[i], *block;

		pages[i] = NULL;
		if (mapping->addr + mapping->size != addr + (i + 1) * GRANULARITY)
			continue;
		block = block_find(mapping->parent, MAPPABLE);
		block->maps--;
		drop_if_unused(block);
		block_remove(mapping);
	}
	return CUDA_SUCCESS;
}

static CUresult set_access(uint64_t addr, uint64_t size, const CUmemAccessDesc *desc, size_t count)
{
	struct block **pages;
	CUresult r = pages_of(addr, size, &pages);

	if (r)
		return r;
	if (!desc || !count)
		return CUDA_ERROR_INVALID_VALUE;
	for (uint64_t i = 0; i < size / GRANULARITY; i++)
		if (!pages[i])
			return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

static CUresult granularity_of(size_t *ret, const CUmemAllocationProp *prop)
{
	if (!ret || !prop)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = GRANULARITY;
	return CUDA_SUCCESS;
}

static CUresult export_handle(int *ret_fd, uint64_t handle, CUmemAllocationHandleType type)
{
	struct block *block = handle_find(handle);
	struct share share;

	if (!ret_fd || !block)
		return CUDA_ERROR_INVALID_VALUE;
	if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_NOT_SUPPORTED;
	share = share_of(block, SHARE_PHYSICAL);
	return share_export_fd(&share, ret_fd);
}

static CUresult import_handle(const char *api, CUmemGenericAllocationHandle *ret, void *shareable,
			      CUmemAllocationHandleType type)
{
	struct share share;
	CUresult r;

	if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_NOT_SUPPORTED;
	r = share_import_fd((int)(intptr_t)shareable, SHARE_PHYSICAL, &share);
	return r ? r : add(BLOCK_IMPORTED, api, share.size, share.device, false, ret);
}

CUresult cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr hint,
			     unsigned long long flags)
{
	(void)alignment;
	(void)hint;
	(void)flags;
	return CALL(OTHER, reserve(ptr, size));
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
	return CALL(OTHER, unreserve(ptr, size));
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
		     const CUmemAllocationProp *prop, unsigned long long flags)
{
	(void)flags;
	return CALL(ALLOC, create(__func__, handle, size, prop));
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
	return CALL(FREE, release(handle));
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
	return CALL(MAP, retain(handle, (uintptr_t)addr));
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
		  unsigned long long flags)
{
	(void)flags;
	return CALL(MAP, map(__func__, ptr, size, offset, handle));
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size)
{
	return CALL(MAP, unmap(ptr, size));
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count)
{
	return CALL(OTHER, set_access(ptr, size, desc, count));
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
				       CUmemAllocationGranularity_flags option)
{
	(void)option;
	return CALL(OTHER, granularity_of(granularity, prop));
}

CUresult cuMemExportToShareableHandle(void *shareable, CUmemGenericAllocationHandle handle,
				      CUmemAllocationHandleType type, unsigned long long flags)
{
	(void)flags;
	return CALL(OTHER, export_handle(shareable, handle, type));
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *shareable,
					CUmemAllocationHandleType type)
{
	return CALL(ALLOC, import_handle(__func__, handle, shareable, type));
}

/* Mappings into sparse arrays keep no reference here. */
CUresult cuMemMapArrayAsync(CUarrayMapInfo *list, unsigned int count, CUstream stream)
{
	(void)stream;
	return CALL(MAP, list && count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemMapArrayAsync_ptsz(CUarrayMapInfo *list, unsigned int count, CUstream stream)
{
	(void)stream;
	return CALL(MAP, list && count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

/* Has no memory of its own: others bind theirs to it. */
CUresult cuMulticastCreate(CUmemGenericAllocationHandle *handle, const CUmulticastObjectProp *prop)
{
	return CALL(OTHER, prop ? add(BLOCK_MULTICAST, __func__, prop->size, -1, false, handle)
				: CUDA_ERROR_INVALID_VALUE);
}
