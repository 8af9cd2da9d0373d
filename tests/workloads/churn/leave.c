/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that never return: longjmp out of the driver, over the runtime's frames too. An allocating
 * call is left before it has done anything, a freeing one after it is done, so that what there is
 * stays certain.
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
