/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* The probed functions, one row each. To support one more is to add a row (and its test).
 *
 * X(symbol, family, action, kind, space, place, pointer, pointer_arg, size, size_arg, extra_arg)
 *
 * - family: whose exports are searched for the symbol
 * - action: what the call does (enum api_action)
 * - kind: of an allocation, what interface.md calls it; NONE: something that is no memory, but that
 *   others refer to (a pool), or part of what is counted elsewhere
 * - space: what sort of number the result is: equal numbers of two spaces are two things
 * - place: where the device of an allocation comes from
 * - pointer: OUT: the argument points to where the result is stored; OUT32: likewise, 32 bits
 *   (driver API before CUDA 3.2); ARG, ARG32: the argument is the pointer itself
 * - size: how many bytes, from size_arg on (enum api_size)
 * - extra_arg: one more argument, by action, place and size: height of pitched memory, levels of
 *   mipmaps, pool, stream, properties, device ordinal, handle to map
 *
 * Argument numbers start at 0. Both generations of a driver function are separate exports with
 * separate types, and so are the per-thread-default-stream variants (_ptsz). What a function
 * without a row does is in tests/integration/test_api_table.py.
 */
#ifndef SRTLEAK_API_H
#define SRTLEAK_API_H

#include <linux/types.h>

enum api_family { FAMILY_CUDART, FAMILY_CUDA, FAMILY_MAX };

enum api_action {
	ACTION_ALLOC,    /* recorded at a successful return */
	ACTION_FREE,     /* taken out at entry */
	ACTION_RETAIN,   /* one more handle to physical memory (extra: mapped where); OUT: it */
	ACTION_MAP,      /* physical memory (extra: its handle) at an address */
	ACTION_UNMAP,    /* all that is mapped in a range */
	ACTION_TRIM,     /* a pool gives back what exceeds the size */
	ACTION_POOL_GET, /* a device's (extra) pool, which nobody made; OUT: the pool */
	ACTION_POOL_SET, /* what a device allocates from, where no pool is named; extra: the pool */
	ACTION_POOL_ASK, /* what the driver says of a pool; size: of what; extra: where to */
	ACTION_NODE,   /* a memory node joins a graph; extra: its parameters, if it allocates; with
			  SIZE_NODE those say what sort of node it is */
	ACTION_STREAM, /* OUT: the stream */
	ACTION_STREAM_END,
	/* From here on: which context is the thread's, and which contexts there are. */
	ACTION_DEVICE_SET,      /* extra: the ordinal, here and in the primary contexts' */
	ACTION_DEVICE_RESET,    /* the current device's primary context ends */
	ACTION_PRIMARY_RETAIN,  /* OUT: the context */
	ACTION_PRIMARY_RELEASE, /* it ends with the last one */
	ACTION_PRIMARY_RESET,
	ACTION_GREEN_DESTROY,  /* a part of a device's processors, which held its primary context */
	ACTION_GREEN_CONTEXT,  /* the context of one; extra: which */
	ACTION_CONTEXT_CREATE, /* and it is pushed; OUT: the context; extra: the ordinal */
	ACTION_CONTEXT_DESTROY,
	ACTION_CONTEXT_SET,
	ACTION_CONTEXT_PUSH,
	ACTION_CONTEXT_POP,
};
#define ACTION_CONTEXTS ACTION_DEVICE_SET /* the first of those */

enum api_pointer { POINTER_OUT, POINTER_OUT32, POINTER_ARG, POINTER_ARG32 };

