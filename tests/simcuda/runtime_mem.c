/* SPDX-License-Identifier: Apache-2.0 */
/* Device, managed and host memory, arrays. */
#include <string.h>

#include "runtime.h"

/* Asking for nothing is no error: it gives NULL, as freeing NULL is none. */
#define NOTHING(ptr, size)                                             \
	do {                                                           \
		if ((ptr) && !(size)) {                                \
			*(ptr) = NULL;                                 \
			return runtime_leave(runtime_enter(__func__)); \
		}                                                      \
	} while (0)

#define FREE_NOTHING(ptr)                                              \
	do {                                                           \
		if (!(ptr))                                            \
			return runtime_leave(runtime_enter(__func__)); \
	} while (0)

cudaError_t cudaMalloc(void **ptr, size_t size)
{
	NOTHING(ptr, size);
	return RUNTIME_CALL(cuMemAlloc_v2, (CUdeviceptr *)ptr, size);
}

cudaError_t cudaMallocPitch(void **ptr, size_t *pitch, size_t width, size_t height)
{
	return RUNTIME_CALL(cuMemAllocPitch_v2, (CUdeviceptr *)ptr, pitch, width, height, 4);
}

cudaError_t cudaMalloc3D(struct cudaPitchedPtr *pitched, struct cudaExtent extent)
{
	CUdeviceptr ptr;
	size_t pitch, rows;
	cudaError_t r;

	if (!pitched || __builtin_mul_overflow(extent.height, extent.depth, &rows))
		return runtime_error(cudaErrorInvalidValue);
	r = RUNTIME_CALL(cuMemAllocPitch_v2, &ptr, &pitch, extent.width, rows, 4);
	if (r)
		return r;
	*pitched = (struct cudaPitchedPtr){
		.ptr = (void *)(uintptr_t)ptr,
		.pitch = pitch,
		.xsize = extent.width,
		.ysize = extent.height,
	};
	return cudaSuccess;
}

RUNTIME_FORWARD(cudaMallocManaged, cuMemAllocManaged, (void **ptr, size_t size, unsigned int flags),
		(CUdeviceptr *)ptr, size, flags)

cudaError_t cudaFree(void *ptr)
{
	FREE_NOTHING(ptr);
	return RUNTIME_CALL(cuMemFree_v2, (uintptr_t)ptr);
}

cudaError_t cudaMallocHost(void **ptr, size_t size)
{
	NOTHING(ptr, size);
	return RUNTIME_CALL(cuMemAllocHost_v2, ptr, size);
}

cudaError_t cudaHostAlloc(void **ptr, size_t size, unsigned int flags)
{
	NOTHING(ptr, size);
	return RUNTIME_CALL(cuMemHostAlloc, ptr, size, flags);
}

cudaError_t cudaFreeHost(void *ptr)
{
	FREE_NOTHING(ptr);
	return RUNTIME_CALL(cuMemFreeHost, ptr);
}

RUNTIME_FORWARD(cudaHostRegister, cuMemHostRegister_v2,
		(void *ptr, size_t size, unsigned int flags), ptr, size, flags)
RUNTIME_FORWARD(cudaHostUnregister, cuMemHostUnregister, (void *ptr), ptr)

/* Nothing is behind a device address, so only host memory can be copied. */
cudaError_t cudaMemcpy(void *dst, const void *src, size_t count, enum cudaMemcpyKind kind)
{
	if (kind == cudaMemcpyHostToHost)
		memcpy(dst, src, count);
	return runtime_leave(runtime_enter(__func__));
}

cudaError_t cudaMemset(void *ptr, int value, size_t count)
{
	(void)ptr;
	(void)value;
	(void)count;
	return runtime_leave(runtime_enter(__func__));
}
