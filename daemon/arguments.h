/* SPDX-License-Identifier: Apache-2.0 */
/* What a process was started with, and the title that it gave itself: texts in its own memory,
 * which it can change. Strings are the caller's to free; errors are those of procfs.h and reader.h.
 */
#ifndef SRTLEAK_ARGUMENTS_H
#define SRTLEAK_ARGUMENTS_H

#include <stddef.h>
#include <sys/types.h>

#define ARGUMENTS_MAX 4096 /* bytes of a command line or title */

/* The arguments, joined with blanks, secrets masked (mask.h), at most ARGUMENTS_MAX bytes. Empty
 * for kernel threads and zombies.
 */
int arguments_cmdline(pid_t pid, char **ret);

/* The title that the process gave itself by overwriting its arguments (masked as these are), else
 * comm. Overwritten arguments are one string without a NUL. So is a program started without any
 * argument: a string that begins like a path or is the name of the executable is no title.
 */
int arguments_title(pid_t pid, const char *comm, char **ret);

/* The environment that the process was started with, as NUL-terminated strings one after the other;
 * a NUL is added behind them. ret_size is in bytes, without that one. -E2BIG: larger than any sane
 * one. A process may have overwritten it: to show a title it needs the room behind its arguments.
 */
int arguments_environ(pid_t pid, char **ret, size_t *ret_size);

#endif
