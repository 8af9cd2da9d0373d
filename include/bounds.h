/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* Every bound that both the probes and the daemon keep to. What a bound turns away is counted
 * (event.h, enum counter) and shown by `srtleakctl status`. Those that all processes share are
 * shared out as share.h says. `make BOUNDS=-D…` sets others, for tests.
 */
#ifndef SRTLEAK_BOUNDS_H
#define SRTLEAK_BOUNDS_H

#ifndef PROCESSES_MAX
#define PROCESSES_MAX 4096U /* processes that use CUDA */
#endif
#define GRANTS_MAX (2UL * PROCESSES_MAX) /* with those that are over and not swept up yet */
#ifndef POLICIES_MAX
#define POLICIES_MAX (1U << 14) /* processes with a verdict of their own */
#endif

/* Outstanding allocations on the host; those of each process that no other can take; and how many
 * more it is granted at a time.
 */
#ifndef LIVE_MAX
#define LIVE_MAX (1U << 21)
#endif
#ifndef LIVE_OWN
#define LIVE_OWN 128U
#endif
#define LIVE_STEP LIVE_OWN

/* Stored pieces of stacks, likewise. */
#ifndef STACK_CHUNKS_MAX
#define STACK_CHUNKS_MAX (1U << 16)
#endif
#ifndef STACK_CHUNKS_OWN
#define STACK_CHUNKS_OWN 4U
#endif

/* Pools, contexts, physical memory and where it is mapped, likewise. */
#ifndef HANDLES_MAX
#define HANDLES_MAX (1U << 18)
#endif
#ifndef HANDLES_OWN
#define HANDLES_OWN 16U
#endif

/* Threads that have called, of some 4 KiB each, likewise. */
#ifndef THREADS_MAX
#define THREADS_MAX (1U << 15)
#endif
#ifndef THREADS_OWN
#define THREADS_OWN 2U
#endif

#ifndef RING_BYTES
#define RING_BYTES (4U << 20) /* events on their way to the daemon; a power of two */
#endif
#define RING_WAKE_BYTES (RING_BYTES / 8) /* written between two wake-ups; a power of two */
#define NEWS_BYTES (256U << 10)          /* news of mappings; a power of two */

#ifndef HISTORY_INTERVAL_S
#define HISTORY_INTERVAL_S 10U /* between two samples of what is outstanding */
#endif
#ifndef SILENCE_S
#define SILENCE_S 30U /* after so long without progress a client is dropped */
#endif

/* Of one allocation; a fake library may say anything. No address space is larger. */
#define SIZE_BITS 48
#define ADDRESS_BITS 56

#define CONTEXT_BITS 16           /* contexts of one process that are told apart */
#define POOL_BITS 10              /* likewise pools */
#define CONTEXT_DEPTH 8U          /* of a thread's stack of contexts, as far as it is followed */
#define UNMAP_MAX 216U            /* mappings that one call removes */
#define MAPPING_STEP (2ULL << 20) /* the least that is mapped (cuMemGetAllocationGranularity) */
#define STRAYS_MAX 4096U          /* notes of frees (stray.h); they matter while a call lasts */
#define MIPMAP_LEVELS 32U

#define PYTHON_FRAMES_MAX 128U
#define NATIVE_FRAMES_MAX 32U

#endif
