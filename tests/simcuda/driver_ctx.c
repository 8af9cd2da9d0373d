/* SPDX-License-Identifier: Apache-2.0 */
#include "block.h"
#include "context.h"
#include "driver_api.h"
#include "macro.h"
#include "pool.h"
#include "simcuda.h"

#define MAX_CONTEXTS 256
#define STACK_MAX 32

struct stacked {
	struct context *ctx;
	uint64_t serial;
};

/* The first SIM_MAX_DEVICES are the devices' primary contexts. */
static struct context contexts[MAX_CONTEXTS];
static uint64_t last_serial;

static _Thread_local struct stacked stack[STACK_MAX];
static _Thread_local unsigned int depth;

bool device_valid(int device)
{
	return device >= 0 && device < sim_settings.devices;
}

/* The one that is current, if it lives. */
static struct context *top(void)
{
	const struct stacked *stacked = depth ? &stack[depth - 1] : NULL;

	return stacked && stacked->ctx->serial == stacked->serial ? stacked->ctx : NULL;
}

struct context *context_current(void)
{
	struct context *ctx = top();

	if (ctx && ctx->primary)
		ctx = ctx->primary->serial ? ctx->primary : NULL;
	return ctx;
}

CUresult context_need(struct context **ret)
{
	struct context *ctx = context_current();

	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	*ret = ctx;
	return CUDA_SUCCESS;
}

/* Returns the living context behind a caller's handle, or NULL. */
static struct context *context_of(CUcontext handle)
{
	for (unsigned int i = 0; i < MAX_CONTEXTS; i++)
		if ((CUcontext)&contexts[i] == handle)
			return contexts[i].serial ? &contexts[i] : NULL;
	return NULL;
}

static void begin(struct context *ctx, int device)
{
	ctx->serial = ++last_serial;
	ctx->device = device;
	ctx->primary = NULL;
}

/* References to a primary context outlive it: it lives again when it is next asked for. */
static void end(struct context *ctx)
{
	blocks_remove_of_context(ctx);
	ctx->serial = 0;
}

static CUresult push(struct context *ctx)
{
	if (!ctx || depth == STACK_MAX)
		return CUDA_ERROR_INVALID_CONTEXT;
	stack[depth++] = (struct stacked){.ctx = ctx, .serial = ctx->serial};
	return CUDA_SUCCESS;
}

static CUresult pop(CUcontext *ret)
{
	if (!depth)
		return CUDA_ERROR_INVALID_CONTEXT;
	depth--;
	if (ret)
		*ret = (CUcontext)stack[depth].ctx;
	return CUDA_SUCCESS;
}

/* A new one that is no device's, or NULL. */
static struct context *make(int device)
{
	for (unsigned int i = SIM_MAX_DEVICES; i < MAX_CONTEXTS; i++) {
		if (contexts[i].serial)
			continue;
		begin(&contexts[i], device);
		return &contexts[i];
	}
	return NULL;
}

static CUresult create(CUcontext *ret, int device)
{
	struct context *ctx;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	ctx = make(device);
	if (!ctx)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret = (CUcontext)ctx;
	return push(ctx);
}

static CUresult destroy(struct context *ctx)
{
	if (!ctx || ctx->primary || ctx < &contexts[SIM_MAX_DEVICES])
		return CUDA_ERROR_INVALID_CONTEXT;
	if (ctx == top())
		depth--;
	end(ctx);
	return CUDA_SUCCESS;
}

static CUresult set_current(CUcontext handle)
{
	struct context *ctx = handle ? context_of(handle) : NULL;

	if (handle && !ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (depth)
		depth--;
	return ctx ? push(ctx) : CUDA_SUCCESS;
}

static CUresult get_current(CUcontext *ret)
{
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUcontext)top();
	return CUDA_SUCCESS;
}

static CUresult get_device(CUdevice *ret)
{
	struct context *ctx = context_current();

	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = ctx->device;
	return CUDA_SUCCESS;
}

static CUresult synchronize(void)
{
	struct context *ctx;
	CUresult r = context_need(&ctx);

	if (!r)
		pools_settle();
	return r;
}

static CUresult primary_retain(CUcontext *ret, int device)
{
	if (!device_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	if (!contexts[device].serial)
		begin(&contexts[device], device);
	contexts[device].retains++;
	*ret = (CUcontext)&contexts[device];
	return CUDA_SUCCESS;
}

static CUresult primary_release(int device)
{
	if (!device_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!contexts[device].retains)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!--contexts[device].retains && contexts[device].serial)
		end(&contexts[device]);
	return CUDA_SUCCESS;
}

