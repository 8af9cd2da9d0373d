/* SPDX-License-Identifier: Apache-2.0 */
/* Calls every function that is probed, at random and from many threads.
 *
 * usage: churn [--threads N] [--calls N] [--driver] --ledger PATH
 *
 * The rows come from api.h, so a new one is covered as soon as it is there. Memory stands in slots
 * that all threads share: frees are mostly made by another thread than the allocation, addresses
 * are used again, and some calls are wrong (never allocated, of another kind, twice, NULL).
 *
 * Each line on stdin starts a round of N calls per thread; after it, and once at the start, the
 * ledger is written and a line is printed: {"pid":N,"rows":{API:[done, nothing, failed],...}}.
 * "nothing" is a call that succeeded without memory. A child process exports memory to open; its
 * allocations are not in these sums: {"exported":N}.
 */
#include <dlfcn.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "api.h"
#include "macro.h"

#define SLOTS 4096
#define EXPORTED 256 /* the first slots may hold one of these each */
#define PAGE 4096    /* what a slot may register */
#define THREADS_MAX 64
#define NEVER_ALLOCATED 0x1000
#define PITCH_ELEMENT 4
#define MANAGED_GLOBAL 1

/* Everything that is passed is an integer or a pointer, and travels in the registers that a wider
 * type would use.
 */
typedef int (*api_fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

struct ipc_handle {
	char bytes[64];
};
typedef int (*open_fn)(uint64_t *ptr, struct ipc_handle handle, unsigned int flags);

enum outcome { DONE, NOTHING, FAILED, OUTCOMES };

/* What a pointer is to be given to; an asynchronous allocation may be freed like any other too. */
enum way_back { TO_FREE, TO_FREE_ASYNC, TO_FREE_HOST, TO_UNREGISTER, TO_CLOSE, TO_DESTROY };

static const struct api_row rows[API_MAX] = {API_TABLE_ROWS};
static const char *const names[API_MAX] = {
#define X(symbol, ...) #symbol,
	SRTLEAK_APIS(X)
#undef X
};

static struct {
	size_t threads, calls;
	bool driver;
	const char *ledger;
} options = {.threads = 16, .calls = 2500};

static struct slot {
	atomic_flag busy;
	enum api api;
	uint64_t ptr; /* 0: empty */
} slots[SLOTS];

static struct worker {
	pthread_t thread;
	uint64_t random;
	uint64_t counts[API_MAX][OUTCOMES];
} workers[THREADS_MAX];

static void *functions[API_MAX]; /* NULL: not used */
static void *driver;
static void *context, *graph, *pool;
static unsigned char *pages;
static struct ipc_handle exported[EXPORTED];
static int (*write_ledger)(const char *path);

/* A freed pointer may be another thread's at once, so it is freed again only while all others are
 * outside of any call.
 */
static pthread_rwlock_t others = PTHREAD_RWLOCK_INITIALIZER;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "churn: %s: %s\n", what, why);
	exit(1);
}

static uint64_t draw(struct worker *w, uint64_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (w->random >> 11) % below;
}

static enum way_back way_back(enum api api)
{
	if (rows[api].kind == KIND_IPC)
		return TO_CLOSE;
	if (rows[api].kind == KIND_GRAPH)
		return TO_DESTROY;
	if (rows[api].kind == KIND_HOST)
		return strstr(names[api], "egister") ? TO_UNREGISTER : TO_FREE_HOST;
	return strstr(names[api], "Async") ? TO_FREE_ASYNC : TO_FREE;
}

static bool takes_back(enum api release, const struct slot *slot)
{
	enum way_back needed = way_back(slot->api), way = way_back(release);

	if (rows[release].pointer == POINTER_ARG32 && slot->ptr > UINT32_MAX)
		return false;
	return way == needed || (needed == TO_FREE_ASYNC && way == TO_FREE);
}

static enum api draw_row(struct worker *w, enum api_action action)
{
	enum api api;

	do
		api = (enum api)draw(w, API_MAX);
	while (!functions[api] || rows[api].action != action);
	return api;
}

static void count(struct worker *w, enum api api, int error, uint64_t ptr)
{
	w->counts[api][error ? FAILED : ptr ? DONE : NOTHING]++;
}

static int release(struct worker *w, enum api api, uint64_t ptr)
{
	int error = ((api_fn)functions[api])(ptr, 0, 0, 0, 0);

	count(w, api, error, ptr);
	return error;
}

static uint64_t draw_size(struct worker *w, enum api api)
{
	if (draw(w, 128) == 0)
		return 0;
	if (rows[api].kind == KIND_DEVICE && rows[api].size == SIZE_BYTES)
		return 1 + draw(w, 4 << 20);
	return 1 + draw(w, PAGE);
}

