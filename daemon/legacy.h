/* SPDX-License-Identifier: Apache-2.0 */
/* Probes that an earlier daemon has left pinned, until each file is found again or given up. */
#ifndef SRTLEAK_LEGACY_H
#define SRTLEAK_LEGACY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "library.h"
#include "probes.h"

struct legacy;

int legacy_new(struct pins *pins, struct legacy **ret);

/* Takes over the probes of this file. -ENOENT: there are none, or they are of another state of it,
 * and gone: they must not stay beside those that are placed instead. Otherwise the file could not
 * be read now, and they stay.
 */
int legacy_take(struct legacy *legacy, const struct probes *probes, bool multi,
		const struct library_file *file, struct library **ret);

/* A file that has no name any more, and cannot be opened, while a process goes on with it: its
 * probes go on too. False where there are none of it. NULL is fine.
 */
bool legacy_keep(struct legacy *legacy, uint64_t file);

/* The highest number of them; 0: there are none. NULL is fine. */
uint32_t legacy_last_number(const struct legacy *legacy);

/* Whether some of these probes have this number. NULL is fine. */
bool legacy_has_number(const struct legacy *legacy, uint32_t number);

/* Takes out what nobody has claimed, of files that are gone, or are not what they were. What is
 * kept can still be taken over. NULL is fine.
 */
void legacy_drop(struct legacy *legacy, const struct probes *probes);

struct legacy *legacy_free(struct legacy *legacy);

#endif
