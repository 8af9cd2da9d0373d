/* SPDX-License-Identifier: Apache-2.0 */
/* Python's str as it lies in memory, to UTF-8. Pure functions over buffers. */
#ifndef SRTLEAK_PYTHON_TEXT_H
#define SRTLEAK_PYTHON_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "python_layout.h"

#define PYTHON_TEXT_HEAD 40 /* bytes of a str that python_text_head() looks at */

/* Without holes, so that two of them compare by their bytes. */
struct python_text {
	uint64_t length; /* characters */
	uint32_t data;   /* where in the object the characters begin, bytes */
	uint32_t width;  /* bytes of one character: 1 (latin-1), 2 or 4 */
};

/* Reads the head of a str. -EBADMSG where it cannot be one, or is of the kind whose characters lie
 * elsewhere (instances of subclasses, which names of code never are).
 */
int python_text_head(const struct python_layout *layout, const uint8_t head[PYTHON_TEXT_HEAD],
		     struct python_text *ret);

/* Converts `count` characters of `width` bytes each; `length` says how many the str has in truth,
 * and where that is more, the last one that there is room for becomes an ellipsis. The result is
 * always valid UTF-8 without NUL: what UTF-8 cannot say (surrogates, values above U+10FFFF) and NUL
 * itself become U+FFFD. The caller frees it. -EINVAL for another width, -ENOMEM.
 */
int python_text_utf8(const uint8_t *units, unsigned int width, size_t count, uint64_t length,
		     char **ret);

#endif
