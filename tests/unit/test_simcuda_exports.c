/* SPDX-License-Identifier: Apache-2.0 */
/* What the simulated CUDA libraries export, and how each function begins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/elf_file.h"
#include "macro.h"
#include "sim_libraries.h"

static void *runtime12;

static const char *const driver_symbols =
	"cuMemAlloc cuMemAlloc_v2 cuMemAllocPitch cuMemAllocPitch_v2 cuMemAllocManaged cuMemFree "
	"cuMemFree_v2 cuMemAllocAsync cuMemAllocAsync_ptsz cuMemAllocFromPoolAsync "
	"cuMemAllocFromPoolAsync_ptsz cuMemFreeAsync cuMemFreeAsync_ptsz cuMemPoolCreate "
	"cuMemPoolDestroy cuMemPoolTrimTo cuMemPoolGetAttribute cuMemPoolSetAttribute "
	"cuDeviceGetDefaultMemPool cuDeviceGetMemPool cuDeviceSetMemPool cuMemPoolImportPointer "
	"cuMemCreate cuMemRelease cuMemMap "
	"cuMemUnmap cuMemRetainAllocationHandle cuMemImportFromShareableHandle cuMemMapArrayAsync "
	"cuMemMapArrayAsync_ptsz cuMulticastCreate cuMemHostAlloc cuMemAllocHost cuMemAllocHost_v2 "
	"cuMemFreeHost cuMemHostRegister cuMemHostRegister_v2 cuMemHostUnregister cuArrayCreate "
	"cuArrayCreate_v2 cuArray3DCreate cuArray3DCreate_v2 cuArrayDestroy cuMipmappedArrayCreate "
	"cuMipmappedArrayDestroy cuIpcOpenMemHandle cuIpcOpenMemHandle_v2 cuIpcCloseMemHandle "
	"cuImportExternalMemory cuDestroyExternalMemory cuCtxCreate cuCtxCreate_v2 cuCtxCreate_v3 "
	"cuCtxCreate_v4 cuGLCtxCreate cuGLCtxCreate_v2 cuVDPAUCtxCreate cuVDPAUCtxCreate_v2 "
	"cuStreamCreate cuStreamCreateWithPriority cuGreenCtxStreamCreate cuStreamDestroy "
	"cuStreamDestroy_v2 cuCtxDestroy cuCtxDestroy_v2 cuCtxSetCurrent cuCtxPushCurrent "
	"cuCtxPushCurrent_v2 cuCtxPopCurrent cuCtxPopCurrent_v2 cuDevicePrimaryCtxRetain "
	"cuDevicePrimaryCtxRelease cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxReset "
	"cuDevicePrimaryCtxReset_v2 cuModuleLoadData cuModuleLoadDataEx cuLibraryLoadData "
	"cuModuleUnload cuLibraryUnload cuGraphInstantiate cuGraphInstantiate_v2 "
	"cuGraphInstantiateWithFlags cuGraphInstantiateWithParams "
	"cuGraphInstantiateWithParams_ptsz cuGraphExecDestroy cuGraphAddMemAllocNode "
	"cuGraphAddMemFreeNode cuDeviceGraphMemTrim cuGetProcAddress cuGetProcAddress_v2";

static const char *const runtime_symbols =
	"cudaMalloc cudaMallocPitch cudaMalloc3D cudaMallocManaged cudaMallocHost cudaHostAlloc "
	"cudaHostRegister cudaHostUnregister cudaMallocArray cudaMalloc3DArray "
	"cudaMallocMipmappedArray cudaFree cudaFreeHost cudaFreeArray cudaFreeMipmappedArray "
	"cudaMallocAsync cudaMallocAsync_ptsz cudaMallocFromPoolAsync cudaMallocFromPoolAsync_ptsz "
	"cudaFreeAsync cudaFreeAsync_ptsz cudaMemPoolCreate cudaMemPoolDestroy cudaMemPoolTrimTo "
	"cudaMemPoolGetAttribute cudaMemPoolSetAttribute cudaDeviceGetDefaultMemPool "
	"cudaDeviceGetMemPool cudaDeviceSetMemPool "
	"cudaMemPoolImportFromShareableHandle cudaMemPoolImportPointer cudaIpcOpenMemHandle "
	"cudaIpcCloseMemHandle cudaImportExternalMemory cudaExternalMemoryGetMappedBuffer "
	"cudaExternalMemoryGetMappedMipmappedArray cudaDestroyExternalMemory cudaGraphInstantiate "
	"cudaGraphInstantiateWithFlags cudaGraphInstantiateWithParams "
	"cudaGraphInstantiateWithParams_ptsz cudaGraphExecDestroy cudaGraphAddMemAllocNode "
	"cudaStreamCreate cudaStreamCreateWithFlags cudaStreamCreateWithPriority cudaStreamDestroy "
	"cudaGraphAddMemFreeNode cudaDeviceGraphMemTrim cudaDeviceReset cudaSetDevice";

/* Every name is there, and no two are one function: probes attach by address. */
static void check_distinct(void *library, const char *names)
{
	_cleanup_free_ char *copy = strdup(names);
	void *seen[128];
	unsigned int n = 0;
	char *save;

	for (char *name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
		void *fn = export_of(library, name);

		for (unsigned int i = 0; i < n; i++)
			if (seen[i] == fn)
				fail_msg("%s shares its address", name);
		assert_true(n < ARRAY_SIZE(seen));
		seen[n++] = fn;
	}
}

static void test_symbols(void **state)
{
	(void)state;
	check_distinct(driver, driver_symbols);
	check_distinct(runtime, runtime_symbols);
	check_distinct(runtime12, runtime_symbols);
}

struct push_check {
	const struct elf_file *elf;
	unsigned int functions;
};

static int check_begin(const struct elf_symbol *symbol, void *userdata)
{
	struct push_check *check = userdata;
	unsigned char code[2];

	assert_int_equal(elf_file_read(check->elf, symbol->address, code, sizeof(code)), 0);
	if (code[0] == 0x41)
		code[0] = code[1];
	if (code[0] < 0x50 || code[0] > 0x57)
		fail_msg("%s does not begin with push", symbol->name);
	check->functions++;
	return 0;
}

/* In the file: in memory a daemon that runs beside this test may have its probes there. */
static unsigned int check_push(void *library)
{
	_cleanup_(elf_file_freep) struct elf_file *elf = NULL;
	struct push_check check = {0};
	struct link_map *map;
	_cleanup_close_ int fd = -1;

	assert_int_equal(dlinfo(library, RTLD_DI_LINKMAP, &map), 0);
	fd = open(map->l_name, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(elf_file_open(fd, &elf), 0);
	check.elf = elf;
	assert_int_equal(elf_file_exports(elf, check_begin, &check), 0);
	return check.functions;
}

/* The kernel emulates a push under a probe; anything else costs many times more. */
static void test_push(void **state)
{
	(void)state;
#ifdef __x86_64__
	assert_true(check_push(driver) > 100);
	assert_true(check_push(runtime) > 60);
	assert_true(check_push(runtime12) > 60);
#else
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_symbols),
		cmocka_unit_test(test_push),
	};

	driver = simcuda_open("libcuda.so.1");
	runtime = simcuda_open("libcudart.so.13");
	runtime12 = simcuda_open("libcudart.so.12");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
