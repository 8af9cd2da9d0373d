/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of every runtime call: the driver is loaded at the first one, the thread gets its
 * device's primary context, and the driver is told which call it works for. */
#ifndef SIMCUDA_RUNTIME_H
#define SIMCUDA_RUNTIME_H

#include <stdbool.h>

#include "driver_api.h"
#include "runtime_api.h"

#define PER_THREAD CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM

/* X(exported function of the driver, its name and CUDA version for cuGetProcAddress(), flags) */
#define RUNTIME_DRIVER(X)                                                                       \
	X(cuInit, "cuInit", 2000, 0)                                                            \
	X(cuDriverGetVersion, "cuDriverGetVersion", 2020, 0)                                    \
	X(cuDeviceGetCount, "cuDeviceGetCount", 2000, 0)                                        \
	X(cuCtxGetCurrent, "cuCtxGetCurrent", 4000, 0)                                          \
	X(cuCtxSetCurrent, "cuCtxSetCurrent", 4000, 0)                                          \
	X(cuCtxGetDevice, "cuCtxGetDevice", 2000, 0)                                            \
	X(cuCtxSynchronize, "cuCtxSynchronize", 2000, 0)                                        \
	X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", 7000, 0)                        \
	X(cuDevicePrimaryCtxReset_v2, "cuDevicePrimaryCtxReset", 11000, 0)                      \
	X(cuMemGetInfo_v2, "cuMemGetInfo", 3020, 0)                                             \
	X(cuMemAlloc_v2, "cuMemAlloc", 3020, 0)                                                 \
	X(cuMemAllocPitch_v2, "cuMemAllocPitch", 3020, 0)                                       \
	X(cuMemAllocManaged, "cuMemAllocManaged", 6000, 0)                                      \
	X(cuMemFree_v2, "cuMemFree", 3020, 0)                                                   \
	X(cuMemHostAlloc, "cuMemHostAlloc", 2020, 0)                                            \
	X(cuMemAllocHost_v2, "cuMemAllocHost", 3020, 0)                                         \
	X(cuMemFreeHost, "cuMemFreeHost", 2000, 0)                                              \
	X(cuMemHostRegister_v2, "cuMemHostRegister", 6050, 0)                                   \
	X(cuMemHostUnregister, "cuMemHostUnregister", 4000, 0)                                  \
	X(cuArrayCreate_v2, "cuArrayCreate", 3020, 0)                                           \
	X(cuArray3DCreate_v2, "cuArray3DCreate", 3020, 0)                                       \
	X(cuArrayDestroy, "cuArrayDestroy", 2000, 0)                                            \
	X(cuMipmappedArrayCreate, "cuMipmappedArrayCreate", 5000, 0)                            \
	X(cuMipmappedArrayDestroy, "cuMipmappedArrayDestroy", 5000, 0)                          \
	X(cuStreamCreate, "cuStreamCreate", 2000, 0)                                            \
	X(cuStreamCreateWithPriority, "cuStreamCreateWithPriority", 5050, 0)                    \
	X(cuStreamDestroy_v2, "cuStreamDestroy", 4000, 0)                                       \
	X(cuStreamSynchronize, "cuStreamSynchronize", 2000, 0)                                  \
	X(cuMemAllocAsync, "cuMemAllocAsync", 11020, 0)                                         \
	X(cuMemAllocAsync_ptsz, "cuMemAllocAsync", 11020, PER_THREAD)                           \
	X(cuMemAllocFromPoolAsync, "cuMemAllocFromPoolAsync", 11020, 0)                         \
	X(cuMemAllocFromPoolAsync_ptsz, "cuMemAllocFromPoolAsync", 11020, PER_THREAD)           \
	X(cuMemFreeAsync, "cuMemFreeAsync", 11020, 0)                                           \
	X(cuMemFreeAsync_ptsz, "cuMemFreeAsync", 11020, PER_THREAD)                             \
	X(cuMemPoolCreate, "cuMemPoolCreate", 11020, 0)                                         \
	X(cuMemPoolDestroy, "cuMemPoolDestroy", 11020, 0)                                       \
	X(cuMemPoolTrimTo, "cuMemPoolTrimTo", 11020, 0)                                         \
	X(cuMemPoolGetAttribute, "cuMemPoolGetAttribute", 11020, 0)                             \
	X(cuMemPoolSetAttribute, "cuMemPoolSetAttribute", 11020, 0)                             \
	X(cuDeviceGetDefaultMemPool, "cuDeviceGetDefaultMemPool", 11020, 0)                     \
	X(cuDeviceGetMemPool, "cuDeviceGetMemPool", 11020, 0)                                   \
	X(cuDeviceSetMemPool, "cuDeviceSetMemPool", 11020, 0)                                   \
	X(cuMemGetDefaultMemPool, "cuMemGetDefaultMemPool", 13000, 0)                           \
	X(cuMemGetMemPool, "cuMemGetMemPool", 13000, 0)                                         \
	X(cuMemSetMemPool, "cuMemSetMemPool", 13000, 0)                                         \
	X(cuMemPoolExportToShareableHandle, "cuMemPoolExportToShareableHandle", 11020, 0)       \
	X(cuMemPoolImportFromShareableHandle, "cuMemPoolImportFromShareableHandle", 11020, 0)   \
	X(cuMemPoolExportPointer, "cuMemPoolExportPointer", 11020, 0)                           \
	X(cuMemPoolImportPointer, "cuMemPoolImportPointer", 11020, 0)                           \
	X(cuIpcGetMemHandle, "cuIpcGetMemHandle", 4010, 0)                                      \
	X(cuIpcOpenMemHandle_v2, "cuIpcOpenMemHandle", 11000, 0)                                \
	X(cuIpcCloseMemHandle, "cuIpcCloseMemHandle", 4010, 0)                                  \
	X(cuImportExternalMemory, "cuImportExternalMemory", 10000, 0)                           \
	X(cuExternalMemoryGetMappedBuffer, "cuExternalMemoryGetMappedBuffer", 10000, 0)         \
	X(cuExternalMemoryGetMappedMipmappedArray, "cuExternalMemoryGetMappedMipmappedArray",   \
	  10000, 0)                                                                             \
	X(cuDestroyExternalMemory, "cuDestroyExternalMemory", 10000, 0)                         \
	X(cuGraphCreate, "cuGraphCreate", 10000, 0)                                             \
	X(cuGraphDestroy, "cuGraphDestroy", 10000, 0)                                           \
	X(cuGraphAddMemAllocNode, "cuGraphAddMemAllocNode", 11040, 0)                           \
	X(cuGraphAddMemFreeNode, "cuGraphAddMemFreeNode", 11040, 0)                             \
	X(cuGraphAddNode, "cuGraphAddNode", 12020, 0)                                           \
	X(cuGraphAddNode_v2, "cuGraphAddNode", 12030, 0)                                        \
	X(cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags", 11040, 0)                 \
	X(cuGraphInstantiateWithParams, "cuGraphInstantiateWithParams", 12000, 0)               \
	X(cuGraphInstantiateWithParams_ptsz, "cuGraphInstantiateWithParams", 12000, PER_THREAD) \
	X(cuGraphExecDestroy, "cuGraphExecDestroy", 10000, 0)                                   \
	X(cuDeviceGraphMemTrim, "cuDeviceGraphMemTrim", 11040, 0)

