/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays and mipmapped arrays: handles with device memory. */
#include <stdbool.h>

#include "arena.h"
#include "array.h"
#include "block.h"
#include "context.h"
#include "driver_api.h"
#include "macro.h"

#define ARRAY_LAYERED 1
#define ARRAY_CUBEMAP 4

struct format {
	unsigned char first, last;   /* of CUarray_format */
	unsigned char bits;          /* of a texel, or of each of its channels */
	bool per_channel, in_blocks; /* of 4 by 4 texels */
};

static const struct format formats[] = {
	{0x01, 0x01, 8, true, false},   {0x02, 0x02, 16, true, false},
	{0x03, 0x03, 32, true, false},  {0x08, 0x08, 8, true, false},
	{0x09, 0x09, 16, true, false},  {0x0a, 0x0a, 32, true, false},
	{0x10, 0x10, 16, true, false},  {0x20, 0x20, 32, true, false}, /* half, float */
	{0x50, 0x50, 32, false, false},                                /* 10, 10, 10 and 2 bits */
	{0x91, 0x92, 4, false, true},                                  /* BC1 */
	{0x93, 0x96, 8, false, true},                                  /* BC2, BC3 */
	{0x97, 0x98, 4, false, true},                                  /* BC4 */
	{0x99, 0x9e, 8, false, true},                                  /* BC5 to BC7 */
	{0xb0, 0xb0, 12, false, false},                                /* NV12 */
	{0xc0, 0xc2, 8, true, false},   {0xc3, 0xc5, 16, true, false}, /* normalised, unsigned */
	{0xc6, 0xc8, 8, true, false},   {0xc9, 0xcb, 16, true, false}, /* … signed */
};

static const struct format *format_of(const CUDA_ARRAY3D_DESCRIPTOR *desc)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(formats); i++)
		if (desc->Format >= formats[i].first && desc->Format <= formats[i].last)
			return &formats[i];
	return NULL;
}

/* The depth of these is a number of layers, which every level has. */
static bool is_layered(const CUDA_ARRAY3D_DESCRIPTOR *desc)
{
	return desc->Flags & (ARRAY_LAYERED | ARRAY_CUBEMAP);
}

static size_t whole_blocks(size_t texels, const struct format *format)
{
	return format->in_blocks ? (texels + 3) / 4 * 4 : texels;
}

/* Bytes of one level; 0 where the description is not valid. A height or depth of 0 counts as 1. */
static size_t level_bytes(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int level)
{
	const struct format *format = format_of(desc);
	size_t bits;

	if (!format || !desc->Width || !desc->NumChannels || desc->NumChannels > 4)
		return 0;
	bits = format->bits * (format->per_channel ? desc->NumChannels : 1);
	const size_t factors[] = {
		whole_blocks(MAX(desc->Width >> level, 1), format),
		whole_blocks(MAX(desc->Height >> level, 1), format),
		MAX(desc->Depth >> (is_layered(desc) ? 0 : level), 1),
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(factors); i++)
		if (__builtin_mul_overflow(bits, factors[i], &bits))
			return 0;
	return bits / 8;
}

/* What CUDA clamps the number to: the last level is a single texel. */
static unsigned int levels_max(const CUDA_ARRAY3D_DESCRIPTOR *desc)
{
	size_t extent = MAX(desc->Width, desc->Height);
	unsigned int levels = 1;

	if (!is_layered(desc))
		extent = MAX(extent, desc->Depth);
	for (; extent > 1 && levels < 32; extent /= 2)
		levels++;
	return levels;
}

CUresult array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels, size_t *ret)
{
	size_t sum = 0;

	if (!desc)
		return CUDA_ERROR_INVALID_VALUE;
	levels = MIN(MAX(levels, 1), levels_max(desc));
	for (unsigned int level = 0; level < levels; level++) {
		size_t bytes = level_bytes(desc, level);

		if (!bytes || __builtin_add_overflow(sum, bytes, &sum))
			return CUDA_ERROR_INVALID_VALUE;
	}
	*ret = sum;
	return CUDA_SUCCESS;
}

static CUresult create(enum block_type type, const char *api, void *ret,
		       const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels)
{
	struct context *ctx;
	struct block *block;
	size_t bytes;
	CUresult r = context_need(&ctx) ?: array_bytes(desc, levels, &bytes);

	if (r)
		return r;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	if (desc->Flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING))
		bytes = 0;
	r = block_add(
		&(struct block){
			.type = type,
			.api = api,
			.size = bytes,
			.charge = arena_round(bytes),
			.device = ctx->device,
			.ctx = ctx,
			.arena = arena_handles(),
			.span = BLOCK_HANDLE_SPAN,
		},
		&block);
	if (!r)
		*(void **)ret = (void *)(uintptr_t)block->addr;
	return r;
}

CUresult cuArrayCreate(CUarray *array, const CUDA_ARRAY_DESCRIPTOR_v1 *desc)
{
	CUDA_ARRAY3D_DESCRIPTOR wide;

	if (!desc)
		return CUDA_ERROR_INVALID_VALUE;
	wide = (CUDA_ARRAY3D_DESCRIPTOR){
		.Width = desc->Width,
		.Height = desc->Height,
		.Format = desc->Format,
		.NumChannels = desc->NumChannels,
	};
	return CALL(ALLOC, create(BLOCK_ARRAY, __func__, array, &wide, 1));
}

CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *desc)
{
	CUDA_ARRAY3D_DESCRIPTOR wide;

	if (!desc)
		return CUDA_ERROR_INVALID_VALUE;
	wide = (CUDA_ARRAY3D_DESCRIPTOR){
		.Width = desc->Width,
		.Height = desc->Height,
		.Format = desc->Format,
		.NumChannels = desc->NumChannels,
	};
	return CALL(ALLOC, create(BLOCK_ARRAY, __func__, array, &wide, 1));
}

CUresult cuArray3DCreate(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR_v1 *desc)
{
	CUDA_ARRAY3D_DESCRIPTOR wide;

	if (!desc)
		return CUDA_ERROR_INVALID_VALUE;
	wide = (CUDA_ARRAY3D_DESCRIPTOR){
		.Width = desc->Width,
		.Height = desc->Height,
		.Depth = desc->Depth,
		.Format = desc->Format,
		.NumChannels = desc->NumChannels,
		.Flags = desc->Flags,
	};
	return CALL(ALLOC, create(BLOCK_ARRAY, __func__, array, &wide, 1));
}

CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *desc)
{
	return CALL(ALLOC, create(BLOCK_ARRAY, __func__, array, desc, 1));
}

CUresult cuArrayDestroy(CUarray array)
{
	return CALL(FREE, block_remove_at((uintptr_t)array, BLOCK_MASK(ARRAY),
					  CUDA_ERROR_INVALID_HANDLE));
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *desc,
				unsigned int levels)
{
	return CALL(ALLOC, create(BLOCK_MIPMAP, __func__, array, desc, levels));
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray array)
{
	return CALL(FREE,
		    block_remove_at((uintptr_t)array, BLOCK_MASK(MIPMAP) | BLOCK_MASK(VIEW_MIPMAP),
				    CUDA_ERROR_INVALID_HANDLE));
}
