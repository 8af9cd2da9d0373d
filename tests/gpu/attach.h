/* SPDX-License-Identifier: Apache-2.0 */
/* Uprobe links to functions of one library in one process. */
#ifndef GPU_ATTACH_H
#define GPU_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct attach_target {
	const char *path; /* of the library */
	pid_t pid;
	const unsigned long *offsets; /* of the functions, in the file */
	const uint64_t *cookies;
	size_t n;
};

/* Whether this kernel can probe many functions by one link (6.6); if not, each needs its own. */
bool attach_has_multi(void);

/* Links the program to every function of the target, for as long as this process lives: by one link
 * (multi; the program must be loaded for that) or by one each. Returns 0 or a negative errno.
 */
int attach_multi(int program_fd, bool at_return, const struct attach_target *target);
int attach_each(int program_fd, bool at_return, const struct attach_target *target);

#endif