/* The driver's exported functions; filled by runtime_load(). */
extern struct runtime_driver {
#define X(symbol, name, version, flags) __typeof__(symbol) *symbol;
	RUNTIME_DRIVER(X)
#undef X
} runtime_driver;

/* Loads and initialises the driver, once. */
cudaError_t runtime_load(void);

/* Begins a call: loads the driver, makes a context current, names the call for the ledger. */
cudaError_t runtime_enter(const char *api);

/* Ends a call: notes and returns its result. */
cudaError_t runtime_leave(cudaError_t result);

/* Notes an error for cudaGetLastError() and returns it. */
cudaError_t runtime_error(cudaError_t error);

/* Whether the thread is in a context that no device has by itself; after runtime_load(). */
bool runtime_in_own_context(void);

/* The device that the calling thread chose. */
int runtime_device(void);

/* The result of a driver function that is called on behalf of the present runtime function. */
#define RUNTIME_CALL(symbol, ...)                                                  \
	({                                                                         \
		cudaError_t result_ = runtime_enter(__func__);                     \
		if (!result_)                                                      \
			result_ = (cudaError_t)runtime_driver.symbol(__VA_ARGS__); \
		runtime_leave(result_);                                            \
	})

/* Defines a runtime function that only passes on what it gets. */
#define RUNTIME_FORWARD(function, symbol, parameters, ...) \
	cudaError_t function parameters                    \
	{                                                  \
		return RUNTIME_CALL(symbol, __VA_ARGS__);  \
	}

#endif
