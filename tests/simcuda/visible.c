/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdlib.h>

#include "visible.h"

static bool is_among(int device, const int *others, int n)
{
	for (int i = 0; i < n; i++)
		if (others[i] == device)
			return true;
	return false;
}

int visible_devices(const char *list, int devices, int ret[])
{
	int n = 0;

	if (!list) {
		for (; n < devices; n++)
			ret[n] = n;
		return n;
	}
	for (const char *at = list;; at++) {
		char *end;
		long device = strtol(at, &end, 10);

		if (end == at || (*end && *end != ',') || device < 0 || device >= devices)
			return n;
		if (is_among((int)device, ret, n))
			return 0;
		ret[n++] = (int)device;
		if (!*end)
			return n;
		at = end;
	}
}
