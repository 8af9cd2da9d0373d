/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "block.h"
#include "context.h"
#include "driver_api.h"
#include "errors.h"

#define DRIVER_VERSION 13000

static CUresult device_get(CUdevice *device, int ordinal)
{
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_valid(ordinal))
		return CUDA_ERROR_INVALID_DEVICE;
	*device = ordinal;
	return CUDA_SUCCESS;
}

static CUresult device_count(int *count)
{
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = sim_settings.devices;
	return CUDA_SUCCESS;
}

static CUresult device_name(char *name, int len, CUdevice device)
{
	if (!name || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	snprintf(name, (size_t)len, "Simulated GPU %d", sim_settings.board[device]);
	return CUDA_SUCCESS;
}

static CUresult memory_info(uint64_t *avail, uint64_t *total)
{
	struct context *ctx;
	CUresult r = context_need(&ctx);

	if (r)
		return r;
	*total = sim_settings.device_bytes;
	*avail = *total - device_used(ctx->device);
	return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version)
{
	call_begin(CALL_OTHER); /* the version can be asked before cuInit() too */
	if (version)
		*version = DRIVER_VERSION;
	return call_end(CALL_OTHER, version ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	return CALL(OTHER, device_get(device, ordinal));
}

CUresult cuDeviceGetCount(int *count)
{
	return CALL(OTHER, device_count(count));
}

CUresult cuDeviceGetName(char *name, int len, CUdevice device)
{
	return CALL(OTHER, device_name(name, len, device));
}

CUresult cuMemGetInfo(unsigned int *avail, unsigned int *total)
{
	uint64_t wide_avail, wide_total;
	CUresult r = CALL(OTHER, memory_info(&wide_avail, &wide_total));

	if (r)
		return r;
	if (!avail || !total)
		return CUDA_ERROR_INVALID_VALUE;
	*avail = wide_avail > UINT32_MAX ? UINT32_MAX : (unsigned int)wide_avail;
	*total = wide_total > UINT32_MAX ? UINT32_MAX : (unsigned int)wide_total;
	return CUDA_SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t *avail, size_t *total)
{
	if (!avail || !total)
		return CUDA_ERROR_INVALID_VALUE;
	return CALL(OTHER, memory_info(avail, total));
}

CUresult cuGetErrorName(CUresult error, const char **text)
{
	const struct error_text *known = error_find((int)error);

	if (!known || !text)
		return CUDA_ERROR_INVALID_VALUE;
	*text = known->driver;
	return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
	const struct error_text *known = error_find((int)error);

	if (!known || !text)
		return CUDA_ERROR_INVALID_VALUE;
	*text = known->text;
	return CUDA_SUCCESS;
}
