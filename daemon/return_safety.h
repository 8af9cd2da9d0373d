/* SPDX-License-Identifier: Apache-2.0 */
/* Whether return probes are safe for processes with a seccomp filter. From Linux 6.11 a probed
 * function returns through a system call that no filter's list has; kernels that do not let it pass
 * (fixed in 6.14 and in later versions of some others) kill the process. So it is tried.
 */
#ifndef SRTLEAK_RETURN_SAFETY_H
#define SRTLEAK_RETURN_SAFETY_H

#include <stdbool.h>

/* Returns 1: they are; 0: they are not; a negative errno: it could not be tried. */
int return_safety_test(bool multi);

#endif
