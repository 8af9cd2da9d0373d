/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a library's probes reach: every process that maps the file or, while one has written over a
 * probed function (intact.h), the others one by one. So it is always where the kernel ends
 * processes with a seccomp filter at return probes (return_safety.h): those are left alone too.
 */
#ifndef SRTLEAK_REACH_H
#define SRTLEAK_REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "library.h"
#include "look.h"

/* What is to be said of a process (bits by enum process_partial). */
typedef void (*reach_fn)(pid_t pid, unsigned int partial, void *userdata);

/* Looks at every process that maps the library, `first` (0: none) before the others, and places its
 * probes. fn is called for each: if it has written over them it is left alone, else its calls until
 * now were not seen. Returns 0, or 1 where the time was too short for all processes: then the
 * library may be split, and fn was not called for some.
 */
int reach_place(struct library *library, pid_t first, reach_fn fn, void *userdata);

/* A process has mapped a library that is split. Returns what is to be said of it. */
unsigned int reach_add(struct library *library, pid_t pid);

/* Of one that maps it, and was looked at: `found`. */
unsigned int reach_attach_one(struct library *library, pid_t pid, enum intact found);

/* Whether the process has written over a function of one of the libraries. Those whose probes it
 * has written over are marked as patched.
 */
bool reach_inspect(struct looks *looks, pid_t pid);

#endif
