/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "macro.h"
#include "return_safety.h"
#include "self_probe.h"

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

static void be_filtered(void *userdata)
{
	(void)userdata;
	if (filter_calls() < 0)
		syscall(SYS_exit_group, CHILD_UNFILTERED);
	syscall(SYS_exit_group, self_probed(41) == 42 ? CHILD_SURVIVED : CHILD_WRONG);
	__builtin_unreachable();
}

/* What became of the child: as return_safety_test(). What never ran was not tried. */
static int outcome(pid_t child, int counter, void *userdata)
{
	uint32_t zero = 0;
	uint64_t runs = 0;
	int status;

	(void)userdata;
	if (waitpid(child, &status, 0) != child)
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

int return_safety_test(bool multi)
{
	const struct self_probe_trial trial = {.child = be_filtered, .parent = outcome};

	return self_probe_try(multi, &trial);
}
