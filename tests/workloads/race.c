/* SPDX-License-Identifier: Apache-2.0 */
/* Two threads end one thing at the same moment, again and again; the driver lets one of them.
 *
 * usage: race WHAT COUNT LEDGER, with WHAT one of memory, host, array, pool, physical, mapping,
 * context; or range: the second thread maps memory of its own in the place of what the first one
 * unmaps, as soon as it can, and unmaps it; or opening: both open another process's memory and
 * close it
 *
 * Or each gives up a reference of its own, or makes one while the other gives up the only one; any
 * of it may fail (SIMCUDA_FAIL_PERMILLE): parts, badly, closings, retained, mapped, primary.
 *
 * Prints {"pid":N,"by_second":0}, and for each line on stdin has COUNT races, writes the ledger and
 * prints how many the second thread has won. Of every KEEP things one more is made that stays.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cuda_types.h"
#include "macro.h"
#include "open.h"

#define KEEP 100
#define BYTES 4096
#define GRANULE (2ULL << 20)
#define SPINS_MAX 4096

typedef int (*api_fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

enum {
	FN_RETAIN,
	FN_SET,
	FN_MALLOC,
	FN_FREE,
	FN_HOST,
	FN_FREE_HOST,
	FN_ARRAY,
	FN_FREE_ARRAY,
	FN_POOL,
	FN_DESTROY_POOL,
	FN_CREATE,
	FN_RELEASE,
	FN_RESERVE,
	FN_MAP,
	FN_UNMAP,
	FN_CONTEXT,
	FN_POP,
	FN_DESTROY_CONTEXT,
	FN_EXPORT,
	FN_CLOSE,
	FN_ADDRESS,
	FN_RELEASE_PRIMARY,
	FN_MAX
};

static const char *const symbols[FN_MAX] = {
	[FN_RETAIN] = "cuDevicePrimaryCtxRetain",
	[FN_SET] = "cuCtxSetCurrent",
	[FN_MALLOC] = "cuMemAlloc_v2",
	[FN_FREE] = "cuMemFree_v2",
	[FN_HOST] = "cuMemHostAlloc",
	[FN_FREE_HOST] = "cuMemFreeHost",
	[FN_ARRAY] = "cuArrayCreate_v2",
	[FN_FREE_ARRAY] = "cuArrayDestroy",
	[FN_POOL] = "cuMemPoolCreate",
	[FN_DESTROY_POOL] = "cuMemPoolDestroy",
	[FN_CREATE] = "cuMemCreate",
	[FN_RELEASE] = "cuMemRelease",
	[FN_RESERVE] = "cuMemAddressReserve",
	[FN_MAP] = "cuMemMap",
	[FN_UNMAP] = "cuMemUnmap",
	[FN_CONTEXT] = "cuCtxCreate_v2",
	[FN_POP] = "cuCtxPopCurrent_v2",
	[FN_DESTROY_CONTEXT] = "cuCtxDestroy_v2",
	[FN_EXPORT] = "cuIpcGetMemHandle",
	[FN_CLOSE] = "cuIpcCloseMemHandle",
	[FN_ADDRESS] = "cuMemRetainAllocationHandle",
	[FN_RELEASE_PRIMARY] = "cuDevicePrimaryCtxRelease_v2",
};

static api_fn functions[FN_MAX];
static int (*open_memory)(uint64_t *ptr, CUipcMemHandle handle, unsigned int flags);
static void (*fail_place)(unsigned int n, int error);
static CUipcMemHandle others;
static uint64_t primary, reserved, place;
static bool may_fail;

static int call(int fn, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	return functions[fn](a, b, c, d, 0);
}

static void die(const char *what)
{
	fprintf(stderr, "race: %s\n", what);
	exit(1);
}

static void must(int fn, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	while (call(fn, a, b, c, d))
		if (!may_fail)
			die(symbols[fn]);
}

static void load(void)
{
	void *driver = simcuda_open("libcuda.so.1");
	api_fn init = (api_fn)dlsym(driver, "cuInit");

	for (int fn = 0; fn < FN_MAX; fn++) {
		functions[fn] = (api_fn)dlsym(driver, symbols[fn]);
		if (!functions[fn])
			die(symbols[fn]);
	}
	open_memory = (int (*)(uint64_t *, CUipcMemHandle, unsigned int))dlsym(
		driver, "cuIpcOpenMemHandle_v2");
	fail_place = (void (*)(unsigned int, int))dlsym(driver, "simcuda_fail_next_place");
	if (!init || init(0, 0, 0, 0, 0))
		die("cuInit");
}

static void enter_context(void)
{
	must(FN_RETAIN, (uintptr_t)&primary, 0, 0, 0);
	must(FN_SET, primary, 0, 0, 0);
}

static uint64_t make_memory(void)
{
	uint64_t ptr;

	must(FN_MALLOC, (uintptr_t)&ptr, BYTES, 0, 0);
	return ptr;
}

static uint64_t make_host(void)
{
	uint64_t ptr;

	must(FN_HOST, (uintptr_t)&ptr, BYTES, 0, 0);
	return ptr;
}

static uint64_t make_array(void)
{
	CUDA_ARRAY_DESCRIPTOR plane = {.Width = 64, .Height = 64, .Format = 0x20, .NumChannels = 1};
	uint64_t array;

	must(FN_ARRAY, (uintptr_t)&array, (uintptr_t)&plane, 0, 0);
	return array;
}

static uint64_t make_pool(void)
{
	CUmemPoolProps props = {.allocType = 1, .location = {.type = 1}};
	uint64_t pool;

	must(FN_POOL, (uintptr_t)&pool, (uintptr_t)&props, 0, 0);
	return pool;
}

static uint64_t make_physical(void)
{
	CUmemAllocationProp prop = {.type = 1, .location = {.type = 1}};
	uint64_t handle;

	must(FN_CREATE, (uintptr_t)&handle, GRANULE, (uintptr_t)&prop, 0);
	return handle;
}

/* Which alone keeps its memory. */
static uint64_t make_mapping(void)
{
	uint64_t handle = make_physical();

	must(FN_MAP, reserved, GRANULE, 0, handle);
	must(FN_RELEASE, handle, 0, 0, 0);
	return reserved;
}

