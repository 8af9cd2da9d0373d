/* SPDX-License-Identifier: GPL-2.0 */
/* The BPF counted: one translation unit, one header a responsibility. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/errno.h>
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
#include "share_out.h"
#include "process.h"
#include "cost.h"
#include "stack.h"
#include "call.h"
#include "size.h"
#include "handle.h"
#include "number.h"
#include "stray.h"
#include "references.h"
#include "context.h"
#include "location.h"
#include "pool.h"
#include "place.h"
#include "stream.h"
#include "live.h"
#include "referent.h"
#include "opening.h"
#include "physical.h"
#include "free.h"
#include "alloc.h"
#include "cuda.h"
#include "mapping.h"
#include "life.h"
#include "forget.h"

char LICENSE[] SEC("license") = "GPL";
