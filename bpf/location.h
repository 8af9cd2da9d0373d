/* SPDX-License-Identifier: GPL-2.0 */
/* Where memory is, in the words of the driver's structures. */
#ifndef SRTLEAK_LOCATION_H
#define SRTLEAK_LOCATION_H

/* CUmemLocation */
struct location {
	__u32 type, id;
};

#define LOCATION_DEVICE 1     /* CU_MEM_LOCATION_TYPE_DEVICE */
#define LOCATION_HOST_FIRST 2 /* …_HOST, …_HOST_NUMA, …_HOST_NUMA_CURRENT */
#define LOCATION_HOST_LAST 4
#define ALLOCATION_MANAGED 2 /* CU_MEM_ALLOCATION_TYPE_MANAGED */

static __always_inline void place_at(const struct location *location, __u32 allocation,
				     struct place *place)
{
	place->device = DEVICE_UNKNOWN;
	if (location->type == LOCATION_DEVICE)
		place->device = device_of(location->id);
	else if (location->type >= LOCATION_HOST_FIRST && location->type <= LOCATION_HOST_LAST)
		place->kind = KIND_HOST;
	if (allocation == ALLOCATION_MANAGED)
		place->kind = KIND_MANAGED;
}

static __always_inline void place_location(__u64 from, __u32 allocation, struct place *place)
{
	struct location location = {};

	(void)bpf_probe_read_user(&location, sizeof(location), (const void *)from);
	place_at(&location, allocation, place);
}

/* CUmemAllocationProp and CUmemPoolProps begin alike. */
static __always_inline void place_properties(__u64 from, struct place *place)
{
	struct {
		__u32 allocation, handle_types;
		struct location location;
	} properties = {};

	(void)bpf_probe_read_user(&properties, sizeof(properties), (const void *)from);
	place_at(&properties.location, properties.allocation, place);
}

#endif
