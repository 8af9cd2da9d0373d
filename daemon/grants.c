/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "grants.h"
#include "macro.h"

uint32_t grants_of(const struct grants *g, uint32_t image, enum shared pool)
{
	struct grant grant;

	return bpf_map_lookup_elem(g->grants, &image, &grant) < 0 ? 0 : grant.used[pool];
}

/* All images with a grant, to be freed; their number, or -ENOMEM. Collected first, because removing
 * one would send the kernel's walk back to its start.
 */
static int collect(const struct grants *g, uint32_t **ret_images)
{
	uint32_t *images = calloc(GRANTS_MAX, sizeof(*images)), *previous = NULL;
	size_t n = 0;

	if (!images)
		return -ENOMEM;
	while (n < GRANTS_MAX && bpf_map_get_next_key(g->grants, previous, &images[n]) == 0)
		previous = &images[n++];
	*ret_images = images;
	return (int)n;
}

void grants_each(const struct grants *g, void (*found)(uint32_t image, void *userdata),
		 void *userdata)
{
	_cleanup_free_ uint32_t *images = NULL;
	int n = collect(g, &images);

	for (int i = 0; i < n; i++)
		found(images[i], userdata);
}

void grants_held(const struct grants *g, uint64_t ret[SHARED_MAX])
{
	_cleanup_free_ uint32_t *images = NULL;
	int n = collect(g, &images);

	memset(ret, 0, SHARED_MAX * sizeof(*ret));
	for (int i = 0; i < n; i++) {
		struct grant grant;

		if (bpf_map_lookup_elem(g->grants, &images[i], &grant) < 0)
			continue;
		for (int pool = 0; pool < SHARED_MAX; pool++)
			ret[pool] += grant.used[pool];
	}
}

bool grants_refused(const struct grants *g, pid_t pid, uint64_t start_ticks)
{
	uint32_t key = (uint32_t)pid;
	uint64_t ticks;

	return bpf_map_lookup_elem(g->refused, &key, &ticks) == 0 && ticks == start_ticks;
}
