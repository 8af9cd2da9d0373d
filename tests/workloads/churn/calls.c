/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "churn.h"

#define PITCH_ELEMENT 4
#define MANAGED_GLOBAL 1
#define LAYERED 1
#define CUBEMAP 4
#define FD_HANDLE 1 /* CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, …EXTERNAL…OPAQUE_FD */

typedef int (*ipc_fn)(uint64_t *ptr, CUipcMemHandle handle, unsigned int flags);
typedef int (*pitched_fn)(struct cudaPitchedPtr *ptr, struct cudaExtent extent);
typedef int (*array3d_fn)(uint64_t *ret, const struct cudaChannelFormatDesc *desc,
			  struct cudaExtent extent, unsigned int flags);
typedef int (*mipmap_fn)(uint64_t *ret, const struct cudaChannelFormatDesc *desc,
			 struct cudaExtent extent, unsigned int levels, unsigned int flags);

/* The first part that a function's name has. */
static const struct {
	const char *part;
	enum way_back way;
} ways[] = {
	{"Mipmap", TO_FREE_MIPMAP},
	{"MappedBuffer", TO_FREE},
	{"ExternalMemory", TO_FORGET},
	{"PoolImportPointer", TO_FREE_ASYNC},
	{"FromPool", TO_FREE_ASYNC},
	{"MemPool", TO_DESTROY_POOL},
	{"Ipc", TO_CLOSE},
	{"Graph", TO_DESTROY_GRAPH},
	{"Array", TO_FREE_ARRAY},
	{"egister", TO_UNREGISTER},
	{"Host", TO_FREE_HOST},
	{"MemCreate", TO_RELEASE},
	{"MemRelease", TO_RELEASE},
	{"ShareableHandle", TO_RELEASE},
	{"Multicast", TO_RELEASE},
	{"Async", TO_FREE_ASYNC},
};

enum way_back way_back(enum api api)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		if (strstr(names[api], ways[i].part))
			return ways[i].way;
	return TO_FREE;
}

bool takes_back(enum api api, const struct slot *slot)
{
	enum way_back needed = way_back(slot->api), way = way_back(api);

	if (rows[api].pointer == POINTER_ARG32 && slot->ptr > UINT32_MAX)
		return false;
	return way == needed || (needed == TO_FREE_ASYNC && way == TO_FREE);
}

static uint64_t draw_size(struct worker *w, enum api api)
{
	if (draw(w, 128) == 0)
		return 0;
	if (rows[api].kind == KIND_DEVICE && rows[api].size == SIZE_BYTES)
		return 1 + draw(w, 4 << 20);
	return 1 + draw(w, PAGE);
}

static unsigned int draw_format(struct worker *w)
{
	static const unsigned char formats[] = {
		0x01, 0x02, 0x03, 0x08, 0x09, 0x0a, 0x10, 0x20, 0x50, /* plain */
		0x91, 0x94, 0x96, 0x97, 0x98, 0x9a, 0x9c, 0x9e, 0xb0, /* blocks, planes */
		0xc0, 0xc2, 0xc4, 0xc7, 0xcb,                         /* normalised */
	};

	return formats[draw(w, sizeof(formats))];
}

static struct cudaExtent draw_extent(struct worker *w)
{
	return (struct cudaExtent){1 + draw(w, 200), draw(w, 40), draw(w, 6)};
}

/* Of a cubemap: six squares. */
static struct cudaExtent draw_cube(struct worker *w)
{
	uint64_t edge = 1 + draw(w, 60);

	return (struct cudaExtent){edge, edge, 6};
}

/* How the depth is meant: as one, as layers, as the faces of a cube. */
static struct cudaExtent draw_shape(struct worker *w, unsigned int *ret_flags)
{
	static const unsigned int flags[] = {0, 0, LAYERED, CUBEMAP};

	*ret_flags = flags[draw(w, ARRAY_SIZE(flags))];
	return *ret_flags == CUBEMAP ? draw_cube(w) : draw_extent(w);
}

