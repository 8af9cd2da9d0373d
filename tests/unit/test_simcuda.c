/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated CUDA libraries behave as the real ones do, as far as memory goes: other tests
 * take them for the truth. SIMCUDA_DIR says where they are (default build/simcuda).
 *
 * What needs a process of its own (settings, another process's memory) runs in this program
 * again, with the name of a child function as its argument.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "macro.h"
#include "sim_libraries.h"

#define DEVICE_BYTES (1ULL << 30)

static uint64_t count(void)
{
	return D(simcuda_ledger_count)();
}

static uint64_t bytes(void)
{
	return D(simcuda_ledger_bytes)();
}

static void *take(size_t size)
{
	void *ptr = NULL;

	assert_int_equal(R(cudaMalloc)(&ptr, size), cudaSuccess);
	assert_non_null(ptr);
	return ptr;
}

static void give(void *ptr)
{
	assert_int_equal(R(cudaFree)(ptr), cudaSuccess);
}

/* Whether the ledger holds a line with both texts. */
static bool ledger_has(const char *text, const char *other)
{
	char path[] = "/tmp/simcuda-ledger-XXXXXX", line[512];
	_cleanup_close_ int fd = mkstemp(path);
	_cleanup_fclose_ FILE *f = NULL;
	bool found = false;

	assert_true(fd >= 0);
	assert_int_equal(D(simcuda_ledger_write)(path), 0);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		found |= strstr(line, text) && strstr(line, other);
	unlink(path);
	return found;
}

static bool ledger_has_ptr(const void *ptr, const char *text)
{
	char expected[64];

	snprintf(expected, sizeof(expected), "{\"ptr\":\"0x%" PRIxPTR "\",", (uintptr_t)ptr);
	return ledger_has(expected, text);
}

/* Before anything else has initialised the driver. */
static void test_not_initialised(void **state)
{
	CUdeviceptr ptr;
	int version;

	(void)state;
	assert_int_equal(D(cuMemAlloc_v2)(&ptr, 1), CUDA_ERROR_NOT_INITIALIZED);
	assert_int_equal(D(cuDriverGetVersion)(&version), CUDA_SUCCESS);
	assert_int_equal(D(cuInit)(1), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(D(cuInit)(0), CUDA_SUCCESS);
	assert_int_equal(D(cuMemAlloc_v2)(&ptr, 1), CUDA_ERROR_INVALID_CONTEXT);
}

static void test_entry_points(void **state)
{
	CUdriverProcAddressQueryResult status;
	void *fn;

	(void)state;
	assert_int_equal(D(cuGetProcAddress)("cuMemAlloc", &fn, 3020, 0), CUDA_SUCCESS);
	assert_ptr_equal(fn, D(cuMemAlloc_v2));
	assert_int_equal(D(cuGetProcAddress)("cuMemAlloc", &fn, 2000, 0), CUDA_SUCCESS);
	assert_ptr_equal(fn, D(cuMemAlloc));
	assert_int_equal(D(cuGetProcAddress_v2)("cuMemFreeAsync", &fn, 12000,
						CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM,
						&status),
			 CUDA_SUCCESS);
	assert_ptr_equal(fn, D(cuMemFreeAsync_ptsz));
	assert_int_equal(D(cuGetProcAddress_v2)("cuNoSuchThing", &fn, 12000, 0, &status),
			 CUDA_ERROR_NOT_FOUND);
	assert_int_equal(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	assert_int_equal(D(cuGetProcAddress_v2)("cuCtxCreate", &fn, 1000, 0, &status),
			 CUDA_ERROR_NOT_FOUND);
	assert_int_equal(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
}

/* Memory */

static void test_reuse(void **state)
{
	static const size_t sizes[] = {1, 512, 513, MIB - 1, MIB, 3 * MIB};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *first = take(sizes[i]), *second = take(sizes[i]);

		assert_ptr_not_equal(first, second);
		assert_int_equal((uintptr_t)first % (sizes[i] < MIB ? 512 : 2 * MIB), 0);
		give(first);
		assert_ptr_equal(take(sizes[i]), first);
		give(first);
		give(second);
	}
	assert_int_equal(count(), 0);
}

static void test_wrong_frees(void **state)
{
	void *ptr = take(100), *host;

	(void)state;
	assert_int_equal(R(cudaMallocHost)(&host, 100), cudaSuccess);
	assert_int_equal(R(cudaFree)(NULL), cudaSuccess);
	assert_int_equal(R(cudaFreeHost)(NULL), cudaSuccess);
	assert_int_equal(R(cudaFree)((char *)ptr + 8), cudaErrorInvalidValue);
	assert_int_equal(R(cudaPeekAtLastError)(), cudaErrorInvalidValue);
	assert_int_equal(R(cudaGetLastError)(), cudaErrorInvalidValue);
	assert_int_equal(R(cudaGetLastError)(), cudaSuccess);
	assert_int_equal(R(cudaFreeHost)(ptr), cudaErrorInvalidValue);
	assert_int_equal(R(cudaFreeAsync)(ptr, NULL), cudaErrorInvalidValue);
	assert_int_equal(R(cudaFree)(host), cudaErrorInvalidValue);
	assert_int_equal(R(cudaHostUnregister)(host), cudaErrorHostMemoryNotRegistered);
	assert_int_equal(count(), 2);
	give(ptr);
	assert_int_equal(R(cudaFree)(ptr), cudaErrorInvalidValue);
	assert_int_equal(R(cudaFreeHost)(host), cudaSuccess);
	assert_int_equal(R(cudaMalloc)(NULL, 1), cudaErrorInvalidValue);
	assert_int_equal(count(), 0);
}

static void test_32bit(void **state)
{
	CUdeviceptr_v1 ptr[2] = {0, 0x5a5a5a5a};
	unsigned int pitch[2] = {0, 0x5a5a5a5a};
	void *host;

	(void)state;
	assert_int_equal(D(cuMemAlloc)(ptr, 4 << 20), CUDA_SUCCESS);
	assert_int_equal(ptr[1], 0x5a5a5a5a);
	assert_int_equal(bytes(), 4 << 20);
	assert_int_equal(D(cuMemFree)(ptr[0]), CUDA_SUCCESS);
	assert_int_equal(D(cuMemAllocPitch)(ptr, pitch, 1000, 10, 4), CUDA_SUCCESS);
	assert_int_equal(pitch[0], 1024);
	assert_int_equal(pitch[1], 0x5a5a5a5a);
	assert_int_equal(bytes(), 10240);
	assert_int_equal(D(cuMemFree_v2)(ptr[0]), CUDA_SUCCESS);
	assert_int_equal(D(cuMemAllocHost)(&host, 4096), CUDA_SUCCESS);
	assert_int_equal(D(cuMemFreeHost)(host), CUDA_SUCCESS);
}

static void test_limit(void **state)
{
	size_t avail, total;
	void *ptr = take(DEVICE_BYTES - 4 * MIB), *more;

	(void)state;
	assert_int_equal(R(cudaMemGetInfo)(&avail, &total), cudaSuccess);
	assert_int_equal(total, DEVICE_BYTES);
	assert_int_equal(avail, 4 * MIB);
	assert_int_equal(R(cudaMalloc)(&more, 6 * MIB), cudaErrorMemoryAllocation);
	assert_int_equal(R(cudaMalloc)(&more, SIZE_MAX), cudaErrorMemoryAllocation);
	give(take(4 * MIB));
	give(ptr);
}

static void test_host(void **state)
{
	static char memory[8192];
	void *ptr;

	(void)state;
	assert_int_equal(R(cudaHostAlloc)(&ptr, 10000, 0), cudaSuccess);
	memset(ptr, 1, 10000);
	assert_true(ledger_has_ptr(ptr, "\"kind\":\"host\",\"api\":\"cudaHostAlloc\","
					"\"device\":null"));
	assert_int_equal(R(cudaFreeHost)(ptr), cudaSuccess);
	assert_int_equal(R(cudaMallocManaged)(&ptr, 10000, 1), cudaSuccess);
	memset(ptr, 1, 10000);
	assert_true(ledger_has_ptr(ptr, "\"kind\":\"managed\""));
	give(ptr);
	assert_int_equal(R(cudaHostRegister)(memory, sizeof(memory), 0), cudaSuccess);
	assert_int_equal(R(cudaHostRegister)(memory, sizeof(memory), 0),
			 cudaErrorHostMemoryAlreadyRegistered);
	assert_true(ledger_has_ptr(memory, "\"api\":\"cudaHostRegister\""));
	assert_int_equal(R(cudaHostUnregister)(memory), cudaSuccess);
	assert_int_equal(count(), 0);
}

static void test_pitch_and_arrays(void **state)
{
	struct cudaChannelFormatDesc desc = {.x = 32, .y = 32, .f = cudaChannelFormatKindFloat};
	struct cudaExtent extent = {.width = 16, .height = 8, .depth = 4};
	struct cudaPitchedPtr pitched;
	cudaMipmappedArray_t mipmap;
	cudaArray_t array;
	size_t pitch;
	void *ptr;

	(void)state;
	assert_int_equal(R(cudaMallocPitch)(&ptr, &pitch, 700, 3), cudaSuccess);
	assert_int_equal(pitch, 1024);
	assert_true(ledger_has_ptr(ptr, "\"size\":3072,\"kind\":\"device\",\"api\":"
					"\"cudaMallocPitch\""));
	give(ptr);
	assert_int_equal(R(cudaMalloc3D)(&pitched, extent), cudaSuccess);
	assert_int_equal(bytes(), 512 * 8 * 4);
	give(pitched.ptr);
	assert_int_equal(R(cudaMallocArray)(&array, &desc, 16, 0, 0), cudaSuccess);
	assert_true(ledger_has_ptr(array, "\"size\":128,\"kind\":\"array\""));
	assert_int_equal(R(cudaFree)(array), cudaErrorInvalidValue);
	assert_int_equal(R(cudaFreeArray)(array), cudaSuccess);
	assert_int_equal(R(cudaFreeArray)(array), cudaErrorInvalidResourceHandle);
	assert_int_equal(R(cudaMalloc3DArray)(&array, &desc, extent, 0), cudaSuccess);
	assert_int_equal(bytes(), 16 * 8 * 4 * 8);
	assert_int_equal(R(cudaFreeArray)(array), cudaSuccess);
	assert_int_equal(R(cudaMallocMipmappedArray)(&mipmap, &desc, extent, 2, 0), cudaSuccess);
	assert_int_equal(bytes(), (16 * 8 * 4 + 8 * 4 * 2) * 8);
	assert_int_equal(R(cudaFreeMipmappedArray)(mipmap), cudaSuccess);
}

static void test_pools(void **state)
{
	struct cudaMemPoolProps props = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 1}};
	cudaMemPool_t pool;
	cudaStream_t stream;
	void *a, *b, *c;

	(void)state;
	assert_int_equal(R(cudaStreamCreate)(&stream), cudaSuccess);
	assert_int_equal(R(cudaMemPoolCreate)(&pool, &props), cudaSuccess);
	assert_int_equal(R(cudaMallocAsync)(&a, 4096, stream), cudaSuccess);
	assert_int_equal(R(cudaMallocAsync_ptsz)(&b, 4096, NULL), cudaSuccess);
	assert_int_equal(R(cudaMallocFromPoolAsync)(&c, 4096, pool, stream), cudaSuccess);
	assert_true(ledger_has_ptr(b, "\"api\":\"cudaMallocAsync_ptsz\",\"device\":0"));
	assert_true(ledger_has_ptr(c, "\"api\":\"cudaMallocFromPoolAsync\",\"device\":1"));
	assert_int_equal(R(cudaMemPoolDestroy)(pool), cudaSuccess);
	assert_int_equal(R(cudaMallocFromPoolAsync)(&c, 4096, pool, stream), cudaErrorInvalidValue);
	assert_int_equal(count(), 3);
	assert_int_equal(R(cudaFreeAsync)(a, stream), cudaSuccess);
	assert_int_equal(R(cudaFreeAsync_ptsz)(b, NULL), cudaSuccess);
	give(c);
	assert_int_equal(R(cudaStreamDestroy)(stream), cudaSuccess);
	assert_int_equal(R(cudaMallocAsync)(&a, 1, stream), cudaErrorInvalidResourceHandle);
}

static void test_vmm(void **state)
{
	CUmemAllocationProp prop = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 1}};
	CUmemGenericAllocationHandle handle, same;
	CUdeviceptr va;

	(void)state;
	assert_int_equal(D(cuMemAddressReserve)(&va, 16 * MIB, 0, 0, 0), CUDA_SUCCESS);
	assert_int_equal(D(cuMemCreate)(&handle, MIB, &prop, 0), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(D(cuMemCreate)(&handle, 4 * MIB, &prop, 0), CUDA_SUCCESS);
	assert_true(ledger_has("{\"ptr\":null,\"handle\":\"0x", "\"size\":4194304"));
	assert_int_equal(D(cuMemMap)(va + 8 * MIB, 4 * MIB, 0, handle, 0), CUDA_SUCCESS);
	assert_int_equal(D(cuMemMap)(va + 4 * MIB, 4 * MIB, 0, handle, 0), CUDA_SUCCESS);
	assert_int_equal(D(cuMemMap)(va + 6 * MIB, 4 * MIB, 0, handle, 0),
			 CUDA_ERROR_INVALID_VALUE);
	assert_true(ledger_has_ptr((void *)(uintptr_t)(va + 4 * MIB), "\"kind\":\"vmm\""));
	assert_int_equal(D(cuMemRelease)(handle), CUDA_SUCCESS);
	assert_int_equal(D(cuMemRelease)(handle), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(bytes(), 4 * MIB);
	assert_int_equal(D(cuMemRetainAllocationHandle)(&same, (void *)(uintptr_t)(va + 9 * MIB)),
			 CUDA_SUCCESS);
	assert_int_equal(same, handle);
	assert_int_equal(D(cuMemUnmap)(va + 8 * MIB, 2 * MIB), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(D(cuMemAddressFree)(va, 16 * MIB), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(D(cuMemUnmap)(va + 4 * MIB, 8 * MIB), CUDA_SUCCESS);
	assert_int_equal(count(), 1);
	assert_int_equal(D(cuMemRelease)(same), CUDA_SUCCESS);
	assert_int_equal(count(), 0);
	assert_int_equal(D(cuMemAddressFree)(va, 16 * MIB), CUDA_SUCCESS);
}

static void test_vmm_import(void **state)
{
	CUmemAllocationProp prop = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
	CUmemGenericAllocationHandle handle, imported;
	int fd;

	(void)state;
	assert_int_equal(D(cuMemCreate)(&handle, 2 * MIB, &prop, 0), CUDA_SUCCESS);
	assert_int_equal(D(cuMemExportToShareableHandle)(&fd, handle, 1, 0), CUDA_SUCCESS);
	assert_int_equal(D(cuMemImportFromShareableHandle)(&imported, (void *)(intptr_t)fd, 1),
			 CUDA_SUCCESS);
	close(fd);
	assert_true(ledger_has("\"kind\":\"ipc\"", "cuMemImportFromShareableHandle"));
	assert_int_equal(D(cuMemRelease)(handle), CUDA_SUCCESS);
	assert_int_equal(D(cuMemRelease)(imported), CUDA_SUCCESS);
	assert_int_equal(count(), 0);
}

static void test_external(void **state)
{
	struct cudaExternalMemoryHandleDesc desc = {.type = 1, .size = 8 * MIB};
	struct cudaExternalMemoryBufferDesc part = {.offset = MIB, .size = MIB};
	cudaExternalMemory_t memory;
	void *ptr;

	(void)state;
	desc.handle.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(R(cudaImportExternalMemory)(&memory, &desc), cudaSuccess);
	assert_int_equal(fcntl(desc.handle.fd, F_GETFD), -1);
	assert_int_equal(R(cudaExternalMemoryGetMappedBuffer)(&ptr, memory, &part), cudaSuccess);
	assert_int_equal(bytes(), 8 * MIB);
	give(ptr);
	assert_int_equal(R(cudaDestroyExternalMemory)(memory), cudaSuccess);
	assert_int_equal(count(), 0);
}

static void test_graphs(void **state)
{
	struct cudaMemAllocNodeParams params = {
		.poolProps = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}},
		.bytesize = 1000,
	};
	cudaGraphNode_t node;
	cudaGraphExec_t exec;
	cudaGraph_t graph;

	(void)state;
	assert_int_equal(R(cudaGraphCreate)(&graph, 0), cudaSuccess);
	assert_int_equal(R(cudaGraphAddMemAllocNode)(&node, graph, NULL, 0, &params), cudaSuccess);
	assert_int_equal(
		R(cudaGraphAddMemFreeNode)(&node, graph, NULL, 0, (void *)(uintptr_t)params.dptr),
		cudaSuccess);
	assert_int_equal(R(cudaFree)((void *)(uintptr_t)params.dptr), cudaErrorInvalidValue);
	assert_int_equal(R(cudaGraphInstantiate)(&exec, graph, 0), cudaSuccess);
	assert_true(ledger_has_ptr(exec, "\"size\":0,\"kind\":\"graph\",\"api\":"
					 "\"cudaGraphInstantiate\""));
	assert_int_equal(R(cudaGraphDestroy)(graph), cudaSuccess);
	assert_int_equal(R(cudaGraphInstantiate)(&exec, graph, 0), cudaErrorInvalidValue);
	assert_int_equal(count(), 1);
	assert_int_equal(R(cudaGraphExecDestroy)(exec), cudaSuccess);
	assert_int_equal(R(cudaGraphExecDestroy)(exec), cudaErrorInvalidValue);
}

/* Contexts */

static void test_context_destroy(void **state)
{
	CUcontext ctx, current;
	CUdeviceptr ptr;
	void *outside = take(100);

	(void)state;
	assert_int_equal(D(cuCtxCreate_v2)(&ctx, 0, 1), CUDA_SUCCESS);
	assert_int_equal(D(cuMemAlloc_v2)(&ptr, MIB), CUDA_SUCCESS);
	assert_true(
		ledger_has_ptr((void *)(uintptr_t)ptr, "\"api\":\"cuMemAlloc_v2\",\"device\":1"));
	assert_int_equal(D(cuCtxDestroy_v2)(ctx), CUDA_SUCCESS);
	assert_int_equal(count(), 1);
	assert_int_equal(D(cuMemFree_v2)(ptr), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(D(cuCtxDestroy_v2)(ctx), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(D(cuCtxGetCurrent)(&current), CUDA_SUCCESS);
	assert_ptr_not_equal(current, ctx);
	give(outside);
}

static void test_device_reset(void **state)
{
	void *kept = take(100);

	(void)state;
	assert_int_equal(R(cudaSetDevice)(7), cudaErrorInvalidDevice);
	assert_int_equal(R(cudaSetDevice)(1), cudaSuccess);
	assert_true(ledger_has_ptr(take(2 * MIB), "\"device\":1"));
	take(100);
	assert_int_equal(R(cudaDeviceReset)(), cudaSuccess);
	assert_int_equal(count(), 1);
	give(take(100));
	assert_int_equal(R(cudaSetDevice)(0), cudaSuccess);
	give(kept);
}

/* Failures, counters, threads */

static void test_fail_next(void **state)
{
	uint64_t ok = D(simcuda_calls_ok)(SIMCUDA_ALLOC),
		 failed = D(simcuda_calls_failed)(SIMCUDA_FREE);
	void *ptr = take(100), *untouched = &ptr;

	(void)state;
	D(simcuda_fail_next)(2, 2);
	assert_int_equal(R(cudaFree)(ptr), cudaErrorMemoryAllocation);
	assert_int_equal(R(cudaMalloc)(&untouched, 1), cudaErrorMemoryAllocation);
	assert_ptr_equal(untouched, &ptr);
	assert_int_equal(count(), 1);
	give(ptr);
	assert_int_equal(D(simcuda_calls_ok)(SIMCUDA_ALLOC), ok + 1);
	assert_int_equal(D(simcuda_calls_failed)(SIMCUDA_FREE), failed + 1);
}

static void *churn(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 20000; i++) {
		void *ptr;

		if (R(cudaMalloc)(&ptr, 1 + i % 5 * MIB) || R(cudaFree)(ptr))
			return (void *)1;
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];
	void *failed;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	assert_int_equal(count(), 0);
	assert_int_equal(bytes(), 0);
}

/* Child processes */

/* Opens the memory whose handle comes by stdin. */
static int child_ipc(void)
{
	cudaIpcMemHandle_t handle;
	void *ptr, *again;

	if (read(STDIN_FILENO, &handle, sizeof(handle)) != sizeof(handle))
		return 1;
	if (R(cudaIpcOpenMemHandle)(&ptr, handle, 1) || R(cudaIpcOpenMemHandle)(&again, handle, 1))
		return 2;
	if (ptr != again || count() != 1 || bytes() != 3 * MIB || R(cudaFree)(ptr) == cudaSuccess)
		return 3;
	if (R(cudaIpcCloseMemHandle)(ptr) || count() != 1 || R(cudaIpcCloseMemHandle)(ptr))
		return 4;
	return count() || R(cudaIpcCloseMemHandle)(ptr) == cudaSuccess ? 5 : 0;
}

/* A tenth of the calls fail, the same ones each time. */
static int child_permille(void)
{
	unsigned int failed = 0;
	uint32_t order = 0;

	for (unsigned int i = 0; i < 10000; i++) {
		void *ptr;
		bool bad = R(cudaMalloc)(&ptr, 512) != cudaSuccess;

		failed += bad;
		order = order * 31 + bad;
		if (!bad)
			while (R(cudaFree)(ptr))
				failed++;
	}
	printf("%" PRIu32 "\n", order);
	return failed > 1500 && failed < 2500 ? 0 : 1;
}

static int child_init_time(void)
{
	struct timespec begin, end;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (D(cuInit)(0) || D(cuInit)(0))
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &end);
	return (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000 < 100;
}

static const struct {
	const char *name;
	int (*fn)(void);
} children[] = {
	{"ipc", child_ipc},
	{"permille", child_permille},
	{"init-time", child_init_time},
};

/* Runs a child function; input, if any, is its stdin, and *output the first bytes it prints. */
static int run_child(const char *name, const void *input, size_t len, char *output, size_t room)
{
	int in[2], out[2], status;
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (!pid) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl("/proc/self/exe", "test_simcuda", name, NULL);
		_exit(127);
	}
	assert_int_equal(write(in[1], input, len), len);
	close(in[0]);
	close(in[1]);
	close(out[1]);
	got = read(out[0], output, room - 1);
	output[got > 0 ? got : 0] = '\0';
	close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_ipc(void **state)
{
	cudaIpcMemHandle_t handle;
	void *ptr = take(3 * MIB), *opened;
	char output[32];

	(void)state;
	assert_int_equal(R(cudaIpcGetMemHandle)(&handle, ptr), cudaSuccess);
	assert_int_equal(R(cudaIpcOpenMemHandle)(&opened, handle, 1), cudaErrorDeviceUninitialized);
	assert_int_equal(run_child("ipc", &handle, sizeof(handle), output, sizeof(output)), 0);
	give(ptr);
}

static void test_permille(void **state)
{
	char first[32], second[32], other[32];

	(void)state;
	setenv("SIMCUDA_FAIL_PERMILLE", "100", 1);
	assert_int_equal(run_child("permille", "", 0, first, sizeof(first)), 0);
	assert_int_equal(run_child("permille", "", 0, second, sizeof(second)), 0);
	setenv("SIMCUDA_SEED", "2", 1);
	assert_int_equal(run_child("permille", "", 0, other, sizeof(other)), 0);
	unsetenv("SIMCUDA_FAIL_PERMILLE");
	assert_string_equal(first, second);
	assert_string_not_equal(first, other);
}

static void test_init_time(void **state)
{
	char output[32];

	(void)state;
	unsetenv("SIMCUDA_INIT_MS");
	assert_int_equal(run_child("init-time", "", 0, output, sizeof(output)), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_initialised),
		cmocka_unit_test(test_entry_points),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_wrong_frees),
		cmocka_unit_test(test_32bit),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_pitch_and_arrays),
		cmocka_unit_test(test_pools),
		cmocka_unit_test(test_vmm),
		cmocka_unit_test(test_vmm_import),
		cmocka_unit_test(test_external),
		cmocka_unit_test(test_graphs),
		cmocka_unit_test(test_context_destroy),
		cmocka_unit_test(test_device_reset),
		cmocka_unit_test(test_fail_next),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_ipc),
		cmocka_unit_test(test_permille),
		cmocka_unit_test(test_init_time),
	};

	if (argc < 2) {
		setenv("SIMCUDA_INIT_MS", "0", 1);
		setenv("SIMCUDA_DEVICE_BYTES", "1073741824", 1);
	}
	driver = simcuda_open("libcuda.so.1");
	runtime = simcuda_open("libcudart.so.13");
	for (unsigned int i = 0; argc == 2 && i < ARRAY_SIZE(children); i++)
		if (!strcmp(argv[1], children[i].name))
			return children[i].fn();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
