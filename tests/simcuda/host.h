/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCUDA_HOST_H
#define SIMCUDA_HOST_H

#include "block.h"

/* Maps real memory of `bytes` and enters it as a block. type: BLOCK_HOST or BLOCK_MANAGED;
 * device: ordinal or -1. Under the call's lock. */
CUresult host_map(enum block_type type, const char *api, struct context *ctx, int device,
		  size_t bytes, void **ret);

#endif