static CUresult primary_reset(int device)
{
	if (!device_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	if (contexts[device].serial)
		end(&contexts[device]);
	return CUDA_SUCCESS;
}

/* A green context has two handles: its own lies within what the other one leads to. */
static CUgreenCtx green_handle(struct context *ctx)
{
	return (CUgreenCtx)&ctx->device;
}

struct context *context_green(CUgreenCtx handle)
{
	for (unsigned int i = SIM_MAX_DEVICES; i < MAX_CONTEXTS; i++)
		if (green_handle(&contexts[i]) == handle)
			return contexts[i].serial && contexts[i].primary ? &contexts[i] : NULL;
	return NULL;
}

static CUresult green_create(CUgreenCtx *ret, int device)
{
	CUcontext primary;
	struct context *ctx;
	CUresult r;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	r = primary_retain(&primary, device);
	if (r)
		return r;
	ctx = make(device);
	if (!ctx) {
		primary_release(device);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	ctx->primary = &contexts[device];
	*ret = green_handle(ctx);
	return CUDA_SUCCESS;
}

static CUresult green_destroy(struct context *ctx)
{
	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (ctx == top())
		depth--;
	end(ctx);
	return primary_release(ctx->device);
}

static CUresult green_convert(CUcontext *ret, struct context *ctx)
{
	if (!ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUcontext)ctx;
	return CUDA_SUCCESS;
}

static CUresult in_own_context(int *ret)
{
	*ret = top() >= &contexts[SIM_MAX_DEVICES];
	return CUDA_SUCCESS;
}

int simcuda_in_own_context(void)
{
	int is_own = 0;

	return CALL(OTHER, in_own_context(&is_own)) ? 0 : is_own;
}

CUresult cuCtxCreate(CUcontext *ctx, unsigned int flags, CUdevice device)
{
	(void)flags;
	return CALL(PLACE, create(ctx, device));
}

CUresult cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice device)
{
	(void)flags;
	return CALL(PLACE, create(ctx, device));
}

CUresult cuCtxCreate_v3(CUcontext *ctx, CUexecAffinityParam *affinity, int num_affinity,
			unsigned int flags, CUdevice device)
{
	(void)affinity;
	(void)num_affinity;
	(void)flags;
	return CALL(PLACE, create(ctx, device));
}

CUresult cuCtxCreate_v4(CUcontext *ctx, CUctxCreateParams *params, unsigned int flags,
			CUdevice device)
{
	(void)params;
	(void)flags;
	return CALL(PLACE, create(ctx, device));
}

/* Of a graphics API's: contexts like others here. */
#define GRAPHICS_CONTEXT(function, ...)                                                       \
	CUresult function(CUcontext *ctx, unsigned int flags, CUdevice device, ##__VA_ARGS__) \
	{                                                                                     \
		(void)flags;                                                                  \
		return CALL(PLACE, create(ctx, device));                                      \
	}
GRAPHICS_CONTEXT(cuGLCtxCreate)
GRAPHICS_CONTEXT(cuGLCtxCreate_v2)
GRAPHICS_CONTEXT(cuVDPAUCtxCreate, __attribute__((unused)) VdpDevice vdp,
		 __attribute__((unused)) VdpGetProcAddress *get)
GRAPHICS_CONTEXT(cuVDPAUCtxCreate_v2, __attribute__((unused)) VdpDevice vdp,
		 __attribute__((unused)) VdpGetProcAddress *get)

CUresult cuCtxDestroy(CUcontext ctx)
{
	return CALL(PLACE, destroy(context_of(ctx)));
}

CUresult cuCtxDestroy_v2(CUcontext ctx)
{
	return CALL(PLACE, destroy(context_of(ctx)));
}

CUresult cuCtxSetCurrent(CUcontext ctx)
{
	return CALL(PLACE, set_current(ctx));
}

CUresult cuCtxGetCurrent(CUcontext *ctx)
{
	return CALL(OTHER, get_current(ctx));
}

CUresult cuCtxGetDevice(CUdevice *device)
{
	return CALL(OTHER, get_device(device));
}

CUresult cuCtxSynchronize(void)
{
	return CALL(OTHER, synchronize());
}

CUresult cuCtxPushCurrent(CUcontext ctx)
{
	return CALL(PLACE, push(context_of(ctx)));
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx)
{
	return CALL(PLACE, push(context_of(ctx)));
}

CUresult cuCtxPopCurrent(CUcontext *ctx)
{
	return CALL(PLACE, pop(ctx));
}

CUresult cuCtxPopCurrent_v2(CUcontext *ctx)
{
	return CALL(PLACE, pop(ctx));
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice device)
{
	return CALL(PLACE, primary_retain(ctx, device));
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
	return CALL(PLACE, primary_release(device));
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	return CALL(PLACE, primary_release(device));
}

CUresult cuDevicePrimaryCtxReset(CUdevice device)
{
	return CALL(PLACE, primary_reset(device));
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
	return CALL(PLACE, primary_reset(device));
}

CUresult cuGreenCtxCreate(CUgreenCtx *ctx, void *resources, CUdevice device, unsigned int flags)
{
	(void)resources;
	(void)flags;
	return CALL(PLACE, green_create(ctx, device));
}

CUresult cuGreenCtxDestroy(CUgreenCtx ctx)
{
	return CALL(PLACE, green_destroy(context_green(ctx)));
}

CUresult cuCtxFromGreenCtx(CUcontext *ctx, CUgreenCtx green)
{
	return CALL(PLACE, green_convert(ctx, context_green(green)));
}
