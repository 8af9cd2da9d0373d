/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "churn.h"

#define BURST 8
#define PARKED 8

/* Contexts with memory in them that wait for any thread to destroy them. */
static struct parked {
	atomic_flag busy;
	CUcontext context; /* NULL: none */
	uint64_t kept;
} parked[PARKED];

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

static void end_stream(struct worker *w)
{
	call(w, draw_row(w, ACTION_STREAM_END), w->stream, 0, 0, 0, 0);
	w->stream = 0;
}

/* In the current context. */
static void make_stream(struct worker *w)
{
	enum api api;

	do
		api = draw_row(w, ACTION_STREAM);
	while (rows[api].place != PLACE_CURRENT);
	call(w, api, (uintptr_t)&w->stream, 0, 0, 0, 0);
}

/* The thread gets a stream of some device, or gives it up. */
static void change_stream(struct worker *w)
{
	if (w->stream)
		end_stream(w);
	else
		nested(w, make_stream);
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
	enum api api = draw_row(w, ACTION_CONTEXT_CREATE);
	uint64_t arguments[5] = {(uintptr_t)&context};

	arguments[rows[api].extra_arg] = device;
	call(w, api, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]);
	return context;
}

bool suits(enum api api)
{
	return rows[api].kind != KIND_IPC && rows[api].kind != KIND_NONE &&
	       rows[api].space != SPACE_PHYSICAL && rows[api].pointer != POINTER_ARG;
}

static bool is_of_pool(enum api api)
{
	return rows[api].place == PLACE_STREAM || rows[api].place == PLACE_POOL;
}

/* What is from a pool outlives the context in which it was made; one such thing does at a time. */
static void keep_pooled(struct worker *w, struct slot *slot)
{
	if (w->pooled.ptr)
		empty(w, &w->pooled);
	if (w->pooled.ptr) {
		empty(w, slot);
		return;
	}
	w->pooled.api = slot->api;
	w->pooled.ptr = slot->ptr;
}

/* Allocates of several kinds, and frees some of it; returns how much is left that goes with the
 * context.
 */
static uint64_t fill_context(struct worker *w, void (*use)(struct worker *w))
{
	uint64_t kept = 0;

	for (uint64_t n = draw(w, BURST); n > 0; n--) {
		struct slot slot = {.ptr = 0};

		if (draw(w, 8) == 0)
			nested(w, use); /* elsewhere, and back */
		do
			slot.api = draw_row(w, ACTION_ALLOC);
		while (!suits(slot.api));
		fill(w, &slot, EXPORTED);
		if (slot.ptr && draw(w, 2))
			empty(w, &slot);
		if (slot.ptr && is_of_pool(slot.api))
			keep_pooled(w, &slot);
		else
			kept += slot.ptr != 0;
	}
	return kept;
}

static void destroy(struct worker *w, CUcontext context, uint64_t kept)
{
	static const enum api apis[] = {API_cuCtxDestroy, API_cuCtxDestroy_v2};

	call(w, apis[draw(w, 2)], (uintptr_t)context, 0, 0, 0, 0);
	w->ended += kept;
}

/* Leaves a context for another thread, which may find one there; returns that. */
static struct parked exchange(struct worker *w, CUcontext context, uint64_t kept)
{
	struct parked *place = &parked[draw(w, PARKED)], found = {.context = NULL};

	if (atomic_flag_test_and_set(&place->busy)) {
		found.context = context;
		found.kept = kept;
		return found;
	}
	found.context = place->context;
	found.kept = place->kept;
	place->context = context;
	place->kept = kept;
	atomic_flag_clear(&place->busy);
	return found;
}

static void pop(struct worker *w)
{
	CUcontext popped;

	call(w, API_cuCtxPopCurrent, (uintptr_t)&popped, 0, 0, 0, 0);
}

/* A context with memory in it, which goes with it: while it is current, after it was, while another
 * is in its place, or by another thread's hand.
 */
static void burst(struct worker *w, void (*use)(struct worker *w))
{
	unsigned int outer = w->device;
	struct parked ending = {.context = NULL};

	w->device = (unsigned int)draw(w, DEVICES);
	ending.context = create(w, w->device);
	ending.kept = fill_context(w, use);
	switch (draw(w, 4)) {
	case 0:
		destroy(w, ending.context, ending.kept);
		break;
	case 1:
		call(w, API_cuCtxSetCurrent, 0, 0, 0, 0, 0); /* as good as popping it */
		destroy(w, ending.context, ending.kept);
		break;
	case 2:
		call(w, API_cuCtxSetCurrent, primary(w->device), 0, 0, 0, 0);
		destroy(w, ending.context, ending.kept);
		pop(w);
		break;
	default:
		pop(w);
		ending = exchange(w, ending.context, ending.kept);
		if (ending.context)
			destroy(w, ending.context, ending.kept);
	}
	w->device = outer;
}

/* A part of a device, in which what is made stays with the device. */
static void part(struct worker *w, void (*use)(struct worker *w))
{
	unsigned int outer = w->device, device = (unsigned int)draw(w, DEVICES);
	uint64_t green, context;

	call(w, API_cuGreenCtxCreate, (uintptr_t)&green, 0, device, 0, 0);
	if (draw(w, 2)) {
		call(w, API_cuCtxFromGreenCtx, (uintptr_t)&context, green, 0, 0, 0);
		call(w, API_cuCtxPushCurrent_v2, context, 0, 0, 0, 0);
		w->device = device;
		use(w);
		pop(w);
		w->device = outer;
	} else if (!w->stream) {
		call(w, API_cuGreenCtxStreamCreate, (uintptr_t)&w->stream, green, 0, 0, 0);
		use(w);
		end_stream(w);
	}
	call(w, API_cuGreenCtxDestroy, green, 0, 0, 0, 0);
}

void context_turn(struct worker *w, void (*use)(struct worker *w))
{
	switch (draw(w, 6)) {
	case 5:
		change_stream(w);
		break;
	case 4:
		part(w, use);
		break;
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
		burst(w, use);
	}
}
