/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "macro.h"
#include "utf8.h"

size_t utf8_length(const unsigned char *s, size_t n)
{
	/* Smallest code point that needs so many bytes. */
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = s[0] < 0x80             ? 1
			: (s[0] & 0xe0) == 0xc0 ? 2
			: (s[0] & 0xf0) == 0xe0 ? 3
			: (s[0] & 0xf8) == 0xf0 ? 4
						: 0;
	uint32_t code;

	if (length <= 1)
		return length;
	if (length > n)
		return 0;
	code = s[0] & (0x7fU >> length);
	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return length;
}
