/* SPDX-License-Identifier: Apache-2.0 */
/* Environment variables of another process.
 *
 * The kernel shows those that the program was started with, and shows nothing where the program has
 * written its title over them; those that it has now stand in its memory, where the C library's
 * `environ` leads to them. The latter are preferred: they are what os.environ has set before CUDA
 * was started. What was set after that is not told apart.
 */
#ifndef SRTLEAK_ENVIRONMENT_H
#define SRTLEAK_ENVIRONMENT_H

#include <stddef.h>
#include <sys/types.h>

#define ENVIRONMENT_VALUE_MAX 4096 /* bytes with the NUL */
#define ENVIRONMENT_NAMES_MAX 8    /* variables of one call, each named in less than 64 bytes */

/* Reads n variables; NULL for those that are not set, else the caller's to free. On success only,
 * all of `ret` is written. -ENODATA: neither source tells; -E2BIG: a value is longer than it may
 * be; -ESRCH, -EPERM, -EACCES, -ENOMEM.
 */
int environment_read(pid_t pid, const char *const *names, size_t n, char **ret);

/* The same out of what the kernel shows. -ENODATA: it was overwritten. */
int environment_parse(const char *strings, size_t size, const char *const *names, size_t n,
		      char **ret);

#endif
