/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attach.h"
#include "macro.h"
#include "uapi.h"

#define UPROBE_PMU "/sys/bus/event_source/devices/uprobe/"

static int create_multi(int program_fd, bool at_return, const struct attach_target *target)
{
	struct uapi_uprobe_multi_attr attr = {
		.prog_fd = (uint32_t)program_fd,
		.attach_type = UAPI_BPF_TRACE_UPROBE_MULTI,
		.path = (uintptr_t)target->path,
		.offsets = (uintptr_t)target->offsets,
		.cookies = (uintptr_t)target->cookies,
		.cnt = (uint32_t)target->n,
		.multi_flags = at_return ? UAPI_BPF_F_UPROBE_MULTI_RETURN : 0,
		.pid = (uint32_t)target->pid,
	};
	long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	return fd < 0 ? -errno : (int)fd;
}

bool attach_has_multi(void)
{
	const struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options,
		    .expected_attach_type = (enum bpf_attach_type)UAPI_BPF_TRACE_UPROBE_MULTI);
	unsigned long offset = 0;
	struct attach_target directory = {.path = "/", .offsets = &offset, .n = 1};
	_cleanup_close_ int program_fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, NULL, "GPL", program,
						       ARRAY_SIZE(program), &options);

	/* Nothing can be probed in a directory: kernels that know such links say so by EBADF. */
	return program_fd >= 0 && create_multi(program_fd, false, &directory) == -EBADF;
}

int attach_multi(int program_fd, bool at_return, const struct attach_target *target)
{
	int fd = create_multi(program_fd, at_return, target);

	return fd < 0 ? fd : 0;
}

static int read_number(const char *path, const char *prefix, unsigned int *ret)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	size_t n = strlen(prefix);
	char line[64];

	if (!f)
		return -errno;
	if (!fgets(line, sizeof(line), f) || strncmp(line, prefix, n) != 0)
		return -EBADMSG;
	return sscanf(line + n, "%u", ret) == 1 ? 0 : -EBADMSG;
}

static int attach_one(int program_fd, struct perf_event_attr *attr, pid_t pid, uint64_t cookie)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .perf_event.bpf_cookie = cookie);
	int event = (int)syscall(SYS_perf_event_open, attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (event < 0 || bpf_link_create(program_fd, event, BPF_PERF_EVENT, &options) < 0 ||
	    ioctl(event, PERF_EVENT_IOC_ENABLE, 0) < 0)
		return -errno;
	return 0;
}

int attach_each(int program_fd, bool at_return, const struct attach_target *target)
{
	struct perf_event_attr attr = {.size = sizeof(attr), .config1 = (uintptr_t)target->path};
	unsigned int return_bit = 0;
	int r;

	r = read_number(UPROBE_PMU "type", "", &attr.type);
	if (r == 0)
		r = read_number(UPROBE_PMU "format/retprobe", "config:", &return_bit);
	attr.config = at_return ? 1ULL << (return_bit & 63) : 0;
	for (size_t i = 0; i < target->n && r == 0; i++) {
		attr.config2 = target->offsets[i];
		r = attach_one(program_fd, &attr, target->pid, target->cookies[i]);
	}
	return r;
}
