/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

#include "../daemon/libsearch.h"
#include "../daemon/names.h"
#include "../daemon/survey.h"
#include "macro.h"

struct libraries {
	unsigned int files[FAMILY_MAX];
	unsigned int functions, slow;
	char first[128];  /* a path as an example */
	char dearest[64]; /* a function whose probe is slow, likewise */
};

static int look_at(const char *path, enum api_family family, void *userdata)
{
	struct libraries *found = userdata;
	struct probe_point points[API_MAX];
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || survey_library(fd, family, points) < 0)
		return 0;
	if (!*found->first)
		snprintf(found->first, sizeof(found->first), "%s", path);
	found->files[family]++;
	for (int api = 0; api < API_MAX; api++) {
		if (points[api].state == PROBE_SLOW) {
			found->slow++;
			snprintf(found->dearest, sizeof(found->dearest), "%s",
				 api_symbol((enum api)api));
		}
	}
	found->functions += (unsigned int)probes_wanted(points);
	return 0;
}

void check_cuda_libraries(struct check *check, const struct options *options)
{
	static const char elsewhere[] =
		"Libraries elsewhere, as in containers, are found when a process maps them; to "
		"have them probed before, name them as `libraries` in the configuration.";
	struct libraries found = {0};
	int err = libsearch_host(NULL, 0, look_at, &found);

	(void)options;
	if (err < 0)
		check_set(check, CHECK_WARN, elsewhere, "search failed: %s", strerror(-err));
	else if (!*found.first)
		check_set(check, CHECK_WARN, elsewhere, "no CUDA library on this host");
	else if (found.slow > 0)
		check_set(
			check, CHECK_WARN,
			"These begin with an instruction that the kernel has to single-step; "
			"probe_cost says what that costs here.",
			"runtime: %u, driver: %u; %u of %u functions are slow to probe, %s is one",
			found.files[FAMILY_CUDART], found.files[FAMILY_CUDA], found.slow,
			found.functions, found.dearest);
	else
		check_set(check, CHECK_OK, NULL,
			  "runtime: %u, driver: %u; %u functions, all quick to probe (%s%s)",
			  found.files[FAMILY_CUDART], found.files[FAMILY_CUDA], found.functions,
			  found.first,
			  found.files[FAMILY_CUDART] + found.files[FAMILY_CUDA] > 1 ? ", …" : "");
}
