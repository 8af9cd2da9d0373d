/* SPDX-License-Identifier: GPL-2.0 */
/* Events at any rate, put into a daemon's ring in the way of its own probes. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <asm/ptrace.h>
#include "vmlinux_min.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "api.h"
#include "event.h"
#include "python_layout.h"
#include "maps.h"
#include "events.h"
#include "flood.h"

__u32 image = 0; /* whose allocations they are */
__u32 pairs = 0; /* of this run */
__u64 made = 0;  /* allocations so far */
__u64 lost = 0;

static __always_inline void tell(__u32 type, __u64 number)
{
	struct live_value value = {
		.id = FLOOD_FIRST_ID + number,
		.api = type == EVENT_ALLOC ? API_cudaMalloc : API_cudaFree,
		.kind = KIND_DEVICE,
		.size = FLOOD_BYTES,
	};

	if (!emit(type, image, FLOOD_FIRST_ID + number * FLOOD_BYTES, &value, 0,
		  bpf_ktime_get_boot_ns(), false))
		lost++;
}

/* An allocation, and the free of the one that was made FLOOD_HELD before. */
SEC("raw_tracepoint")
int flood(void *ctx)
{
	__u32 i;

	for (i = 0; i < FLOOD_PAIRS_MAX && i < pairs; i++) {
		tell(EVENT_ALLOC, made);
		if (made >= FLOOD_HELD)
			tell(EVENT_FREE, made - FLOOD_HELD);
		made++;
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
