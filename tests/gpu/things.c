/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "say.h"
#include "things.h"

#define FORMAT_FLOAT 0x20
#define ALLOCATION_PINNED 1
#define ACCESS_READ_WRITE 3

const struct cudaMemPoolProps pool_on_device = {
	.allocType = ALLOCATION_PINNED,
	.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE},
};

const CUmemAllocationProp physical_on_device = {
	.type = ALLOCATION_PINNED,
	.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
	.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE},
};

const struct cudaChannelFormatDesc one_float = {.x = 32, .f = cudaChannelFormatKindFloat};

const CUDA_ARRAY_DESCRIPTOR plane = {
	.Width = SIDE, .Height = SIDE, .Format = FORMAT_FLOAT, .NumChannels = 1};

const CUDA_ARRAY3D_DESCRIPTOR cube = {
	.Width = SIDE, .Height = SIDE, .Depth = SIDE, .Format = FORMAT_FLOAT, .NumChannels = 1};

size_t granularity(void)
{
	size_t bytes = 0;

	(void)CALL(cuMemGetAllocationGranularity, &bytes, &physical_on_device, 0);
	return bytes ? bytes : 2 * MIB;
}

int map_physical(CUmemGenericAllocationHandle handle, size_t size, CUdeviceptr *ret)
{
	const CUmemAccessDesc access = {physical_on_device.location, ACCESS_READ_WRITE};
	int r = CALL(cuMemAddressReserve, ret, size, 0, 0, 0);

	if (!r)
		r = CALL(cuMemMap, *ret, size, 0, handle, 0);
	if (!r)
		r = CALL(cuMemSetAccess, *ret, size, &access, 1);
	return r;
}

void unmap_physical(CUdeviceptr ptr, size_t size)
{
	(void)CALL(cuMemUnmap, ptr, size);
	(void)CALL(cuMemAddressFree, ptr, size);
}

cudaGraph_t make_graph(void)
{
	struct cudaMemAllocNodeParams memory = {.poolProps = pool_on_device, .bytesize = MIB};
	cudaGraphNode_t node = NULL, last = NULL;
	cudaGraph_t graph = NULL;

	if (CALL(cudaGraphCreate, &graph, 0))
		return NULL;
	if (CALL(cudaGraphAddMemAllocNode, &node, graph, NULL, 0, &memory) == 0)
		(void)CALL(cudaGraphAddMemFreeNode, &last, graph, &node, 1,
			   (void *)(uintptr_t)memory.dptr);
	return graph;
}
