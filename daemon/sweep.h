/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel keeps besides allocations, gone through: entries of process images that are over
 * are removed, and the contexts found that have ended with all that was made in them.
 */
#ifndef SRTLEAK_SWEEP_H
#define SRTLEAK_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "probes.h"
#include "table.h"

struct sweep {
	const struct probes *probes;
	bool (*is_over)(uint32_t image, void *userdata);
	/* Called for each pool of a living image; may be NULL. */
	void (*pool)(uint32_t image, uint64_t handle, const struct handle *known, void *userdata);
	void *userdata;
	struct table ended; /* contexts, by image and number */
};

void sweep_init(struct sweep *sweep, const struct probes *probes);
void sweep_done(struct sweep *sweep);

/* A negative errno where the kernel's maps could not be read to the end. */
int sweep_run(struct sweep *sweep);

/* Whether an allocation has gone with its context. */
bool sweep_has_ended(const struct sweep *sweep, uint32_t image, uint32_t context);

#endif
