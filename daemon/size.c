/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"
#include "size.h"

#define DIGITS_MAX 19

static const char units[] = "KMGT";

/* Bits that a unit shifts by; -1 where it is none. */
static int unit_shift(const char *unit)
{
	const char *letter;

	if (*unit == '\0' || strcmp(unit, "B") == 0)
		return 0;
	letter = strchr(units, *unit);
	if (!letter || (unit[1] != '\0' && strcmp(unit + 1, "iB") != 0))
		return -1;
	return 10 * (int)(letter - units + 1);
}

bool size_parse(const char *text, uint64_t *ret_bytes)
{
	size_t digits = strspn(text, "0123456789");
	const char *unit = text + digits + strspn(text + digits, " ");
	int shift = unit_shift(unit);
	uint64_t number;

	if (digits == 0 || digits > DIGITS_MAX || shift < 0 || (*unit == '\0' && text[digits]))
		return false;
	number = strtoull(text, NULL, 10);
	if (number == 0 || number > (uint64_t)INT64_MAX >> shift)
		return false;
	*ret_bytes = number << shift;
	return true;
}

const char *size_format(uint64_t bytes, char text[SIZE_TEXT_MAX])
{
	double value = (double)bytes;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(text, SIZE_TEXT_MAX, "%u B", (unsigned int)bytes);
		return text;
	}
	for (value /= 1024; value >= 1024 && unit < sizeof(units) - 2; unit++)
		value /= 1024;
	snprintf(text, SIZE_TEXT_MAX, "%.1f %ciB", MIN(value, 9999999.0), units[unit]);
	return text;
}
