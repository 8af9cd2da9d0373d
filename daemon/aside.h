/* SPDX-License-Identifier: Apache-2.0 */
/* Probes that must not be taken out: a process has written over a probed function, and may write
 * back what it found there, a breakpoint, which would end it if nobody knew of that any more. They
 * stay until no process maps the file.
 */
#ifndef SRTLEAK_ASIDE_H
#define SRTLEAK_ASIDE_H

#include <stddef.h>

#include "library.h"
#include "pins.h"

/* Leaves the library's probes in place, and frees it. Without pins that cannot be: then they go. */
void aside_leave(struct library *library);

/* Takes out those of files that nobody maps any more. Returns how many stay. */
size_t aside_discard(struct pins *pins);

#endif
