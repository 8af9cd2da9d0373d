/* SPDX-License-Identifier: Apache-2.0 */
/* Which GPU stands behind the ordinal that a process gives a device: what CUDA makes of
 * CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER. Where that cannot be told for sure, it is not told.
 */
#ifndef SRTLEAK_VISIBLE_DEVICES_H
#define SRTLEAK_VISIBLE_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "gpu_boards.h"

/* What a process's environment says of it. */
struct visible_setting {
	char *value; /* of CUDA_VISIBLE_DEVICES; NULL: not set */
	bool by_bus;
	bool by_slurm; /* it may have taken devices away, by a filter on them that cannot be seen */
};

/* As it stands there now. Returns 0, or a negative errno as environment_read() does. */
int visible_setting_read(pid_t pid, struct visible_setting **ret);
struct visible_setting *visible_setting_free(struct visible_setting *setting);

struct visible_devices {
	bool known; /* how many there are */
	size_t n;
	char uuid[GPUS_MAX][GPU_UUID_SIZE]; /* by ordinal; "": unknown */
};

/* Applies a value of the variable (NULL: not set) to the boards.
 *
 * A list is of indices, of UUIDs ("GPU-…", which may be cut short) or of MIG instances ("MIG-…"),
 * as its first entry is; it ends before the first entry that is no such thing or names no board,
 * and names nothing where one is repeated. Indices count the boards by bus if by_bus says so, else
 * from the fastest on, of which nothing is known unless all are of one model; nor where boards are
 * split. Of MIG instances CUDA takes the first one only.
 */
void visible_devices_parse(const char *value, bool by_bus, const struct gpu_boards *boards,
			   struct visible_devices *ret);

/* Applies a setting to the boards that the process can see now. */
void visible_devices_read(pid_t pid, const struct visible_setting *setting,
			  struct visible_devices *ret);

/* NULL where it is not known. */
const char *visible_devices_uuid(const struct visible_devices *devices, long ordinal);

/* Whether another look may tell more. */
bool visible_devices_complete(const struct visible_devices *devices);

#endif
