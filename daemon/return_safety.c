/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "link.h"
#include "macro.h"
#include "procfs.h"
#include "return_safety.h"
#include "uapi.h"

#define OWN_BINARY "/proc/self/exe"

/* What is probed. */
__attribute__((noinline, noclone, used)) static int probed(int number)
{
	__asm__ volatile("" : "+r"(number));
	return number + 1;
}

/* A counter of runs, for what never ran was not tried. */
static int make_counter(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "runs", sizeof(uint32_t), sizeof(uint64_t), 1,
				NULL);

	return fd < 0 ? -errno : fd;
}

static int load_program(bool multi, int counter)
{
	/* uint64_t *n = bpf_map_lookup_elem(counter, &zero); if (n) *n += 1; return 0; */
	const struct bpf_insn code[] = {
		{.code = BPF_ST | BPF_MEM, .dst_reg = BPF_REG_10, .off = -4},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_10},
		{.code = BPF_ALU64 | BPF_ADD, .dst_reg = BPF_REG_2, .imm = -4},
		{.code = BPF_LD | BPF_DW,
		 .dst_reg = BPF_REG_1,
		 .src_reg = BPF_PSEUDO_MAP_FD,
		 .imm = counter},
		{0},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem},
		{.code = BPF_JMP | BPF_JEQ, .dst_reg = BPF_REG_0, .off = 3},
		{.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_0},
		{.code = BPF_ALU64 | BPF_ADD, .dst_reg = BPF_REG_1, .imm = 1},
		{.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_0, .src_reg = BPF_REG_1},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options);
	int fd;

	if (multi)
		options.expected_attach_type = (enum bpf_attach_type)UAPI_BPF_TRACE_UPROBE_MULTI;
	fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "return_safety", "GPL", code, ARRAY_SIZE(code),
			   &options);
	return fd < 0 ? -errno : fd;
}

static int find_offset(const struct procfs_mapping *mapping, void *userdata)
{
	uint64_t address = (uintptr_t)probed;

	if (address < mapping->start || address >= mapping->end)
		return 0;
	*(uint64_t *)userdata = address - mapping->start + mapping->offset;
	return 1;
}

static int attach(bool multi, int program, pid_t pid)
{
	uint64_t at = 0;
	int r = procfs_mappings(getpid(), find_offset, &at);
	const unsigned long offset = at;

	if (r < 0)
		return r;
	return multi ? link_multi(program, OWN_BINARY, true, &offset, NULL, 1, pid)
		     : link_perf(program, OWN_BINARY, true, offset, 0, pid);
}

/* A list as strict as any service's. */
static int filter_calls(void)
{
	static const int allowed[] = {SYS_exit_group, SYS_exit, SYS_rt_sigreturn};
	struct sock_filter code[ARRAY_SIZE(allowed) + 3];
	struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};
	unsigned short n = 0;

	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
		code[n++] =
			(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ, (unsigned int)allowed[i],
						     (unsigned char)(ARRAY_SIZE(allowed) - i), 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	code[n] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0 ? -errno : 0;
}

enum { CHILD_SURVIVED = 0, CHILD_WRONG = 1, CHILD_UNFILTERED = 2 };

/* The probed process: a child that does nothing else. */
static void be_probed(int go)
{
	char byte;

	if (read(go, &byte, 1) != 1 || filter_calls() < 0)
		syscall(SYS_exit_group, CHILD_UNFILTERED);
	syscall(SYS_exit_group, probed(41) == 42 ? CHILD_SURVIVED : CHILD_WRONG);
	__builtin_unreachable();
}

/* Ends the child's wait and says what became of it: as return_safety_test(). */
static int outcome(pid_t child, int go, int counter)
{
	uint32_t zero = 0;
	uint64_t runs = 0;
	int status;

	if (write(go, "", 1) != 1 || waitpid(child, &status, 0) != child)
		return -errno;
	if (WIFSIGNALED(status))
		return 0;
	if (WEXITSTATUS(status) == CHILD_UNFILTERED)
		return -ENOSYS;
	if (bpf_map_lookup_elem(counter, &zero, &runs) < 0)
		return -errno;
	if (runs == 0 && WEXITSTATUS(status) == CHILD_SURVIVED)
		return -ENODATA;
	return WEXITSTATUS(status) == CHILD_SURVIVED;
}

static int try_on(pid_t child, int go, bool multi, int program, int counter)
{
	_cleanup_close_ int link = attach(multi, program, child);

	return link < 0 ? link : outcome(child, go, counter);
}

int return_safety_test(bool multi)
{
	_cleanup_close_ int counter = make_counter(), program = -1;
	int go[2], r;
	pid_t child;

	program = counter < 0 ? counter : load_program(multi, counter);
	if (program < 0)
		return program;
	if (pipe(go) < 0)
		return -errno;
	child = fork();
	if (child == 0) {
		close(go[1]);
		be_probed(go[0]);
	}
	close(go[0]);
	r = child < 0 ? -errno : try_on(child, go[1], multi, program, counter);
	close(go[1]); /* a child that still waits ends itself then */
	if (child > 0)
		(void)waitpid(child, NULL, 0);
	return r;
}
