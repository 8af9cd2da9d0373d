/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes as people write and read them, in powers of 1024. */
#ifndef SRTLEAK_SIZE_H
#define SRTLEAK_SIZE_H

#include <stdbool.h>
#include <stdint.h>

#define SIZE_TEXT_MAX 16

/* "1048576", "512M", "40 GiB": a whole number of bytes, or of K, M, G, T, which "iB" may follow, or
 * "B" for bytes alone. False where it is none of these, is 0, or takes more than 63 bits.
 */
bool size_parse(const char *text, uint64_t *ret_bytes);

/* "40.0 GiB", as srtleakctl shows it; returns `text`. */
const char *size_format(uint64_t bytes, char text[SIZE_TEXT_MAX]);

#endif
