/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include "link.h"
#include "macro.h"
#include "procfs.h"
#include "self_probe.h"
#include "uapi.h"

#define OWN_BINARY "/proc/self/exe"

#ifdef __x86_64__
/* Begins as most CUDA functions do: what a probe costs depends on the first instruction. */
__asm__(".pushsection .text\n"
	".globl self_probed\n"
	".hidden self_probed\n"
	".type self_probed, @function\n"
	"self_probed:\n"
	"	push %rbp\n"
	"	lea 1(%rdi), %eax\n"
	"	pop %rbp\n"
	"	ret\n"
	".size self_probed, . - self_probed\n"
	".popsection\n");
#else
__attribute__((noinline, noclone)) int self_probed(int number)
{
	__asm__ volatile("" : "+r"(number));
	return number + 1;
}
#endif

int self_probe_counter(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "runs", sizeof(uint32_t), sizeof(uint64_t), 1,
				NULL);

	return fd < 0 ? -errno : fd;
}

int self_probe_load(bool multi, int counter)
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
	fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "self_probe", "GPL", code, ARRAY_SIZE(code),
			   &options);
	return fd < 0 ? -errno : fd;
}

static int find_offset(const struct procfs_mapping *mapping, void *userdata)
{
	uint64_t address = (uintptr_t)self_probed;

	if (address < mapping->start || address >= mapping->end)
		return 0;
	*(uint64_t *)userdata = address - mapping->start + mapping->offset;
	return 1;
}

int self_probe_attach(bool multi, int program, pid_t pid)
{
	uint64_t at = 0;
	int r = procfs_mappings(getpid(), find_offset, &at);
	const unsigned long offset = at;

	if (r < 0)
		return r;
	return multi ? link_multi(program, OWN_BINARY, true, &offset, NULL, 1, pid)
		     : link_perf(program, OWN_BINARY, true, offset, 0, pid);
}
