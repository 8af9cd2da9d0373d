/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to be measured: a program, and the same as a library that pairs.py calls below a Python
 * stack.
 *
 * usage: pairs DEPTH FUNCTIONS:LIBRARY...
 *
 * FUNCTIONS says which of the library's functions are called (functions.c): `cuda`, `peer`, or
 * `runtime` for those that call the driver's. Prints {"pid":N}, then answers each line of stdin by
 * one line:
 *
 *  pairs WHICH COUNT THREADS    allocates and frees COUNT times on each thread, in frames DEPTH
 *                               deep; WHICH numbers the libraries from 0
 *                               {"wall_ns":N,"cpu_ns":N}, the latter of all threads together
 *  latency WHICH COUNT THREADS  takes the processor time of each of COUNT such pairs on the first
 * thread, while THREADS more call as fast as they can
 *                               {"p50":N,"p99":N,"p999":N,"max":N}, nanoseconds
 *  hold WHICH COUNT             allocates so many blocks and keeps them; {}
 *  paced WHICH RATE MS          works for so many milliseconds of its processor time, and allocates
 *                               and frees RATE times a second meanwhile; {"units":N,"cpu_ns":N}
 *
 * Times are those of the thread itself, so that others on the machine show as little as can be.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "macro.h"

#define LIBRARIES_MAX 16
#define THREADS_MAX 64U
#define WARM_UP 256 /* pairs: a thread's first call makes its records */
#define BLOCK_BYTES 4096
#define UNIT_STEPS 8000 /* some ten microseconds */
#define NS_PER_S 1000000000ULL

int serve(int argc, char **argv);

static struct library {
	int (*cuda_malloc)(void **ptr, size_t size);
	int (*cuda_free)(void *ptr);
	void *(*peer_malloc)(size_t size);
	void (*peer_free)(void *ptr);
	bool is_peer;
} libraries[LIBRARIES_MAX];

struct run {
	const struct library *library;
	unsigned long pairs, depth;
	pthread_barrier_t *ready, *go;
	uint64_t cpu_ns;
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "pairs: %s: %s\n", what, why);
	exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void *need(void *library, const char *symbol)
{
	void *fn = dlsym(library, symbol);

	if (!fn)
		die(symbol, "not found");
	return fn;
}

static void load(const char *argument, struct library *ret)
{
	const char *path = strchr(argument, ':');
	void *library = path ? dlopen(path + 1, RTLD_NOW) : NULL;

	if (!library)
		die(argument, path ? dlerror() : "no FUNCTIONS:LIBRARY");
	ret->is_peer = strncmp(argument, "peer:", 5) == 0;
	if (strncmp(argument, "runtime:", 8) == 0) {
		ret->cuda_malloc = need(library, "cudaHostAlloc"); /* its flags do not matter */
		ret->cuda_free = need(library, "cudaFreeHost");
	} else if (ret->is_peer) {
		ret->peer_malloc = need(library, "peer_malloc");
		ret->peer_free = need(library, "peer_free");
	} else {
		ret->cuda_malloc = need(library, "cudaMalloc");
		ret->cuda_free = need(library, "cudaFree");
	}
}

static void hold(const struct library *library, unsigned long count)
{
	void *ptr;

	if (library->is_peer)
		die("hold", "of CUDA's functions only");
	for (unsigned long i = 0; i < count; i++)
		library->cuda_malloc(&ptr, BLOCK_BYTES);
	puts("{}");
}

__attribute__((noinline)) static void call(const struct library *library, unsigned long pairs)
{
	void *ptr;

	for (unsigned long i = 0; i < pairs && library->is_peer; i++)
		library->peer_free(library->peer_malloc(BLOCK_BYTES));
	for (unsigned long i = 0; i < pairs && !library->is_peer; i++) {
		library->cuda_malloc(&ptr, BLOCK_BYTES);
		library->cuda_free(ptr);
	}
}

__attribute__((noinline)) static void call_below(unsigned long depth, const struct library *library,
						 unsigned long pairs)
{
	if (depth > 1)
		call_below(depth - 1, library, pairs);
	else
		call(library, pairs);
}

static void *work(void *arg)
{
	struct run *run = arg;
	uint64_t start;

	call_below(run->depth, run->library, WARM_UP);
	pthread_barrier_wait(run->ready);
	pthread_barrier_wait(run->go);
	start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	call_below(run->depth, run->library, run->pairs);
	run->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	return NULL;
}

/* On the first thread, below the stack of whoever has called serve(). */
static void alone(const struct library *library, unsigned long pairs, unsigned long depth)
{
	uint64_t wall, cpu;

	call_below(depth, library, WARM_UP);
	wall = clock_ns(CLOCK_MONOTONIC);
	cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	call_below(depth, library, pairs);
	cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	wall = clock_ns(CLOCK_MONOTONIC) - wall;
	printf("{\"wall_ns\":%ju,\"cpu_ns\":%ju}\n", (uintmax_t)wall, (uintmax_t)cpu);
}

