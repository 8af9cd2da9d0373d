/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "macro.h"
#include "say.h"
#include "steps.h"
#include "things.h"

int step_context(const char *runtime)
{
	const char *error = cuda_load(runtime);
	int driver = 0, version = 0;

	if (error) {
		fprintf(stderr, "program: %s\n", error);
		return 1;
	}
	if (cuda.cuDriverGetVersion)
		(void)cuda.cuDriverGetVersion(&driver);
	(void)cuda.cudaRuntimeGetVersion(&version);
	printf("{\"driver\":%d,\"runtime\":%d}\n", driver, version);
	(void)CALL(cudaSetDevice, 0);
	return CALL(cudaFree, NULL);
}

static void linear(void)
{
	const struct cudaExtent extent = {ROW_BYTES, ROWS, 3};
	struct cudaPitchedPtr pitched = {};
	void *ptr = NULL;
	size_t pitch;

	if (CALL(cudaMalloc, &ptr, BLOCK_BYTES) == 0)
		(void)CALL(cudaFree, ptr);
	if (CALL(cudaMalloc, &ptr, 1000) == 0)
		(void)CALL(cudaFree, ptr);
	if (CALL(cudaMallocPitch, &ptr, &pitch, ROW_BYTES, ROWS) == 0)
		(void)CALL(cudaFree, ptr);
	if (CALL(cudaMalloc3D, &pitched, extent) == 0)
		(void)CALL(cudaFree, pitched.ptr);
	if (CALL(cudaMallocManaged, &ptr, MIB, 1) == 0)
		(void)CALL(cudaFree, ptr);
}

static void driver_linear(void)
{
	CUdeviceptr ptr = 0;
	size_t pitch;

	if (CALL(cuMemAlloc_v2, &ptr, BLOCK_BYTES) == 0)
		(void)CALL(cuMemFree_v2, ptr);
	if (CALL(cuMemAllocPitch_v2, &ptr, &pitch, ROW_BYTES, ROWS, 4) == 0)
		(void)CALL(cuMemFree_v2, ptr);
	if (CALL(cuMemAllocManaged, &ptr, MIB, 1) == 0)
		(void)CALL(cuMemFree_v2, ptr);
}

static void host(void)
{
	void *own = aligned_alloc(4096, MIB), *ptr = NULL;

	if (CALL(cudaMallocHost, &ptr, MIB) == 0)
		(void)CALL(cudaFreeHost, ptr);
	if (CALL(cudaHostAlloc, &ptr, MIB, 0) == 0)
		(void)CALL(cudaFreeHost, ptr);
	if (CALL(cudaHostRegister, own, MIB, 0) == 0)
		(void)CALL(cudaHostUnregister, own);
	if (CALL(cuMemHostAlloc, &ptr, MIB, 0) == 0)
		(void)CALL(cuMemFreeHost, ptr);
	if (CALL(cuMemAllocHost_v2, &ptr, MIB) == 0)
		(void)CALL(cuMemFreeHost, ptr);
	if (CALL(cuMemHostRegister_v2, own, MIB, 0) == 0)
		(void)CALL(cuMemHostUnregister, own);
	free(own);
}

static void arrays(void)
{
	const struct cudaExtent extent = {SIDE, SIDE, SIDE}, flat = {SIDE, SIDE, 0};
	cudaMipmappedArray_t levels = NULL;
	cudaArray_t array = NULL;

	if (CALL(cudaMallocArray, &array, &one_float, SIDE, SIDE, 0) == 0)
		(void)CALL(cudaFreeArray, array);
	if (CALL(cudaMalloc3DArray, &array, &one_float, extent, 0) == 0)
		(void)CALL(cudaFreeArray, array);
	if (CALL(cudaMallocMipmappedArray, &levels, &one_float, flat, 3, 0) == 0)
		(void)CALL(cudaFreeMipmappedArray, levels);
	if (CALL(cuArrayCreate_v2, &array, &plane) == 0)
		(void)CALL(cuArrayDestroy, array);
	if (CALL(cuArray3DCreate_v2, &array, &cube) == 0)
		(void)CALL(cuArrayDestroy, array);
	if (CALL(cuMipmappedArrayCreate, &levels, &cube, 3) == 0)
		(void)CALL(cuMipmappedArrayDestroy, levels);
}

static void stream_ordered(void)
{
	CUdeviceptr driver_ptr = 0;
	void *ptr = NULL;

	if (CALL(cudaMallocAsync, &ptr, BLOCK_BYTES, NULL) == 0)
		(void)CALL(cudaFreeAsync, ptr, NULL);
	if (CALL(cudaMallocAsync, &ptr, BLOCK_BYTES, NULL) == 0)
		(void)CALL(cudaFree, ptr);
	if (CALL(cuMemAllocAsync, &driver_ptr, BLOCK_BYTES, NULL) == 0)
		(void)CALL(cuMemFreeAsync, driver_ptr, NULL);
	if (CALL(cuMemAllocAsync_ptsz, &driver_ptr, BLOCK_BYTES, NULL) == 0)
		(void)CALL(cuMemFreeAsync_ptsz, driver_ptr, NULL);
	(void)CALL(cudaDeviceSynchronize);
}

