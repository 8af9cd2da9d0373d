/* SPDX-License-Identifier: Apache-2.0 */
#include "churn.h"

static uint64_t address(const struct slot *slot, size_t index, unsigned int which)
{
	return world.addresses + index * MAPPINGS * 2 * GRANULE + which * slot->size;
}

uint64_t physical_size(struct worker *w)
{
	return (1 + draw(w, 2)) * GRANULE;
}

static bool is_mapped(const struct slot *slot)
{
	return slot->mapped[0] || slot->mapped[1];
}

static enum outcome outcome_of(int error, bool ends)
{
	return error ? FAILED : ends ? DONE : NOTHING;
}

/* Only memory of ours ends as an allocation; of a multicast object nobody is told. */
static bool is_last(const struct slot *slot)
{
	return !slot->handles && !is_mapped(slot) && rows[slot->api].kind != KIND_NONE;
}

static void map(struct worker *w, struct slot *slot, size_t index)
{
	unsigned int which = slot->mapped[0];
	api_fn fn = (api_fn)world.functions[API_cuMemMap];
	int error = slot->mapped[which]
			    ? 0
			    : fn(address(slot, index, which), slot->size, 0, slot->ptr, 0);

	if (slot->mapped[which])
		return;
	count(w, API_cuMemMap, outcome_of(error, false));
	slot->mapped[which] = !error;
}

/* One of two mappings, or both at once. */
static void unmap(struct worker *w, struct slot *slot, size_t index)
{
	api_fn fn = (api_fn)world.functions[API_cuMemUnmap];
	bool both = slot->mapped[0] && slot->mapped[1] && draw(w, 2);
	unsigned int which = slot->mapped[0] && (both || !slot->mapped[1] || draw(w, 2)) ? 0 : 1;
	struct slot after = *slot;
	int error = fn(address(slot, index, which), slot->size * (both ? 2 : 1), 0, 0, 0);

	after.mapped[which] = false;
	after.mapped[1] = after.mapped[1] && !both;
	count(w, API_cuMemUnmap, outcome_of(error, is_last(&after)));
	if (!error)
		slot->mapped[0] = after.mapped[0], slot->mapped[1] = after.mapped[1];
}

static void retain(struct worker *w, struct slot *slot, size_t index)
{
	api_fn fn = (api_fn)world.functions[API_cuMemRetainAllocationHandle];
	uint64_t handle = 0;
	int error = fn((uintptr_t)&handle, address(slot, index, !slot->mapped[0]), 0, 0, 0);

	count(w, API_cuMemRetainAllocationHandle, outcome_of(error, false));
	slot->handles += !error;
}

static void give_up(struct worker *w, struct slot *slot)
{
	api_fn fn = (api_fn)world.functions[API_cuMemRelease];
	struct slot after = *slot;
	int error = fn(slot->ptr, 0, 0, 0, 0);

	after.handles--;
	count(w, API_cuMemRelease, outcome_of(error, is_last(&after)));
	slot->handles -= !error;
}

void physical_use(struct worker *w, struct slot *slot, size_t index)
{
	switch (draw(w, 5)) {
	case 0:
		if (slot->handles && slot->size)
			map(w, slot, index);
		break;
	case 1:
		if (is_mapped(slot) && slot->handles < 4)
			retain(w, slot, index);
		break;
	case 2:
	case 3:
		if (slot->handles)
			give_up(w, slot);
		break;
	default:
		if (is_mapped(slot))
			unmap(w, slot, index);
	}
	if (!slot->handles && !is_mapped(slot))
		slot->ptr = 0;
}

void physical_misuse(struct worker *w, size_t index)
{
	api_fn unmap_fn = (api_fn)world.functions[API_cuMemUnmap];
	api_fn map_fn = (api_fn)world.functions[API_cuMemMap];
	const struct slot nowhere = {.size = GRANULE};
	uint64_t at = address(&nowhere, SLOTS, 0) + index % 2 * GRANULE;

	count(w, API_cuMemUnmap, FAILED);
	if (!unmap_fn(at, GRANULE, 0, 0, 0))
		die("cuMemUnmap", "removed what is not there");
	count(w, API_cuMemMap, FAILED);
	if (!map_fn(at, GRANULE, 0, NEVER_ALLOCATED, 0))
		die("cuMemMap", "mapped what is not there");
}
