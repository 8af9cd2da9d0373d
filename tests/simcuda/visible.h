/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCUDA_VISIBLE_H
#define SIMCUDA_VISIBLE_H

/* Applies CUDA_VISIBLE_DEVICES (NULL: not set), a list of indices, to a machine with so many
 * devices: fills `ret` with those that the process has, by ordinal, and returns how many. As with
 * the real driver the list ends before the first entry that is none, and an entry that comes twice
 * leaves nothing. */
int visible_devices(const char *list, int devices, int ret[]);

#endif
