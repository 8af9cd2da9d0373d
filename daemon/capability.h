/* SPDX-License-Identifier: Apache-2.0 */
/* The capabilities that tracking needs, and which of them this process has. */
#ifndef SRTLEAK_CAPABILITY_H
#define SRTLEAK_CAPABILITY_H

#include <stdbool.h>
#include <stddef.h>

#define CAPABILITIES_MAX 8

/* Names of those in force ("CAP_BPF"), of those that concern tracking; returns how many. */
size_t capability_names(const char *ret[CAPABILITIES_MAX]);

/* Whether a kind of link can be made: multi needs CAP_BPF and CAP_PERFMON, perf CAP_SYS_ADMIN,
 * which stands for the other two as well.
 */
bool capability_can_probe(bool multi);

/* Whether processes of other users can be read. */
bool capability_can_read(void);

#endif
