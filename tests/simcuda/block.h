/* SPDX-License-Identifier: Apache-2.0 */
/* The table of all that lives: memory, handles, mappings. All functions need the call's lock. */
#ifndef SIMCUDA_BLOCK_H
#define SIMCUDA_BLOCK_H

#include <stdbool.h>

#include "call.h"

struct arena;
struct context;
struct pool;

/* X(type, kind in the ledger or NULL, comes from real memory that is unmapped at the end) */
#define BLOCK_TYPES(X)                                                            \
	X(DEVICE, "device", 0)                                                    \
	X(ASYNC, "device", 0)                                                     \
	X(ASYNC_HOST, "host", 0)                                                  \
	X(ASYNC_MANAGED, "managed", 0)                                            \
	X(MANAGED, "managed", 1)                                                  \
	X(HOST, "host", 1)                                                        \
	X(REGISTERED, "host", 0)                                                  \
	X(ARRAY, "array", 0)                                                      \
	X(MIPMAP, "array", 0)                                                     \
	X(PHYSICAL, "vmm", 0)                                                     \
	X(IMPORTED, "ipc", 0)                                                     \
	X(IPC, "ipc", 0)                                                          \
	X(EXTERNAL, "ipc", 0)                                                     \
	X(POOL_POINTER, "ipc", 0)                                                 \
	X(GRAPH_EXEC, "graph", 0)                                                 \
	X(VIEW, NULL, 0)        /* buffer of an external memory, counted there */ \
	X(VIEW_MIPMAP, NULL, 0) /* likewise */                                    \
	X(GRAPH, NULL, 0)                                                         \
	X(NODE, NULL, 0)                                                          \
	X(NODE_MEMORY, NULL, 0) /* address of a graph's memory node */            \
	X(POOL, NULL, 0)                                                          \
	X(STREAM, NULL, 0)                                                        \
	X(MODULE, NULL, 0)                                                        \
	X(LIBRARY, NULL, 0)                                                       \
	X(MULTICAST, NULL, 0)                                                     \
	X(MAPPING, NULL, 0)

enum block_type {
#define X(type, kind, real) BLOCK_##type,
	BLOCK_TYPES(X)
#undef X
		BLOCK_TYPE_MAX
};

#define BLOCK_HANDLE_SPAN 512 /* addresses that a handle takes */
#define BLOCK_MASK(type) (1U << BLOCK_##type)

struct block {
	struct block *next; /* in its hash chain, or among the spare ones */
	uint64_t addr;      /* address or handle; unique within a type */
	uint64_t size;      /* as asked for; what the ledger shows */
	uint64_t charge;    /* device memory that it takes */
	uint64_t span;      /* addresses that it takes of the arena, or bytes of real memory */
	struct arena *arena;
	struct context *ctx; /* ends with it; NULL: with nothing */
	struct pool *pool;   /* that it is, or that it is from */
	uint64_t parent;     /* mapping: the handle; node: the graph; IPC: whose memory it is */
	uint64_t lowest;     /* physical memory, while the ledger is written: lowest mapping */
	const char *api;
	unsigned int refs; /* handles to it, opens of it */
	unsigned int maps; /* mappings of physical memory */
	int device;        /* -1: none */
	uint32_t tid;
	enum block_type type;
};

/* Fills the arenas of addresses; once, from cuInit(). */
void blocks_init(void);

/* Where addresses come from. ordinal: below SIM_MAX_DEVICES. */
struct arena *arena_device(int ordinal);
struct arena *arena_device_32bit(int ordinal); /* for the 32-bit API */
struct arena *arena_reservations(void);
struct arena *arena_handles(void);

/* Enters a copy of `draft`, of which the caller sets type, api, size, charge, device, ctx, parent,
 * and either arena and span, or addr. *ret is valid until block_remove(). Fails with
 * CUDA_ERROR_OUT_OF_MEMORY where the device's memory or the addresses do not suffice. */
CUresult block_add(const struct block *draft, struct block **ret);

/* A handle without memory, valid until its context (if any) ends. */
CUresult block_add_handle(enum block_type type, const char *api, struct context *ctx,
			  struct block **ret);

/* Returns the block with that address among the types of `mask`, or NULL. */
struct block *block_find(uint64_t addr, unsigned int mask);

/* Takes a block out and gives its address and memory back. */
void block_remove(struct block *block);

/* Takes out what block_find() finds, or returns `error`. */
CUresult block_remove_at(uint64_t addr, unsigned int mask, CUresult error);

/* Takes out all that belongs to a context, or all of the types of `mask` with that parent. */
void blocks_remove_of_context(const struct context *ctx);
void blocks_remove_of_parent(uint64_t parent, unsigned int mask);

/* Calls fn for every block; fn may remove that one. Stops where fn returns false. */
void blocks_each(bool (*fn)(struct block *block, void *arg), void *arg);

/* The kind that the ledger shows, or NULL. */
const char *block_kind(const struct block *block);

/* Sums over what the ledger shows. */
uint64_t blocks_listed(void);
uint64_t blocks_listed_bytes(void);

/* Device memory in use, in bytes. */
uint64_t device_used(int ordinal);

#endif
