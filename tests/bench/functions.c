/* SPDX-License-Identifier: Apache-2.0 */
/* The least that can be probed: functions that hand out numbers as addresses, with nothing behind
 * them, no lock and no memory of what is outstanding. Once under CUDA's names, for our probes, and
 * once under those that memleak-libbpf looks for (-S peer_), for its; what is between the braces is
 * the same, and all begin with `push`, so that both pay the same trap.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default"), noinline))
#define FIRST_ADDRESS 0x100000000000ULL
#define THREAD_SHIFT 36 /* room of one thread, in bytes; 256 of them stay below ADDRESS_BITS */
#define THREADS 256
#define STEP 512

int cuInit(unsigned int flags);
int cudaMalloc(void **ptr, size_t size);
int cudaFree(void *ptr);
int cuMemHostAlloc(void **ptr, size_t size, unsigned int flags);
int cuMemFreeHost(void *ptr);
int cudaHostAlloc(void **ptr, size_t size, unsigned int flags);
int cudaFreeHost(void *ptr);
void *peer_malloc(size_t size);
void peer_free(void *ptr);

static uint64_t hand_out(void)
{
	static _Atomic uint64_t threads;
	static _Thread_local uint64_t next, end;

	if (next == end) {
		next = FIRST_ADDRESS + ((threads++ % THREADS) << THREAD_SHIFT);
		end = next + (1ULL << THREAD_SHIFT);
	}
	next += STEP;
	return next - STEP;
}

static void take_back(void)
{
	static _Thread_local volatile uint64_t taken;

	taken++;
}

EXPORT int cuInit(unsigned int flags)
{
	return (int)flags;
}

EXPORT int cudaMalloc(void **ptr, size_t size)
{
	(void)size;
	*ptr = (void *)hand_out();
	return 0;
}

EXPORT int cudaFree(void *ptr)
{
	(void)ptr;
	take_back();
	return 0;
}

/* For host memory there is a driver's function too, which the runtime's calls. */

EXPORT int cuMemHostAlloc(void **ptr, size_t size, unsigned int flags)
{
	(void)size;
	(void)flags;
	*ptr = (void *)hand_out();
	return 0;
}

EXPORT int cuMemFreeHost(void *ptr)
{
	(void)ptr;
	take_back();
	return 0;
}

EXPORT int cudaHostAlloc(void **ptr, size_t size, unsigned int flags)
{
	return cuMemHostAlloc(ptr, size, flags);
}

EXPORT int cudaFreeHost(void *ptr)
{
	return cuMemFreeHost(ptr);
}

EXPORT void *peer_malloc(size_t size)
{
	(void)size;
	return (void *)hand_out();
}

EXPORT void peer_free(void *ptr)
{
	(void)ptr;
	take_back();
}

/* It does not start without the others, which nobody calls. */
#define UNUSED(name)                   \
	void *peer_##name(void);       \
	EXPORT void *peer_##name(void) \
	{                              \
		return NULL;           \
	}
UNUSED(calloc)
UNUSED(realloc)
UNUSED(mmap)
UNUSED(munmap)
UNUSED(posix_memalign)
UNUSED(memalign)
UNUSED(aligned_alloc)
UNUSED(valloc)
UNUSED(pvalloc)
