/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include "macro.h"
#include "say.h"
#include "steps.h"
#include "things.h"

#define WARM_UP 20
#define PAIRS_MAX 20000
#define PAIR_NS 150000000ULL /* at most, for one kind of pair */

/* What the pairs work on. */
static struct {
	void *ptr, *own;
	CUdeviceptr driver_ptr;
	CUmemGenericAllocationHandle handle;
	cudaArray_t array;
	cudaMemPool_t pool;
	cudaGraph_t graph;
	cudaGraphExec_t exec;
	cudaIpcMemHandle_t ipc;
	size_t pitch, size;
} at;

/* X(function that allocates, arguments, function that undoes it, arguments) */
#define PAIRS(X)                                                                                   \
	X(cudaMalloc, (&at.ptr, BLOCK_BYTES), cudaFree, (at.ptr))                                  \
	X(cudaMallocPitch, (&at.ptr, &at.pitch, ROW_BYTES, ROWS), cudaFree, (at.ptr))              \
	X(cudaMallocManaged, (&at.ptr, MIB, 1), cudaFree, (at.ptr))                                \
	X(cudaMallocHost, (&at.ptr, MIB), cudaFreeHost, (at.ptr))                                  \
	X(cudaHostAlloc, (&at.ptr, MIB, 0), cudaFreeHost, (at.ptr))                                \
	X(cudaHostRegister, (at.own, MIB, 0), cudaHostUnregister, (at.own))                        \
	X(cudaMallocArray, (&at.array, &one_float, SIDE, SIDE, 0), cudaFreeArray, (at.array))      \
	X(cudaMallocAsync, (&at.ptr, BLOCK_BYTES, NULL), cudaFreeAsync, (at.ptr, NULL))            \
	X(cudaMallocFromPoolAsync, (&at.ptr, MIB, at.pool, NULL), cudaFreeAsync, (at.ptr, NULL))   \
	X(cudaIpcOpenMemHandle, (&at.ptr, at.ipc, 1), cudaIpcCloseMemHandle, (at.ptr))             \
	X(cudaGraphInstantiateWithFlags, (&at.exec, at.graph, 0), cudaGraphExecDestroy, (at.exec)) \
	X(cuMemAlloc_v2, (&at.driver_ptr, BLOCK_BYTES), cuMemFree_v2, (at.driver_ptr))             \
	X(cuMemAllocAsync, (&at.driver_ptr, BLOCK_BYTES, NULL), cuMemFreeAsync,                    \
	  (at.driver_ptr, NULL))                                                                   \
	X(cuMemHostAlloc, (&at.ptr, MIB, 0), cuMemFreeHost, (at.ptr))                              \
	X(cuArrayCreate_v2, (&at.array, &plane), cuArrayDestroy, (at.array))                       \
	X(cuMemCreate, (&at.handle, at.size, &physical_on_device, 0), cuMemRelease, (at.handle))

#define X(take, take_arguments, give, give_arguments)         \
	static int pair_##take(void)                          \
	{                                                     \
		int r;                                        \
                                                              \
		if (!cuda.take || !cuda.give)                 \
			return NOT_EXPORTED;                  \
		r = (int)cuda.take take_arguments;            \
		return r ? r : (int)cuda.give give_arguments; \
	}
PAIRS(X)
#undef X

static const struct {
	const char *take, *give;
	int (*run)(void);
} pairs[] = {
#define X(take, take_arguments, give, give_arguments) {#take, #give, pair_##take},
	PAIRS(X)
#undef X
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void measure(size_t i)
{
	static uint64_t took[PAIRS_MAX];
	uint64_t begin, before, now;
	size_t n = 0;
	int r = 0;

	for (int warm = 0; warm < WARM_UP && !r; warm++)
		r = pairs[i].run();
	begin = now = now_ns();
	while (!r && n < PAIRS_MAX && now - begin < PAIR_NS) {
		before = now;
		r = pairs[i].run();
		now = now_ns();
		took[n++] = now - before;
	}
	(void)cuda.cudaDeviceSynchronize();
	qsort(took, n, sizeof(*took), compare);
	printf("{\"pair\":\"%s\",\"undo\":\"%s\",\"result\":%d,\"n\":%zu,\"median_ns\":%" PRIu64
	       ",\"p10_ns\":%" PRIu64 "}\n",
	       pairs[i].take, pairs[i].give, r, n, n ? took[n / 2] : 0, n ? took[n / 10] : 0);
}

int step_pairs(const char *runtime)
{
	static bool prepared;

	if (!prepared) {
		at.own = aligned_alloc(4096, MIB);
		at.size = granularity();
		(void)CALL(cudaMemPoolCreate, &at.pool, &pool_on_device);
		at.graph = make_graph();
		(void)owner_start(runtime, &at.ipc);
		prepared = true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		measure(i);
	return 0;
}
