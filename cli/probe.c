/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "macro.h"
#include "probe.h"
#include "uapi.h"

#define OWN_BINARY "/proc/self/exe"
#define UPROBE_TYPE "/sys/bus/event_source/devices/uprobe/type"
#define ROUNDS 20
#define CALLS_PER_ROUND 1000

#ifndef __x86_64__
#error "the functions that are probed are written for x86-64"
#endif

/* A compiler is free to begin a function with any instruction; these have to begin with these. */
__asm__(".pushsection .text\n"
	".globl probe_at_push\n"
	".hidden probe_at_push\n"
	".type probe_at_push, @function\n"
	"probe_at_push:\n"
	"	push %rbp\n"
	"	pop %rbp\n"
	"	ret\n"
	".size probe_at_push, . - probe_at_push\n"
	".globl probe_at_sub\n"
	".hidden probe_at_sub\n"
	".type probe_at_sub, @function\n"
	"probe_at_sub:\n"
	"	sub $8, %rsp\n"
	"	add $8, %rsp\n"
	"	ret\n"
	".size probe_at_sub, . - probe_at_sub\n"
	".popsection\n");

int probe_load(enum probe_link kind)
{
	/* r0 = 0; exit */
	static const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options);

	if (kind == PROBE_MULTI)
		options.expected_attach_type = (enum bpf_attach_type)UAPI_BPF_TRACE_UPROBE_MULTI;
	return bpf_prog_load(BPF_PROG_TYPE_KPROBE, "srtleak_doctor", "GPL", code, ARRAY_SIZE(code),
			     &options);
}

struct place {
	uintptr_t address;
	uint64_t offset; /* in the file; 0 is its header, so no function */
};

/* The first object is the program itself. */
static int find_in_program(struct dl_phdr_info *info, size_t size, void *userdata)
{
	struct place *place = userdata;

	(void)size;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + header->p_vaddr;

		if (header->p_type == PT_LOAD && place->address >= start &&
		    place->address - start < header->p_filesz)
			place->offset = place->address - start + header->p_offset;
	}
	return 1;
}

static int attach_multi(int program, unsigned long offset, struct probe *ret)
{
	struct uapi_uprobe_multi_attr attr = {
		.prog_fd = (__u32)program,
		.attach_type = UAPI_BPF_TRACE_UPROBE_MULTI,
		.path = (uintptr_t)OWN_BINARY,
		.offsets = (uintptr_t)&offset,
		.cnt = 1,
		.pid = (__u32)getpid(),
	};
	int link = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	if (link < 0)
		return -errno;
	*ret = (struct probe){.link = link, .event = -1};
	return 0;
}

static int read_uprobe_type(void)
{
	_cleanup_fclose_ FILE *file = fopen(UPROBE_TYPE, "re");
	int type;

	if (!file)
		return -errno;
	return fscanf(file, "%d", &type) == 1 && type >= 0 ? type : -EINVAL;
}

/* For all processes, as the daemon does it: that is what the kernel may refuse. */
static int attach_perf(int program, uint64_t offset, struct probe *ret)
{
	int type = read_uprobe_type();
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = (__u32)type,
		.uprobe_path = (uintptr_t)OWN_BINARY,
		.probe_offset = offset,
	};
	_cleanup_close_ int event = -1;
	int link;

	if (type < 0)
		return type;
	event = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (event < 0)
		return -errno;
	link = bpf_link_create(program, event, BPF_PERF_EVENT, NULL);
	if (link < 0)
		return link;
	if (ioctl(event, PERF_EVENT_IOC_ENABLE, 0) < 0) {
		int err = -errno;

		close(link);
		return err;
	}
	*ret = (struct probe){.link = link, .event = TAKE_FD(event)};
	return 0;
}

int probe_attach(enum probe_link kind, int program, void (*function)(void), struct probe *ret)
{
	struct place place = {.address = (uintptr_t)function};

	dl_iterate_phdr(find_in_program, &place);
	if (place.offset == 0)
		return -ENOENT;
	if (kind == PROBE_MULTI)
		return attach_multi(program, place.offset, ret);
	return attach_perf(program, place.offset, ret);
}

void probe_detach(struct probe *probe)
{
	close(probe->link);
	cleanup_close(&probe->event);
}

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The fastest of several rounds is the one that nothing else on the host got in the way of. */
double probe_measure(void (*function)(void))
{
	double best = 0;

	for (int round = 0; round < ROUNDS; round++) {
		double start = now_ns();
		double spent;

		for (int i = 0; i < CALLS_PER_ROUND; i++)
			function();
		spent = now_ns() - start;
		if (round == 0 || spent < best)
			best = spent;
	}
	return best / CALLS_PER_ROUND;
}
