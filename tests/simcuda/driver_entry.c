/* SPDX-License-Identifier: Apache-2.0 */
/* cuGetProcAddress(): which exported function a name means to a program of some CUDA version. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "driver_api.h"
#include "macro.h"

#define SYMBOL_MAX 128

/* Names that changed their meaning; all others mean themselves. Newest first within a name. */
static const struct {
	const char *name;
	int version; /* the first CUDA version with it */
	const char *symbol;
} generations[] = {
	{"cuMemGetInfo", 3020, "cuMemGetInfo_v2"},
	{"cuMemGetInfo", 2000, "cuMemGetInfo"},
	{"cuMemAlloc", 3020, "cuMemAlloc_v2"},
	{"cuMemAlloc", 2000, "cuMemAlloc"},
	{"cuMemAllocPitch", 3020, "cuMemAllocPitch_v2"},
	{"cuMemAllocPitch", 2000, "cuMemAllocPitch"},
	{"cuMemFree", 3020, "cuMemFree_v2"},
	{"cuMemFree", 2000, "cuMemFree"},
	{"cuMemAllocHost", 3020, "cuMemAllocHost_v2"},
	{"cuMemAllocHost", 2000, "cuMemAllocHost"},
	{"cuMemHostRegister", 6050, "cuMemHostRegister_v2"},
	{"cuMemHostRegister", 4000, "cuMemHostRegister"},
	{"cuArrayCreate", 3020, "cuArrayCreate_v2"},
	{"cuArrayCreate", 2000, "cuArrayCreate"},
	{"cuArray3DCreate", 3020, "cuArray3DCreate_v2"},
	{"cuArray3DCreate", 2000, "cuArray3DCreate"},
	{"cuStreamDestroy", 4000, "cuStreamDestroy_v2"},
	{"cuStreamDestroy", 2000, "cuStreamDestroy"},
	{"cuIpcOpenMemHandle", 11000, "cuIpcOpenMemHandle_v2"},
	{"cuIpcOpenMemHandle", 4010, "cuIpcOpenMemHandle"},
	{"cuCtxCreate", 12050, "cuCtxCreate_v4"},
	{"cuCtxCreate", 11040, "cuCtxCreate_v3"},
	{"cuCtxCreate", 3020, "cuCtxCreate_v2"},
	{"cuCtxCreate", 2000, "cuCtxCreate"},
	{"cuCtxDestroy", 4000, "cuCtxDestroy_v2"},
	{"cuCtxDestroy", 2000, "cuCtxDestroy"},
	{"cuCtxPushCurrent", 4000, "cuCtxPushCurrent_v2"},
	{"cuCtxPushCurrent", 2000, "cuCtxPushCurrent"},
	{"cuCtxPopCurrent", 4000, "cuCtxPopCurrent_v2"},
	{"cuCtxPopCurrent", 2000, "cuCtxPopCurrent"},
	{"cuDevicePrimaryCtxRelease", 11000, "cuDevicePrimaryCtxRelease_v2"},
	{"cuDevicePrimaryCtxRelease", 7000, "cuDevicePrimaryCtxRelease"},
	{"cuDevicePrimaryCtxReset", 11000, "cuDevicePrimaryCtxReset_v2"},
	{"cuDevicePrimaryCtxReset", 7000, "cuDevicePrimaryCtxReset"},
	{"cuGraphAddNode", 12030, "cuGraphAddNode_v2"},
	{"cuGraphAddNode", 12020, "cuGraphAddNode"},
	{"cuGraphInstantiate", 12000, "cuGraphInstantiateWithFlags"},
	{"cuGraphInstantiate", 11000, "cuGraphInstantiate_v2"},
	{"cuGraphInstantiate", 10000, "cuGraphInstantiate"},
	{"cuGetProcAddress", 12000, "cuGetProcAddress_v2"},
	{"cuGetProcAddress", 11030, "cuGetProcAddress"},
};

/* A handle of this very library, whatever other copies the process has loaded. */
static void *self(void)
{
	Dl_info info;

	if (!dladdr((void *)(uintptr_t)cuInit, &info))
		return NULL;
	return dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
}

/* Returns the export that `name` means to `version`, or NULL where only later ones have it. */
static const char *generation_of(const char *name, int version)
{
	const char *found = name;

	for (unsigned int i = 0; i < ARRAY_SIZE(generations); i++) {
		if (strcmp(generations[i].name, name))
			continue;
		if (version >= generations[i].version)
			return generations[i].symbol;
		found = NULL;
	}
	return found;
}

static void *lookup(const char *symbol, bool per_thread)
{
	char ptsz[SYMBOL_MAX];
	void *handle = self(), *fn = NULL;

	if (!handle)
		return NULL;
	snprintf(ptsz, sizeof(ptsz), "%s_ptsz", symbol);
	if (per_thread)
		fn = dlsym(handle, ptsz);
	if (!fn)
		fn = dlsym(handle, symbol);
	dlclose(handle);
	return fn;
}

static CUresult find(const char *name, void **fn, int version, cuuint64_t flags,
		     CUdriverProcAddressQueryResult *status)
{
	const char *symbol;

	if (!name || !fn)
		return CUDA_ERROR_INVALID_VALUE;
	symbol = generation_of(name, version);
	*fn = symbol ? lookup(symbol, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) : NULL;
	*status = *fn      ? CU_GET_PROC_ADDRESS_SUCCESS
		  : symbol ? CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND
			   : CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
	return *fn ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetProcAddress(const char *symbol, void **fn, int version, cuuint64_t flags)
{
	CUdriverProcAddressQueryResult status;

	return find(symbol, fn, version, flags, &status);
}

CUresult cuGetProcAddress_v2(const char *symbol, void **fn, int version, cuuint64_t flags,
			     CUdriverProcAddressQueryResult *status)
{
	CUdriverProcAddressQueryResult unused;

	return find(symbol, fn, version, flags, status ? status : &unused);
}
