/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "costly.h"
#include "macro.h"
#include "procfs.h"

/* Where the kernel cannot tell (CONFIG_KCMP), no two share it. */
static bool share_memory(pid_t a, pid_t b)
{
	return syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0) == 0;
}

int costly_find(const struct costly *costly, pid_t pid)
{
	uint64_t started;

	for (size_t i = 0; i < MIN(costly->n, COSTLY_MAX); i++)
		if (share_memory(costly->looks[i].pid, pid) &&
		    procfs_start_ticks(costly->looks[i].pid, &started) == 0 &&
		    started == costly->looks[i].started)
			return (int)i;
	return -1;
}

int costly_note(struct costly *costly, pid_t pid, uint64_t began_ns)
{
	uint64_t started;
	size_t place = costly->n % COSTLY_MAX;

	if (clock_monotonic_ns() - began_ns < COSTLY_NS || procfs_start_ticks(pid, &started) < 0)
		return -1;
	costly->looks[place].pid = pid;
	costly->looks[place].started = started;
	costly->n++;
	return (int)place;
}
