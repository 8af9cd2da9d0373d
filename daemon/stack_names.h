/* SPDX-License-Identifier: Apache-2.0 */
/* From an interned stack of addresses to a stack of names. */
#ifndef SRTLEAK_STACK_NAMES_H
#define SRTLEAK_STACK_NAMES_H

#include <stdint.h>

#include "buffer.h"
#include "event.h"
#include "python_reader.h"
#include "site.h"
#include "symbols.h"

/* Names every frame. With `verify`, code objects must be those that were there when the stack was
 * stored. What cannot be read is called "?" (Python) or left without a symbol (native);
 * an address in no executable mapping ends the native part, which is then marked as truncated. The
 * strings live in `strings`, which the caller frees.
 */
int stack_names(const uint64_t words[STACK_WORDS], bool verify, struct python *python,
		struct modules *modules, struct buffer *strings, struct site_stack *ret);

#endif
