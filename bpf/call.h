/* SPDX-License-Identifier: GPL-2.0 */
/* A probed call's row and arguments. */
#ifndef SRTLEAK_CALL_H
#define SRTLEAK_CALL_H

const volatile struct api_row api_table[API_MAX] = {API_TABLE_ROWS};

static __always_inline const volatile struct api_row *row_of(__u32 api)
{
	if (api >= API_MAX)
		return NULL;
	asm volatile("" : "+r"(api)); /* keeps the check in front of the arithmetic */
	return &api_table[api];
}

/* Whose call it is, and of what. A function that the verifier is to look at by itself takes numbers
 * only, so it looks these up anew. (It does not use `api` for more than that: a copy of it on the
 * stack has no bounds for the verifier of Linux 6.1.)
 */
struct caller {
	struct task_struct *task;
	struct thread *th;
	struct process_image *p;
	const volatile struct api_row *row;
};

/* False where one of them is not known. */
static __always_inline bool caller_find(struct caller *c, __u32 api)
{
	c->task = bpf_get_current_task_btf();
	c->th = bpf_task_storage_get(&threads, c->task, NULL, 0);
	c->p = process_find(c->task);
	c->row = row_of(api);
	return c->th && c->p && c->row;
}

#ifndef PT_REGS_PARM6 /* libbpf 1.2 and later have it */
#if defined(__TARGET_ARCH_arm64)
#define PT_REGS_PARM6(x) (__PT_REGS_CAST(x)->regs[5])
#else
#define PT_REGS_PARM6(x) (__PT_REGS_CAST(x)->r9)
#endif
#endif

/* Rows name one of the first five arguments. All are read before one is chosen: the verifier allows
 * only constant offsets into the registers, and the compiler would choose the offset.
 */
static __always_inline __u64 argument(struct pt_regs *ctx, __u8 number)
{
	__u64 first = PT_REGS_PARM1(ctx), second = PT_REGS_PARM2(ctx);
	__u64 third = PT_REGS_PARM3(ctx), fourth = PT_REGS_PARM4(ctx);
	__u64 fifth = PT_REGS_PARM5(ctx);

	asm volatile("" : "+r"(first), "+r"(second), "+r"(third), "+r"(fourth), "+r"(fifth));
	return number == 0   ? first
	       : number == 1 ? second
	       : number == 2 ? third
	       : number == 3 ? fourth
			     : fifth;
}

/* Whether an entry at the stack pointer and the function of a call's entry is that entry, met by a
 * second probe: on overlayfs one library looks like two files, and has a link for each. Otherwise
 * the call's own probe was taken out while it lasted: its library is probed no more, or this other
 * probe is met again and not the call's own. second: where it is kept for that.
 */
static __always_inline bool is_second_probe(__u32 cookie, __u32 of_call, __u32 *second)
{
	__u32 library = COOKIE_LIBRARY(of_call);

	if (cookie == of_call || cookie == *second || !bpf_map_lookup_elem(&armed, &library))
		return false;
	*second = cookie;
	return true;
}

/* At a function's entry: where it will return to. */
static __always_inline __u64 return_address(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_arm64)
	return PT_REGS_RET(ctx);
#else
	return read_user_u64(PT_REGS_SP(ctx));
#endif
}

static long keep_file(struct task_struct *task, struct vm_area_struct *vma, void *ret_inode)
{
	*(__u64 *)ret_inode = (__u64)BPF_CORE_READ(vma, vm_file, f_inode);
	return 0;
}

/* False where it cannot be looked now, as another thread is changing what is mapped. */
static __always_inline bool file_mapped_at(struct task_struct *task, __u64 addr, __u64 *ret_inode)
{
	*ret_inode = 0;
	return bpf_find_vma(task, addr, keep_file, ret_inode, 0) != -EBUSY;
}

/* Whether both addresses of code are in one mapped library, or may be. Before Linux 5.17 they are
 * taken not to be. Global, so that the verifier looks at it once.
 */
__noinline int is_one_library(__u64 a, __u64 b)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 first, second;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_find_vma))
		return 0;
	if (!file_mapped_at(task, a, &first) || !file_mapped_at(task, b, &second))
		return 1;
	/* A runtime that is linked into the program may be called by anybody there. */
	return first && first == second &&
	       first != (__u64)BPF_CORE_READ(task, mm, exe_file, f_inode);
}

/* Whether it is code of the program itself, and not of a library. */
static __always_inline bool is_of_program(struct task_struct *task, __u64 ip)
{
	__u64 start = BPF_CORE_READ(task, mm, start_code), end = BPF_CORE_READ(task, mm, end_code);

	return start <= ip && ip < end;
}

/* Whether the function whose entry had this stack pointer has yet to return: the kernel has put its
 * trampoline in place of the return address.
 */
static __always_inline bool is_to_return(struct task_struct *task, __u64 sp)
{
	return read_user_u64(sp) == BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
}

#endif
