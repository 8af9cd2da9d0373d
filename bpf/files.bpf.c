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

static __always_inline void describe(const struct vm_area_struct *vma, struct mapped_file *ret)
{
	struct inode *inode = vma->vm_file->f_inode;

	ret->start = vma->vm_start;
	ret->end = vma->vm_end;
	ret->page = vma->vm_pgoff;
	ret->file = (__u64)inode;
	ret->inode = inode->i_ino;
	ret->size = (__u64)inode->i_size;
	ret->mtime_ns = mtime_ns(inode);
	ret->device = inode->i_sb->s_dev;
	ret->magic = (__u32)inode->i_sb->s_magic;
}

static __always_inline bool is_wanted(const struct task_struct *task)
{
	if ((__u32)task->pid == wanted.thread)
		return true;
	wanted.others++;
	return false;
}

/* Every executable mapping of a file. */
SEC("iter/task_vma")
int files(struct bpf_iter__task_vma *ctx)
{
	struct vm_area_struct *vma = ctx->vma;
	struct task_struct *task = ctx->task;
	struct mapped_file told = {};

	if (!vma || !task || !is_wanted(task) || !vma->vm_file || !(vma->vm_flags & VM_EXEC))
		return 0;
	describe(vma, &told);
	bpf_seq_write(ctx->meta->seq, &told, sizeof(told));
	return 0;
}

static long on_vma(struct task_struct *task, struct vm_area_struct *vma, void *found)
{
	if (vma->vm_file)
		describe(vma, found);
	return 0;
}

/* The one at an address, however many there are. Nobody is waited for who changes them. */
SEC("iter/task")
int file_at(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct mapped_file found = {};

	if (!task || !is_wanted(task))
		return 0;
	wanted.result = bpf_find_vma(task, wanted.address, on_vma, &found, 0);
	if (found.file)
		bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}
