/* SPDX-License-Identifier: GPL-2.0 */
/* The few kernel types that the programs look into, cut down to the members they read. CO-RE finds
 * the members' true offsets in the running kernel's BTF at load time, so neither a generated
 * vmlinux.h nor BTF on the build host is needed.
 */
#ifndef SRTLEAK_VMLINUX_MIN_H
#define SRTLEAK_VMLINUX_MIN_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live; /* threads of the group that have not begun to exit */
};

#if defined(__TARGET_ARCH_x86)
struct thread_struct {
	unsigned long fsbase;
};
#endif

struct xol_area {
	unsigned long vaddr; /* where a probed return goes first */
};

struct uprobes_state {
	struct xol_area *xol_area;
};

struct file;

struct mm_struct {
	unsigned long start_code, end_code;
	struct file *exe_file;
	struct uprobes_state uprobes_state;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

struct super_block {
	unsigned int s_dev;
	unsigned long s_magic;
};

struct inode {
	unsigned long i_ino;
	__s64 i_size;
	struct super_block *i_sb;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
};

struct vm_area_struct {
	unsigned long vm_start, vm_end;
	unsigned long vm_flags;
	unsigned long vm_pgoff; /* pages */
	struct file *vm_file;
};

struct task_struct {
	struct mm_struct *mm;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	__u64 start_boottime; /* since 5.5 */
	struct signal_struct *signal;
	struct thread_struct thread;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task; /* NULL at the end */
};

struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma; /* NULL at the end */
};

#pragma clang attribute pop

#endif