static CUDA_ARRAY3D_DESCRIPTOR draw_solid(struct worker *w)
{
	unsigned int flags;
	struct cudaExtent extent = draw_shape(w, &flags);

	return (CUDA_ARRAY3D_DESCRIPTOR){
		.Width = extent.width,
		.Height = extent.height,
		.Depth = extent.depth,
		.Format = draw_format(w),
		.NumChannels = 1U << draw(w, 3),
		.Flags = flags,
	};
}

static struct cudaChannelFormatDesc draw_texel(struct worker *w)
{
	/* Bits of each channel, and what they are (cudaChannelFormatKind). */
	static const struct {
		unsigned char x, y, z, w, kind;
	} texels[] = {
		{8, 0, 0, 0, 0},     {16, 16, 0, 0, 0}, {32, 32, 32, 32, 0}, {8, 8, 8, 8, 1},
		{16, 0, 0, 0, 1},    {32, 32, 0, 0, 1}, {16, 16, 16, 16, 2}, {32, 0, 0, 0, 2},
		{8, 8, 8, 0, 4},     {8, 0, 0, 0, 5},   {8, 8, 8, 8, 7},     {16, 16, 0, 0, 9},
		{16, 0, 0, 0, 14},   {8, 8, 8, 8, 17},  {8, 8, 8, 8, 18},    {8, 8, 8, 8, 19},
		{8, 8, 8, 8, 22},    {8, 0, 0, 0, 23},  {8, 0, 0, 0, 24},    {8, 8, 0, 0, 25},
		{16, 16, 16, 0, 28}, {8, 8, 8, 8, 30},  {10, 10, 10, 2, 31},
	};
	size_t i = draw(w, ARRAY_SIZE(texels));

	return (struct cudaChannelFormatDesc){
		.x = texels[i].x,
		.y = texels[i].y,
		.z = texels[i].z,
		.w = texels[i].w,
		.f = (enum cudaChannelFormatKind)texels[i].kind,
	};
}

static int driver_array(struct worker *w, enum api api, uint64_t *ret)
{
	api_fn fn = (api_fn)world.functions[api];
	CUDA_ARRAY3D_DESCRIPTOR solid = draw_solid(w);
	CUDA_ARRAY3D_DESCRIPTOR_v1 solid32 = {
		.Width = (unsigned int)solid.Width,
		.Height = (unsigned int)solid.Height,
		.Depth = (unsigned int)solid.Depth,
		.Format = solid.Format,
		.NumChannels = solid.NumChannels,
		.Flags = solid.Flags,
	};
	CUDA_ARRAY_DESCRIPTOR plane = {
		.Width = solid.Width,
		.Height = solid.Height,
		.Format = solid.Format,
		.NumChannels = solid.NumChannels,
	};
	CUDA_ARRAY_DESCRIPTOR_v1 plane32 = {
		.Width = solid32.Width,
		.Height = solid32.Height,
		.Format = solid.Format,
		.NumChannels = solid.NumChannels,
	};
	const void *desc = rows[api].size == SIZE_PLANE32   ? (void *)&plane32
			   : rows[api].size == SIZE_PLANE   ? (void *)&plane
			   : rows[api].size == SIZE_SOLID32 ? (void *)&solid32
							    : (void *)&solid;

	return fn((uintptr_t)ret, (uintptr_t)desc, draw(w, 12), 0, 0);
}

static int runtime_array(struct worker *w, enum api api, uint64_t *ret)
{
	struct cudaChannelFormatDesc texel = draw_texel(w);
	unsigned int flags;
	struct cudaExtent extent = draw_shape(w, &flags);
	void *fn = world.functions[api];

	if (rows[api].size == SIZE_TEXELS3D)
		return ((array3d_fn)fn)(ret, &texel, extent, flags);
	if (rows[api].size == SIZE_TEXELS_MIPMAP)
		return ((mipmap_fn)fn)(ret, &texel, extent, (unsigned int)draw(w, 12), flags);
	return ((api_fn)fn)((uintptr_t)ret, (uintptr_t)&texel, extent.width, extent.height, 0);
}

