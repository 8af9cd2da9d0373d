/* SPDX-License-Identifier: Apache-2.0 */
/* How failures are told to the user: "srtleakctl: what failed: why" and what to do, or as JSON. */
#ifndef SRTLEAK_CLI_ERROR_H
#define SRTLEAK_CLI_ERROR_H

#include <stdbool.h>

#include "macro.h"
#include "protocol.h"

/* From here on errors are JSON objects on standard output instead of lines on standard error. */
void error_use_json(bool json);

/* Says that an object was begun on standard output. An error that comes now starts a new line and
 * leaves that object unfinished, so that no parser takes the half for the whole.
 */
void error_output_begun(void);

/* Reports one failure and returns `status`. `what` and the formatted reason may hold text of any
 * origin; `hint` may be NULL.
 */
int error_report(enum cli_status status, const char *hint, const char *what, const char *why, ...)
	_printf_(4, 5);

/* Reports wrong usage of `command` (NULL: of the program) and returns CLI_USAGE. */
int error_usage(const char *command, const char *why, ...) _printf_(2, 3);

#endif
