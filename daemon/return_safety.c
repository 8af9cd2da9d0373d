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

/* The probed process: a child that does nothing else. */
static void be_probed(int go)
{
	char byte;

	if (read(go, &byte, 1) != 1 || filter_calls() < 0)
		syscall(SYS_exit_group, CHILD_UNFILTERED);
	syscall(SYS_exit_group, self_probed(41) == 42 ? CHILD_SURVIVED : CHILD_WRONG);
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
	_cleanup_close_ int link = self_probe_attach(multi, program, child);

	return link < 0 ? link : outcome(child, go, counter);
}

int return_safety_test(bool multi)
{
	/* A counter, for what never ran was not tried. */
	_cleanup_close_ int counter = self_probe_counter(), program = -1;
	int go[2], r;
	pid_t child;

	program = counter < 0 ? counter : self_probe_load(multi, counter);
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