static uint64_t make_context(void)
{
	uint64_t context, popped;

	must(FN_CONTEXT, (uintptr_t)&context, 0, 0, 0);
	make_memory();
	must(FN_POP, (uintptr_t)&popped, 0, 0, 0);
	return context;
}

/* What there is already. */
static uint64_t make_nothing(void)
{
	return 0;
}

/* Memory with a handle and a mapping. */
static uint64_t make_parts(void)
{
	uint64_t handle = make_physical();

	place += 2 * GRANULE;
	must(FN_MAP, place, GRANULE, 0, handle);
	return handle;
}

/* Which alone keeps its memory, each in a place of its own. */
static uint64_t make_kept(void)
{
	must(FN_RELEASE, make_parts(), 0, 0, 0);
	return place;
}

static uint64_t make_unmapped(void)
{
	place += 2 * GRANULE;
	return make_physical();
}

static uint64_t make_opened_twice(void)
{
	uint64_t ptr;

	for (int i = 0; i < 2; i++)
		while (open_memory(&ptr, others, 1))
			;
	return ptr;
}

#define DEVICE 1

/* With two references to the other device's, and memory in it. */
static uint64_t make_primary(void)
{
	uint64_t context, ptr;

	must(FN_RETAIN, (uintptr_t)&context, DEVICE, 0, 0);
	must(FN_RETAIN, (uintptr_t)&context, DEVICE, 0, 0);
	must(FN_SET, context, 0, 0, 0);
	must(FN_MALLOC, (uintptr_t)&ptr, BYTES, 0, 0);
	must(FN_SET, primary, 0, 0, 0);
	return DEVICE;
}

