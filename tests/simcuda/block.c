/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "block.h"
#include "macro.h"
#include "pool.h"

#define BUCKET_BITS 18
#define BUCKETS (1U << BUCKET_BITS)
#define SLAB_BLOCKS 256

/* Far from where Linux puts programs, heaps and mappings on x86-64 and arm64, so that a number
 * that is not memory is never a valid host address too. */
#define DEVICE_BASE 0x100000000000ULL
#define DEVICE_SPAN 0x40000000000ULL
#define RESERVATION_BASE 0x520000000000ULL
#define RESERVATION_SPAN 0x20000000000ULL
#define HANDLE_BASE 0x540000000000ULL
#define HANDLE_SPAN 0x1000000000ULL
#define LOW_BASE 0x20000000ULL
#define LOW_SPAN (0xd0000000ULL / SIM_MAX_DEVICES)

static const struct {
	const char *kind;
	bool real;
} traits[] = {
#define X(type, kind_, real_) [BLOCK_##type] = {.kind = (kind_), .real = (real_)},
	BLOCK_TYPES(X)
#undef X
};

static struct arena device_arenas[SIM_MAX_DEVICES];
static struct arena low_arenas[SIM_MAX_DEVICES];
static struct arena reservation_arena;
static struct arena handle_arena;

static struct block *buckets[BUCKETS];
static struct block *spare;
static uint64_t used[SIM_MAX_DEVICES];
static uint64_t listed, listed_bytes;

void blocks_init(void)
{
	for (unsigned int i = 0; i < SIM_MAX_DEVICES; i++) {
		arena_init(&device_arenas[i], DEVICE_BASE + i * DEVICE_SPAN, DEVICE_SPAN);
		arena_init(&low_arenas[i], LOW_BASE + i * LOW_SPAN, LOW_SPAN);
	}
	arena_init(&reservation_arena, RESERVATION_BASE, RESERVATION_SPAN);
	arena_init(&handle_arena, HANDLE_BASE, HANDLE_SPAN);
}

struct arena *arena_device(int ordinal)
{
	return &device_arenas[ordinal];
}

struct arena *arena_device_32bit(int ordinal)
{
	return &low_arenas[ordinal];
}

struct arena *arena_reservations(void)
{
	return &reservation_arena;
}

struct arena *arena_handles(void)
{
	return &handle_arena;
}

static struct block **bucket_of(uint64_t addr)
{
	return &buckets[(addr >> 9) * 0x9e3779b97f4a7c15ULL >> (64 - BUCKET_BITS)];
}

static uint32_t thread_id(void)
{
	static _Thread_local uint32_t tid;

	if (!tid)
		tid = (uint32_t)gettid();
	return tid;
}

static struct block *spare_take(void)
{
	struct block *block = spare;

	if (!block) {
		block = calloc(SLAB_BLOCKS, sizeof(*block));
		if (!block)
			return NULL;
		for (unsigned int i = 0; i + 1 < SLAB_BLOCKS; i++)
			block[i].next = &block[i + 1];
	}
	spare = block->next;
	return block;
}

static void account(const struct block *block, int sign)
{
	if (block->pool && sign > 0)
		pool_take(block->pool, block->charge);
	else if (block->pool)
		pool_give(block->pool, block->charge);
	if (block->device >= 0)
		used[block->device] += (uint64_t)sign * block->charge;
	if (!block_kind(block))
		return;
	listed += (uint64_t)sign;
	listed_bytes += (uint64_t)sign * block->size;
}

static bool fits(const struct block *draft)
{
	return draft->device < 0 ||
	       draft->charge <= sim_settings.device_bytes - used[draft->device];
}

CUresult block_add(const struct block *draft, struct block **ret)
{
	struct block *block, **bucket;
	uint64_t addr = draft->addr;

	if (!fits(draft))
		return CUDA_ERROR_OUT_OF_MEMORY;
	block = spare_take();
	if (!block)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (draft->arena)
		addr = arena_take(draft->arena, draft->span);
	if (!addr) {
		block->next = spare;
		spare = block;
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*block = *draft;
	block->addr = addr;
	block->api = call_api(draft->api);
	block->tid = thread_id();
	bucket = bucket_of(addr);
	block->next = *bucket;
	*bucket = block;
	account(block, 1);
	*ret = block;
	return CUDA_SUCCESS;
}

CUresult block_add_handle(enum block_type type, const char *api, struct context *ctx,
			  struct block **ret)
{
	struct block draft = {
		.type = type,
		.api = api,
		.device = -1,
		.ctx = ctx,
		.arena = &handle_arena,
		.span = BLOCK_HANDLE_SPAN,
		.refs = 1,
	};

	return block_add(&draft, ret);
}

struct block *block_find(uint64_t addr, unsigned int mask)
{
	struct block *block = *bucket_of(addr);

	while (block && (block->addr != addr || !(1U << block->type & mask)))
		block = block->next;
	return block;
}

void block_remove(struct block *block)
{
	struct block **link = bucket_of(block->addr);

	while (*link != block)
		link = &(*link)->next;
	*link = block->next;
	account(block, -1);
	if (block->arena)
		arena_put(block->arena, block->addr, block->span);
	if (traits[block->type].real)
		munmap((void *)(uintptr_t)block->addr, block->span);
	block->next = spare;
	spare = block;
}

CUresult block_remove_at(uint64_t addr, unsigned int mask, CUresult error)
{
	struct block *block = block_find(addr, mask);

	if (!block)
		return error;
	block_remove(block);
	return CUDA_SUCCESS;
}

static bool remove_of_context(struct block *block, void *ctx)
{
	if (block->ctx == ctx)
		block_remove(block);
	return true;
}

void blocks_remove_of_context(const struct context *ctx)
{
	blocks_each(remove_of_context, (void *)(uintptr_t)ctx);
}

struct family {
	uint64_t parent;
	unsigned int mask;
};

static bool remove_of_parent(struct block *block, void *arg)
{
	const struct family *family = arg;

	if (block->parent == family->parent && 1U << block->type & family->mask)
		block_remove(block);
	return true;
}

void blocks_remove_of_parent(uint64_t parent, unsigned int mask)
{
	blocks_each(remove_of_parent, &(struct family){.parent = parent, .mask = mask});
}

void blocks_each(bool (*fn)(struct block *block, void *arg), void *arg)
{
	for (unsigned int i = 0; i < BUCKETS; i++) {
		for (struct block *block = buckets[i], *next; block; block = next) {
			next = block->next;
			if (!fn(block, arg))
				return;
		}
	}
}

const char *block_kind(const struct block *block)
{
	/* An array without memory is nothing to list. */
	if (block->type == BLOCK_ARRAY || block->type == BLOCK_MIPMAP)
		return block->size ? traits[block->type].kind : NULL;
	return traits[block->type].kind;
}

uint64_t blocks_listed(void)
{
	return listed;
}

uint64_t blocks_listed_bytes(void)
{
	return listed_bytes;
}

uint64_t device_used(int ordinal)
{
	return used[ordinal];
}
