/* SPDX-License-Identifier: Apache-2.0 */
/* For programs that call the simulated libraries: SIMCUDA_DIR says where they are (default
 * build/simcuda).
 */
#ifndef SRTLEAK_SIMCUDA_OPEN_H
#define SRTLEAK_SIMCUDA_OPEN_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program where there is no such library. */
static inline void *simcuda_open(const char *name)
{
	const char *dir = getenv("SIMCUDA_DIR");
	char path[4096];
	void *library;

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : "build/simcuda", name);
	library = dlopen(path, RTLD_NOW);
	if (library)
		return library;
	fprintf(stderr, "%s\n", dlerror());
	exit(1);
}

#endif
