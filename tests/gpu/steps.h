/* SPDX-License-Identifier: Apache-2.0 */
/* What the program does on command. Each tells what it does on stdout. */
#ifndef GPU_STEPS_H
#define GPU_STEPS_H

/* Loads CUDA and makes the context of device 0. */
int step_context(const char *runtime);

/* Makes every allocating call and the call that undoes it; ends in a reset of the device. */
int step_calls(const char *runtime);

/* Allocates one or more of each kind, tells what is outstanding, and gives it back. */
int step_keep(const char *runtime);
int step_drop(const char *runtime);

/* Measures pairs of an allocating call and the call that undoes it. */
int step_pairs(const char *runtime);

#endif
