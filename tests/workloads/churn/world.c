/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "churn.h"
#include "open.h"

#define FD_HANDLE 1
#define ATTEMPTS 100

struct world world;
static int (*write_ledger)(const char *path);

/* What the other process sends: names of its memory. */
struct exports {
	CUipcMemHandle ipc[EXPORTED];
	CUmemPoolPtrExportData pointers[EXPORTED];
	int physical_fd, pool_fd;
};

static void *need(void *library, const char *symbol)
{
	void *fn = library ? dlsym(library, symbol) : NULL;

	if (!fn)
		die(symbol, "not found");
	return fn;
}

/* Calls the driver, which must not fail. */
static void must(const char *symbol, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
	if (((api_fn)need(world.driver, symbol))(a, b, c, d, e))
		die(symbol, "failed");
}

static void begin_driver(void)
{
	must("cuInit", 0, 0, 0, 0, 0);
	for (uint64_t i = 0; i < DEVICES; i++)
		must("cuDevicePrimaryCtxRetain", (uintptr_t)&world.primary[i], i, 0, 0, 0);
	must("cuCtxSetCurrent", (uintptr_t)world.primary[0], 0, 0, 0, 0);
}

static void make_pools(void)
{
	CUmemPoolProps props = {.allocType = 1, .handleTypes = FD_HANDLE, .location = {.type = 1}};

	for (int i = 0; i < DEVICES; i++) {
		props.location.id = i;
		must("cuMemPoolCreate", (uintptr_t)&world.pools[i], (uintptr_t)&props, 0, 0, 0);
	}
}

static void export_memory(struct exports *exports)
{
	CUmemAllocationProp prop = {.type = 1, .location = {.type = 1}};
	uint64_t ptr, handle;

	world.driver = simcuda_open("libcuda.so.1");
	begin_driver();
	make_pools();
	for (size_t i = 0; i < EXPORTED; i++) {
		must("cuMemAlloc_v2", (uintptr_t)&ptr, 1 << 20, 0, 0, 0);
		must("cuIpcGetMemHandle", (uintptr_t)&exports->ipc[i], ptr, 0, 0, 0);
		must("cuMemAllocFromPoolAsync", (uintptr_t)&ptr, PAGE, (uintptr_t)world.pools[0], 0,
		     0);
		must("cuMemPoolExportPointer", (uintptr_t)&exports->pointers[i], ptr, 0, 0, 0);
	}
	must("cuMemCreate", (uintptr_t)&handle, GRANULE, (uintptr_t)&prop, 0, 0);
	must("cuMemExportToShareableHandle", (uintptr_t)&exports->physical_fd, handle, FD_HANDLE, 0,
	     0);
	must("cuMemPoolExportToShareableHandle", (uintptr_t)&exports->pool_fd,
	     (uintptr_t)world.pools[0], FD_HANDLE, 0, 0);
}

/* Memory of others needs another process to own it; it lives as long as this one. */
static void be_the_owner(int to)
{
	static struct exports exports;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	unsetenv("SIMCUDA_FAIL_PERMILLE");
	export_memory(&exports);
	if (write(to, &exports, sizeof(exports)) != sizeof(exports))
		die("write", "failed");
	for (;;)
		pause();
}

static int open_of(pid_t pid, int fd)
{
	char path[64];
	int ours;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	ours = open(path, O_RDWR | O_CLOEXEC);
	if (ours < 0)
		die(path, "cannot be opened");
	return ours;
}

static void import_memory(void)
{
	static struct exports exports;
	int ends[2];
	size_t got = 0;
	pid_t pid;

	if (pipe(ends) < 0)
		die("pipe", "failed");
	pid = fork();
	if (pid == 0)
		be_the_owner(ends[1]);
	close(ends[1]);
	while (got < sizeof(exports)) {
		ssize_t n = read(ends[0], (char *)&exports + got, sizeof(exports) - got);

		if (n <= 0)
			die("the exporting process", "ended");
		got += (size_t)n;
	}
	close(ends[0]);
	memcpy(world.exported, exports.ipc, sizeof(world.exported));
	memcpy(world.pointers, exports.pointers, sizeof(world.pointers));
	world.physical_fd = open_of(pid, exports.physical_fd);
	world.pool_fd = open_of(pid, exports.pool_fd);
}

/* Fails as often as it is told to, and for ever if that is always: then there are no views of it.
 */
static void import_external(struct worker *w)
{
	api_fn fn = (api_fn)need(world.driver, "cuImportExternalMemory");
	int error = 1;

	for (int i = 0; i < ATTEMPTS && error; i++) {
		CUDA_EXTERNAL_MEMORY_HANDLE_DESC desc = {.type = FD_HANDLE, .size = GRANULE};

		desc.handle.fd = dup(world.physical_fd);
		error = fn((uintptr_t)&world.external, (uintptr_t)&desc, 0, 0, 0);
		count(w, API_cuImportExternalMemory, error ? FAILED : DONE);
		if (error)
			close(desc.handle.fd);
	}
}

static bool is_there(enum api api, const void *runtime)
{
	if (api == API_cudaGraphAddNode_v2) /* of CUDA 12 only */
		return false;
	return rows[api].family == FAMILY_CUDA || runtime;
}

void world_load(bool driver_only)
{
	void *runtime;

	world.driver_only = driver_only;
	import_memory();
	world.driver = simcuda_open("libcuda.so.1");
	runtime = driver_only ? NULL : simcuda_open("libcudart.so.13");
	for (int api = 0; api < API_MAX; api++)
		if (is_there((enum api)api, runtime))
			world.functions[api] =
				need(rows[api].family == FAMILY_CUDA ? world.driver : runtime,
				     names[api]);
	write_ledger = need(world.driver, "simcuda_ledger_write");
	world.leave = need(world.driver, "simcuda_leave");
	world.leave_place = need(world.driver, "simcuda_leave_place");
	world.pages = mmap(NULL, SLOTS * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	if (world.pages == MAP_FAILED)
		die("mmap", "failed");
}

void world_begin(struct worker *w)
{
	begin_driver();
	make_pools();
	must("cuMemPoolImportFromShareableHandle", (uintptr_t)&world.pool_of_another,
	     (uint64_t)world.pool_fd, FD_HANDLE, 0, 0);
	must("cuGraphCreate", (uintptr_t)&world.graph, 0, 0, 0, 0);
	/* One granule more, where nothing is ever mapped. */
	must("cuMemAddressReserve", (uintptr_t)&world.addresses,
	     (SLOTS * MAPPINGS * 2 + 2) * GRANULE, 0, 0, 0);
	import_external(w);
}

int world_write_ledger(const char *path)
{
	return write_ledger(path);
}
