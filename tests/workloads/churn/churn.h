/* SPDX-License-Identifier: Apache-2.0 */
/* Calls every function that is probed, at random and from many threads.
 *
 *   main.c      threads, slots, the report
 *   world.c     what is set up once: libraries, contexts, pools, what another process exports
 *   calls.c     how each allocating and freeing row is called
 *   physical.c  physical memory: handles and mappings
 *   leave.c     calls that are left by longjmp
 *   contexts.c  which context a thread is in; contexts that end with memory in them
 */
#ifndef CHURN_H
#define CHURN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "api.h"
#include "cuda_types.h"
#include "macro.h"

#define SLOTS 4096
#define EXPORTED 256 /* the first slots may hold one of these each */
#define PAGE 4096    /* what a slot may register */
#define DEVICES 2
#define GRANULE (2ULL << 20)
#define MAPPINGS 2 /* of a slot */
#define NEVER_ALLOCATED 0x1000
#define POOLS_MADE_MAX 900 /* their numbers are free again only after a while */

/* Everything that is passed is an integer or a pointer, and travels in the registers that a wider
 * type would use; structures by value do not.
 */
typedef int (*api_fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

/* `NOTHING` is a call that succeeded and neither made nor ended an allocation. */
enum outcome { DONE, NOTHING, FAILED, OUTCOMES };

/* What a result is to be given to; asynchronous memory may be freed like any other too. */
enum way_back {
	TO_FREE,
	TO_FREE_ASYNC,
	TO_FREE_HOST,
	TO_UNREGISTER,
	TO_CLOSE,
	TO_FREE_ARRAY,
	TO_FREE_MIPMAP,
	TO_RELEASE,
	TO_FORGET,
	TO_DESTROY_POOL,
	TO_DESTROY_GRAPH,
};

/* A handle of physical memory. */
struct physical {
	enum api api;
	uint64_t handle;
	unsigned int references; /* besides the mappings */
};

struct slot {
	atomic_flag busy;
	enum api api;
	uint64_t ptr;       /* or handle; 0: empty */
	unsigned int opens; /* of another's memory */
	/* Of physical memory: one or two handles, the first of which is `ptr`, of equal size. */
	struct physical physical[2];
	struct physical *mapped[MAPPINGS]; /* what is mapped side by side; NULL: nothing */
	uint64_t size;
};

struct worker {
	uint64_t random;
	unsigned int device; /* whose primary context is current */
	uint64_t counts[API_MAX][OUTCOMES];
	uint64_t ended;     /* allocations that went with their context */
	uint64_t left;      /* calls that never returned */
	struct slot pooled; /* that did not */
	uint64_t stream;    /* 0: none */
};

/* Set up before the first thread runs: libraries at the start, all that calls with the first round.
 */
extern struct world {
	void *functions[API_MAX]; /* NULL: not used */
	void (*leave)(void (*way)(void)), (*leave_place)(void (*way)(void));
	bool driver_only;
	void *driver;
	CUcontext primary[DEVICES];
	CUmemoryPool pools[DEVICES], pool_of_another;
	CUgraph graph;
	CUexternalMemory external; /* of GRANULE bytes */
	unsigned char *pages;      /* PAGE for each slot */
	uint64_t addresses;        /* MAPPINGS of two granules for each slot */
	CUipcMemHandle exported[EXPORTED];
	CUmemPoolPtrExportData pointers[EXPORTED];
	int physical_fd, pool_fd;
} world;

extern const struct api_row rows[API_MAX];
extern const char *const names[API_MAX];

void die(const char *what, const char *why) __attribute__((noreturn));
uint64_t draw(struct worker *w, uint64_t below);
bool can_be_called(enum api api);
enum api draw_row(struct worker *w, enum api_action action);
void count(struct worker *w, enum api api, enum outcome outcome);

/* world.c */
void world_load(bool driver_only);
void world_begin(struct worker *w); /* the first calls */
int world_write_ledger(const char *path);

/* calls.c */
enum way_back way_back(enum api api);
bool takes_back(enum api release, const struct slot *slot);
void fill(struct worker *w, struct slot *slot, size_t index);
void empty(struct worker *w, struct slot *slot);
void open_again(struct worker *w, struct slot *slot, size_t index);
int release(struct worker *w, enum api api, uint64_t ptr, bool is_allocation);
void side_call(struct worker *w); /* of pools and graphs */

/* physical.c */
int physical_create(struct worker *w, enum api api, uint64_t *size, uint64_t *ret);
void physical_begin(struct slot *slot); /* holds the handle that it got */
void physical_use(struct worker *w, struct slot *slot, size_t index);
void physical_misuse(struct worker *w, size_t index);

/* leave.c */
bool leave_suits(const struct slot *slot);
void leave(struct worker *w, struct slot *slot);
void leave_end(struct worker *w); /* of a pool or a context */

/* contexts.c */
bool suits(enum api api); /* what has neither a slot nor anything of its own */
void context_begin(struct worker *w);
void context_turn(struct worker *w, void (*use)(struct worker *w));

#endif
