/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* The probed functions, one row each. To support one more is to add a row (and its test).
 *
 * X(symbol, family, action, kind, pointer, pointer_arg, size, size_arg, height_arg)
 *
 *  family       whose exports are searched for the symbol
 *  action       ALLOC is recorded at a successful return, FREE is taken out at entry
 *  kind         what interface.md calls it; of a FREE only its address space counts
 *  pointer      OUT: the argument points to where the result is stored; OUT32: likewise, 32 bits
 *               (driver API before CUDA 3.2); ARG: the argument is the pointer itself
 *  size         BYTES, BYTES32: the argument; PITCH, PITCH32: the argument points to the pitch,
 *               times height_arg; NONE: has none (graphs, mappings of others' memory)
 *
 * Argument numbers start at 0. Both generations of a driver function are separate exports with
 * separate types, and so are the per-thread-default-stream variants (_ptsz).
 */
#ifndef SRTLEAK_API_H
#define SRTLEAK_API_H

#include <linux/types.h>

enum api_family { FAMILY_CUDART, FAMILY_CUDA, FAMILY_MAX };
enum api_action { ACTION_ALLOC, ACTION_FREE };
enum api_pointer { POINTER_OUT, POINTER_OUT32, POINTER_ARG, POINTER_ARG32 };
enum api_size { SIZE_NONE, SIZE_BYTES, SIZE_BYTES32, SIZE_PITCH, SIZE_PITCH32 };

/* X(name, JSON name, address space, counted in the sum of a process's CUDA memory) */
#define SRTLEAK_KINDS(X)                 \
	X(DEVICE, "device", MEMORY, 1)   \
	X(MANAGED, "managed", MEMORY, 1) \
	X(HOST, "host", MEMORY, 1)       \
	X(ARRAY, "array", ARRAY, 1)      \
	X(VMM, "vmm", PHYSICAL, 1)       \
	X(IPC, "ipc", MEMORY, 0)         \
	X(GRAPH, "graph", GRAPH, 0)

enum memory_kind {
#define X(name, json, space, summed) KIND_##name,
	SRTLEAK_KINDS(X)
#undef X
		KIND_MAX
};

/* Handles of different spaces may be equal numbers and still be different things. */
enum address_space { SPACE_MEMORY, SPACE_ARRAY, SPACE_PHYSICAL, SPACE_GRAPH };

/* clang-format off */
#define SRTLEAK_APIS(X) \
	X(cudaMalloc,                   CUDART, ALLOC, DEVICE,  OUT,   0, BYTES,   1, 0) \
	X(cudaMallocManaged,            CUDART, ALLOC, MANAGED, OUT,   0, BYTES,   1, 0) \
	X(cudaMallocPitch,              CUDART, ALLOC, DEVICE,  OUT,   0, PITCH,   1, 3) \
	X(cudaMallocAsync,              CUDART, ALLOC, DEVICE,  OUT,   0, BYTES,   1, 0) \
	X(cudaMallocAsync_ptsz,         CUDART, ALLOC, DEVICE,  OUT,   0, BYTES,   1, 0) \
	X(cudaMallocFromPoolAsync,      CUDART, ALLOC, DEVICE,  OUT,   0, BYTES,   1, 0) \
	X(cudaMallocFromPoolAsync_ptsz, CUDART, ALLOC, DEVICE,  OUT,   0, BYTES,   1, 0) \
	X(cudaMallocHost,               CUDART, ALLOC, HOST,    OUT,   0, BYTES,   1, 0) \
	X(cudaHostAlloc,                CUDART, ALLOC, HOST,    OUT,   0, BYTES,   1, 0) \
	X(cudaHostRegister,             CUDART, ALLOC, HOST,    ARG,   0, BYTES,   1, 0) \
	X(cudaIpcOpenMemHandle,         CUDART, ALLOC, IPC,     OUT,   0, NONE,    0, 0) \
	X(cudaGraphInstantiate,         CUDART, ALLOC, GRAPH,   OUT,   0, NONE,    0, 0) \
	X(cudaGraphInstantiateWithFlags, CUDART, ALLOC, GRAPH,  OUT,   0, NONE,    0, 0) \
	X(cudaFree,                     CUDART, FREE,  DEVICE,  ARG,   0, NONE,    0, 0) \
	X(cudaFreeAsync,                CUDART, FREE,  DEVICE,  ARG,   0, NONE,    0, 0) \
	X(cudaFreeAsync_ptsz,           CUDART, FREE,  DEVICE,  ARG,   0, NONE,    0, 0) \
	X(cudaFreeHost,                 CUDART, FREE,  HOST,    ARG,   0, NONE,    0, 0) \
	X(cudaHostUnregister,           CUDART, FREE,  HOST,    ARG,   0, NONE,    0, 0) \
	X(cudaIpcCloseMemHandle,        CUDART, FREE,  IPC,     ARG,   0, NONE,    0, 0) \
	X(cudaGraphExecDestroy,         CUDART, FREE,  GRAPH,   ARG,   0, NONE,    0, 0) \
	X(cuMemAlloc,                   CUDA,   ALLOC, DEVICE,  OUT32, 0, BYTES32, 1, 0) \
	X(cuMemAlloc_v2,                CUDA,   ALLOC, DEVICE,  OUT,   0, BYTES,   1, 0) \
	X(cuMemAllocPitch,              CUDA,   ALLOC, DEVICE,  OUT32, 0, PITCH32, 1, 3) \
	X(cuMemAllocPitch_v2,           CUDA,   ALLOC, DEVICE,  OUT,   0, PITCH,   1, 3) \
	X(cuMemAllocManaged,            CUDA,   ALLOC, MANAGED, OUT,   0, BYTES,   1, 0) \
	X(cuMemAllocAsync,              CUDA,   ALLOC, DEVICE,  OUT,   0, BYTES,   1, 0) \
	X(cuMemAllocAsync_ptsz,         CUDA,   ALLOC, DEVICE,  OUT,   0, BYTES,   1, 0) \
	X(cuMemAllocFromPoolAsync,      CUDA,   ALLOC, DEVICE,  OUT,   0, BYTES,   1, 0) \
	X(cuMemAllocFromPoolAsync_ptsz, CUDA,   ALLOC, DEVICE,  OUT,   0, BYTES,   1, 0) \
	X(cuMemHostAlloc,               CUDA,   ALLOC, HOST,    OUT,   0, BYTES,   1, 0) \
	X(cuMemAllocHost,               CUDA,   ALLOC, HOST,    OUT,   0, BYTES32, 1, 0) \
	X(cuMemAllocHost_v2,            CUDA,   ALLOC, HOST,    OUT,   0, BYTES,   1, 0) \
	X(cuMemHostRegister,            CUDA,   ALLOC, HOST,    ARG,   0, BYTES,   1, 0) \
	X(cuMemHostRegister_v2,         CUDA,   ALLOC, HOST,    ARG,   0, BYTES,   1, 0) \
	X(cuIpcOpenMemHandle,           CUDA,   ALLOC, IPC,     OUT,   0, NONE,    0, 0) \
	X(cuIpcOpenMemHandle_v2,        CUDA,   ALLOC, IPC,     OUT,   0, NONE,    0, 0) \
	X(cuGraphInstantiate,           CUDA,   ALLOC, GRAPH,   OUT,   0, NONE,    0, 0) \
	X(cuGraphInstantiate_v2,        CUDA,   ALLOC, GRAPH,   OUT,   0, NONE,    0, 0) \
	X(cuGraphInstantiateWithFlags,  CUDA,   ALLOC, GRAPH,   OUT,   0, NONE,    0, 0) \
	X(cuMemFree,                    CUDA,   FREE,  DEVICE,  ARG32, 0, NONE,    0, 0) \
	X(cuMemFree_v2,                 CUDA,   FREE,  DEVICE,  ARG,   0, NONE,    0, 0) \
	X(cuMemFreeAsync,               CUDA,   FREE,  DEVICE,  ARG,   0, NONE,    0, 0) \
	X(cuMemFreeAsync_ptsz,          CUDA,   FREE,  DEVICE,  ARG,   0, NONE,    0, 0) \
	X(cuMemFreeHost,                CUDA,   FREE,  HOST,    ARG,   0, NONE,    0, 0) \
	X(cuMemHostUnregister,          CUDA,   FREE,  HOST,    ARG,   0, NONE,    0, 0) \
	X(cuIpcCloseMemHandle,          CUDA,   FREE,  IPC,     ARG,   0, NONE,    0, 0) \
	X(cuGraphExecDestroy,           CUDA,   FREE,  GRAPH,   ARG,   0, NONE,    0, 0)
/* clang-format on */

enum api {
#define X(symbol, ...) API_##symbol,
	SRTLEAK_APIS(X)
#undef X
		API_MAX
};

/* A row as the probes read it; the symbol's name stays in user space. */
struct api_row {
	__u8 family;
	__u8 action;
	__u8 kind;
	__u8 space;
	__u8 pointer;
	__u8 pointer_arg;
	__u8 size;
	__u8 size_arg;
	__u8 height_arg;
};

/* The attach cookie of a probe: the library's number, and the row. */
#define COOKIE(library, api) ((__u64)(library) << 16 | (api))
#define COOKIE_API(cookie) ((__u32)(cookie)&0xffff)

#define API_KIND_SPACE(name, json, space, summed) KIND_SPACE_##name = SPACE_##space,
enum { SRTLEAK_KINDS(API_KIND_SPACE) };
#undef API_KIND_SPACE

#define API_TABLE_ROW(symbol, fam, act, knd, ptr, ptr_arg, siz, siz_arg, high_arg) \
	[API_##symbol] = {                                                         \
		.family = FAMILY_##fam,                                            \
		.action = ACTION_##act,                                            \
		.kind = KIND_##knd,                                                \
		.space = KIND_SPACE_##knd,                                         \
		.pointer = POINTER_##ptr,                                          \
		.pointer_arg = (ptr_arg),                                          \
		.size = SIZE_##siz,                                                \
		.size_arg = (siz_arg),                                             \
		.height_arg = (high_arg),                                          \
	},
#define API_TABLE_ROWS SRTLEAK_APIS(API_TABLE_ROW)

#endif
