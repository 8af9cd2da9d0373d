/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, stream-ordered memory and its pools. */
#include "runtime.h"

RUNTIME_FORWARD(cudaStreamCreate, cuStreamCreate, (cudaStream_t * stream), stream, 0)
RUNTIME_FORWARD(cudaStreamCreateWithFlags, cuStreamCreate,
		(cudaStream_t * stream, unsigned int flags), stream, flags)
RUNTIME_FORWARD(cudaStreamCreateWithPriority, cuStreamCreateWithPriority,
		(cudaStream_t * stream, unsigned int flags, int priority), stream, flags, priority)
RUNTIME_FORWARD(cudaStreamDestroy, cuStreamDestroy_v2, (cudaStream_t stream), stream)
RUNTIME_FORWARD(cudaStreamSynchronize, cuStreamSynchronize, (cudaStream_t stream), stream)

RUNTIME_FORWARD(cudaMallocAsync, cuMemAllocAsync, (void **ptr, size_t size, cudaStream_t stream),
		(CUdeviceptr *)ptr, size, stream)
RUNTIME_FORWARD(cudaMallocAsync_ptsz, cuMemAllocAsync_ptsz,
		(void **ptr, size_t size, cudaStream_t stream), (CUdeviceptr *)ptr, size, stream)
RUNTIME_FORWARD(cudaMallocFromPoolAsync, cuMemAllocFromPoolAsync,
		(void **ptr, size_t size, cudaMemPool_t pool, cudaStream_t stream),
		(CUdeviceptr *)ptr, size, pool, stream)
RUNTIME_FORWARD(cudaMallocFromPoolAsync_ptsz, cuMemAllocFromPoolAsync_ptsz,
		(void **ptr, size_t size, cudaMemPool_t pool, cudaStream_t stream),
		(CUdeviceptr *)ptr, size, pool, stream)
RUNTIME_FORWARD(cudaFreeAsync, cuMemFreeAsync, (void *ptr, cudaStream_t stream), (uintptr_t)ptr,
		stream)
RUNTIME_FORWARD(cudaFreeAsync_ptsz, cuMemFreeAsync_ptsz, (void *ptr, cudaStream_t stream),
		(uintptr_t)ptr, stream)

RUNTIME_FORWARD(cudaMemPoolCreate, cuMemPoolCreate,
		(cudaMemPool_t * pool, const struct cudaMemPoolProps *props), pool, props)
RUNTIME_FORWARD(cudaMemPoolDestroy, cuMemPoolDestroy, (cudaMemPool_t pool), pool)
RUNTIME_FORWARD(cudaMemPoolTrimTo, cuMemPoolTrimTo, (cudaMemPool_t pool, size_t keep), pool, keep)
RUNTIME_FORWARD(cudaMemPoolGetAttribute, cuMemPoolGetAttribute,
		(cudaMemPool_t pool, CUmemPool_attribute attribute, void *value), pool, attribute,
		value)
RUNTIME_FORWARD(cudaMemPoolSetAttribute, cuMemPoolSetAttribute,
		(cudaMemPool_t pool, CUmemPool_attribute attribute, void *value), pool, attribute,
		value)
RUNTIME_FORWARD(cudaDeviceGetDefaultMemPool, cuDeviceGetDefaultMemPool,
		(cudaMemPool_t * pool, int device), pool, device)
RUNTIME_FORWARD(cudaDeviceGetMemPool, cuDeviceGetMemPool, (cudaMemPool_t * pool, int device), pool,
		device)
RUNTIME_FORWARD(cudaDeviceSetMemPool, cuDeviceSetMemPool, (int device, cudaMemPool_t pool), device,
		pool)
RUNTIME_FORWARD(cudaMemGetDefaultMemPool, cuMemGetDefaultMemPool,
		(cudaMemPool_t * pool, CUmemLocation *location, CUmemAllocationType type), pool,
		location, type)
RUNTIME_FORWARD(cudaMemGetMemPool, cuMemGetMemPool,
		(cudaMemPool_t * pool, CUmemLocation *location, CUmemAllocationType type), pool,
		location, type)
RUNTIME_FORWARD(cudaMemSetMemPool, cuMemSetMemPool,
		(CUmemLocation * location, CUmemAllocationType type, cudaMemPool_t pool), location,
		type, pool)
RUNTIME_FORWARD(cudaMemPoolExportToShareableHandle, cuMemPoolExportToShareableHandle,
		(void *handle, cudaMemPool_t pool, enum cudaMemAllocationHandleType type,
		 unsigned int flags),
		handle, pool, type, flags)
RUNTIME_FORWARD(cudaMemPoolImportFromShareableHandle, cuMemPoolImportFromShareableHandle,
		(cudaMemPool_t * pool, void *handle, enum cudaMemAllocationHandleType type,
		 unsigned int flags),
		pool, handle, type, flags)
RUNTIME_FORWARD(cudaMemPoolExportPointer, cuMemPoolExportPointer,
		(struct cudaMemPoolPtrExportData * data, void *ptr), data, (uintptr_t)ptr)
RUNTIME_FORWARD(cudaMemPoolImportPointer, cuMemPoolImportPointer,
		(void **ptr, cudaMemPool_t pool, struct cudaMemPoolPtrExportData *data),
		(CUdeviceptr *)ptr, pool, data)
