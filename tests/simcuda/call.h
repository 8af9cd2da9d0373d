/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of every driver call: the one lock, injected failures, counters, settings. */
#ifndef SIMCUDA_CALL_H
#define SIMCUDA_CALL_H

#include "cuda_types.h"

#define SIM_MAX_DEVICES 16

/* ALLOC, FREE: counted, and may be made to fail; MAP: may be made to fail; PLACE (contexts, pools):
 * likewise, apart from the others; OTHER: neither. */
enum call_kind { CALL_ALLOC, CALL_FREE, CALL_MAP, CALL_PLACE, CALL_OTHER };

struct sim_settings {
	int devices;
	int board[SIM_MAX_DEVICES]; /* behind each ordinal */
	uint64_t device_bytes;
	unsigned int init_ms;
	unsigned int fail_permille;
	uint64_t seed;
};

/* Constant once a call is under way. */
extern struct sim_settings sim_settings;

/* Takes the lock; what it returns other than CUDA_SUCCESS is the result of the call. */
CUresult call_begin(enum call_kind kind);

/* Counts the result, gives the lock back and returns the result. */
CUresult call_end(enum call_kind kind, CUresult result);

/* The body of an exported function: evaluates `expr` under the lock unless the call is to fail. */
#define CALL(kind, expr) call_end(CALL_##kind, call_begin(CALL_##kind) ?: (expr))

/* What the ledger calls the present call: the outermost API, else `api`. */
const char *call_api(const char *api);

#endif