static void pools(void)
{
	CUdeviceptr driver_ptr = 0;
	cudaMemPool_t pool = NULL;
	void *ptr = NULL;

	if (CALL(cudaMemPoolCreate, &pool, &pool_on_device) == 0) {
		if (CALL(cudaMallocFromPoolAsync, &ptr, MIB, pool, NULL) == 0)
			(void)CALL(cudaFreeAsync, ptr, NULL);
		(void)CALL(cudaMemPoolTrimTo, pool, 0);
		(void)CALL(cudaMemPoolDestroy, pool);
	}
	if (CALL(cuMemPoolCreate, &pool, &pool_on_device) == 0) {
		if (CALL(cuMemAllocFromPoolAsync, &driver_ptr, MIB, pool, NULL) == 0)
			(void)CALL(cuMemFreeAsync, driver_ptr, NULL);
		(void)CALL(cuMemPoolTrimTo, pool, 0);
		(void)CALL(cuMemPoolDestroy, pool);
	}
}

static void physical(void)
{
	CUmemGenericAllocationHandle handle = 0, again = 0;
	size_t size = granularity();
	CUdeviceptr ptr = 0;
	int fd = -1;

	if (CALL(cuMemCreate, &handle, size, &physical_on_device, 0))
		return;
	if (map_physical(handle, size, &ptr) == 0) {
		if (CALL(cuMemRetainAllocationHandle, &again, (void *)(uintptr_t)ptr) == 0)
			(void)CALL(cuMemRelease, again);
		unmap_physical(ptr, size);
	}
	if (CALL(cuMemExportToShareableHandle, &fd, handle,
		 CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0) == 0) {
		if (CALL(cuMemImportFromShareableHandle, &again, (void *)(uintptr_t)fd,
			 CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) == 0)
			(void)CALL(cuMemRelease, again);
		close(fd);
	}
	(void)CALL(cuMemRelease, handle);
}

static void memory_of_others(const char *runtime)
{
	CUdeviceptr driver_ptr = 0;
	cudaIpcMemHandle_t handle;
	void *ptr = NULL;

	if (owner_start(runtime, &handle) < 0)
		return;
	if (CALL(cudaIpcOpenMemHandle, &ptr, handle, 1) == 0)
		(void)CALL(cudaIpcCloseMemHandle, ptr);
	if (CALL(cuIpcOpenMemHandle_v2, &driver_ptr, handle, 1) == 0)
		(void)CALL(cuIpcCloseMemHandle, driver_ptr);
}

static void graphs(void)
{
	cudaGraph_t graph = make_graph();
	cudaGraphExec_t exec = NULL;
	int version = 0;

	if (!graph)
		return;
	(void)cuda.cudaRuntimeGetVersion(&version);
	/* Before CUDA 12 it had other arguments. */
	if (version >= 12000 && CALL(cudaGraphInstantiate, &exec, graph, 0) == 0)
		(void)CALL(cudaGraphExecDestroy, exec);
	if (CALL(cudaGraphInstantiateWithFlags, &exec, graph, 0) == 0)
		(void)CALL(cudaGraphExecDestroy, exec);
	if (CALL(cuGraphInstantiateWithFlags, &exec, graph, 0) == 0)
		(void)CALL(cuGraphExecDestroy, exec);
	(void)CALL(cudaGraphDestroy, graph);
	(void)CALL(cudaDeviceGraphMemTrim, 0);
}

static void contexts(void)
{
	CUcontext ctx = NULL, primary = NULL;
	CUdeviceptr ptr = 0;

	if (CALL(cuDevicePrimaryCtxRetain, &primary, 0) == 0)
		(void)CALL(cuDevicePrimaryCtxRelease_v2, 0);
	if (CALL(cuCtxCreate_v2, &ctx, 0, 0) == 0) {
		(void)CALL(cuMemAlloc_v2, &ptr, BLOCK_BYTES);
		(void)CALL(cuCtxPopCurrent_v2, &ctx);
		(void)CALL(cuCtxPushCurrent_v2, ctx);
		(void)CALL(cuCtxDestroy_v2, ctx);
	}
	(void)CALL(cuCtxSetCurrent, primary);
}

static void resets(void)
{
	void *ptr = NULL;

	(void)CALL(cudaMalloc, &ptr, BLOCK_BYTES);
	(void)CALL(cudaDeviceReset);
	(void)CALL(cudaSetDevice, 0);
	(void)CALL(cudaMalloc, &ptr, BLOCK_BYTES);
	(void)CALL(cuDevicePrimaryCtxReset_v2, 0);
}

int step_calls(const char *runtime)
{
	linear();
	driver_linear();
	host();
	arrays();
	stream_ordered();
	pools();
	physical();
	memory_of_others(runtime);
	graphs();
	contexts();
	resets();
	return 0;
}
