/* SPDX-License-Identifier: Apache-2.0 */
/* What a probed call costs besides the programs: the kernel's part, which no program can time. */
#ifndef SRTLEAK_TRAP_COST_H
#define SRTLEAK_TRAP_COST_H

#include <stdbool.h>
#include <stdint.h>

/* Nanoseconds for the entry and the return of one call, measured in a child process within some
 * 20 ms. A negative errno where that was not possible.
 */
int trap_cost_measure(bool multi, uint64_t *ret_ns);

#endif
