/* SPDX-License-Identifier: Apache-2.0 */
/* A probe on a function of this very program, as the CUDA functions get them, to learn what it does
 * to a child process on this kernel.
 */
#ifndef SRTLEAK_SELF_PROBE_H
#define SRTLEAK_SELF_PROBE_H

#include <stdbool.h>
#include <sys/types.h>

/* What is probed; returns number + 1. */
int self_probed(int number);

/* A map of one uint64_t, where the program counts its runs. All return a descriptor or a negative
 * errno.
 */
int self_probe_counter(void);
int self_probe_load(bool multi, int counter);

/* At the entry and the return of that function, in one process. */
int self_probe_attach(bool multi, int program, pid_t pid);

#endif
