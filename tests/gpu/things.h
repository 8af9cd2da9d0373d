/* SPDX-License-Identifier: Apache-2.0 */
/* What several parts of the program ask CUDA for. */
#ifndef GPU_THINGS_H
#define GPU_THINGS_H

#include "cuda.h"

#define MIB (1UL << 20)
#define BLOCK_BYTES (4 * MIB) /* more than what the driver shares out of one block */
#define ROW_BYTES 1000UL      /* no multiple of any pitch */
#define ROWS 300UL
#define SIDE 64UL /* of an array, in elements */
#define ELEMENT_BYTES 4UL

extern const struct cudaMemPoolProps pool_on_device; /* device 0 */
extern const CUmemAllocationProp physical_on_device; /* can be handed on as a descriptor */
extern const struct cudaChannelFormatDesc one_float;
extern const CUDA_ARRAY_DESCRIPTOR plane;  /* SIDE × SIDE floats */
extern const CUDA_ARRAY3D_DESCRIPTOR cube; /* SIDE × SIDE × SIDE floats */

/* What physical memory comes in, in bytes. */
size_t granularity(void);

/* Reserves addresses and maps physical memory there. Returns CUDA's result. */
int map_physical(CUmemGenericAllocationHandle handle, size_t size, CUdeviceptr *ret);
void unmap_physical(CUdeviceptr ptr, size_t size);

/* A graph that allocates and frees memory; NULL where CUDA refused. */
cudaGraph_t make_graph(void);

/* A process that owns device memory, for others to open: started before its first use, ended by
 * the end of stdin. Returns 0 or a negative errno.
 */
int owner_start(const char *runtime, cudaIpcMemHandle_t *ret);
int owner_main(const char *runtime);

#endif
