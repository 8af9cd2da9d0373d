/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "churn.h"

#define BURST 8

static int call(struct worker *w, enum api api, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
		uint64_t e)
{
	int error = ((api_fn)world.functions[api])(a, b, c, d, e);

	count(w, api, error ? FAILED : NOTHING);
	if (error)
		die(names[api], "failed");
	return error;
}

static uint64_t primary(unsigned int device)
{
	return (uintptr_t)world.primary[device];
}

static void set(struct worker *w, unsigned int device)
{
	if (!world.driver_only && draw(w, 2))
		call(w, API_cudaSetDevice, device, 0, 0, 0, 0);
	else
		call(w, API_cuCtxSetCurrent, primary(device), 0, 0, 0, 0);
	w->device = device;
}

/* A new thread has none; the runtime would give it the first device's. */
void context_begin(struct worker *w)
{
	w->device = 0;
	if (world.driver_only || draw(w, 2))
		set(w, (unsigned int)draw(w, DEVICES));
	else if (draw(w, 2))
		return;
	else
		call(w, API_cuCtxPushCurrent_v2, primary(0), 0, 0, 0, 0);
}

static void nested(struct worker *w, void (*use)(struct worker *w))
{
	static const enum api push[] = {API_cuCtxPushCurrent, API_cuCtxPushCurrent_v2};
	static const enum api pop[] = {API_cuCtxPopCurrent, API_cuCtxPopCurrent_v2};
	unsigned int outer = w->device;
	CUcontext popped;

	w->device = (unsigned int)draw(w, DEVICES);
	call(w, push[draw(w, 2)], primary(w->device), 0, 0, 0, 0);
	use(w);
	call(w, pop[draw(w, 2)], (uintptr_t)&popped, 0, 0, 0, 0);
	w->device = outer;
}

/* Others hold the primary contexts too, so that none ends. */
static void retain(struct worker *w)
{
	static const enum api back[] = {API_cuDevicePrimaryCtxRelease,
					API_cuDevicePrimaryCtxRelease_v2};
	unsigned int device = (unsigned int)draw(w, DEVICES);
	CUcontext context;

	call(w, API_cuDevicePrimaryCtxRetain, (uintptr_t)&context, device, 0, 0, 0);
	call(w, back[draw(w, 2)], device, 0, 0, 0, 0);
}

static CUcontext create(struct worker *w, unsigned int device)
{
	CUcontext context;
	uint64_t ret = (uintptr_t)&context;

	switch (draw(w, 4)) {
	case 0:
		call(w, API_cuCtxCreate, ret, 0, device, 0, 0);
		break;
	case 1:
		call(w, API_cuCtxCreate_v2, ret, 0, device, 0, 0);
		break;
	case 2:
		call(w, API_cuCtxCreate_v3, ret, 0, 0, 0, device);
		break;
	default:
		call(w, API_cuCtxCreate_v4, ret, 0, 0, device, 0);
	}
	return context;
}

/* Kinds of which the first slots have nothing of their own, as these have no slot. */
static bool suits(enum api api)
{
	return rows[api].kind != KIND_IPC && rows[api].kind != KIND_NONE &&
	       rows[api].space != SPACE_PHYSICAL && rows[api].pointer != POINTER_ARG;
}

/* A context with memory in it, some of which is freed, and the rest goes with it. */
static void burst(struct worker *w)
{
	static const enum api destroy[] = {API_cuCtxDestroy, API_cuCtxDestroy_v2};
	unsigned int outer = w->device, n = (unsigned int)draw(w, BURST);
	CUcontext context, popped;

	w->device = (unsigned int)draw(w, DEVICES);
	context = create(w, w->device);
	while (n-- > 0) {
		struct slot slot = {.ptr = 0};

		do
			slot.api = draw_row(w, ACTION_ALLOC);
		while (!suits(slot.api));
		fill(w, &slot, EXPORTED);
		if (slot.ptr && draw(w, 2))
			empty(w, &slot);
		w->ended += slot.ptr != 0;
	}
	if (draw(w, 2))
		call(w, API_cuCtxPopCurrent, (uintptr_t)&popped, 0, 0, 0, 0);
	call(w, destroy[draw(w, 2)], (uintptr_t)context, 0, 0, 0, 0);
	w->device = outer;
}

void context_turn(struct worker *w, void (*use)(struct worker *w))
{
	switch (draw(w, 4)) {
	case 0:
		set(w, (unsigned int)draw(w, DEVICES));
		break;
	case 1:
		nested(w, use);
		break;
	case 2:
		retain(w);
		break;
	default:
		burst(w);
	}
}
