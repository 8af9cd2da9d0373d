/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries whose probes are being taken out: a few at a time, as the kernel takes some hundredths
 * of a second for each perf link, of which a library may have hundreds, and others wait.
 */
#ifndef SRTLEAK_LEAVING_H
#define SRTLEAK_LEAVING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>

#include "library.h"
#include "quota.h"

struct leaving {
	struct quotas
		*quotas; /* room in `libraries` is given back when it is out; the time is owed */
	sd_event_source *source;
	struct library *libraries[LIBRARIES_MAX];
	size_t n;
};

int leaving_start(struct leaving *l, sd_event *loop, struct quotas *quotas);

/* Takes it over, and frees it when its probes are out. */
void leaving_add(struct leaving *l, struct library *library);

/* Whether probes of this file are still there: no others may be placed beside them then. */
bool leaving_holds(const struct leaving *l, uint64_t file);

/* Takes out what is left of all of them. */
void leaving_end(struct leaving *l);

#endif
