/* SPDX-License-Identifier: Apache-2.0 */
/* Where memory of the simulated CUDA libraries is: devices, contexts, pools. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "macro.h"
#include "sim_libraries.h"

#define STEP (32 * MIB)
#define NO_DEVICE 99 /* what count_and_first() says where there is none */

static uint64_t count(void)
{
	return D(simcuda_ledger_count)();
}

static uint64_t attribute(CUmemoryPool pool, CUmemPool_attribute which)
{
	cuuint64_t value = 0;

	assert_int_equal(D(cuMemPoolGetAttribute)(pool, which, &value), CUDA_SUCCESS);
	return value;
}

static uint64_t used(CUmemoryPool pool)
{
	return attribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
}

static uint64_t reserved(CUmemoryPool pool)
{
	return attribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
}

static CUdeviceptr take(CUmemoryPool pool, size_t bytes)
{
	CUdeviceptr ptr;

	assert_int_equal(D(cuMemAllocFromPoolAsync)(&ptr, bytes, pool, NULL), CUDA_SUCCESS);
	return ptr;
}

static void give(CUdeviceptr ptr)
{
	assert_int_equal(D(cuMemFreeAsync)(ptr, NULL), CUDA_SUCCESS);
}

static CUmemoryPool pool_on(int device)
{
	CUmemPoolProps props = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
	CUmemoryPool pool;

	assert_int_equal(D(cuMemPoolCreate)(&pool, &props), CUDA_SUCCESS);
	return pool;
}

