/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a library's probes reach: every process that maps the file or, while one has written over a
 * probed function (intact.h), the others one by one. So it is always where the kernel ends
 * processes with a seccomp filter at return probes (return_safety.h): those are left alone too.
 */
#ifndef SRTLEAK_REACH_H
#define SRTLEAK_REACH_H

#include <stdint.h>
#include <sys/types.h>

#include "file_names.h"
#include "library.h"

/* What is to be said of a process (bits by enum process_partial). */
typedef void (*reach_fn)(pid_t pid, unsigned int partial, void *userdata);

/* Looks at every process that maps the library, and places its probes. fn is called for each that
 * is left alone, and for each that is probed by itself from now on. Where the library is split
 * already and need not be any more, it gets the next number. Returns 1 where every process is
 * probed now, else 0.
 */
int reach_place(struct library *library, uint32_t *numbers, reach_fn fn, void *userdata);

/* A process has mapped a library that is split. Returns what is to be said of it. */
unsigned int reach_add(struct library *library, pid_t pid);

/* Whether the process has written over a function of a library that it maps. Libraries whose probes
 * it has written over are marked as patched.
 */
bool reach_inspect(const struct file_names *files, pid_t pid);

#endif
