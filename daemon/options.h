/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's command line. */
#ifndef SRTLEAK_OPTIONS_H
#define SRTLEAK_OPTIONS_H

#include <stddef.h>

#include "config.h"

struct options {
	const char *config_path; /* NULL: the usual one, which may be missing */
	bool reset;              /* remove what is pinned, and nothing else */
	int argc;
	char **argv;
};

/* Reads the options that are no configuration keys. Returns a status to exit with (help and
 * mistakes have been printed), or -1 to go on. argv must outlive ret.
 */
int options_parse(struct options *ret, int argc, char **argv);

/* The configuration as files and command line have it, the latter on top; may be called again. On
 * failure ret is left alone, ret_error says what is wrong where, and a negative errno is returned.
 */
int options_load(const struct options *options, struct config *ret, char *ret_error, size_t n);

#endif