/* Another process makes memory, and keeps it until this one has ended. */
static void make_others_memory(void)
{
	int ways[2];

	if (pipe(ways))
		die("pipe");
	if (fork() == 0) {
		load();
		enter_context();
		must(FN_EXPORT, (uintptr_t)&others, make_memory(), 0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (write(ways[1], &others, sizeof(others)) == sizeof(others))
			pause();
		_exit(1);
	}
	if (read(ways[0], &others, sizeof(others)) != sizeof(others))
		die("the other process has ended");
}

static uint64_t thing;
static api_fn end;

static int end_thing(int who)
{
	(void)who;
	return end(thing, GRANULE, 0, 0, 0);
}

static int take_range(int who)
{
	uint64_t handle = make_physical();

	while (call(FN_MAP, reserved, GRANULE, 0, handle))
		sched_yield();
	must(FN_RELEASE, handle, 0, 0, 0);
	must(FN_UNMAP, reserved, GRANULE, 0, 0);
	return who;
}

static int open_and_close(int who)
{
	uint64_t ptr;

	if (open_memory(&ptr, others, 1))
		die("cuIpcOpenMemHandle_v2");
	must(FN_CLOSE, ptr, 0, 0, 0);
	return who;
}

static int unmap_place(int who)
{
	(void)who;
	return call(FN_UNMAP, place, GRANULE, 0, 0);
}

/* There is nothing mapped in the other half. */
static int unmap_too_much(int who)
{
	(void)who;
	return call(FN_UNMAP, place, 2 * GRANULE, 0, 0);
}

static int map_place(int who)
{
	(void)who;
	return call(FN_MAP, place, GRANULE, 0, thing);
}

static int retain_place(int who)
{
	uint64_t handle;

	(void)who;
	return call(FN_ADDRESS, (uintptr_t)&handle, place, 0, 0);
}

/* Contexts' calls fail only when they are told to. */
static int release_primary(int who)
{
	static atomic_ulong calls;

	if (++calls % 40 == 0)
		fail_place(1, CUDA_ERROR_OUT_OF_MEMORY);
	(void)who;
	return call(FN_RELEASE_PRIMARY, DEVICE, 0, 0, 0);
}

/* What is left of the thing ends, but for the last one's. */
static void close_all(void)
{
	while (call(FN_CLOSE, thing, 0, 0, 0) != CUDA_ERROR_INVALID_VALUE)
		;
}

static void release_all(void)
{
	while (call(FN_RELEASE_PRIMARY, thing, 0, 0, 0) != CUDA_ERROR_INVALID_CONTEXT)
		;
}

static const struct sort {
	const char *name;
	uint64_t (*make)(void);
	int end;
	int (*acts[2])(int who); /* of each thread; 0: it has ended the thing */
	bool is_shared;          /* either may, or none */
	void (*clear)(void);
} sorts[] = {
	{.name = "memory", .make = make_memory, .end = FN_FREE, .acts = {end_thing, end_thing}},
	{.name = "host", .make = make_host, .end = FN_FREE_HOST, .acts = {end_thing, end_thing}},
	{.name = "array", .make = make_array, .end = FN_FREE_ARRAY, .acts = {end_thing, end_thing}},
	{.name = "pool", .make = make_pool, .end = FN_DESTROY_POOL, .acts = {end_thing, end_thing}},
	{.name = "physical",
	 .make = make_physical,
	 .end = FN_RELEASE,
	 .acts = {end_thing, end_thing}},
	{.name = "mapping", .make = make_mapping, .end = FN_UNMAP, .acts = {end_thing, end_thing}},
	{.name = "context",
	 .make = make_context,
	 .end = FN_DESTROY_CONTEXT,
	 .acts = {end_thing, end_thing}},
	{.name = "range", .make = make_mapping, .end = FN_UNMAP, .acts = {end_thing, take_range}},
	{.name = "opening",
	 .make = make_nothing,
	 .end = FN_CLOSE,
	 .acts = {open_and_close, open_and_close}},
	{.name = "parts",
	 .make = make_parts,
	 .end = FN_RELEASE,
	 .acts = {end_thing, unmap_place},
	 .is_shared = true},
	{.name = "badly",
	 .make = make_parts,
	 .end = FN_RELEASE,
	 .acts = {end_thing, unmap_too_much},
	 .is_shared = true},
	{.name = "closings",
	 .make = make_opened_twice,
	 .end = FN_CLOSE,
	 .acts = {end_thing, end_thing},
	 .is_shared = true,
	 .clear = close_all},
	{.name = "retained",
	 .make = make_kept,
	 .end = FN_UNMAP,
	 .acts = {end_thing, retain_place},
	 .is_shared = true},
	{.name = "mapped",
	 .make = make_unmapped,
	 .end = FN_RELEASE,
	 .acts = {end_thing, map_place},
	 .is_shared = true},
	{.name = "primary",
	 .make = make_primary,
	 .end = FN_RELEASE_PRIMARY,
	 .acts = {release_primary, release_primary},
	 .is_shared = true,
	 .clear = release_all},
};

static const struct sort *sort;
static unsigned long count, by_second;
static atomic_ulong begun, ended;
static int results[2];

/* Either may come first, also where both run on one processor. */
static void wait_a_little(unsigned int *random)
{
	unsigned int spins = (unsigned int)rand_r(random) % SPINS_MAX;

	if (rand_r(random) % 4 == 0)
		sched_yield();
	for (volatile unsigned int i = 0; i < spins; i++)
		;
}

static void act(int who, unsigned int *random)
{
	wait_a_little(random);
	results[who] = sort->acts[who](who);
}

static void *second_thread(void *arg)
{
	unsigned int random = 2;

	(void)arg;
	must(FN_SET, primary, 0, 0, 0);
	for (unsigned long i = 1; i <= count; i++) {
		while (begun < i)
			sched_yield();
		act(1, &random);
		ended = i;
	}
	return NULL;
}

static void race(unsigned long number, unsigned int *random)
{
	thing = sort->make();
	begun = number;
	act(0, random);
	while (ended < number)
		sched_yield();
	if (sort->clear && number < count)
		sort->clear();
	if (!sort->is_shared && !results[0] == !results[1])
		die("not one of two has ended it");
	by_second += !results[1];
	if (number % KEEP == 0)
		make_memory();
}

static void races(void)
{
	unsigned int random = 1;
	pthread_t second;

	begun = ended = 0;
	if (pthread_create(&second, NULL, second_thread, NULL))
		die("pthread_create");
	for (unsigned long i = 1; i <= count; i++)
		race(i, &random);
	pthread_join(second, NULL);
}

static void say(void)
{
	printf("{\"pid\":%d,\"by_second\":%lu}\n", getpid(), by_second);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int (*write_ledger)(const char *path);

	for (size_t i = 0; i < ARRAY_SIZE(sorts) && argc == 4; i++)
		if (strcmp(sorts[i].name, argv[1]) == 0)
			sort = &sorts[i];
	if (!sort) {
		fputs("usage: race WHAT COUNT LEDGER\n", stderr);
		return 2;
	}
	count = strtoul(argv[2], NULL, 10);
	may_fail = sort->is_shared;
	if (sort->end == FN_CLOSE)
		make_others_memory();
	load();
	end = functions[sort->end];
	say();
	write_ledger =
		(int (*)(const char *))dlsym(simcuda_open("libcuda.so.1"), "simcuda_ledger_write");
	while (getchar() != EOF) {
		enter_context();
		must(FN_RESERVE, (uintptr_t)&reserved, 2 * (count + 2) * GRANULE, 0, 0);
		place = reserved;
		races();
		if (!write_ledger || write_ledger(argv[3]))
			die("cannot write the ledger");
		say();
	}
	return 0;
}