static int array(struct worker *w, enum api api, uint64_t *ret)
{
	return rows[api].size >= SIZE_TEXELS ? runtime_array(w, api, ret)
					     : driver_array(w, api, ret);
}

static int pitched(struct worker *w, enum api api, uint64_t *ret)
{
	struct cudaPitchedPtr ptr = {0};
	struct cudaExtent extent = {1 + draw(w, 500), 1 + draw(w, 20), 1 + draw(w, 5)};
	int error = ((pitched_fn)world.functions[api])(&ptr, extent);

	*ret = (uintptr_t)ptr.ptr;
	return error;
}

/* The driver closes the descriptor, if it takes it. */
static int import_external(enum api api, uint64_t *ret)
{
	CUDA_EXTERNAL_MEMORY_HANDLE_DESC desc = {.type = FD_HANDLE, .size = GRANULE};
	int error;

	desc.handle.fd = dup(world.physical_fd);
	error = ((api_fn)world.functions[api])((uintptr_t)ret, (uintptr_t)&desc, 0, 0, 0);
	if (error)
		close(desc.handle.fd);
	return error;
}

static int view(enum api api, uint64_t *ret)
{
	CUDA_EXTERNAL_MEMORY_BUFFER_DESC buffer = {.size = PAGE};
	CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC driver = {
		.arrayDesc = {.Width = 16, .Height = 16, .Format = 0x20, .NumChannels = 1},
		.numLevels = 1,
	};
	struct cudaExternalMemoryMipmappedArrayDesc runtime = {
		.formatDesc = {.x = 32, .f = cudaChannelFormatKindFloat},
		.extent = {16, 16, 0},
		.numLevels = 1,
	};
	const void *desc = rows[api].space == SPACE_MEMORY     ? (void *)&buffer
			   : rows[api].family == FAMILY_CUDART ? (void *)&runtime
							       : (void *)&driver;

	return ((api_fn)world.functions[api])((uintptr_t)ret, (uintptr_t)world.external,
					      (uintptr_t)desc, 0, 0);
}

static int make_pool(struct worker *w, enum api api, uint64_t *ret)
{
	CUmemPoolProps props = {.allocType = 1, .location = {.type = 1}};

	if (strstr(names[api], "Import"))
		return ((api_fn)world.functions[api])((uintptr_t)ret, (uint64_t)world.pool_fd,
						      FD_HANDLE, 0, 0);
	if (draw(w, 4) == 0)
		props.location.type = 2 + (unsigned int)draw(w, 2); /* on the host */
	else
		props.location.id = (int)draw(w, DEVICES);
	return ((api_fn)world.functions[api])((uintptr_t)ret, (uintptr_t)&props, 0, 0, 0);
}

/* Memory outlives the pool that it is from. */
static int from_own_pool(struct worker *w, enum api api, uint64_t *ret)
{
	enum api make =
		draw(w, 2) && !world.driver_only ? API_cudaMemPoolCreate : API_cuMemPoolCreate;
	uint64_t pool = 0;
	int error = make_pool(w, make, &pool);

	count(w, make, error ? FAILED : NOTHING);
	if (error)
		return error;
	error = ((api_fn)world.functions[api])((uintptr_t)ret, draw_size(w, api), pool, 0, 0);
	release(w, API_cuMemPoolDestroy, pool, false);
	return error;
}

static int graph(enum api api, uint64_t *ret)
{
	CUDA_GRAPH_INSTANTIATE_PARAMS params = {0};
	uint64_t third = strstr(names[api], "WithParams") ? (uintptr_t)&params : 0;

	return ((api_fn)world.functions[api])((uintptr_t)ret, (uintptr_t)world.graph, third, 0, 0);
}

/* Up to 2 they are those of the thread's context. */
static uint64_t draw_stream(struct worker *w)
{
	return draw(w, 2) && w->stream ? w->stream : draw(w, 3);
}

