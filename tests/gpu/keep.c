/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "macro.h"
#include "say.h"
#include "steps.h"
#include "things.h"

/* What is outstanding, with the call that gives it back. */
#define KEPT_MAX 64

enum undo {
	UNDO_FREE,
	UNDO_FREE_HOST,
	UNDO_UNREGISTER,
	UNDO_FREE_ARRAY,
	UNDO_FREE_LEVELS,
	UNDO_DRIVER_FREE,
	UNDO_DRIVER_FREE_ARRAY,
	UNDO_UNMAP,
	UNDO_RELEASE,
	UNDO_CLOSE,
	UNDO_DESTROY_EXEC,
};

static struct {
	enum undo undo;
	uint64_t what, size;
} kept[KEPT_MAX];
static unsigned int n_kept;

static void undo_later(enum undo undo, uint64_t what, uint64_t size)
{
	kept[n_kept].undo = undo;
	kept[n_kept].what = what;
	kept[n_kept++].size = size;
}

static void keep(const char *kind, const char *api, enum undo undo, uint64_t ptr, uint64_t size)
{
	say_kept(kind, api, ptr, size, 0);
	undo_later(undo, ptr, size);
}

#define KEEP(kind, undo, value, size, function, ...)                                     \
	do {                                                                             \
		if (CALL(function, __VA_ARGS__) == 0)                                    \
			keep(kind, #function, undo, (uint64_t)(uintptr_t)(value), size); \
	} while (0)

static void keep_linear(void)
{
	static const size_t sizes[] = {1, 1000, MIB, 2 * MIB, 5 * MIB + 1, 32 * MIB};
	const struct cudaExtent extent = {ROW_BYTES, ROWS, 3};
	struct cudaPitchedPtr pitched = {};
	CUdeviceptr driver_ptr = 0;
	size_t pitch = 0;
	void *ptr = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		KEEP("device", UNDO_FREE, ptr, sizes[i], cudaMalloc, &ptr, sizes[i]);
	KEEP("device", UNDO_FREE, ptr, pitch * ROWS, cudaMallocPitch, &ptr, &pitch, ROW_BYTES,
	     ROWS);
	KEEP("device", UNDO_FREE, pitched.ptr, pitched.pitch * ROWS * 3, cudaMalloc3D, &pitched,
	     extent);
	KEEP("managed", UNDO_FREE, ptr, MIB, cudaMallocManaged, &ptr, MIB, 1);
	KEEP("device", UNDO_DRIVER_FREE, driver_ptr, 3 * MIB, cuMemAlloc_v2, &driver_ptr, 3 * MIB);
	KEEP("device", UNDO_DRIVER_FREE, driver_ptr, pitch * ROWS, cuMemAllocPitch_v2, &driver_ptr,
	     &pitch, ROW_BYTES, ROWS, 4);
}

static void keep_stream_ordered(void)
{
	CUdeviceptr driver_ptr = 0;
	void *ptr = NULL;

	KEEP("device", UNDO_FREE, ptr, BLOCK_BYTES, cudaMallocAsync, &ptr, BLOCK_BYTES, NULL);
	KEEP("device", UNDO_DRIVER_FREE, driver_ptr, MIB, cuMemAllocAsync, &driver_ptr, MIB, NULL);
	(void)CALL(cudaDeviceSynchronize);
}

static void keep_host(void)
{
	void *ptr = NULL, *own = aligned_alloc(4096, MIB);

	KEEP("host", UNDO_FREE_HOST, ptr, MIB, cudaMallocHost, &ptr, MIB);
	KEEP("host", UNDO_FREE_HOST, ptr, 3 * MIB, cudaHostAlloc, &ptr, 3 * MIB, 0);
	KEEP("host", UNDO_FREE_HOST, ptr, MIB + 1, cuMemHostAlloc, &ptr, MIB + 1, 0);
	KEEP("host", UNDO_UNREGISTER, own, MIB, cudaHostRegister, own, MIB, 0);
}

static void keep_arrays(void)
{
	const struct cudaExtent extent = {SIDE, SIDE, SIDE}, flat = {SIDE, SIDE, 0};
	const size_t area = SIDE * SIDE * ELEMENT_BYTES;
	cudaMipmappedArray_t levels = NULL;
	cudaArray_t array = NULL;

	KEEP("array", UNDO_FREE_ARRAY, array, area, cudaMallocArray, &array, &one_float, SIDE, SIDE,
	     0);
	KEEP("array", UNDO_FREE_ARRAY, array, area * SIDE, cudaMalloc3DArray, &array, &one_float,
	     extent, 0);
	KEEP("array", UNDO_FREE_LEVELS, levels, area + area / 4 + area / 16,
	     cudaMallocMipmappedArray, &levels, &one_float, flat, 3, 0);
	KEEP("array", UNDO_DRIVER_FREE_ARRAY, array, area, cuArrayCreate_v2, &array, &plane);
}

/* With a handle only, with a mapping as well, and with a mapping only. */
static void keep_physical(void)
{
	const size_t size = granularity();

	for (int i = 0; i < 3; i++) {
		CUmemGenericAllocationHandle handle = 0;
		CUdeviceptr ptr = 0;

		if (CALL(cuMemCreate, &handle, size, &physical_on_device, 0))
			return;
		if (i > 0 && map_physical(handle, size, &ptr) == 0)
			undo_later(UNDO_UNMAP, ptr, size);
		if (i < 2)
			undo_later(UNDO_RELEASE, handle, 0);
		else
			(void)CALL(cuMemRelease, handle);
		say_kept("vmm", "cuMemCreate", ptr, size, handle);
	}
}

static void keep_others(const char *runtime)
{
	cudaGraph_t graph = make_graph();
	cudaGraphExec_t exec = NULL;
	cudaIpcMemHandle_t handle;
	void *ptr = NULL;

	if (owner_start(runtime, &handle) == 0)
		KEEP("ipc", UNDO_CLOSE, ptr, SIZE_UNKNOWN, cudaIpcOpenMemHandle, &ptr, handle, 1);
	if (graph)
		KEEP("graph", UNDO_DESTROY_EXEC, exec, SIZE_UNKNOWN, cudaGraphInstantiateWithFlags,
		     &exec, graph, 0);
}

int step_keep(const char *runtime)
{
	keep_linear();
	keep_stream_ordered();
	keep_host();
	keep_arrays();
	keep_physical();
	keep_others(runtime);
	return 0;
}

static void drop(enum undo undo, uint64_t what, uint64_t size)
{
	void *ptr = (void *)(uintptr_t)what;

	switch (undo) {
	case UNDO_FREE:
		(void)CALL(cudaFree, ptr);
		break;
	case UNDO_FREE_HOST:
		(void)CALL(cudaFreeHost, ptr);
		break;
	case UNDO_UNREGISTER:
		(void)CALL(cudaHostUnregister, ptr);
		free(ptr);
		break;
	case UNDO_FREE_ARRAY:
		(void)CALL(cudaFreeArray, ptr);
		break;
	case UNDO_FREE_LEVELS:
		(void)CALL(cudaFreeMipmappedArray, ptr);
		break;
	case UNDO_DRIVER_FREE:
		(void)CALL(cuMemFree_v2, what);
		break;
	case UNDO_DRIVER_FREE_ARRAY:
		(void)CALL(cuArrayDestroy, ptr);
		break;
	case UNDO_UNMAP:
		unmap_physical(what, size);
		break;
	case UNDO_RELEASE:
		(void)CALL(cuMemRelease, what);
		break;
	case UNDO_CLOSE:
		(void)CALL(cudaIpcCloseMemHandle, ptr);
		break;
	case UNDO_DESTROY_EXEC:
		(void)CALL(cudaGraphExecDestroy, ptr);
		break;
	}
}

int step_drop(const char *runtime)
{
	(void)runtime;
	while (n_kept > 0) {
		n_kept--;
		drop(kept[n_kept].undo, kept[n_kept].what, kept[n_kept].size);
	}
	return 0;
}
