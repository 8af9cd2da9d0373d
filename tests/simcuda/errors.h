/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the error codes, for driver and runtime. */
#ifndef SIMCUDA_ERRORS_H
#define SIMCUDA_ERRORS_H

struct error_text {
	int code;
	const char *driver;
	const char *runtime;
	const char *text;
};

/* Returns the names of a code, or NULL where it is not one of SIMCUDA_ERRORS. */
const struct error_text *error_find(int code);

#endif
