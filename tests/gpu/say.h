/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of CUDA that are told on stdout, one JSON object a line. */
#ifndef GPU_SAY_H
#define GPU_SAY_H

#include <stdint.h>
#include <stdio.h>

#include "cuda.h"

#define NOT_EXPORTED (-1) /* in place of a result */
#define SIZE_UNKNOWN UINT64_MAX

uint64_t now_ns(void); /* CLOCK_MONOTONIC, as the probes tell the time */

/* {"call":NAME,"from":NS,"to":NS,"result":N} */
void say_call(const char *name, uint64_t from_ns, int result);

/* What is outstanding now: {"kept":{"kind","api","ptr","size","handle"}}. 0: null, as is the size
 * where CUDA tells none.
 */
void say_kept(const char *kind, const char *api, uint64_t ptr, uint64_t size, uint64_t handle);

/* Calls one function of CUDA and tells that; its value is the result. */
#define CALL(function, ...)                                                                   \
	({                                                                                    \
		uint64_t from_ = now_ns();                                                    \
		int result_ = cuda.function ? (int)cuda.function(__VA_ARGS__) : NOT_EXPORTED; \
		say_call(#function, from_, result_);                                          \
		result_;                                                                      \
	})

#endif
