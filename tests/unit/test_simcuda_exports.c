/* SPDX-License-Identifier: Apache-2.0 */
/* What the simulated CUDA libraries export, and how each function begins. SIMCUDA_DIR says where
 * they are (default build/simcuda). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>

#include "macro.h"

static void *driver, *runtime, *runtime12;

static void *export_of(void *library, const char *name)
{
	void *fn = dlsym(library, name);

	if (!fn)
		fail_msg("%s is not exported", name);
	return fn;
}

static void *open_library(const char *name)
{
	const char *dir = getenv("SIMCUDA_DIR");
	char path[4096];
	void *handle;

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : "build/simcuda", name);
	handle = dlopen(path, RTLD_NOW);
	if (!handle)
		fprintf(stderr, "%s\n", dlerror());
	return handle;
}

static const char *const driver_symbols =
	"cuMemAlloc cuMemAlloc_v2 cuMemAllocPitch cuMemAllocPitch_v2 cuMemAllocManaged cuMemFree "
	"cuMemFree_v2 cuMemAllocAsync cuMemAllocAsync_ptsz cuMemAllocFromPoolAsync "
	"cuMemAllocFromPoolAsync_ptsz cuMemFreeAsync cuMemFreeAsync_ptsz cuMemPoolCreate "
	"cuMemPoolDestroy cuMemPoolTrimTo cuMemPoolImportPointer cuMemCreate cuMemRelease cuMemMap "
	"cuMemUnmap cuMemRetainAllocationHandle cuMemImportFromShareableHandle cuMemMapArrayAsync "
	"cuMemMapArrayAsync_ptsz cuMulticastCreate cuMemHostAlloc cuMemAllocHost cuMemAllocHost_v2 "
	"cuMemFreeHost cuMemHostRegister cuMemHostRegister_v2 cuMemHostUnregister cuArrayCreate "
	"cuArrayCreate_v2 cuArray3DCreate cuArray3DCreate_v2 cuArrayDestroy cuMipmappedArrayCreate "
	"cuMipmappedArrayDestroy cuIpcOpenMemHandle cuIpcOpenMemHandle_v2 cuIpcCloseMemHandle "
	"cuImportExternalMemory cuDestroyExternalMemory cuCtxCreate cuCtxCreate_v2 cuCtxCreate_v3 "
	"cuCtxCreate_v4 cuCtxDestroy cuCtxDestroy_v2 cuCtxSetCurrent cuCtxPushCurrent "
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
	"cudaMemPoolImportFromShareableHandle cudaMemPoolImportPointer cudaIpcOpenMemHandle "
	"cudaIpcCloseMemHandle cudaImportExternalMemory cudaExternalMemoryGetMappedBuffer "
	"cudaExternalMemoryGetMappedMipmappedArray cudaDestroyExternalMemory cudaGraphInstantiate "
	"cudaGraphInstantiateWithFlags cudaGraphInstantiateWithParams "
	"cudaGraphInstantiateWithParams_ptsz cudaGraphExecDestroy cudaGraphAddMemAllocNode "
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

static const void *dynamic_entry(const struct link_map *map, ElfW(Sxword) tag)
{
	for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++)
		if (d->d_tag == tag)
			return (const void *)d->d_un.d_ptr;
	fail_msg("no dynamic entry %ld", (long)tag);
	return NULL;
}

/* The number of dynamic symbols is the end of the last chain of the hash table. */
static uint32_t symbol_count(const uint32_t *hash)
{
	uint32_t buckets = hash[0], first = hash[1], last = 0;
	const uint32_t *bucket = hash + 4 + hash[2] * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
	const uint32_t *chain = bucket + buckets;

	for (uint32_t i = 0; i < buckets; i++)
		last = MAX(last, bucket[i]);
	if (last < first)
		return first;
	while (!(chain[last - first] & 1))
		last++;
	return last + 1;
}

static bool begins_with_push(const unsigned char *code)
{
	if (code[0] == 0x41)
		code++;
	return code[0] >= 0x50 && code[0] <= 0x57;
}

static unsigned int check_push(void *library)
{
	struct link_map *map;
	const ElfW(Sym) * symbols;
	const char *names;
	uint32_t n;
	unsigned int functions = 0;

	assert_int_equal(dlinfo(library, RTLD_DI_LINKMAP, &map), 0);
	symbols = dynamic_entry(map, DT_SYMTAB);
	names = dynamic_entry(map, DT_STRTAB);
	n = symbol_count(dynamic_entry(map, DT_GNU_HASH));
	for (uint32_t i = 0; i < n; i++) {
		const void *code = (const char *)map->l_addr + symbols[i].st_value;

		if (symbols[i].st_shndx == SHN_UNDEF ||
		    ELF64_ST_TYPE(symbols[i].st_info) != STT_FUNC)
			continue;
		if (!begins_with_push(code))
			fail_msg("%s does not begin with push", names + symbols[i].st_name);
		functions++;
	}
	return functions;
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

	driver = open_library("libcuda.so.1");
	runtime = open_library("libcudart.so.13");
	runtime12 = open_library("libcudart.so.12");
	if (!driver || !runtime || !runtime12)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
