/* SPDX-License-Identifier: Apache-2.0 */
/* What process images hold of the probes' pools (share.h), as read from the kernel. The probes
 * grant; what an image held is returned when it is over (probes_release()).
 */
#ifndef SRTLEAK_GRANTS_H
#define SRTLEAK_GRANTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "event.h"

struct grants {
	int grants, refused; /* maps; the object's */
};

/* What an image holds of a pool; 0 where it holds nothing any more. */
uint32_t grants_of(const struct grants *g, uint32_t image, enum shared pool);

/* Calls `found` for every image that has a grant, and may change the grants. */
void grants_each(const struct grants *g, void (*found)(uint32_t image, void *userdata),
		 void *userdata);

/* What all images hold together. */
void grants_held(const struct grants *g, uint64_t ret[SHARED_MAX]);

/* Whether the process was refused an image. */
bool grants_refused(const struct grants *g, pid_t pid, uint64_t start_ticks);

#endif