/* Runs first: the others need a context. */
static void test_references_to_a_primary_context(void **state)
{
	CUcontext ctx, same;
	CUdeviceptr ptr;

	(void)state;
	assert_int_equal(D(cuInit)(0), CUDA_SUCCESS);
	assert_int_equal(D(cuDevicePrimaryCtxRelease_v2)(1), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(D(cuDevicePrimaryCtxRetain)(&ctx, 1), CUDA_SUCCESS);
	assert_int_equal(D(cuDevicePrimaryCtxRetain)(&same, 1), CUDA_SUCCESS);
	assert_ptr_equal(ctx, same);
	assert_int_equal(D(cuCtxSetCurrent)(ctx), CUDA_SUCCESS);
	assert_int_equal(D(cuMemAlloc_v2)(&ptr, MIB), CUDA_SUCCESS);
	assert_int_equal(D(cuDevicePrimaryCtxRelease_v2)(1), CUDA_SUCCESS);
	assert_int_equal(count(), 1);
	/* A reset gives up no reference. */
	assert_int_equal(D(cuDevicePrimaryCtxReset_v2)(1), CUDA_SUCCESS);
	assert_int_equal(count(), 0);
	assert_int_equal(D(cuMemAlloc_v2)(&ptr, MIB), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(D(cuDevicePrimaryCtxRetain)(&same, 1), CUDA_SUCCESS);
	assert_ptr_equal(ctx, same);
	assert_int_equal(D(cuCtxSetCurrent)(ctx), CUDA_SUCCESS);
	assert_int_equal(D(cuMemAlloc_v2)(&ptr, MIB), CUDA_SUCCESS);
	assert_int_equal(D(cuDevicePrimaryCtxRelease_v2)(1), CUDA_SUCCESS);
	assert_int_equal(count(), 1);
	assert_int_equal(D(cuDevicePrimaryCtxRelease_v2)(1), CUDA_SUCCESS);
	assert_int_equal(count(), 0);
	assert_int_equal(D(cuDevicePrimaryCtxRelease_v2)(1), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(D(cuDevicePrimaryCtxRetain)(&ctx, 0), CUDA_SUCCESS);
	assert_int_equal(D(cuCtxSetCurrent)(ctx), CUDA_SUCCESS);
}

static void test_failures(void **state)
{
	CUcontext ctx = NULL;
	CUdeviceptr ptr;
	void *memory;

	(void)state;
	D(simcuda_fail_next_place)(2, CUDA_ERROR_OUT_OF_MEMORY);
	/* Neither what is no such call, nor what the runtime only asks for on its behalf. */
	assert_int_equal(D(cuMemAlloc_v2)(&ptr, MIB), CUDA_SUCCESS);
	assert_int_equal(D(cuMemFree_v2)(ptr), CUDA_SUCCESS);
	assert_int_equal(R(cudaMalloc)(&memory, MIB), cudaSuccess);
	assert_int_equal(D(cuCtxCreate_v2)(&ctx, 0, 0), CUDA_ERROR_OUT_OF_MEMORY);
	assert_null(ctx);
	assert_int_equal(R(cudaDeviceReset)(), cudaErrorMemoryAllocation);
	assert_int_equal(R(cudaFree)(memory), cudaSuccess);
	assert_int_equal(D(cuCtxCreate_v2)(&ctx, 0, 0), CUDA_SUCCESS);
	assert_int_equal(D(cuCtxDestroy_v2)(ctx), CUDA_SUCCESS);
}

static void test_pool_holds_what_it_took(void **state)
{
	CUmemoryPool pool = pool_on(1);
	cuuint64_t threshold = 40 * MIB, zero = 0;
	CUdeviceptr a, b;

	(void)state;
	assert_int_equal(reserved(pool), 0);
	a = take(pool, 10 * MIB);
	b = take(pool, 30 * MIB);
	assert_int_equal(used(pool), 40 * MIB);
	assert_int_equal(reserved(pool), 2 * STEP);
	give(b);
	assert_int_equal(used(pool), 10 * MIB);
	assert_int_equal(reserved(pool), 2 * STEP);
	assert_int_equal(D(cuMemPoolTrimTo)(pool, 0), CUDA_SUCCESS);
	assert_int_equal(reserved(pool), STEP);
	assert_int_equal(D(cuMemPoolTrimTo)(pool, 1ULL << 40), CUDA_SUCCESS);
	assert_int_equal(reserved(pool), STEP);
	assert_int_equal(attribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH), 2 * STEP);
	assert_int_equal(attribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH), 40 * MIB);
	assert_int_equal(D(cuMemPoolSetAttribute)(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &threshold),
			 CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(R(cudaMemPoolSetAttribute)(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &zero),
			 cudaSuccess);
	assert_int_equal(attribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH), 10 * MIB);
	/* At a synchronisation it goes back to the threshold. */
	b = take(pool, 100 * MIB);
	give(a);
	give(b);
	assert_int_equal(reserved(pool), 4 * STEP);
	assert_int_equal(
		D(cuMemPoolSetAttribute)(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold),
		CUDA_SUCCESS);
	assert_int_equal(D(cuStreamSynchronize)(NULL), CUDA_SUCCESS);
	assert_int_equal(reserved(pool), 2 * STEP);
	assert_int_equal(D(cuMemPoolSetAttribute)(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &zero),
			 CUDA_SUCCESS);
	assert_int_equal(R(cudaDeviceSynchronize)(), cudaSuccess);
	assert_int_equal(reserved(pool), 0);
	assert_int_equal(D(cuMemPoolDestroy)(pool), CUDA_SUCCESS);
}

static void test_pool_of_a_device(void **state)
{
	CUmemoryPool own, mine = pool_on(0), other = pool_on(1), now;
	CUdeviceptr ptr, later;

	(void)state;
	assert_int_equal(D(cuDeviceGetDefaultMemPool)(&own, 0), CUDA_SUCCESS);
	assert_int_equal(D(cuMemPoolDestroy)(own), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(D(cuDeviceSetMemPool)(0, other), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(R(cudaDeviceSetMemPool)(0, mine), cudaSuccess);
	assert_int_equal(R(cudaDeviceGetMemPool)(&now, 0), cudaSuccess);
	assert_ptr_equal(now, mine);
	assert_int_equal(D(cuMemAllocAsync)(&ptr, 2 * MIB, NULL), CUDA_SUCCESS);
	assert_int_equal(used(mine), 2 * MIB);
	assert_int_equal(used(own), 0);
	/* It goes, its memory stays, and the device's own is used again. */
	assert_int_equal(D(cuMemPoolDestroy)(mine), CUDA_SUCCESS);
	assert_int_equal(D(cuMemAllocAsync)(&later, 2 * MIB, NULL), CUDA_SUCCESS);
	assert_int_equal(used(own), 2 * MIB);
	assert_int_equal(count(), 2);
	give(ptr);
	give(later);
	assert_int_equal(D(cuMemPoolDestroy)(other), CUDA_SUCCESS);
}

static void test_context_leaves_memory_of_pools(void **state)
{
	CUmemoryPool pool = pool_on(0);
	CUdeviceptr ptr;
	CUcontext ctx;

	(void)state;
	assert_int_equal(D(cuCtxCreate_v4)(&ctx, NULL, 0, 0), CUDA_SUCCESS);
	ptr = take(pool, 2 * MIB);
	assert_int_equal(D(cuCtxDestroy_v2)(ctx), CUDA_SUCCESS);
	assert_int_equal(used(pool), 2 * MIB);
	assert_int_equal(D(cuMemFreeAsync)(ptr, NULL), CUDA_SUCCESS);
	assert_int_equal(used(pool), 0);
	assert_int_equal(D(cuMemPoolDestroy)(pool), CUDA_SUCCESS);
}

/* Ten times the number of devices that a process has with that setting, and the board of the first.
 */
static int count_and_first(const char *list)
{
	pid_t pid = fork();
	char name[64];
	int n, status;

	if (!pid) {
		setenv("SIMCUDA_DEVICES", "4", 1);
		setenv("CUDA_VISIBLE_DEVICES", list, 1);
		if (D(cuInit)(0))
			_exit(NO_DEVICE);
		if (D(cuDeviceGetCount)(&n) || D(cuDeviceGetName)(name, sizeof(name), 0))
			_exit(NO_DEVICE + 1);
		_exit(10 * n + name[strlen(name) - 1] - '0');
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_visible_devices(void **state)
{
	static const struct {
		const char *list;
		int count_and_first;
	} cases[] = {
		{"0,1,2,3", 40},  {"2", 12},         {"3,1", 23},       {"1,7,2", 11},
		{"1,-1,2", 11},   {"", NO_DEVICE},   {"-1", NO_DEVICE}, {"1,1", NO_DEVICE},
		{"x", NO_DEVICE}, {"1x", NO_DEVICE}, {"2,", 12},
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(count_and_first(cases[i].list), cases[i].count_and_first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_visible_devices), /* before anything initialises the driver */
		cmocka_unit_test(test_references_to_a_primary_context),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_pool_holds_what_it_took),
		cmocka_unit_test(test_pool_of_a_device),
		cmocka_unit_test(test_context_leaves_memory_of_pools),
	};

	setenv("SIMCUDA_INIT_MS", "0", 1);
	driver = simcuda_open("libcuda.so.1");
	runtime = simcuda_open("libcudart.so.13");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
