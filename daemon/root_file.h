/* SPDX-License-Identifier: Apache-2.0 */
/* Opening files by the names that another process gives them: in its mount namespace and below its
 * root, out of which no link leads. What is found there was made by strangers. All functions return
 * 0 (or what they say) or a negative errno; -ESRCH where the process is gone.
 */
#ifndef SRTLEAK_ROOT_FILE_H
#define SRTLEAK_ROOT_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* As open(2). To open a device or FIFO has effects and may wait for ever: whoever does not know
 * what the name leads to asks for O_PATH or O_DIRECTORY.
 */
int root_open(pid_t pid, const char *path, uint64_t flags);

/* Opens for reading what an O_PATH descriptor stands for: a regular file, else -EINVAL. */
int root_reopen_file(int found);

/* Opens a regular file for reading. */
int root_open_file(pid_t pid, const char *path);

bool root_has(pid_t pid, const char *path);

#endif
