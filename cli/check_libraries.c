/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "check.h"

#include "../daemon/libsearch.h"

struct libraries {
	unsigned count[FAMILY_MAX];
	char first[128]; /* a path as an example */
};

static int count_library(const char *path, enum api_family family, void *userdata)
{
	struct libraries *found = userdata;

	if (!*found->first)
		snprintf(found->first, sizeof(found->first), "%s", path);
	found->count[family]++;
	return 0;
}

void check_cuda_libraries(struct check *check, const struct options *options)
{
	static const char elsewhere[] =
		"Libraries elsewhere, as in containers, are found when a process maps them; to "
		"have "
		"them probed before, name them as `libraries` in the configuration.";
	struct libraries found = {0};
	int err = libsearch_host(NULL, 0, count_library, &found);

	(void)options;
	if (err < 0)
		check_set(check, CHECK_WARN, elsewhere, "search failed: %s", strerror(-err));
	else if (!*found.first)
		check_set(check, CHECK_WARN, elsewhere, "no CUDA library on this host");
	else
		check_set(check, CHECK_OK, NULL, "runtime: %u, driver: %u (%s%s)",
			  found.count[FAMILY_CUDART], found.count[FAMILY_CUDA], found.first,
			  found.count[FAMILY_CUDART] + found.count[FAMILY_CUDA] > 1 ? ", …" : "");
}
