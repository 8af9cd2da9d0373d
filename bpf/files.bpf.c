// SPDX-License-Identifier: GPL-2.0
/* Tells which files a process has mapped, by the numbers of the file that is really mapped. What
 * /proc/PID/maps names may be a file system's that is laid over others.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "mapped_file.h"
#include "vmlinux_min.h"

#define VM_EXEC 0x4
#define NS_PER_SECOND 1000000000ULL

char LICENSE[] SEC("license") = "GPL";

struct mapped_wanted wanted;

/* The time of the last change has had three forms: until Linux 6.6, until 6.10, and since. */
struct inode___6_6 {
	struct timespec64 i_mtime;
} __attribute__((preserve_access_index));

struct inode___6_10 {
	struct timespec64 __i_mtime;
} __attribute__((preserve_access_index));

struct inode___now {
	__s64 i_mtime_sec;
	__u32 i_mtime_nsec;
} __attribute__((preserve_access_index));

static __always_inline __u64 mtime_ns(const struct inode *inode)
{
	const struct inode___now *now = (const void *)inode;
	const struct inode___6_10 *newer = (const void *)inode;
	const struct inode___6_6 *older = (const void *)inode;

	if (bpf_core_field_exists(now->i_mtime_sec))
		return (__u64)BPF_CORE_READ(now, i_mtime_sec) * NS_PER_SECOND +
		       BPF_CORE_READ(now, i_mtime_nsec);
	if (bpf_core_field_exists(newer->__i_mtime))
		return (__u64)BPF_CORE_READ(newer, __i_mtime.tv_sec) * NS_PER_SECOND +
		       (__u64)BPF_CORE_READ(newer, __i_mtime.tv_nsec);
	if (bpf_core_field_exists(older->i_mtime))
		return (__u64)BPF_CORE_READ(older, i_mtime.tv_sec) * NS_PER_SECOND +
		       (__u64)BPF_CORE_READ(older, i_mtime.tv_nsec);
	return 0;
}

static __always_inline bool is_wanted(const struct vm_area_struct *vma)
{
	if (wanted.address)
		return vma->vm_start <= wanted.address && wanted.address < vma->vm_end;
	return vma->vm_flags & VM_EXEC;
}

SEC("iter/task_vma")
int files(struct bpf_iter__task_vma *ctx)
{
	struct vm_area_struct *vma = ctx->vma;
	struct task_struct *task = ctx->task;
	struct mapped_file told = {};
	struct inode *inode;

	if (!vma || !task)
		return 0;
	if ((__u32)task->pid != wanted.thread) {
		wanted.others++;
		return 0;
	}
	if (!vma->vm_file || !is_wanted(vma))
		return 0;
	inode = vma->vm_file->f_inode;
	told.start = vma->vm_start;
	told.end = vma->vm_end;
	told.page = vma->vm_pgoff;
	told.file = (__u64)inode;
	told.inode = inode->i_ino;
	told.size = (__u64)inode->i_size;
	told.mtime_ns = mtime_ns(inode);
	told.device = inode->i_sb->s_dev;
	told.magic = (__u32)inode->i_sb->s_magic;
	bpf_seq_write(ctx->meta->seq, &told, sizeof(told));
	return 0;
}
