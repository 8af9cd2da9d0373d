/* SPDX-License-Identifier: Apache-2.0 */
/* Devices, versions, names of errors. */
#include "errors.h"
#include "runtime.h"

static _Thread_local int chosen_device;

int runtime_device(void)
{
	return chosen_device;
}

/* Calls a driver function that needs no context. */
#define WITHOUT_CONTEXT(symbol, ...)                                               \
	({                                                                         \
		cudaError_t result_ = runtime_load();                              \
		if (!result_)                                                      \
			result_ = (cudaError_t)runtime_driver.symbol(__VA_ARGS__); \
		runtime_error(result_);                                            \
	})

cudaError_t cudaGetDeviceCount(int *count)
{
	return WITHOUT_CONTEXT(cuDeviceGetCount, count);
}

cudaError_t cudaDriverGetVersion(int *version)
{
	return WITHOUT_CONTEXT(cuDriverGetVersion, version);
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
	if (!version)
		return runtime_error(cudaErrorInvalidValue);
	*version = SIMCUDA_RUNTIME_VERSION;
	return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
	cudaError_t r = runtime_load();

	if (!r && !device)
		r = cudaErrorInvalidValue;
	if (r)
		return runtime_error(r);
	if (runtime_driver.cuCtxGetDevice(device))
		*device = chosen_device;
	return cudaSuccess;
}

static cudaError_t choose(int device)
{
	CUcontext ctx;
	cudaError_t r = WITHOUT_CONTEXT(cuDevicePrimaryCtxRetain, &ctx, device);

	if (r)
		return r;
	chosen_device = device;
	return WITHOUT_CONTEXT(cuCtxSetCurrent, ctx);
}

cudaError_t cudaSetDevice(int device)
{
	return choose(device);
}

cudaError_t cudaGLSetGLDevice(int device)
{
	return choose(device);
}

cudaError_t cudaVDPAUSetVDPAUDevice(int device, __attribute__((unused)) VdpDevice vdp,
				    __attribute__((unused)) VdpGetProcAddress *get_address)
{
	return choose(device);
}

cudaError_t cudaDeviceReset(void)
{
	int device;
	cudaError_t r = cudaGetDevice(&device);

	if (!r && runtime_in_own_context())
		return cudaSuccess; /* of which the runtime ends no more than its own state */
	return r ? r : WITHOUT_CONTEXT(cuDevicePrimaryCtxReset_v2, device);
}

RUNTIME_FORWARD(cudaDeviceSynchronize, cuCtxSynchronize, (void))
RUNTIME_FORWARD(cudaDeviceGraphMemTrim, cuDeviceGraphMemTrim, (int device), device)
RUNTIME_FORWARD(cudaMemGetInfo, cuMemGetInfo_v2, (size_t * avail, size_t *total), avail, total)

const char *cudaGetErrorName(cudaError_t error)
{
	const struct error_text *known = error_find((int)error);

	return known ? known->runtime : "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
	const struct error_text *known = error_find((int)error);

	return known ? known->text : "unrecognized error code";
}
