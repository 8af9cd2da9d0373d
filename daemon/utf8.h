/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRTLEAK_UTF8_H
#define SRTLEAK_UTF8_H

#include <stddef.h>

/* The length in bytes of the well-formed UTF-8 character at s, which has n >= 1 bytes; 0 where
 * there is none (overlong forms, surrogates and code points past U+10FFFF are not well-formed).
 */
size_t utf8_length(const unsigned char *s, size_t n);

#endif
