/* SPDX-License-Identifier: Apache-2.0 */
/* Modules and libraries: handles only, whatever the image. */
#include "block.h"
#include "context.h"
#include "driver_api.h"

static CUresult load(enum block_type type, const char *api, void *ret, const void *image)
{
	struct context *ctx;
	struct block *block;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	if (!ret || !image)
		return CUDA_ERROR_INVALID_VALUE;
	r = block_add_handle(type, api, type == BLOCK_MODULE ? ctx : NULL, &block);
	if (!r)
		*(void **)ret = (void *)(uintptr_t)block->addr;
	return r;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
	return CALL(OTHER, load(BLOCK_MODULE, __func__, module, image));
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int num_options,
			    CUjit_option *options, void **values)
{
	(void)num_options;
	(void)options;
	(void)values;
	return CALL(OTHER, load(BLOCK_MODULE, __func__, module, image));
}

CUresult cuModuleUnload(CUmodule module)
{
	return CALL(OTHER, block_remove_at((uintptr_t)module, BLOCK_MASK(MODULE),
					   CUDA_ERROR_INVALID_HANDLE));
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jit_options,
			   void **jit_values, unsigned int num_jit, CUlibraryOption *options,
			   void **values, unsigned int num)
{
	(void)jit_options;
	(void)jit_values;
	(void)num_jit;
	(void)options;
	(void)values;
	(void)num;
	return CALL(OTHER, load(BLOCK_LIBRARY, __func__, library, code));
}

CUresult cuLibraryUnload(CUlibrary library)
{
	return CALL(OTHER, block_remove_at((uintptr_t)library, BLOCK_MASK(LIBRARY),
					   CUDA_ERROR_INVALID_HANDLE));
}
