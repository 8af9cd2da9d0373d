/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCUDA_RUNTIME_ARRAY_H
#define SIMCUDA_RUNTIME_ARRAY_H

#include <stdbool.h>

#include "cuda_types.h"

/* Translates a description; false where the channels are not valid. */
bool runtime_array_desc(CUDA_ARRAY3D_DESCRIPTOR *ret, const struct cudaChannelFormatDesc *desc,
			struct cudaExtent extent, unsigned int flags);

#endif
