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

#include "file_names.h"
#include "library.h"

/* What is to be said of a process (bits by enum process_partial). */
typedef void (*reach_fn)(pid_t pid, unsigned int partial, void *userdata);

/* Looks at every process that maps the library, and places its probes. fn is called for each: if it
 * has written over them it is left alone, else its calls until now were not seen. Returns 0.
 */
int reach_place(struct library *library, reach_fn fn, void *userdata);

/* A process has mapped a library that is split. Returns what is to be said of it. */
unsigned int reach_add(struct library *library, pid_t pid);

/* Looks at which of these libraries, all split, the process maps, as with fork nothing is told of
 * that: it is probed where it is not yet, and fn called. Libraries that it has written over may not
 * be joined.
 */
void reach_review(struct library *const *libraries, size_t n, pid_t pid, reach_fn fn,
		  void *userdata);

/* Of these libraries, all split, gives a link to every process to those that nobody has written
 * over any more, with numbers from next_number(userdata); returns how many these were.
 */
size_t reach_join(struct library *const *libraries, size_t n,
		  uint32_t (*next_number)(void *userdata), void *userdata);

/* Whether the process has written over a function of a library that it maps. Libraries whose probes
 * it has written over are marked as patched.
 */
bool reach_inspect(const struct file_names *files, pid_t pid);

#endif