static uint64_t third_argument(enum api api)
{
	if (strstr(names[api], "FromPool"))
		return (uintptr_t)pool;
	return rows[api].kind == KIND_MANAGED ? MANAGED_GLOBAL : 0;
}

static int allocate(struct worker *w, enum api api, size_t index, uint64_t *ret)
{
	api_fn fn = (api_fn)functions[api];
	uint64_t pitch = 0, out = (uintptr_t)ret;

	if (rows[api].kind == KIND_IPC)
		return ((open_fn)functions[api])(ret, exported[index], 0);
	if (rows[api].kind == KIND_GRAPH)
		return fn(out, (uintptr_t)graph, 0, 0, 0);
	if (rows[api].pointer == POINTER_OUT32)
		*ret = UINT64_MAX << 32; /* the upper half is not the function's */
	if (rows[api].size == SIZE_PITCH || rows[api].size == SIZE_PITCH32)
		return fn(out, (uintptr_t)&pitch, draw_size(w, api), 1 + draw(w, 16),
			  PITCH_ELEMENT);
	if (rows[api].pointer == POINTER_ARG)
		out = *ret = (uintptr_t)&pages[index * PAGE];
	return fn(out, draw_size(w, api), third_argument(api), 0, 0);
}

static void fill(struct worker *w, struct slot *slot)
{
	size_t index = (size_t)(slot - slots);
	enum api api = draw_row(w, ACTION_ALLOC);
	uint64_t ptr = 0;
	int error;

	if (rows[api].kind == KIND_IPC && index >= EXPORTED)
		return;
	error = allocate(w, api, index, &ptr);
	if (rows[api].pointer == POINTER_OUT32)
		ptr = (uint32_t)ptr;
	count(w, api, error, ptr);
	slot->api = api;
	slot->ptr = error ? 0 : ptr;
}

static void empty(struct worker *w, struct slot *slot)
{
	enum api api;

	do
		api = draw_row(w, ACTION_FREE);
	while (!takes_back(api, slot));
	if (!release(w, api, slot->ptr))
		slot->ptr = 0;
}

static void misuse(struct worker *w, const struct slot *slot)
{
	enum api api = draw_row(w, ACTION_FREE);

	switch (draw(w, 3)) {
	case 0:
		release(w, api, 0);
		break;
	case 1:
		if (!release(w, api, NEVER_ALLOCATED))
			die(names[api], "freed what was never allocated");
		break;
	default:
		if (slot->ptr && way_back(slot->api) != way_back(api) && !takes_back(api, slot) &&
		    rows[api].pointer != POINTER_ARG32 && !release(w, api, slot->ptr))
			die(names[api], "freed what it cannot");
	}
}

static void free_twice(struct worker *w, struct slot *slot)
{
	uint64_t ptr = slot->ptr;

	if (!ptr)
		return;
	empty(w, slot);
	for (int api = 0; api < API_MAX && !slot->ptr; api++)
		if (functions[api] && rows[api].action == ACTION_FREE &&
		    takes_back((enum api)api, &(struct slot){.api = slot->api, .ptr = ptr}) &&
		    !release(w, (enum api)api, ptr))
			die(names[api], "freed twice");
}

static void use(struct worker *w, struct slot *slot)
{
	if (draw(w, 32) == 0)
		misuse(w, slot);
	else if (slot->ptr)
		empty(w, slot);
	else
		fill(w, slot);
}

static void turn(struct worker *w)
{
	struct slot *slot = &slots[draw(w, SLOTS)];
	bool alone = draw(w, 512) == 0;

	if (alone)
		pthread_rwlock_wrlock(&others);
	else
		pthread_rwlock_rdlock(&others);
	if (!atomic_flag_test_and_set(&slot->busy)) {
		if (alone)
			free_twice(w, slot);
		else
			use(w, slot);
		atomic_flag_clear(&slot->busy);
	}
	pthread_rwlock_unlock(&others);
}

static void *need(void *library, const char *symbol)
{
	void *fn = library ? dlsym(library, symbol) : NULL;

	if (!fn)
		die(symbol, "not found");
	return fn;
}

static void bind_context(void)
{
	int (*set)(void *) = need(driver, "cuCtxSetCurrent");

	if (set(context))
		die("cuCtxSetCurrent", "failed");
}

static void *work(void *arg)
{
	bind_context();
	for (size_t i = 0; i < options.calls; i++)
		turn(arg);
	return NULL;
}

static void *library(const char *name)
{
	const char *directory = getenv("SIMCUDA_DIR");
	char path[4096];
	void *handle;

	snprintf(path, sizeof(path), "%s/%s", directory ? directory : ".", name);
	handle = dlopen(path, RTLD_NOW);
	if (!handle)
		die("dlopen", dlerror());
	return handle;
}

