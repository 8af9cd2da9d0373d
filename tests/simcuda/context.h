/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts and each thread's stack of them. All functions need the call's lock. */
#ifndef SIMCUDA_CONTEXT_H
#define SIMCUDA_CONTEXT_H

#include <stdbool.h>

#include "call.h"

struct context {
	uint64_t serial; /* tells successive contexts in one place apart; 0: none lives here */
	int device;
	struct context *primary; /* green contexts only: where their memory is */
	unsigned int retains;    /* primary contexts only; what is left when it is reset stays */
};

/* The context whose memory the calling thread's calls allocate: its current one, or, where that is
 * a green one, its device's. NULL if it has none or that one is gone.
 */
struct context *context_current(void);

/* The green context with that handle; NULL where there is none. */
struct context *context_green(CUgreenCtx handle);

/* Whether `device` is an ordinal of this machine. */
bool device_valid(int device);

/* Sets *ret to the current context, or fails with CUDA_ERROR_INVALID_CONTEXT. */
CUresult context_need(struct context **ret);

#endif
