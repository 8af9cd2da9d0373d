/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays: the runtime's channel descriptions become the driver's formats. */
#include "runtime.h"
#include "runtime_array.h"

bool runtime_array_desc(CUDA_ARRAY3D_DESCRIPTOR *ret, const struct cudaChannelFormatDesc *desc,
			struct cudaExtent extent, unsigned int flags)
{
	static const CUarray_format formats[3][3] = {
		[cudaChannelFormatKindSigned] = {0x08, 0x09, 0x0a},
		[cudaChannelFormatKindUnsigned] = {0x01, 0x02, 0x03},
		[cudaChannelFormatKindFloat] = {0, 0x10, 0x20},
	};
	unsigned int width; /* log2 of a channel's bytes */

	if (!desc || desc->f > cudaChannelFormatKindFloat ||
	    (desc->x != 8 && desc->x != 16 && desc->x != 32))
		return false;
	width = desc->x == 8 ? 0 : desc->x == 16 ? 1 : 2;
	*ret = (CUDA_ARRAY3D_DESCRIPTOR){
		.Width = extent.width,
		.Height = extent.height,
		.Depth = extent.depth,
		.Format = formats[desc->f][width],
		.NumChannels = 1U + (desc->y > 0) + (desc->z > 0) + (desc->w > 0),
		.Flags = flags,
	};
	return true;
}

cudaError_t cudaMallocArray(cudaArray_t *array, const struct cudaChannelFormatDesc *desc,
			    size_t width, size_t height, unsigned int flags)
{
	struct cudaExtent extent = {.width = width, .height = height};
	CUDA_ARRAY3D_DESCRIPTOR wide;
	CUDA_ARRAY_DESCRIPTOR flat;

	if (!runtime_array_desc(&wide, desc, extent, flags))
		return runtime_error(cudaErrorInvalidValue);
	flat = (CUDA_ARRAY_DESCRIPTOR){
		.Width = wide.Width,
		.Height = wide.Height,
		.Format = wide.Format,
		.NumChannels = wide.NumChannels,
	};
	return RUNTIME_CALL(cuArrayCreate_v2, array, &flat);
}

cudaError_t cudaMalloc3DArray(cudaArray_t *array, const struct cudaChannelFormatDesc *desc,
			      struct cudaExtent extent, unsigned int flags)
{
	CUDA_ARRAY3D_DESCRIPTOR wide;

	if (!runtime_array_desc(&wide, desc, extent, flags))
		return runtime_error(cudaErrorInvalidValue);
	return RUNTIME_CALL(cuArray3DCreate_v2, array, &wide);
}

cudaError_t cudaMallocMipmappedArray(cudaMipmappedArray_t *array,
				     const struct cudaChannelFormatDesc *desc,
				     struct cudaExtent extent, unsigned int levels,
				     unsigned int flags)
{
	CUDA_ARRAY3D_DESCRIPTOR wide;

	if (!runtime_array_desc(&wide, desc, extent, flags))
		return runtime_error(cudaErrorInvalidValue);
	return RUNTIME_CALL(cuMipmappedArrayCreate, array, &wide, levels);
}

cudaError_t cudaFreeArray(cudaArray_t array)
{
	return array ? RUNTIME_CALL(cuArrayDestroy, array) : cudaSuccess;
}

cudaError_t cudaFreeMipmappedArray(cudaMipmappedArray_t array)
{
	return array ? RUNTIME_CALL(cuMipmappedArrayDestroy, array) : cudaSuccess;
}
