/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that never return: longjmp out of the driver, over the runtime's frames too. An allocating
 * call is left before it has done anything, one that frees or ends something after it is done, so
 * that what there is stays certain.
 */
#include <setjmp.h>

#include "churn.h"

#define ROOM 4096

static _Thread_local jmp_buf outside;
static _Thread_local enum api left_api;

static void jump(void)
{
	longjmp(outside, 1);
}

/* Whatever is done next on this stack writes over the frames that were left. */
static __attribute__((noinline)) void write_over(void)
{
	volatile char room[ROOM];

	for (size_t i = 0; i < sizeof(room); i++)
		room[i] = 0;
}

/* What has an address alone, and one reference. */
bool leave_suits(const struct slot *slot)
{
	return !slot->ptr || (suits(slot->api) && slot->opens <= 1);
}

static int make(struct worker *w)
{
	uint64_t ptr = 0;

	do
		left_api = draw_row(w, ACTION_ALLOC);
	while (!suits(left_api) || rows[left_api].size != SIZE_BYTES ||
	       rows[left_api].place == PLACE_POOL);
	return ((api_fn)world.functions[left_api])((uintptr_t)&ptr, PAGE, 1, 0, 0);
}

static int unmake(struct worker *w, const struct slot *slot)
{
	do
		left_api = draw_row(w, ACTION_FREE);
	while (!takes_back(left_api, slot));
	return ((api_fn)world.functions[left_api])(slot->ptr, 0, 0, 0, 0);
}

void leave(struct worker *w, struct slot *slot)
{
	int error;

	if (setjmp(outside)) {
		w->left++;
		if (slot->ptr)
			count(w, left_api, DONE);
		slot->ptr = 0;
	} else {
		world.leave(jump);
		error = slot->ptr ? unmake(w, slot) : make(w);
		world.leave(NULL);
		if (!error)
			die(names[left_api], "was not left");
		count(w, left_api, FAILED);
	}
	write_over();
}

/* Returns what it is known by, and in *ret how much goes with it. */
static uint64_t make_pool(struct worker *w, uint64_t *ret)
{
	CUmemPoolProps props = {.allocType = 1, .location = {.type = 1}};
	uint64_t pool = 0;
	int error = ((api_fn)world.functions[API_cuMemPoolCreate])((uintptr_t)&pool,
								   (uintptr_t)&props, 0, 0, 0);

	count(w, API_cuMemPoolCreate, error ? FAILED : NOTHING);
	*ret = 0;
	return pool;
}

static uint64_t make_context(struct worker *w, uint64_t *ret)
{
	uint64_t context = 0, ptr, popped;
	int error;

	((api_fn)world.functions[API_cuCtxCreate_v2])((uintptr_t)&context, 0, 0, 0, 0);
	error = ((api_fn)world.functions[API_cuMemAlloc_v2])((uintptr_t)&ptr, PAGE, 0, 0, 0);
	((api_fn)world.functions[API_cuCtxPopCurrent_v2])((uintptr_t)&popped, 0, 0, 0, 0);
	count(w, API_cuMemAlloc_v2, error ? FAILED : DONE);
	*ret = !error;
	return context;
}

void leave_end(struct worker *w)
{
	bool is_pool = draw(w, 2) && can_be_called(API_cuMemPoolCreate);
	enum api end = is_pool ? API_cuMemPoolDestroy : API_cuCtxDestroy_v2;
	uint64_t going, thing = is_pool ? make_pool(w, &going) : make_context(w, &going);

	if (!thing)
		die(names[end], "nothing to end");
	/* Before it is left, as nothing that changes later is sure to be kept then. */
	w->ended += going;
	w->left++;
	count(w, end, NOTHING);
	if (!setjmp(outside)) {
		world.leave_place(jump);
		((api_fn)world.functions[end])(thing, 0, 0, 0, 0);
		die(names[end], "was not left");
	}
	write_over();
}
