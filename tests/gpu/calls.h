/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* What the probes of calls.bpf.c tell: a function of a library was entered or left. */
#ifndef GPU_CALLS_H
#define GPU_CALLS_H

#include <linux/types.h>

struct call {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 sp;      /* stack pointer at the entry; of a return that of its entry */
	__u32 tid;
	__u32 function; /* number in the list of functions; CALL_RETURN is set at a return */
};
#define CALL_RETURN (1U << 31)
_Static_assert(sizeof(struct call) == 24, "no padding in records");

#endif