enum api_size {
	SIZE_NONE, /* of graphs and of others' memory none is known */
	SIZE_BYTES,
	SIZE_BYTES32,
	SIZE_PITCH,         /* the argument points to the pitch; times extra */
	SIZE_PITCH32,       /* likewise, 32 bits each */
	SIZE_PITCHED,       /* cudaPitchedPtr, where the pointer is; times height and depth of a
			       cudaExtent */
	SIZE_PLANE32,       /* the argument points to a CUDA_ARRAY_DESCRIPTOR_v1 */
	SIZE_PLANE,         /* … CUDA_ARRAY_DESCRIPTOR */
	SIZE_SOLID32,       /* … CUDA_ARRAY3D_DESCRIPTOR_v1 */
	SIZE_SOLID,         /* … CUDA_ARRAY3D_DESCRIPTOR */
	SIZE_MIPMAP,        /* the same, with extra levels */
	SIZE_TEXELS,        /* … cudaChannelFormatDesc; width and height are the next arguments */
	SIZE_TEXELS3D,      /* … and a cudaExtent, which is passed by value */
	SIZE_TEXELS_MIPMAP, /* the same, with extra levels */
	SIZE_NODE,          /* … CUgraphNodeParams; or it is a count, and the next one does */
};

enum api_place {
	/* Where the thread's context matters: */
	PLACE_NONE,    /* host memory, or it cannot be told */
	PLACE_CURRENT, /* the thread's current context */
	PLACE_STREAM,  /* the stream's device (extra), from the pool that this uses */
	/* Where it does not: */
	PLACE_CONTEXT,    /* that context (extra); of streams */
	PLACE_POOL,       /* that of the pool (extra), and so is the kind */
	PLACE_PROPERTIES, /* CUmemAllocationProp or CUmemPoolProps (extra points to it), likewise */
	PLACE_LOCATION,   /* CUmemLocation, with a CUmemAllocationType as the size; of pools */
};

/* A cudaExtent takes no register where it is passed on the stack, and one where by reference. */
#if defined(__aarch64__) || defined(__TARGET_ARCH_arm64)
#define AFTER_EXTENT 3
#else
#define AFTER_EXTENT 2
#endif

/* X(name, JSON name, counted in the sum of a process's CUDA memory) */
#define SRTLEAK_KINDS(X)         \
	X(DEVICE, "device", 1)   \
	X(MANAGED, "managed", 1) \
	X(HOST, "host", 1)       \
	X(ARRAY, "array", 1)     \
	X(VMM, "vmm", 1)         \
	X(IPC, "ipc", 0)         \
	X(GRAPH, "graph", 0)

enum memory_kind {
#define X(name, json, summed) KIND_##name,
	SRTLEAK_KINDS(X)
#undef X
		KIND_MAX,
	KIND_NONE = 15, /* in 4 bits */
};

enum address_space {
	SPACE_MEMORY,
	SPACE_ARRAY,
	SPACE_PHYSICAL,
	SPACE_GRAPH,
	SPACE_EXTERNAL,
	/* Only of handles, below. */
	SPACE_POOL,
	SPACE_CONTEXT,
	SPACE_PRIMARY,        /* a device's ordinal, for its primary context */
	SPACE_CONTEXT_NUMBER, /* that a context has, or had (number.h) */
	SPACE_POOL_NUMBER,
	SPACE_STREAM,
	SPACE_REFERENT, /* an allocation's number (referent.h) */
};

