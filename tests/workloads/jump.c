/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves calls of its own cudaMalloc() in ways that never return.
 *
 * usage: jump HOW [deeper [other [above]]], with HOW one of return, again, longjmp, signal, thread,
 * exec, runtime, second, reset
 *
 * The program exports cudaMalloc() itself, as one with a runtime linked in would, and is probed
 * when it is started under the name of a CUDA runtime. A line on stdin lets it make the call that
 * is lost and then KEPT calls that return (again: all of them the same address; deeper: with more
 * frames above them than the lost one had, not fewer; other: of cudaMallocHost(); above: nothing is
 * written where the lost one's frame was); after each step it prints {"phase":NAME}.
 *
 * runtime: what is lost is a cudaMalloc() of the simulated runtime, and the others are calls of its
 * driver; second: they are cudaMalloc() of another runtime, at the same place of the stack; reset:
 * both runtimes' cudaDeviceReset() likewise, with an allocation after each.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "macro.h"
#include "open.h"

#define KEPT 7
#define DEPTH 16
#define SIZE 4096
#define BASE 0x100000000000ULL

int cudaMalloc(void **ptr, size_t size);
int cudaMallocHost(void **ptr, size_t size);

static void (*leave)(void);
static sigjmp_buf outside;
static bool again, deeper, above;
static int (*allocate)(void **ptr, size_t size) = cudaMalloc;

/* Frames that a later call does not have above it. */
static __attribute__((noinline)) int call(unsigned int depth)
{
	volatile char room[512];
	void *ptr;

	room[0] = 0;
	for (size_t i = 0; i < sizeof(room) && !above; i++)
		room[i] = (char)depth; /* over whatever was there */
	if (depth)
		return call(depth - 1) + room[0] - room[0];
	return allocate(&ptr, SIZE);
}

__attribute__((noinline)) int cudaMalloc(void **ptr, size_t size)
{
	static uint64_t used;

	if (leave)
		leave();
	*ptr = (void *)(uintptr_t)(BASE + used);
	used += again ? 0 : size;
	return 0;
}

__attribute__((noinline)) int cudaMallocHost(void **ptr, size_t size)
{
	static uint64_t used = BASE;

	*ptr = (void *)(uintptr_t)used;
	used += size;
	return 0;
}

static void jump(void)
{
	siglongjmp(outside, 1);
}

static void on_signal(int signo)
{
	(void)signo;
	siglongjmp(outside, 1);
}

static void interrupted(void)
{
	raise(SIGUSR1);
}

static void end_thread(void)
{
	pthread_exit(NULL);
}

static void next_program(void)
{
	execl("/proc/self/exe", "jump", "return", NULL);
	_exit(1);
}

static void *lose(void *arg)
{
	(void)arg;
	if (sigsetjmp(outside, 1) == 0)
		call(deeper ? 0 : DEPTH);
	return NULL;
}

static void lose_one(void (*how)(void))
{
	pthread_t thread;

	leave = how;
	if (how != end_thread)
		lose(NULL);
	else if (pthread_create(&thread, NULL, lose, NULL) == 0)
		pthread_join(thread, NULL);
	leave = NULL;
}

/* The runtime's first call makes a context, which is not what is to be lost. */
static void lose_in_runtime(bool second)
{
	void *runtime = simcuda_open("libcudart.so.13"), *driver = simcuda_open("libcuda.so.1");
	int (*start)(void *) = (int (*)(void *))dlsym(runtime, "cudaFree");
	void (*leave_by)(void (*)(void)) = (void (*)(void (*)(void)))dlsym(driver, "simcuda_leave");
	void *other = second ? simcuda_open("libcudart.so.12") : driver;
	const char *name = second ? "cudaMalloc" : "cuMemAlloc_v2";
	int (*later)(void **, size_t) = (int (*)(void **, size_t))dlsym(other, name);

	allocate = (int (*)(void **, size_t))dlsym(runtime, "cudaMalloc");
	start(NULL);
	leave_by(jump);
	for (int i = 0; i <= (second ? KEPT : 0); i++) {
		lose(NULL);
		allocate = later;
	}
}

/* A function that takes no arguments does not mind those that call() gives it. */
static int (*reset_of(void *runtime))(void **, size_t)
{
	return (int (*)(void **, size_t))dlsym(runtime, "cudaDeviceReset");
}

static void lose_reset(void)
{
	void *first = simcuda_open("libcudart.so.13"), *second = simcuda_open("libcudart.so.12");
	int (*take)(void **, size_t) = (int (*)(void **, size_t))dlsym(first, "cudaMalloc");
	void (*leave_by)(void (*)(void)) = (void (*)(void (*)(void)))dlsym(
		simcuda_open("libcuda.so.1"), "simcuda_leave_place");
	void *ptr;

	take(&ptr, SIZE);
	allocate = reset_of(first);
	leave_by(jump);
	lose(NULL);
	take(&ptr, SIZE);
	allocate = reset_of(second);
	lose(NULL);
	take(&ptr, SIZE);
}

static void step(const char *name)
{
	printf("{\"phase\":\"%s\"}\n", name);
	fflush(stdout);
	if (getchar() == EOF)
		exit(0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*how)(void);
	} ways[] = {
		{"return", NULL},       {"longjmp", jump},      {"signal", interrupted},
		{"thread", end_thread}, {"exec", next_program},
	};

	signal(SIGUSR1, on_signal);
	again = argc > 1 && strcmp(argv[1], "again") == 0;
	deeper = argc > 2 && strcmp(argv[2], "deeper") == 0;
	above = argc > 4 && strcmp(argv[4], "above") == 0;
	step("started");
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		if (argc > 1 && strcmp(argv[1], ways[i].name) == 0 && ways[i].how)
			lose_one(ways[i].how);
	if (argc > 1 && (strcmp(argv[1], "second") == 0 || strcmp(argv[1], "reset") == 0)) {
		if (argv[1][0] == 's')
			lose_in_runtime(true);
		else
			lose_reset();
		step("kept");
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "runtime") == 0)
		lose_in_runtime(false);
	else if (argc > 3 && strcmp(argv[3], "other") == 0)
		allocate = cudaMallocHost;
	for (int i = 0; i < KEPT; i++)
		call(deeper ? DEPTH : 0);
	step("kept");
	return 0;
}
