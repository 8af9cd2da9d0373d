/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated CUDA libraries, opened by a test. Include it behind cmocka.h. */
#ifndef SRTLEAK_TEST_SIM_LIBRARIES_H
#define SRTLEAK_TEST_SIM_LIBRARIES_H

#include "../simcuda/driver_api.h"
#include "../simcuda/open.h"
#include "../simcuda/runtime_api.h"
#include "../simcuda/simcuda.h"

#define MIB (1ULL << 20)

static void *driver, *runtime;

/* Calls an export of one of the libraries with the type that its header gives it. */
#define D(symbol) ((__typeof__(symbol) *)export_of(driver, #symbol))
#define R(symbol) ((__typeof__(symbol) *)export_of(runtime, #symbol))

static inline void *export_of(void *library, const char *name)
{
	void *fn = dlsym(library, name);

	if (!fn)
		fail_msg("%s is not exported", name);
	return fn;
}

#endif
