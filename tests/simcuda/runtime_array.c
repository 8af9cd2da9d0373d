/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays: the runtime's channel descriptions become the driver's formats. */
#include "macro.h"
#include "runtime.h"
#include "runtime_array.h"

/* What a kind says by itself, whatever the channels' bits. */
static const struct {
	unsigned char first, last; /* of cudaChannelFormatKind */
	unsigned char format;      /* CUarray_format of the first; the others follow */
} kinds[] = {
	{cudaChannelFormatKindNV12, cudaChannelFormatKindNV12, 0xb0},
	{5, 16, 0xc0},  /* normalised */
	{17, 30, 0x91}, /* block-compressed */
	{31, 31, 0x50}, /* 10, 10, 10 and 2 bits */
};

static CUarray_format format_of_kind(unsigned int kind)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kind >= kinds[i].first && kind <= kinds[i].last)
			return kinds[i].format + kind - kinds[i].first;
	return 0;
}

static CUarray_format format_of_channels(const struct cudaChannelFormatDesc *desc)
{
	static const CUarray_format formats[3][3] = {
		[cudaChannelFormatKindSigned] = {0x08, 0x09, 0x0a},
		[cudaChannelFormatKindUnsigned] = {0x01, 0x02, 0x03},
		[cudaChannelFormatKindFloat] = {0, 0x10, 0x20},
	};

	if (desc->x != 8 && desc->x != 16 && desc->x != 32)
		return 0;
	return formats[desc->f][desc->x == 8 ? 0 : desc->x == 16 ? 1 : 2];
}

bool runtime_array_desc(CUDA_ARRAY3D_DESCRIPTOR *ret, const struct cudaChannelFormatDesc *desc,
			struct cudaExtent extent, unsigned int flags)
{
	CUarray_format format;

	if (!desc)
		return false;
	format = desc->f <= cudaChannelFormatKindFloat ? format_of_channels(desc)
						       : format_of_kind(desc->f);
	if (!format)
		return false;
	*ret = (CUDA_ARRAY3D_DESCRIPTOR){
		.Width = extent.width,
		.Height = extent.height,
		.Depth = extent.depth,
		.Format = format,
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
	if (flags)
		return RUNTIME_CALL(cuArray3DCreate_v2, array, &wide);
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
