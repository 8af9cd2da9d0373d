/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* Every bound that both the probes and the daemon keep to. What a bound turns away is counted
 * (event.h, enum counter) and shown by `srtleakctl status`.
 */
#ifndef SRTLEAK_BOUNDS_H
#define SRTLEAK_BOUNDS_H

#define LIVE_MAX (1U << 20)             /* outstanding allocations on the host */
#define LIVE_PER_PROCESS (LIVE_MAX / 2) /* of one process */
#define HANDLES_MAX (1U << 18)          /* pools, contexts, physical memory; likewise mappings */
#define HANDLES_PER_PROCESS (HANDLES_MAX / 2) /* of both */
#define LIBRARIES_MAX 256U                    /* probed files */
#define PROCESSES_MAX 4096U                   /* processes that use CUDA */
#define POLICIES_MAX (1U << 14)               /* processes with a verdict of their own */
#define STACK_CHUNKS_MAX (1U << 16)           /* stored pieces of stacks on the host */
#define STACKS_PER_PROCESS (1U << 14)         /* distinct stacks of one process */
#ifndef RING_BYTES                            /* tests set another */
#define RING_BYTES (4U << 20) /* events on their way to the daemon; a power of two */
#endif
#define RING_WAKE_BYTES (RING_BYTES / 8) /* written between two wake-ups; a power of two */
#define NEWS_BYTES (256U << 10)          /* news of mappings; a power of two */

/* Of one allocation; a fake library may say anything. No address space is larger. */
#define SIZE_BITS 48
#define ADDRESS_BITS 56

#define CONTEXT_BITS 16  /* contexts of one process that are told apart */
#define POOL_BITS 10     /* likewise pools */
#define CONTEXT_DEPTH 8U /* of a thread's stack of contexts, as far as it is followed */
#define UNMAP_MAX 64U    /* mappings that one call removes */
#define MIPMAP_LEVELS 32U

#define PYTHON_FRAMES_MAX 128U
#define NATIVE_FRAMES_MAX 32U

#endif
