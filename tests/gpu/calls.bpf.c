/* SPDX-License-Identifier: GPL-2.0 */
/* Probes that tell which functions of a library a process enters and leaves, in order. */
#include <linux/bpf.h>
#include <asm/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "calls.h"

#define RING_BYTES (32U << 20)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} calls SEC(".maps");

__u64 lost; /* calls that found the ring full */

static __always_inline int tell(struct pt_regs *ctx, __u64 sp, __u32 at_return)
{
	struct call *call = bpf_ringbuf_reserve(&calls, sizeof(*call), 0);

	if (!call) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	call->time_ns = bpf_ktime_get_ns();
	call->sp = sp;
	call->tid = (__u32)bpf_get_current_pid_tgid();
	call->function = (__u32)bpf_get_attach_cookie(ctx) | at_return;
	bpf_ringbuf_submit(call, 0);
	return 0;
}

SEC("uprobe")
int at_entry(struct pt_regs *ctx)
{
	return tell(ctx, PT_REGS_SP(ctx), 0);
}

SEC("uretprobe")
int at_return(struct pt_regs *ctx)
{
	/* The return address is off the stack by now. */
	return tell(ctx, PT_REGS_SP(ctx) - sizeof(void *), CALL_RETURN);
}

char LICENSE[] SEC("license") = "GPL";
