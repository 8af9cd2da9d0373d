/* SPDX-License-Identifier: Apache-2.0 */
/* Whether probed functions stand in a process's memory as they do in the file. Tools that hook
 * functions (UCX, Frida) write a jump over their beginning. The kernel does not look: it would put
 * a breakpoint into the jump, and later write the file's byte into it, and either ends the process.
 */
#ifndef SRTLEAK_INTACT_H
#define SRTLEAK_INTACT_H

#include <sys/types.h>

#include "mappings.h"
#include "survey.h"

enum intact {
	INTACT_YES,
	INTACT_NO,
	INTACT_UNKNOWN, /* the process has ended, or does not let us look */
};

/* Compares those of the functions that lie in the mapping. Breakpoints, ours or others', are passed
 * over.
 */
enum intact intact_look(pid_t pid, const struct procfs_mapping *mapping,
			const struct probe_point points[API_MAX]);

#endif
