/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "macro.h"
#include "runtime.h"
#include "simcuda.h"

struct runtime_driver runtime_driver;

static const struct {
	const char *name;
	int version;
	cuuint64_t flags;
	size_t slot; /* in struct runtime_driver */
} entries[] = {
#define X(symbol, name_, version_, flags_) \
	{.name = (name_),                  \
	 .version = (version_),            \
	 .flags = (flags_),                \
	 .slot = offsetof(struct runtime_driver, symbol)},
	RUNTIME_DRIVER(X)
#undef X
};

static pthread_mutex_t load_mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool loaded;
static __typeof__(simcuda_outer) *set_outer;
static __typeof__(simcuda_in_own_context) *in_own_context;
static _Thread_local cudaError_t last_error;

/* Data and function pointers have one size wherever there is dlsym(). */
static void store(void *slot, void *fn)
{
	memcpy(slot, &fn, sizeof(fn));
}

static cudaError_t resolve(void *handle)
{
	__typeof__(cuGetProcAddress_v2) *get;

	store(&get, dlsym(handle, "cuGetProcAddress_v2"));
	store(&set_outer, dlsym(handle, "simcuda_outer"));
	store(&in_own_context, dlsym(handle, "simcuda_in_own_context"));
	if (!get || !set_outer || !in_own_context)
		return cudaErrorInsufficientDriver;
	for (unsigned int i = 0; i < ARRAY_SIZE(entries); i++) {
		CUdriverProcAddressQueryResult status;
		void *fn;

		if (get(entries[i].name, &fn, entries[i].version, entries[i].flags, &status))
			return cudaErrorInsufficientDriver;
		store((char *)&runtime_driver + entries[i].slot, fn);
	}
	return (cudaError_t)runtime_driver.cuInit(0);
}

static cudaError_t load(void)
{
	void *handle = dlopen("libcuda.so.1", RTLD_NOW);
	cudaError_t r = handle ? resolve(handle) : cudaErrorInsufficientDriver;

	if (!r)
		atomic_store_explicit(&loaded, true, memory_order_release);
	else if (handle)
		dlclose(handle);
	return r;
}

cudaError_t runtime_load(void)
{
	cudaError_t r = cudaSuccess;

	if (atomic_load_explicit(&loaded, memory_order_acquire))
		return cudaSuccess;
	pthread_mutex_lock(&load_mutex);
	if (!loaded)
		r = load();
	pthread_mutex_unlock(&load_mutex);
	return r;
}

static CUresult bind_context(void)
{
	CUcontext ctx;
	CUresult r = runtime_driver.cuCtxGetCurrent(&ctx);

	if (r || ctx)
		return r;
	r = runtime_driver.cuDevicePrimaryCtxRetain(&ctx, runtime_device());
	return r ? r : runtime_driver.cuCtxSetCurrent(ctx);
}

cudaError_t runtime_enter(const char *api)
{
	cudaError_t r = runtime_load();

	if (r)
		return r;
	set_outer(api);
	return (cudaError_t)bind_context();
}

bool runtime_in_own_context(void)
{
	return in_own_context();
}

cudaError_t runtime_leave(cudaError_t result)
{
	if (set_outer)
		set_outer(NULL);
	return runtime_error(result);
}

cudaError_t runtime_error(cudaError_t error)
{
	if (error)
		last_error = error;
	return error;
}

cudaError_t cudaGetLastError(void)
{
	cudaError_t error = last_error;

	last_error = cudaSuccess;
	return error;
}

cudaError_t cudaPeekAtLastError(void)
{
	return last_error;
}
