/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs with memory nodes, and their instantiations. A node's memory lives in the graph's own
 * pool: it has an address, and its bytes appear in nobody's sums. */
#include "arena.h"
#include "block.h"
#include "context.h"
#include "driver_api.h"

static bool graph_exists(CUgraph graph)
{
	return block_find((uintptr_t)graph, BLOCK_MASK(GRAPH));
}

static CUresult create(const char *api, CUgraph *ret)
{
	struct block *block;
	CUresult r;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	r = block_add_handle(BLOCK_GRAPH, api, NULL, &block);
	if (!r)
		*ret = (CUgraph)(uintptr_t)block->addr;
	return r;
}

static CUresult destroy(CUgraph graph)
{
	uint64_t handle = (uintptr_t)graph;

	if (!graph_exists(graph))
		return CUDA_ERROR_INVALID_VALUE;
	blocks_remove_of_parent(handle, BLOCK_MASK(NODE) | BLOCK_MASK(NODE_MEMORY));
	return block_remove_at(handle, BLOCK_MASK(GRAPH), CUDA_ERROR_INVALID_VALUE);
}

static CUresult add_node(const char *api, CUgraphNode *ret, CUgraph graph)
{
	struct block *block;
	CUresult r;

	if (!ret || !graph_exists(graph))
		return CUDA_ERROR_INVALID_VALUE;
	r = block_add_handle(BLOCK_NODE, api, NULL, &block);
	if (r)
		return r;
	block->parent = (uintptr_t)graph;
	*ret = (CUgraphNode)(uintptr_t)block->addr;
	return CUDA_SUCCESS;
}

static CUresult add_alloc_node(const char *api, CUgraphNode *ret, CUgraph graph,
			       CUDA_MEM_ALLOC_NODE_PARAMS *params)
{
	struct block *memory;
	CUresult r;
	int device;

	if (!params || !params->bytesize || !device_valid(params->poolProps.location.id))
		return CUDA_ERROR_INVALID_VALUE;
	r = add_node(api, ret, graph);
	if (r)
		return r;
	device = params->poolProps.location.id;
	r = block_add(
		&(struct block){
			.type = BLOCK_NODE_MEMORY,
			.api = api,
			.size = params->bytesize,
			.device = device,
			.parent = (uintptr_t)graph,
			.arena = arena_device(device),
			.span = params->bytesize,
		},
		&memory);
	if (r) {
		block_remove_at((uintptr_t)*ret, BLOCK_MASK(NODE), r);
		return r;
	}
	params->dptr = memory->addr;
	return CUDA_SUCCESS;
}

static CUresult add_free_node(const char *api, CUgraphNode *ret, CUgraph graph, CUdeviceptr ptr)
{
	if (!block_find(ptr, BLOCK_MASK(NODE_MEMORY)))
		return CUDA_ERROR_INVALID_VALUE;
	return add_node(api, ret, graph);
}

static CUresult add_any_node(const char *api, CUgraphNode *ret, CUgraph graph,
			     CUgraphNodeParams *params)
{
	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	switch (params->type) {
	case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
		return add_alloc_node(api, ret, graph, &params->alloc);
	case CU_GRAPH_NODE_TYPE_MEM_FREE:
		return add_free_node(api, ret, graph, params->free.dptr);
	case CU_GRAPH_NODE_TYPE_EMPTY:
		return add_node(api, ret, graph);
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

static CUresult instantiate(const char *api, CUgraphExec *ret, CUgraph graph)
{
	struct context *ctx;
	struct block *block;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	if (!ret || !graph_exists(graph))
		return CUDA_ERROR_INVALID_VALUE;
	r = block_add(
		&(struct block){
			.type = BLOCK_GRAPH_EXEC,
			.api = api,
			.device = ctx->device,
			.ctx = ctx,
			.arena = arena_handles(),
			.span = BLOCK_HANDLE_SPAN,
		},
		&block);
	if (!r)
		*ret = (CUgraphExec)(uintptr_t)block->addr;
	return r;
}

static CUresult instantiate_logged(const char *api, CUgraphExec *ret, CUgraph graph,
				   CUgraphNode *error, char *log, size_t log_size)
{
	if (error)
		*error = NULL;
	if (log && log_size)
		*log = '\0';
	return instantiate(api, ret, graph);
}

static CUresult instantiate_params(const char *api, CUgraphExec *ret, CUgraph graph,
				   CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	params->hErrNode_out = NULL;
	params->result_out = 0;
	return instantiate(api, ret, graph);
}

CUresult cuGraphCreate(CUgraph *graph, unsigned int flags)
{
	(void)flags;
	return CALL(OTHER, create(__func__, graph));
}

CUresult cuGraphDestroy(CUgraph graph)
{
	return CALL(OTHER, destroy(graph));
}

CUresult cuGraphAddMemAllocNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps,
				size_t num_deps, CUDA_MEM_ALLOC_NODE_PARAMS *params)
{
	(void)deps;
	(void)num_deps;
	return CALL(OTHER, add_alloc_node(__func__, node, graph, params));
}

CUresult cuGraphAddMemFreeNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps,
			       size_t num_deps, CUdeviceptr ptr)
{
	(void)deps;
	(void)num_deps;
	return CALL(OTHER, add_free_node(__func__, node, graph, ptr));
}

CUresult cuGraphAddNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t num_deps,
			CUgraphNodeParams *params)
{
	(void)deps;
	(void)num_deps;
	return CALL(OTHER, add_any_node(__func__, node, graph, params));
}

CUresult cuGraphAddNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps,
			   const void *edges, size_t num_deps, CUgraphNodeParams *params)
{
	(void)deps;
	(void)edges;
	(void)num_deps;
	return CALL(OTHER, add_any_node(__func__, node, graph, params));
}

CUresult cuGraphInstantiate(CUgraphExec *exec, CUgraph graph, CUgraphNode *error, char *log,
			    size_t log_size)
{
	return CALL(ALLOC, instantiate_logged(__func__, exec, graph, error, log, log_size));
}

CUresult cuGraphInstantiate_v2(CUgraphExec *exec, CUgraph graph, CUgraphNode *error, char *log,
			       size_t log_size)
{
	return CALL(ALLOC, instantiate_logged(__func__, exec, graph, error, log, log_size));
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
	(void)flags;
	return CALL(ALLOC, instantiate(__func__, exec, graph));
}

CUresult cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph,
				      CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
	return CALL(ALLOC, instantiate_params(__func__, exec, graph, params));
}

CUresult cuGraphInstantiateWithParams_ptsz(CUgraphExec *exec, CUgraph graph,
					   CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
	return CALL(ALLOC, instantiate_params(__func__, exec, graph, params));
}

CUresult cuGraphExecDestroy(CUgraphExec exec)
{
	return CALL(FREE, block_remove_at((uintptr_t)exec, BLOCK_MASK(GRAPH_EXEC),
					  CUDA_ERROR_INVALID_VALUE));
}

CUresult cuDeviceGraphMemTrim(CUdevice device)
{
	return CALL(OTHER, device_valid(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE);
}
