/* SPDX-License-Identifier: Apache-2.0 */
#include "churn.h"

#define FD_HANDLE 1
#define REFERENCES 4

static uint64_t address(const struct slot *slot, size_t index, unsigned int which)
{
	return world.addresses + index * MAPPINGS * 2 * GRANULE + which * slot->size;
}

/* On a device, or on the host in one of its forms. */
static int create(struct worker *w, uint64_t size, uint64_t *ret)
{
	CUmemAllocationProp prop = {.type = 1, .requestedHandleTypes = FD_HANDLE};

	if (draw(w, 4)) {
		prop.location.type = 1;
		prop.location.id = (int)draw(w, DEVICES);
	} else {
		prop.location.type = 2 + (unsigned int)draw(w, 3);
	}
	return ((api_fn)world.functions[API_cuMemCreate])((uintptr_t)ret, size, (uintptr_t)&prop, 0,
							  0);
}

int physical_create(struct worker *w, enum api api, uint64_t *size, uint64_t *ret)
{
	CUmulticastObjectProp prop = {.numDevices = DEVICES, .size = GRANULE};
	api_fn fn = (api_fn)world.functions[api];

	*size = GRANULE;
	if (api == API_cuMulticastCreate)
		return fn((uintptr_t)ret, (uintptr_t)&prop, 0, 0, 0);
	if (api == API_cuMemImportFromShareableHandle)
		return fn((uintptr_t)ret, (uint64_t)world.physical_fd, FD_HANDLE, 0, 0);
	*size += draw(w, 2) * GRANULE;
	return create(w, *size, ret);
}

void physical_begin(struct slot *slot)
{
	slot->physical[0] = (struct physical){slot->api, slot->ptr, 1};
	slot->physical[1].references = 0;
	slot->mapped[0] = slot->mapped[1] = NULL;
}

static enum outcome outcome_of(int error, bool ends)
{
	return error ? FAILED : ends ? DONE : NOTHING;
}

static bool lives(const struct slot *slot, const struct physical *physical)
{
	return physical->references || slot->mapped[0] == physical || slot->mapped[1] == physical;
}

/* What ended, of memory of ours and others'; of a multicast object nobody is told. */
static void count_ended(struct worker *w, enum api api, const struct slot *slot,
			const struct physical *a, const struct physical *b)
{
	unsigned int ended = !lives(slot, a) && rows[a->api].kind != KIND_NONE;

	ended += b && b != a && !lives(slot, b) && rows[b->api].kind != KIND_NONE;
	for (unsigned int i = 0; i < ended; i++)
		count(w, api, DONE);
	if (!ended)
		count(w, api, NOTHING);
}

/* The following make one call, or say that there is none to make. */

/* A second handle, to be mapped beside the first. */
static bool join(struct worker *w, struct slot *slot)
{
	struct physical *second = &slot->physical[1];
	int error;

	if (lives(slot, second))
		return false;
	error = create(w, slot->size, &second->handle);
	count(w, API_cuMemCreate, outcome_of(error, true));
	second->api = API_cuMemCreate;
	second->references = !error;
	return true;
}

static bool map(struct worker *w, struct slot *slot, size_t index, struct physical *physical)
{
	unsigned int which = slot->mapped[0] || (!slot->mapped[1] && draw(w, 2));
	int error;

	if (slot->mapped[which] || !physical->references)
		return false;
	error = ((api_fn)world.functions[API_cuMemMap])(address(slot, index, which), slot->size, 0,
							physical->handle, 0);
	count(w, API_cuMemMap, outcome_of(error, false));
	if (!error)
		slot->mapped[which] = physical;
	return true;
}

/* One of two mappings, or both at once. */
static bool unmap(struct worker *w, struct slot *slot, size_t index)
{
	bool both = slot->mapped[0] && slot->mapped[1] && draw(w, 2);
	unsigned int which = !slot->mapped[0] || (slot->mapped[1] && !both && draw(w, 2));
	struct physical *first = slot->mapped[which], *second = both ? slot->mapped[1] : NULL;
	int error;

	if (!first)
		return false;
	error = ((api_fn)world.functions[API_cuMemUnmap])(address(slot, index, which),
							  slot->size * (both ? 2 : 1), 0, 0, 0);
	if (error) {
		count(w, API_cuMemUnmap, FAILED);
		return true;
	}
	slot->mapped[which] = NULL;
	if (both)
		slot->mapped[1] = NULL;
	count_ended(w, API_cuMemUnmap, slot, first, second);
	return true;
}

static bool retain(struct worker *w, struct slot *slot, size_t index)
{
	unsigned int which = !slot->mapped[0];
	struct physical *physical = slot->mapped[which];
	uint64_t handle = 0;
	int error;

	if (!physical || physical->references >= REFERENCES)
		return false;
	error = ((api_fn)world.functions[API_cuMemRetainAllocationHandle])(
		(uintptr_t)&handle, address(slot, index, which), 0, 0, 0);
	count(w, API_cuMemRetainAllocationHandle, outcome_of(error, false));
	physical->references += !error;
	return true;
}

/* Also of what only a mapping holds, which must fail. */
static bool give_up(struct worker *w, struct slot *slot, struct physical *physical)
{
	int error;

	if (!lives(slot, physical))
		return false;
	error = ((api_fn)world.functions[API_cuMemRelease])(physical->handle, 0, 0, 0, 0);
	if (error) {
		count(w, API_cuMemRelease, FAILED);
		return true;
	}
	if (!physical->references)
		die("cuMemRelease", "released what only a mapping holds");
	physical->references--;
	count_ended(w, API_cuMemRelease, slot, physical, NULL);
	return true;
}

/* The first is the one that says what the slot holds. */
static void close_ranks(struct slot *slot)
{
	struct physical *first = &slot->physical[0], *second = &slot->physical[1];

	if (!lives(slot, first) && lives(slot, second)) {
		*first = *second;
		second->references = 0;
		for (unsigned int i = 0; i < MAPPINGS; i++)
			if (slot->mapped[i])
				slot->mapped[i] = first;
	}
	slot->api = first->api;
	slot->ptr = lives(slot, first) ? first->handle : 0;
}

static bool use(struct worker *w, struct slot *slot, size_t index)
{
	struct physical *any = &slot->physical[draw(w, 2)];

	switch (draw(w, 6)) {
	case 0:
		return join(w, slot);
	case 1:
		return map(w, slot, index, any);
	case 2:
		return retain(w, slot, index);
	case 3:
		return unmap(w, slot, index);
	default:
		return give_up(w, slot, any);
	}
}

void physical_use(struct worker *w, struct slot *slot, size_t index)
{
	while (!use(w, slot, index))
		;
	close_ranks(slot);
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
