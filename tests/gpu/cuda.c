/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "cuda.h"
#include "macro.h"

struct cuda cuda;

static const struct {
	const char *name;
	bool of_runtime;
	size_t slot; /* in struct cuda */
	void *linked;
} functions[] = {
#define X(function) {#function, false, offsetof(struct cuda, function), NULL},
	CUDA_DRIVER_FUNCTIONS(X)
#undef X
#ifdef STATIC_CUDART
#define X(function) {#function, true, offsetof(struct cuda, function), (void *)(function)},
#else
#define X(function) {#function, true, offsetof(struct cuda, function), NULL},
#endif
		CUDA_RUNTIME_FUNCTIONS(X)
#undef X
};

const char *cuda_load(const char *runtime)
{
	void *driver = dlopen("libcuda.so.1", RTLD_NOW);
	void *library = NULL;

#ifndef STATIC_CUDART
	library = driver ? dlopen(runtime, RTLD_NOW) : NULL;
#else
	(void)runtime;
	library = driver;
#endif
	if (!driver || !library)
		return dlerror();
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		void *function = functions[i].linked;

		if (!function)
			function = dlsym(functions[i].of_runtime ? library : driver,
					 functions[i].name);
		/* Data and function pointers have one size wherever there is dlsym(). */
		memcpy((char *)&cuda + functions[i].slot, &function, sizeof(function));
	}
	return NULL;
}