static int plain(struct worker *w, enum api api, size_t index, uint64_t *ret)
{
	api_fn fn = (api_fn)world.functions[api];
	uint64_t pitch = 0, out = (uintptr_t)ret, third = 0;

	if (rows[api].pointer == POINTER_OUT32)
		*ret = UINT64_MAX << 32; /* the upper half is not the function's */
	if (rows[api].size == SIZE_PITCH || rows[api].size == SIZE_PITCH32)
		return fn(out, (uintptr_t)&pitch, draw_size(w, api), 1 + draw(w, 16),
			  PITCH_ELEMENT);
	if (rows[api].pointer == POINTER_ARG)
		out = *ret = (uintptr_t)&world.pages[index * PAGE];
	if (rows[api].place == PLACE_POOL && draw(w, 16) == 0 && can_be_called(API_cuMemPoolCreate))
		return from_own_pool(w, api, ret);
	if (rows[api].place == PLACE_POOL)
		third = (uintptr_t)world.pools[draw(w, DEVICES)];
	else if (rows[api].place == PLACE_STREAM)
		third = draw_stream(w);
	else if (rows[api].kind == KIND_MANAGED)
		third = MANAGED_GLOBAL;
	return fn(out, draw_size(w, api), third, 0, 0);
}

static int allocate(struct worker *w, struct slot *slot, size_t index)
{
	enum api api = slot->api;

	if (rows[api].space == SPACE_PHYSICAL)
		return physical_create(w, api, &slot->size, &slot->ptr);
	if (rows[api].space == SPACE_POOL)
		return make_pool(w, api, &slot->ptr);
	if (rows[api].space == SPACE_EXTERNAL)
		return import_external(api, &slot->ptr);
	if (rows[api].space == SPACE_GRAPH)
		return graph(api, &slot->ptr);
	if (rows[api].kind == KIND_NONE)
		return view(api, &slot->ptr);
	if (rows[api].space == SPACE_ARRAY)
		return array(w, api, &slot->ptr);
	if (rows[api].size == SIZE_PITCHED)
		return pitched(w, api, &slot->ptr);
	if (strstr(names[api], "IpcOpen"))
		return ((ipc_fn)world.functions[api])(&slot->ptr, world.exported[index], 0);
	if (strstr(names[api], "ImportPointer"))
		return ((api_fn)world.functions[api])(
			(uintptr_t)&slot->ptr, (uintptr_t)world.pool_of_another,
			(uintptr_t)&world.pointers[draw(w, EXPORTED)], 0, 0);
	return plain(w, api, index, &slot->ptr);
}

void fill(struct worker *w, struct slot *slot, size_t index)
{
	int error;

	slot->ptr = 0;
	error = allocate(w, slot, index);
	slot->opens = way_back(slot->api) == TO_CLOSE;
	if (rows[slot->api].pointer == POINTER_OUT32)
		slot->ptr = (uint32_t)slot->ptr;
	count(w, slot->api, error ? FAILED : slot->ptr ? DONE : NOTHING);
	if (error)
		slot->ptr = 0;
	else if (rows[slot->api].space == SPACE_PHYSICAL)
		physical_begin(slot);
}

int release(struct worker *w, enum api api, uint64_t ptr, bool is_allocation)
{
	int error = ((api_fn)world.functions[api])(ptr, 0, 0, 0, 0);

	count(w, api, error ? FAILED : ptr && is_allocation ? DONE : NOTHING);
	return error;
}

void empty(struct worker *w, struct slot *slot)
{
	enum api api;

	do
		api = draw_row(w, ACTION_FREE);
	while (!takes_back(api, slot));
	if (release(w, api, slot->ptr, rows[slot->api].kind != KIND_NONE && slot->opens <= 1))
		return;
	if (slot->opens > 1)
		slot->opens--;
	else
		slot->ptr = 0;
}

/* Gives the same address, to be closed once more. */
void open_again(struct worker *w, struct slot *slot, size_t index)
{
	struct slot again = {.ptr = 0};
	int error;

	do
		again.api = draw_row(w, ACTION_ALLOC);
	while (way_back(again.api) != TO_CLOSE);
	error = allocate(w, &again, index);
	count(w, again.api, error ? FAILED : NOTHING);
	if (error)
		return;
	if (again.ptr != slot->ptr)
		die(names[again.api], "opened what is open elsewhere");
	slot->opens++;
}

