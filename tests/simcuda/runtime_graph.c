/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs. cudaGraphInstantiate() has the three parameters of CUDA 12 and later. */
#include "runtime.h"

RUNTIME_FORWARD(cudaGraphCreate, cuGraphCreate, (cudaGraph_t * graph, unsigned int flags), graph,
		flags)
RUNTIME_FORWARD(cudaGraphDestroy, cuGraphDestroy, (cudaGraph_t graph), graph)
RUNTIME_FORWARD(cudaGraphAddMemAllocNode, cuGraphAddMemAllocNode,
		(cudaGraphNode_t * node, cudaGraph_t graph, const cudaGraphNode_t *deps,
		 size_t num_deps, struct cudaMemAllocNodeParams *params),
		node, graph, deps, num_deps, params)
RUNTIME_FORWARD(cudaGraphAddMemFreeNode, cuGraphAddMemFreeNode,
		(cudaGraphNode_t * node, cudaGraph_t graph, const cudaGraphNode_t *deps,
		 size_t num_deps, void *ptr),
		node, graph, deps, num_deps, (uintptr_t)ptr)
#if SIMCUDA_RUNTIME_VERSION < 13000
RUNTIME_FORWARD(cudaGraphAddNode, cuGraphAddNode,
		(cudaGraphNode_t * node, cudaGraph_t graph, const cudaGraphNode_t *deps,
		 size_t num_deps, struct cudaGraphNodeParams *params),
		node, graph, deps, num_deps, params)
#endif
RUNTIME_FORWARD(ADD_NODE_WITH_EDGES, cuGraphAddNode_v2,
		(cudaGraphNode_t * node, cudaGraph_t graph, const cudaGraphNode_t *deps,
		 const void *edges, size_t num_deps, struct cudaGraphNodeParams *params),
		node, graph, deps, edges, num_deps, params)
RUNTIME_FORWARD(cudaGraphInstantiate, cuGraphInstantiateWithFlags,
		(cudaGraphExec_t * exec, cudaGraph_t graph, unsigned long long flags), exec, graph,
		flags)
RUNTIME_FORWARD(cudaGraphInstantiateWithFlags, cuGraphInstantiateWithFlags,
		(cudaGraphExec_t * exec, cudaGraph_t graph, unsigned long long flags), exec, graph,
		flags)
RUNTIME_FORWARD(cudaGraphInstantiateWithParams, cuGraphInstantiateWithParams,
		(cudaGraphExec_t * exec, cudaGraph_t graph, cudaGraphInstantiateParams *params),
		exec, graph, params)
RUNTIME_FORWARD(cudaGraphInstantiateWithParams_ptsz, cuGraphInstantiateWithParams_ptsz,
		(cudaGraphExec_t * exec, cudaGraph_t graph, cudaGraphInstantiateParams *params),
		exec, graph, params)
RUNTIME_FORWARD(cudaGraphExecDestroy, cuGraphExecDestroy, (cudaGraphExec_t exec), exec)
