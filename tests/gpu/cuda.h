/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of CUDA that the program calls, found at run time so that it can be built without
 * CUDA and run with any: one that the library has not is NULL. With STATIC_CUDART the runtime's are
 * those of libcudart_static.a.
 */
#ifndef GPU_CUDA_H
#define GPU_CUDA_H

#include "driver_api.h"
#include "runtime_api.h"

#define CUDA_DRIVER_FUNCTIONS(X)          \
	X(cuDriverGetVersion)             \
	X(cuMemAlloc_v2)                  \
	X(cuMemAllocPitch_v2)             \
	X(cuMemAllocManaged)              \
	X(cuMemFree_v2)                   \
	X(cuMemHostAlloc)                 \
	X(cuMemAllocHost_v2)              \
	X(cuMemFreeHost)                  \
	X(cuMemHostRegister_v2)           \
	X(cuMemHostUnregister)            \
	X(cuMemAllocAsync)                \
	X(cuMemAllocAsync_ptsz)           \
	X(cuMemFreeAsync)                 \
	X(cuMemFreeAsync_ptsz)            \
	X(cuMemPoolCreate)                \
	X(cuMemPoolDestroy)               \
	X(cuMemPoolTrimTo)                \
	X(cuMemAllocFromPoolAsync)        \
	X(cuMemAddressReserve)            \
	X(cuMemAddressFree)               \
	X(cuMemCreate)                    \
	X(cuMemRelease)                   \
	X(cuMemRetainAllocationHandle)    \
	X(cuMemMap)                       \
	X(cuMemUnmap)                     \
	X(cuMemSetAccess)                 \
	X(cuMemGetAllocationGranularity)  \
	X(cuMemExportToShareableHandle)   \
	X(cuMemImportFromShareableHandle) \
	X(cuArrayCreate_v2)               \
	X(cuArray3DCreate_v2)             \
	X(cuArrayDestroy)                 \
	X(cuMipmappedArrayCreate)         \
	X(cuMipmappedArrayDestroy)        \
	X(cuIpcOpenMemHandle_v2)          \
	X(cuIpcCloseMemHandle)            \
	X(cuCtxCreate_v2)                 \
	X(cuCtxDestroy_v2)                \
	X(cuCtxSetCurrent)                \
	X(cuCtxGetCurrent)                \
	X(cuCtxPushCurrent_v2)            \
	X(cuCtxPopCurrent_v2)             \
	X(cuDevicePrimaryCtxRetain)       \
	X(cuDevicePrimaryCtxRelease_v2)   \
	X(cuDevicePrimaryCtxReset_v2)     \
	X(cuGraphInstantiateWithFlags)    \
	X(cuGraphExecDestroy)

#define CUDA_RUNTIME_FUNCTIONS(X)        \
	X(cudaRuntimeGetVersion)         \
	X(cudaSetDevice)                 \
	X(cudaDeviceSynchronize)         \
	X(cudaDeviceReset)               \
	X(cudaDeviceGraphMemTrim)        \
	X(cudaMemGetInfo)                \
	X(cudaMalloc)                    \
	X(cudaMallocPitch)               \
	X(cudaMalloc3D)                  \
	X(cudaMallocManaged)             \
	X(cudaFree)                      \
	X(cudaMallocHost)                \
	X(cudaHostAlloc)                 \
	X(cudaFreeHost)                  \
	X(cudaHostRegister)              \
	X(cudaHostUnregister)            \
	X(cudaMallocArray)               \
	X(cudaMalloc3DArray)             \
	X(cudaMallocMipmappedArray)      \
	X(cudaFreeArray)                 \
	X(cudaFreeMipmappedArray)        \
	X(cudaMallocAsync)               \
	X(cudaFreeAsync)                 \
	X(cudaMemPoolCreate)             \
	X(cudaMemPoolDestroy)            \
	X(cudaMemPoolTrimTo)             \
	X(cudaMallocFromPoolAsync)       \
	X(cudaIpcGetMemHandle)           \
	X(cudaIpcOpenMemHandle)          \
	X(cudaIpcCloseMemHandle)         \
	X(cudaGraphCreate)               \
	X(cudaGraphDestroy)              \
	X(cudaGraphAddMemAllocNode)      \
	X(cudaGraphAddMemFreeNode)       \
	X(cudaGraphInstantiate)          \
	X(cudaGraphInstantiateWithFlags) \
	X(cudaGraphExecDestroy)

struct cuda {
#define X(function) __typeof__(function) *function;
	CUDA_DRIVER_FUNCTIONS(X)
	CUDA_RUNTIME_FUNCTIONS(X)
#undef X
};
extern struct cuda cuda;

/* Loads libcuda.so.1 and the runtime at that path. Returns NULL, or what went wrong. */
const char *cuda_load(const char *runtime);

#endif
