/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCUDA_ARRAY_H
#define SIMCUDA_ARRAY_H

#include "cuda_types.h"

/* Sets *ret to the bytes of an array of `levels` mipmap levels (1: a plain array), or fails with
 * CUDA_ERROR_INVALID_VALUE. */
CUresult array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels, size_t *ret);

#endif
