/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel constants and layouts newer than Debian 12's <linux/bpf.h> (6.1). */
#ifndef SRTLEAK_UAPI_H
#define SRTLEAK_UAPI_H

#include <linux/types.h>

/* Uprobe multi links, Linux 6.6: enum bpf_attach_type and the flags of the link. */
#define UAPI_BPF_TRACE_UPROBE_MULTI 48
#define UAPI_BPF_F_UPROBE_MULTI_RETURN (1U << 0)

/* The part of union bpf_attr that BPF_LINK_CREATE reads for an uprobe multi link. */
struct uapi_uprobe_multi_attr {
	__u32 prog_fd;
	__u32 target_fd;
	__u32 attach_type;
	__u32 flags;
	__u64 path;            /* const char * */
	__u64 offsets;         /* const unsigned long *, offsets in the file */
	__u64 ref_ctr_offsets; /* const unsigned long *, or 0 */
	__u64 cookies;         /* const __u64 *, or 0 */
	__u32 cnt;
	__u32 multi_flags;
	__u32 pid; /* 0: every process that maps the file */
	__u32 zero;
};

#endif
