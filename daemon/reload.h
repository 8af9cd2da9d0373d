/* SPDX-License-Identifier: Apache-2.0 */
/* SIGHUP: reading the configuration again while processes are being tracked. */
#ifndef SRTLEAK_RELOAD_H
#define SRTLEAK_RELOAD_H

#include "config.h"
#include "discovery.h"
#include "http.h"
#include "options.h"
#include "tracker.h"

struct reload {
	const struct options *options;
	struct config *config; /* the one in force, which is changed */
	struct tracker *tracker;
	struct discovery *discovery;
	struct http *http; /* NULL: none */
};

/* Reads it and applies what can be applied; tells systemd, and the log what needs a restart. Where
 * something is wrong with it, all stays as it was and the log says why.
 */
void reload_configuration(const struct reload *r);

#endif