/* clang-format off */
#define SRTLEAK_APIS(X) \
	X(cudaMalloc,                                CUDART, ALLOC,           DEVICE,  MEMORY,   CURRENT,    OUT,   0, BYTES,         1, 0) \
	X(cudaMallocManaged,                         CUDART, ALLOC,           MANAGED, MEMORY,   CURRENT,    OUT,   0, BYTES,         1, 0) \
	X(cudaMallocPitch,                           CUDART, ALLOC,           DEVICE,  MEMORY,   CURRENT,    OUT,   0, PITCH,         1, 3) \
	X(cudaMalloc3D,                              CUDART, ALLOC,           DEVICE,  MEMORY,   CURRENT,    OUT,   0, PITCHED,       1, 0) \
	X(cudaMallocAsync,                           CUDART, ALLOC,           DEVICE,  MEMORY,   STREAM,     OUT,   0, BYTES,         1, 2) \
	X(cudaMallocAsync_ptsz,                      CUDART, ALLOC,           DEVICE,  MEMORY,   STREAM,     OUT,   0, BYTES,         1, 2) \
	X(cudaMallocFromPoolAsync,                   CUDART, ALLOC,           DEVICE,  MEMORY,   POOL,       OUT,   0, BYTES,         1, 2) \
	X(cudaMallocFromPoolAsync_ptsz,              CUDART, ALLOC,           DEVICE,  MEMORY,   POOL,       OUT,   0, BYTES,         1, 2) \
	X(cudaMallocHost,                            CUDART, ALLOC,           HOST,    MEMORY,   NONE,       OUT,   0, BYTES,         1, 0) \
	X(cudaHostAlloc,                             CUDART, ALLOC,           HOST,    MEMORY,   NONE,       OUT,   0, BYTES,         1, 0) \
	X(cudaHostRegister,                          CUDART, ALLOC,           HOST,    MEMORY,   NONE,       ARG,   0, BYTES,         1, 0) \
	X(cudaMallocArray,                           CUDART, ALLOC,           ARRAY,   ARRAY,    CURRENT,    OUT,   0, TEXELS,        1, 0) \
	X(cudaMalloc3DArray,                         CUDART, ALLOC,           ARRAY,   ARRAY,    CURRENT,    OUT,   0, TEXELS3D,      1, 0) \
	X(cudaMallocMipmappedArray,                  CUDART, ALLOC,           ARRAY,   ARRAY,    CURRENT,    OUT,   0, TEXELS_MIPMAP, 1, AFTER_EXTENT) \
	X(cudaIpcOpenMemHandle,                      CUDART, ALLOC,           IPC,     MEMORY,   CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaMemPoolImportPointer,                  CUDART, ALLOC,           IPC,     MEMORY,   POOL,       OUT,   0, NONE,          0, 1) \
	X(cudaImportExternalMemory,                  CUDART, ALLOC,           IPC,     EXTERNAL, CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaExternalMemoryGetMappedBuffer,         CUDART, ALLOC,           NONE,    MEMORY,   CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaExternalMemoryGetMappedMipmappedArray, CUDART, ALLOC,           NONE,    ARRAY,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaMemPoolCreate,                         CUDART, ALLOC,           NONE,    POOL,     PROPERTIES, OUT,   0, NONE,          0, 1) \
	X(cudaMemPoolImportFromShareableHandle,      CUDART, ALLOC,           NONE,    POOL,     NONE,       OUT,   0, NONE,          0, 0) \
	X(cudaGraphInstantiate,                      CUDART, ALLOC,           GRAPH,   GRAPH,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaGraphInstantiateWithFlags,             CUDART, ALLOC,           GRAPH,   GRAPH,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaGraphInstantiateWithParams,            CUDART, ALLOC,           GRAPH,   GRAPH,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaGraphInstantiateWithParams_ptsz,       CUDART, ALLOC,           GRAPH,   GRAPH,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaFree,                                  CUDART, FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaFreeAsync,                             CUDART, FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaFreeAsync_ptsz,                        CUDART, FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaFreeHost,                              CUDART, FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaHostUnregister,                        CUDART, FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaIpcCloseMemHandle,                     CUDART, FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaFreeArray,                             CUDART, FREE,            NONE,    ARRAY,    NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaFreeMipmappedArray,                    CUDART, FREE,            NONE,    ARRAY,    NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaDestroyExternalMemory,                 CUDART, FREE,            NONE,    EXTERNAL, NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaMemPoolDestroy,                        CUDART, FREE,            NONE,    POOL,     NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaGraphExecDestroy,                      CUDART, FREE,            NONE,    GRAPH,    NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaMemPoolTrimTo,                         CUDART, TRIM,            NONE,    POOL,     NONE,       ARG,   0, BYTES,         1, 0) \
	X(cudaDeviceGetDefaultMemPool,               CUDART, POOL_GET,        NONE,    POOL,     NONE,       OUT,   0, NONE,          0, 1) \
	X(cudaDeviceGetMemPool,                      CUDART, POOL_GET,        NONE,    POOL,     NONE,       OUT,   0, NONE,          0, 1) \
	X(cudaMemGetDefaultMemPool,                  CUDART, POOL_GET,        NONE,    POOL,     LOCATION,   OUT,   0, BYTES,         2, 1) \
	X(cudaMemGetMemPool,                         CUDART, POOL_GET,        NONE,    POOL,     LOCATION,   OUT,   0, BYTES,         2, 1) \
	X(cudaDeviceSetMemPool,                      CUDART, POOL_SET,        NONE,    POOL,     NONE,       ARG,   0, NONE,          0, 1) \
	X(cudaMemSetMemPool,                         CUDART, POOL_SET,        NONE,    POOL,     LOCATION,   ARG,   0, BYTES,         1, 2) \
	X(cudaMemPoolGetAttribute,                   CUDART, POOL_ASK,        NONE,    POOL,     NONE,       ARG,   0, BYTES,         1, 2) \
	X(cudaGraphAddMemAllocNode,                  CUDART, NODE,            NONE,    GRAPH,    NONE,       ARG,   0, NONE,          0, 4) \
	X(cudaGraphAddMemFreeNode,                   CUDART, NODE,            NONE,    GRAPH,    NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaGraphAddNode,                          CUDART, NODE,            NONE,    GRAPH,    NONE,       ARG,   0, NODE,          4, 0) \
	X(cudaGraphAddNode_v2,                       CUDART, NODE,            NONE,    GRAPH,    NONE,       ARG,   0, NODE,          4, 0) \
	X(cudaStreamCreate,                          CUDART, STREAM,          NONE,    STREAM,   CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaStreamCreateWithFlags,                 CUDART, STREAM,          NONE,    STREAM,   CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaStreamCreateWithPriority,              CUDART, STREAM,          NONE,    STREAM,   CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cudaStreamDestroy,                         CUDART, STREAM_END,      NONE,    STREAM,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaSetDevice,                             CUDART, DEVICE_SET,      NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaGLSetGLDevice,                         CUDART, DEVICE_SET,      NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaVDPAUSetVDPAUDevice,                   CUDART, DEVICE_SET,      NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cudaDeviceReset,                           CUDART, DEVICE_RESET,    NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuMemAlloc,                                CUDA,   ALLOC,           DEVICE,  MEMORY,   CURRENT,    OUT32, 0, BYTES32,       1, 0) \
	X(cuMemAlloc_v2,                             CUDA,   ALLOC,           DEVICE,  MEMORY,   CURRENT,    OUT,   0, BYTES,         1, 0) \
	X(cuMemAllocPitch,                           CUDA,   ALLOC,           DEVICE,  MEMORY,   CURRENT,    OUT32, 0, PITCH32,       1, 3) \
	X(cuMemAllocPitch_v2,                        CUDA,   ALLOC,           DEVICE,  MEMORY,   CURRENT,    OUT,   0, PITCH,         1, 3) \
	X(cuMemAllocManaged,                         CUDA,   ALLOC,           MANAGED, MEMORY,   CURRENT,    OUT,   0, BYTES,         1, 0) \
	X(cuMemAllocAsync,                           CUDA,   ALLOC,           DEVICE,  MEMORY,   STREAM,     OUT,   0, BYTES,         1, 2) \
	X(cuMemAllocAsync_ptsz,                      CUDA,   ALLOC,           DEVICE,  MEMORY,   STREAM,     OUT,   0, BYTES,         1, 2) \
	X(cuMemAllocFromPoolAsync,                   CUDA,   ALLOC,           DEVICE,  MEMORY,   POOL,       OUT,   0, BYTES,         1, 2) \
	X(cuMemAllocFromPoolAsync_ptsz,              CUDA,   ALLOC,           DEVICE,  MEMORY,   POOL,       OUT,   0, BYTES,         1, 2) \
	X(cuMemHostAlloc,                            CUDA,   ALLOC,           HOST,    MEMORY,   NONE,       OUT,   0, BYTES,         1, 0) \
	X(cuMemAllocHost,                            CUDA,   ALLOC,           HOST,    MEMORY,   NONE,       OUT,   0, BYTES32,       1, 0) \
	X(cuMemAllocHost_v2,                         CUDA,   ALLOC,           HOST,    MEMORY,   NONE,       OUT,   0, BYTES,         1, 0) \
	X(cuMemHostRegister,                         CUDA,   ALLOC,           HOST,    MEMORY,   NONE,       ARG,   0, BYTES,         1, 0) \
	X(cuMemHostRegister_v2,                      CUDA,   ALLOC,           HOST,    MEMORY,   NONE,       ARG,   0, BYTES,         1, 0) \
	X(cuArrayCreate,                             CUDA,   ALLOC,           ARRAY,   ARRAY,    CURRENT,    OUT,   0, PLANE32,       1, 0) \
	X(cuArrayCreate_v2,                          CUDA,   ALLOC,           ARRAY,   ARRAY,    CURRENT,    OUT,   0, PLANE,         1, 0) \
	X(cuArray3DCreate,                           CUDA,   ALLOC,           ARRAY,   ARRAY,    CURRENT,    OUT,   0, SOLID32,       1, 0) \
	X(cuArray3DCreate_v2,                        CUDA,   ALLOC,           ARRAY,   ARRAY,    CURRENT,    OUT,   0, SOLID,         1, 0) \
	X(cuMipmappedArrayCreate,                    CUDA,   ALLOC,           ARRAY,   ARRAY,    CURRENT,    OUT,   0, MIPMAP,        1, 2) \
	X(cuMemCreate,                               CUDA,   ALLOC,           VMM,     PHYSICAL, PROPERTIES, OUT,   0, BYTES,         1, 2) \
	X(cuMemImportFromShareableHandle,            CUDA,   ALLOC,           IPC,     PHYSICAL, NONE,       OUT,   0, NONE,          0, 0) \
	X(cuMulticastCreate,                         CUDA,   ALLOC,           NONE,    PHYSICAL, NONE,       OUT,   0, NONE,          0, 0) \
	X(cuIpcOpenMemHandle,                        CUDA,   ALLOC,           IPC,     MEMORY,   CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuIpcOpenMemHandle_v2,                     CUDA,   ALLOC,           IPC,     MEMORY,   CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuMemPoolImportPointer,                    CUDA,   ALLOC,           IPC,     MEMORY,   POOL,       OUT,   0, NONE,          0, 1) \
	X(cuImportExternalMemory,                    CUDA,   ALLOC,           IPC,     EXTERNAL, CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuExternalMemoryGetMappedBuffer,           CUDA,   ALLOC,           NONE,    MEMORY,   CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuExternalMemoryGetMappedMipmappedArray,   CUDA,   ALLOC,           NONE,    ARRAY,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuMemPoolCreate,                           CUDA,   ALLOC,           NONE,    POOL,     PROPERTIES, OUT,   0, NONE,          0, 1) \
	X(cuMemPoolImportFromShareableHandle,        CUDA,   ALLOC,           NONE,    POOL,     NONE,       OUT,   0, NONE,          0, 0) \
	X(cuGraphInstantiate,                        CUDA,   ALLOC,           GRAPH,   GRAPH,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuGraphInstantiate_v2,                     CUDA,   ALLOC,           GRAPH,   GRAPH,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuGraphInstantiateWithFlags,               CUDA,   ALLOC,           GRAPH,   GRAPH,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuGraphInstantiateWithParams,              CUDA,   ALLOC,           GRAPH,   GRAPH,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuGraphInstantiateWithParams_ptsz,         CUDA,   ALLOC,           GRAPH,   GRAPH,    CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuMemFree,                                 CUDA,   FREE,            NONE,    MEMORY,   NONE,       ARG32, 0, NONE,          0, 0) \
	X(cuMemFree_v2,                              CUDA,   FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cuMemFreeAsync,                            CUDA,   FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cuMemFreeAsync_ptsz,                       CUDA,   FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cuMemFreeHost,                             CUDA,   FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cuMemHostUnregister,                       CUDA,   FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cuIpcCloseMemHandle,                       CUDA,   FREE,            NONE,    MEMORY,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cuArrayDestroy,                            CUDA,   FREE,            NONE,    ARRAY,    NONE,       ARG,   0, NONE,          0, 0) \
	X(cuMipmappedArrayDestroy,                   CUDA,   FREE,            NONE,    ARRAY,    NONE,       ARG,   0, NONE,          0, 0) \
	X(cuMemRelease,                              CUDA,   FREE,            NONE,    PHYSICAL, NONE,       ARG,   0, NONE,          0, 0) \
	X(cuDestroyExternalMemory,                   CUDA,   FREE,            NONE,    EXTERNAL, NONE,       ARG,   0, NONE,          0, 0) \
	X(cuMemPoolDestroy,                          CUDA,   FREE,            NONE,    POOL,     NONE,       ARG,   0, NONE,          0, 0) \
	X(cuGraphExecDestroy,                        CUDA,   FREE,            NONE,    GRAPH,    NONE,       ARG,   0, NONE,          0, 0) \
	X(cuMemRetainAllocationHandle,               CUDA,   RETAIN,          NONE,    PHYSICAL, NONE,       OUT,   0, NONE,          0, 1) \
	X(cuMemMap,                                  CUDA,   MAP,             NONE,    PHYSICAL, NONE,       ARG,   0, BYTES,         1, 3) \
	X(cuMemUnmap,                                CUDA,   UNMAP,           NONE,    PHYSICAL, NONE,       ARG,   0, BYTES,         1, 0) \
	X(cuMemPoolTrimTo,                           CUDA,   TRIM,            NONE,    POOL,     NONE,       ARG,   0, BYTES,         1, 0) \
	X(cuDeviceGetDefaultMemPool,                 CUDA,   POOL_GET,        NONE,    POOL,     NONE,       OUT,   0, NONE,          0, 1) \
	X(cuDeviceGetMemPool,                        CUDA,   POOL_GET,        NONE,    POOL,     NONE,       OUT,   0, NONE,          0, 1) \
	X(cuMemGetDefaultMemPool,                    CUDA,   POOL_GET,        NONE,    POOL,     LOCATION,   OUT,   0, BYTES,         2, 1) \
	X(cuMemGetMemPool,                           CUDA,   POOL_GET,        NONE,    POOL,     LOCATION,   OUT,   0, BYTES,         2, 1) \
	X(cuDeviceSetMemPool,                        CUDA,   POOL_SET,        NONE,    POOL,     NONE,       ARG,   0, NONE,          0, 1) \
	X(cuMemSetMemPool,                           CUDA,   POOL_SET,        NONE,    POOL,     LOCATION,   ARG,   0, BYTES,         1, 2) \
	X(cuMemPoolGetAttribute,                     CUDA,   POOL_ASK,        NONE,    POOL,     NONE,       ARG,   0, BYTES,         1, 2) \
	X(cuGraphAddMemAllocNode,                    CUDA,   NODE,            NONE,    GRAPH,    NONE,       ARG,   0, NONE,          0, 4) \
	X(cuGraphAddMemFreeNode,                     CUDA,   NODE,            NONE,    GRAPH,    NONE,       ARG,   0, NONE,          0, 0) \
	X(cuGraphAddNode,                            CUDA,   NODE,            NONE,    GRAPH,    NONE,       ARG,   0, NODE,          4, 0) \
	X(cuGraphAddNode_v2,                         CUDA,   NODE,            NONE,    GRAPH,    NONE,       ARG,   0, NODE,          4, 0) \
	X(cuStreamCreate,                            CUDA,   STREAM,          NONE,    STREAM,   CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuStreamCreateWithPriority,                CUDA,   STREAM,          NONE,    STREAM,   CURRENT,    OUT,   0, NONE,          0, 0) \
	X(cuGreenCtxStreamCreate,                    CUDA,   STREAM,          NONE,    STREAM,   CONTEXT,    OUT,   0, NONE,          0, 1) \
	X(cuStreamDestroy,                           CUDA,   STREAM_END,      NONE,    STREAM,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cuStreamDestroy_v2,                        CUDA,   STREAM_END,      NONE,    STREAM,   NONE,       ARG,   0, NONE,          0, 0) \
	X(cuDevicePrimaryCtxRetain,                  CUDA,   PRIMARY_RETAIN,  NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 1) \
	X(cuDevicePrimaryCtxRelease,                 CUDA,   PRIMARY_RELEASE, NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuDevicePrimaryCtxRelease_v2,              CUDA,   PRIMARY_RELEASE, NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuDevicePrimaryCtxReset,                   CUDA,   PRIMARY_RESET,   NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuDevicePrimaryCtxReset_v2,                CUDA,   PRIMARY_RESET,   NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuGreenCtxCreate,                          CUDA,   PRIMARY_RETAIN,  NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 2) \
	X(cuGreenCtxDestroy,                         CUDA,   GREEN_DESTROY,   NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuCtxFromGreenCtx,                         CUDA,   GREEN_CONTEXT,   NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 1) \
	X(cuCtxCreate,                               CUDA,   CONTEXT_CREATE,  NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 2) \
	X(cuCtxCreate_v2,                            CUDA,   CONTEXT_CREATE,  NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 2) \
	X(cuCtxCreate_v3,                            CUDA,   CONTEXT_CREATE,  NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 4) \
	X(cuCtxCreate_v4,                            CUDA,   CONTEXT_CREATE,  NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 3) \
	X(cuGLCtxCreate,                             CUDA,   CONTEXT_CREATE,  NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 2) \
	X(cuGLCtxCreate_v2,                          CUDA,   CONTEXT_CREATE,  NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 2) \
	X(cuVDPAUCtxCreate,                          CUDA,   CONTEXT_CREATE,  NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 2) \
	X(cuVDPAUCtxCreate_v2,                       CUDA,   CONTEXT_CREATE,  NONE,    CONTEXT,  NONE,       OUT,   0, NONE,          0, 2) \
	X(cuCtxDestroy,                              CUDA,   CONTEXT_DESTROY, NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuCtxDestroy_v2,                           CUDA,   CONTEXT_DESTROY, NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuCtxSetCurrent,                           CUDA,   CONTEXT_SET,     NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuCtxPushCurrent,                          CUDA,   CONTEXT_PUSH,    NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuCtxPushCurrent_v2,                       CUDA,   CONTEXT_PUSH,    NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuCtxPopCurrent,                           CUDA,   CONTEXT_POP,     NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0) \
	X(cuCtxPopCurrent_v2,                        CUDA,   CONTEXT_POP,     NONE,    CONTEXT,  NONE,       ARG,   0, NONE,          0, 0)
