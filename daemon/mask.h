/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets in command lines, so that they can be shown.
 *
 * What becomes "***":
 *  - the value of an option, variable, header, query parameter or JSON member whose name has a part
 *    such as key, token, password or secret: `--api-key X`, `--api-key=X`, `HF_TOKEN=X`,
 *    `?token=X&…`, `{"api_key": "X"}`; parts are what stands between `-`, `_`, `.`, or humps
 *    (`apiKey`), so that `--tokenizer` and `--max-tokens` are not meant;
 *  - the user part of a URL: `scheme://user:password@host`.
 * Arguments that hold a whole script (`sh -c "…"`) are looked through as well. Where it is unclear
 * how far a secret goes, too much is masked: all words after `--api-key` up to the next option.
 */
#ifndef SRTLEAK_MASK_H
#define SRTLEAK_MASK_H

#include <stddef.h>

#include "buffer.h"

/* Appends the NUL-separated arguments (as /proc/PID/cmdline has them; the last need not end in NUL)
 * to the buffer: masked, joined with blanks, without a NUL.
 */
void mask_arguments(struct buffer *out, const char *args, size_t size);

#endif
