/* SPDX-License-Identifier: Apache-2.0 */
/* The GPUs that a process can reach, as NVIDIA's kernel driver describes them in the process's own
 * /proc and /dev: a container runtime shows it its own ones only, in one of the two or in both.
 */
#ifndef SRTLEAK_GPU_BOARDS_H
#define SRTLEAK_GPU_BOARDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GPUS_MAX 64
#define GPU_UUID_SIZE 56   /* "MIG-GPU-", a UUID, "/255/255" and the NUL fit */
#define GPU_UUID_PREFIX 4  /* "GPU-", "MIG-" */
#define GPU_UUID_DIGITS 36 /* with the dashes */
#define GPU_MODEL_SIZE 64

struct gpu_board {
	uint64_t bus;             /* where it sits on the PCI bus: boards are ordered by that */
	unsigned int minor;       /* of its device node; UINT_MAX: not told */
	char uuid[GPU_UUID_SIZE]; /* "GPU-…" in lower case; "": the driver does not know it yet */
	char model[GPU_MODEL_SIZE];
};

struct gpu_boards {
	bool known; /* otherwise nobody tells which there are */
	bool split; /* some are divided into MIG instances: CUDA counts those instead */
	size_t n;
	struct gpu_board items[GPUS_MAX]; /* ordered by bus */
};

/* Reads them as the process sees them now. */
void gpu_boards_read(pid_t pid, struct gpu_boards *ret);

/* Whether these are n characters of a UUID in lower or upper case, from its first on. */
bool gpu_uuid_begins(const char *text, size_t n);

/* What the driver says of one board; false where that excludes it from CUDA, or is not its text. */
bool gpu_board_parse(char *text, struct gpu_board *ret);

#endif
