/* SPDX-License-Identifier: Apache-2.0 */
/* What processes have mapped of some libraries, and whether they have written over functions of
 * these (intact.h).
 */
#ifndef SRTLEAK_LOOK_H
#define SRTLEAK_LOOK_H

#include <stddef.h>
#include <sys/types.h>

#include "costly.h"
#include "intact.h"
#include "library.h"

struct look {
	size_t pieces; /* mappings; 0: it has none */
	enum intact found;
};

struct looks {
	struct library *const *libraries;
	size_t n;
	struct look *looks; /* of each at the last process */
	struct costly costly;
	struct look *kept[COSTLY_MAX]; /* of each at those */
};

/* For looks at these libraries, NULL where one is gone by now. -ENOMEM. */
int looks_init(struct looks *looks, struct library *const *libraries, size_t n);
void looks_done(struct looks *looks);

/* Looks at a process: the findings are in looks->looks. One that has more mappings than anybody
 * needs, or of one library, is not taken to have left it as it is; one that is gone has none.
 */
void looks_take(struct looks *looks, pid_t pid);

#endif
