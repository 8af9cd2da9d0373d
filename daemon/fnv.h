/* SPDX-License-Identifier: Apache-2.0 */
/* FNV-1a, 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>. Equal everywhere and for ever,
 * which names of sites and of sets of pins must be; not for keys that strangers choose.
 */
#ifndef SRTLEAK_FNV_H
#define SRTLEAK_FNV_H

#include <stddef.h>
#include <stdint.h>

#define FNV_START 0xcbf29ce484222325ULL

static inline uint64_t fnv(uint64_t hash, const void *data, size_t n)
{
	const unsigned char *byte = data;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ byte[i]) * 0x100000001b3ULL;
	return hash;
}

#endif