static void together(const struct library *library, unsigned long pairs, unsigned long depth,
		     unsigned int threads)
{
	pthread_barrier_t ready, go;
	struct run runs[THREADS_MAX];
	pthread_t ids[THREADS_MAX];
	uint64_t wall, cpu = 0;

	pthread_barrier_init(&ready, NULL, threads + 1);
	pthread_barrier_init(&go, NULL, threads + 1);
	for (unsigned int i = 0; i < threads; i++) {
		runs[i] = (struct run){library, pairs, depth, &ready, &go, 0};
		if (pthread_create(&ids[i], NULL, work, &runs[i]))
			die("pthread_create", "failed");
	}
	pthread_barrier_wait(&ready);
	wall = clock_ns(CLOCK_MONOTONIC);
	pthread_barrier_wait(&go);
	for (unsigned int i = 0; i < threads; i++) {
		pthread_join(ids[i], NULL);
		cpu += runs[i].cpu_ns;
	}
	wall = clock_ns(CLOCK_MONOTONIC) - wall;
	printf("{\"wall_ns\":%ju,\"cpu_ns\":%ju}\n", (uintmax_t)wall, (uintmax_t)cpu);
}

struct load {
	const struct library *library;
	unsigned long depth;
	bool is_over;
};

static void *keep_calling(void *arg)
{
	struct load *load = arg;

	while (!__atomic_load_n(&load->is_over, __ATOMIC_RELAXED))
		call_below(load->depth, load->library, 1);
	return NULL;
}

static int compare_times(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void take_times(const struct library *library, unsigned long count, unsigned long depth)
{
	uint64_t *times = calloc(count, sizeof(*times));

	if (!times)
		die("latency", "no memory");
	call_below(depth, library, WARM_UP);
	for (unsigned long i = 0; i < count; i++) {
		uint64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);

		call_below(depth, library, 1);
		times[i] = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	}
	qsort(times, count, sizeof(*times), compare_times);
	printf("{\"p50\":%ju,\"p99\":%ju,\"p999\":%ju,\"max\":%ju}\n", (uintmax_t)times[count / 2],
	       (uintmax_t)times[count * 99 / 100], (uintmax_t)times[count * 999 / 1000],
	       (uintmax_t)times[count - 1]);
	free(times);
}

static void latency(const struct library *library, unsigned long count, unsigned long depth,
		    unsigned long threads)
{
	struct load load = {.library = library, .depth = depth};
	pthread_t ids[THREADS_MAX];

	for (unsigned long i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, keep_calling, &load))
			die("pthread_create", "failed");
	take_times(library, count, depth);
	__atomic_store_n(&load.is_over, true, __ATOMIC_RELAXED);
	for (unsigned long i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
}

static void work_unit(uint64_t *state)
{
	for (int i = 0; i < UNIT_STEPS; i++) {
		*state ^= *state << 13;
		*state ^= *state >> 7;
		*state ^= *state << 17;
	}
}

static void paced(const struct library *library, unsigned long rate, unsigned long ms,
		  unsigned long depth)
{
	uint64_t start, now, end, next, state = 1, units = 0;

	call_below(depth, library, 1);
	start = now = next = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (end = start + ms * 1000000; now < end; units++) {
		for (; rate && next <= now; next += NS_PER_S / rate)
			call_below(depth, library, 1);
		work_unit(&state);
		now = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	}
	printf("{\"units\":%ju,\"cpu_ns\":%ju,\"state\":%ju}\n", (uintmax_t)units,
	       (uintmax_t)(now - start), (uintmax_t)state);
}

static void answer(const char *line, unsigned long depth)
{
	unsigned long count, more;
	unsigned int which = 0;

	if (sscanf(line, "%*s %u", &which) != 1 || which >= LIBRARIES_MAX)
		die(line, "which library?");
	if (sscanf(line, "pairs %*u %lu %lu", &count, &more) == 2 && more >= 1 &&
	    more <= THREADS_MAX) {
		if (more == 1)
			alone(&libraries[which], count, depth);
		else
			together(&libraries[which], count, depth, (unsigned int)more);
	} else if (sscanf(line, "latency %*u %lu %lu", &count, &more) == 2 && count >= 1 &&
		   more <= THREADS_MAX) {
		latency(&libraries[which], count, depth, more);
	} else if (sscanf(line, "paced %*u %lu %lu", &count, &more) == 2) {
		paced(&libraries[which], count, more, depth);
	} else if (sscanf(line, "hold %*u %lu", &count) == 1) {
		hold(&libraries[which], count);
	} else {
		die(line, "not understood");
	}
	fflush(stdout);
}

int serve(int argc, char **argv)
{
	unsigned long depth = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
	char line[128];

	if (depth < 1 || argc - 2 > LIBRARIES_MAX) {
		fputs("usage: pairs DEPTH FUNCTIONS:LIBRARY...\n", stderr);
		return 2;
	}
	for (int i = 2; i < argc; i++)
		load(argv[i], &libraries[i - 2]);
	printf("{\"pid\":%d}\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		answer(line, depth);
	return 0;
}

int main(int argc, char **argv)
{
	return serve(argc, argv);
}
