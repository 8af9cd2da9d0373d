/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of others: CUDA IPC and external memory. */
#include "runtime.h"
#include "runtime_array.h"

RUNTIME_FORWARD(cudaIpcGetMemHandle, cuIpcGetMemHandle, (cudaIpcMemHandle_t * handle, void *ptr),
		handle, (uintptr_t)ptr)
RUNTIME_FORWARD(cudaIpcOpenMemHandle, cuIpcOpenMemHandle_v2,
		(void **ptr, cudaIpcMemHandle_t handle, unsigned int flags), (CUdeviceptr *)ptr,
		handle, flags)
RUNTIME_FORWARD(cudaIpcCloseMemHandle, cuIpcCloseMemHandle, (void *ptr), (uintptr_t)ptr)

RUNTIME_FORWARD(cudaImportExternalMemory, cuImportExternalMemory,
		(cudaExternalMemory_t * memory, const struct cudaExternalMemoryHandleDesc *desc),
		memory, desc)
RUNTIME_FORWARD(cudaExternalMemoryGetMappedBuffer, cuExternalMemoryGetMappedBuffer,
		(void **ptr, cudaExternalMemory_t memory,
		 const struct cudaExternalMemoryBufferDesc *desc),
		(CUdeviceptr *)ptr, memory, desc)
RUNTIME_FORWARD(cudaDestroyExternalMemory, cuDestroyExternalMemory, (cudaExternalMemory_t memory),
		memory)

cudaError_t
cudaExternalMemoryGetMappedMipmappedArray(cudaMipmappedArray_t *array, cudaExternalMemory_t memory,
					  const struct cudaExternalMemoryMipmappedArrayDesc *desc)
{
	CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC wide = {};

	if (!desc ||
	    !runtime_array_desc(&wide.arrayDesc, &desc->formatDesc, desc->extent, desc->flags))
		return runtime_error(cudaErrorInvalidValue);
	wide.offset = desc->offset;
	wide.numLevels = desc->numLevels;
	return RUNTIME_CALL(cuExternalMemoryGetMappedMipmappedArray, array, memory, &wide);
}
