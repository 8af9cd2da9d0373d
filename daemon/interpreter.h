/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the Python interpreter of a process: in its executable, or in a libpython. */
#ifndef SRTLEAK_INTERPRETER_H
#define SRTLEAK_INTERPRETER_H

#include <stdint.h>
#include <sys/types.h>

#include "python_reader.h"

/* Opens the interpreter and validates its layout. ret_runtime is the address of _PyRuntime.
 * -ENOENT: the process has none; -EAGAIN: it is still being initialised; -EOPNOTSUPP: a version
 * without a layout; -EBADMSG: the layout does not fit this build.
 */
int interpreter_open(pid_t pid, struct python **ret, uint64_t *ret_runtime);

#endif