static void add_nodes(struct worker *w, enum api allocate_node, enum api free_node)
{
	CUDA_MEM_ALLOC_NODE_PARAMS params = {
		.poolProps = {.allocType = 1, .location = {.type = 1}},
		.bytesize = PAGE,
	};
	CUgraphNode node;
	int error = ((api_fn)world.functions[allocate_node])(
		(uintptr_t)&node, (uintptr_t)world.graph, 0, 0, (uintptr_t)&params);

	count(w, allocate_node, error ? FAILED : NOTHING);
	if (error)
		return;
	error = ((api_fn)world.functions[free_node])((uintptr_t)&node, (uintptr_t)world.graph, 0, 0,
						     params.dptr);
	count(w, free_node, error ? FAILED : NOTHING);
}

/* A node of CUgraphNodeParams, which come last: behind four arguments or, in CUDA 13, five. */
static void add_node(struct worker *w, enum api api)
{
	CUgraphNodeParams params = {
		.type = draw(w, 2) ? CU_GRAPH_NODE_TYPE_MEM_ALLOC : CU_GRAPH_NODE_TYPE_EMPTY,
		.alloc = {.poolProps = {.allocType = 1, .location = {.type = 1}}, .bytesize = PAGE},
	};
	uint64_t node, graph = (uintptr_t)world.graph, at = (uintptr_t)&params;
	void *fn = world.functions[api];
	int error = api == API_cuGraphAddNode
			    ? ((api_fn)fn)((uintptr_t)&node, graph, 0, 0, at)
			    : ((int (*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
					uint64_t))fn)((uintptr_t)&node, graph, 0, 0, 0, at);

	count(w, api, error ? FAILED : NOTHING);
}

static void ask(struct worker *w, enum api api)
{
	unsigned int device = (unsigned int)draw(w, DEVICES);
	uint64_t pool = (uintptr_t)world.pools[device], answer = 0;
	CUmemLocation location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = (int)device};
	api_fn fn = (api_fn)world.functions[api];
	int error;

	if (rows[api].action == ACTION_POOL_GET && rows[api].place == PLACE_LOCATION)
		error = fn((uintptr_t)&answer, (uintptr_t)&location, 1 + draw(w, 2), 0, 0);
	else if (rows[api].place == PLACE_LOCATION)
		error = fn((uintptr_t)&location, 1, pool, 0, 0);
	else if (rows[api].action == ACTION_POOL_GET)
		error = fn((uintptr_t)&answer, device, 0, 0, 0);
	else if (rows[api].action == ACTION_POOL_SET)
		error = fn(device, pool, 0, 0, 0);
	else
		error = fn(pool, rows[api].action == ACTION_TRIM ? draw(w, 1 << 20) : 5,
			   (uintptr_t)&answer, 0, 0);
	count(w, api, error ? FAILED : NOTHING);
}

void side_call(struct worker *w)
{
	static const enum api_action actions[] = {ACTION_TRIM, ACTION_POOL_GET, ACTION_POOL_SET,
						  ACTION_POOL_ASK};
	static const enum api nodes[] = {API_cuGraphAddNode, API_cuGraphAddNode_v2,
					 API_cudaGraphAddNode};

	if (draw(w, 16) == 0)
		add_node(w, nodes[draw(w, world.driver_only ? 2 : 3)]);
	else if (draw(w, 16) == 0 && !world.driver_only)
		add_nodes(w, API_cudaGraphAddMemAllocNode, API_cudaGraphAddMemFreeNode);
	else if (draw(w, 16) == 0)
		add_nodes(w, API_cuGraphAddMemAllocNode, API_cuGraphAddMemFreeNode);
	else
		ask(w, draw_row(w, actions[draw(w, ARRAY_SIZE(actions))]));
}