static void load_driver(void)
{
	int (*init)(unsigned int), (*retain)(void **, int);

	driver = library("libcuda.so.1");
	init = need(driver, "cuInit");
	retain = need(driver, "cuDevicePrimaryCtxRetain");
	if (init(0) || retain(&context, 0))
		die("the driver", "cannot be initialised");
	bind_context();
}

static void load(void)
{
	struct {
		unsigned int type, handles, place;
		int device;
		uint64_t rest[16];
	} properties = {.type = 1, .place = 1};
	int (*create_graph)(void **, unsigned int), (*create_pool)(void **, void *);
	void *runtime = options.driver ? NULL : library("libcudart.so.13");

	load_driver();
	create_graph = need(driver, "cuGraphCreate");
	create_pool = need(driver, "cuMemPoolCreate");
	if (create_graph(&graph, 0) || create_pool(&pool, &properties))
		die("graph and pool", "cannot be created");
	write_ledger = need(driver, "simcuda_ledger_write");
	for (int api = 0; api < API_MAX; api++)
		if (rows[api].family == FAMILY_CUDA || runtime)
			functions[api] = need(rows[api].family == FAMILY_CUDA ? driver : runtime,
					      names[api]);
	pages = mmap(NULL, SLOTS * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	if (pages == MAP_FAILED)
		die("mmap", "failed");
}

/* CUDA IPC needs another process to own the memory. */
static void export_memory(int to)
{
	int (*allocate_memory)(uint64_t *, size_t), (*handle)(struct ipc_handle *, uint64_t);
	uint64_t ptr;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	unsetenv("SIMCUDA_FAIL_PERMILLE");
	load_driver();
	allocate_memory = need(driver, "cuMemAlloc_v2");
	handle = need(driver, "cuIpcGetMemHandle");
	for (size_t i = 0; i < EXPORTED; i++)
		if (allocate_memory(&ptr, 1 << 20) || handle(&exported[i], ptr))
			die("memory to export", "failed");
	if (write(to, exported, sizeof(exported)) != sizeof(exported))
		die("write", "failed");
	for (;;)
		pause();
}

static void import_memory(void)
{
	int ends[2];
	size_t got = 0;

	if (pipe(ends) < 0)
		die("pipe", "failed");
	if (fork() == 0)
		export_memory(ends[1]);
	close(ends[1]);
	while (got < sizeof(exported)) {
		ssize_t n = read(ends[0], (char *)exported + got, sizeof(exported) - got);

		if (n <= 0)
			die("the exporting process", "ended");
		got += (size_t)n;
	}
	close(ends[0]);
}

static void report(void)
{
	const char *separator = "";

	if (write_ledger(options.ledger))
		die(options.ledger, "cannot write the ledger");
	printf("{\"pid\":%d,\"exported\":%d,\"rows\":{", getpid(), EXPORTED);
	for (int api = 0; api < API_MAX; api++) {
		uint64_t sums[OUTCOMES] = {0};

		if (!functions[api])
			continue;
		for (size_t i = 0; i < options.threads; i++)
			for (int outcome = 0; outcome < OUTCOMES; outcome++)
				sums[outcome] += workers[i].counts[api][outcome];
		printf("%s\"%s\":[%ju,%ju,%ju]", separator, names[api], (uintmax_t)sums[DONE],
		       (uintmax_t)sums[NOTHING], (uintmax_t)sums[FAILED]);
		separator = ",";
	}
	puts("}}");
	fflush(stdout);
}

static void play_round(void)
{
	for (size_t i = 0; i < options.threads; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			die("pthread_create", "failed");
	for (size_t i = 0; i < options.threads; i++)
		pthread_join(workers[i].thread, NULL);
}

static void parse(int argc, char **argv)
{
	static const struct option known[] = {
		{"threads", required_argument, NULL, 't'},
		{"calls", required_argument, NULL, 'c'},
		{"driver", no_argument, NULL, 'd'},
		{"ledger", required_argument, NULL, 'l'},
		{},
	};
	int which;

	while ((which = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (which == 't')
			options.threads = strtoul(optarg, NULL, 0);
		else if (which == 'c')
			options.calls = strtoul(optarg, NULL, 0);
		else if (which == 'd')
			options.driver = true;
		else if (which == 'l')
			options.ledger = optarg;
		else
			exit(2);
	}
	if (!options.ledger || options.threads < 1 || options.threads > THREADS_MAX)
		die("usage", "churn [--threads N] [--calls N] [--driver] --ledger PATH");
}

int main(int argc, char **argv)
{
	char line[16];

	parse(argc, argv);
	for (size_t i = 0; i < options.threads; i++)
		workers[i].random = 0x9e3779b97f4a7c15ULL * (i + 1);
	import_memory();
	load();
	report();
	while (fgets(line, sizeof(line), stdin)) {
		play_round();
		report();
	}
	return 0;
}