/* clang-format on */

enum api {
#define X(symbol, ...) API_##symbol,
	SRTLEAK_APIS(X)
#undef X
		API_MAX
};
_Static_assert(API_MAX <= 255, "a row's number fits into 8 bits");

/* A row as the probes read it; the symbol's name stays in user space. */
struct api_row {
	__u8 family;
	__u8 action;
	__u8 kind;
	__u8 space;
	__u8 place;
	__u8 pointer;
	__u8 pointer_arg;
	__u8 size;
	__u8 size_arg;
	__u8 extra_arg;
};

/* The attach cookie of a probe: the library's number, and the row. */
#define COOKIE(library, api) ((__u64)(library) << 16 | (api))
#define COOKIE_API(cookie) ((__u32)(cookie)&0xffff)
#define COOKIE_LIBRARY(cookie) ((__u32)(cookie) >> 16)

#define API_TABLE_ROW(symbol, fam, act, knd, spc, plc, ptr, ptr_arg, siz, siz_arg, ext_arg) \
	[API_##symbol] = {                                                                  \
		.family = FAMILY_##fam,                                                     \
		.action = ACTION_##act,                                                     \
		.kind = KIND_##knd,                                                         \
		.space = SPACE_##spc,                                                       \
		.place = PLACE_##plc,                                                       \
		.pointer = POINTER_##ptr,                                                   \
		.pointer_arg = (ptr_arg),                                                   \
		.size = SIZE_##siz,                                                         \
		.size_arg = (siz_arg),                                                      \
		.extra_arg = (ext_arg),                                                     \
	},
#define API_TABLE_ROWS SRTLEAK_APIS(API_TABLE_ROW)

#endif
