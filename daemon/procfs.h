/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon reads from /proc.
 *
 * Names, command lines and mappings are chosen by the processes looked at: any byte may stand in
 * them. Strings returned by ret_ pointers are the caller's to free. All functions return 0 (or what
 * they say) or a negative errno: -ESRCH where the process is gone, -EACCES or -EPERM where it may
 * not be read, -EBADMSG where the kernel's text is not as expected, -ENOMEM.
 */
#ifndef SRTLEAK_PROCFS_H
#define SRTLEAK_PROCFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define PROCFS_COMM_SIZE 64 /* bytes with the NUL; kernel threads have more than 16 */

/* When the process started, in ticks (NS_PER_TICK, event.h) after boot: together with the pid it
 * names a process for good.
 */
int procfs_start_ticks(pid_t pid, uint64_t *ret);

/* CPU time that all its threads have used. */
int procfs_cpu_ns(pid_t pid, uint64_t *ret);

/* Unix time in seconds of that many ticks after boot. */
int procfs_start_time(uint64_t ticks, double *ret_unix);

int procfs_comm(pid_t pid, char ret[PROCFS_COMM_SIZE]);

/* The path of the executable file as the process's mount namespace names it, also of one that is
 * deleted by now. -ESRCH for kernel threads and zombies too.
 */
int procfs_exe(pid_t pid, char **ret);

/* Which file that is, as far as this host knows without asking the file system. */
int procfs_exe_file(pid_t pid, struct statx *ret);

/* Reads up to size bytes of a file below /proc/PID; returns how many. What lies in the process's
 * own memory (cmdline, environ) may take for ever: reader.h.
 */
ssize_t procfs_read(pid_t pid, const char *name, char *ret, size_t size);

/* Opens a file below /proc/PID (O_CLOEXEC is added); returns the file descriptor. */
int procfs_open(pid_t pid, const char *name, int flags);

/* Calls fn for every line of one, without its newline. What fn returns, if not 0, ends it and is
 * returned. -E2BIG after a million lines.
 */
int procfs_each_line(pid_t pid, const char *name, int (*fn)(char *line, void *userdata),
		     void *userdata);

/* Takes the kernel's mark of a file or cgroup off that has no name any more; returns whether it was
 * there.
 */
bool procfs_strip_deleted(char *path);

/* The real user id, and the pid in the innermost PID namespace of the process: 0 where that is the
 * namespace of this program.
 */
int procfs_status(pid_t pid, uid_t *ret_uid, pid_t *ret_inner_pid);

/* Whether the process's main thread has a seccomp filter: 1 or 0. */
int procfs_is_filtered(pid_t pid);

/* The cgroup as the daemon's cgroup namespace names it: of the unified hierarchy, or where the
 * process is in its root (hybrid set-ups) the longest of the memory, pids and systemd hierarchies.
 * One that names a container is taken before one that does not: a runtime may keep to the older
 * hierarchies and leave its containers where it is itself in the unified one. -ENODATA where there
 * is none.
 */
int procfs_cgroup(pid_t pid, char **ret);

/* The outermost ancestor that runs the same executable file; the process itself where none does. */
int procfs_group(pid_t pid, pid_t *ret);

/* A thread of the process beside its main thread, whose number does for functions that look at
 * mappings, files and memory: when the main thread has ended, it has none of these any more. 0:
 * there is no other.
 */
pid_t procfs_other_thread(pid_t pid);

/* Calls fn for every process; what it returns, if not 0, ends the walk and is returned. */
int procfs_each_pid(int (*fn)(pid_t pid, void *userdata), void *userdata);

#endif
