/* SPDX-License-Identifier: Apache-2.0 */
/* Calls under conditions that a probe could notice, or be noticed by. What it prints does not
 * depend on time: with probes and without it must be the same.
 *
 * usage: odd SCENARIO ROUNDS
 *
 * The program exports cudaMalloc() and cudaFree() itself and is probed when it is started under the
 * name of a CUDA runtime. It prints {"phase":"started"}, waits for a line on stdin, runs, and
 * prints
 * {"phase":SCENARIO,"calls":N,"sum":N}; it ends with 1 where a call returned what it should not.
 *
 *   deep     at the bottom of 10,000 frames
 *   signals  also in a handler that interrupts calls, 1,000 times a second
 *   alt      likewise on an alternate stack, below the interrupted one
 *   longjmp  calls are left, from inside and by a handler
 *   dying    threads end inside a call
 *   vfork    beside children of vfork(2) that execute or exit
 *   fork     in children, beside the parent's threads
 *   traced   of a process that another one stops and steps through
 *   threads  of sixteen threads
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "macro.h"

#define THREADS 16
#define DEPTH 10000
#define BASE 0x100000000000ULL
#define FAILS(size) ((size) % 7 == 3)
#define OUT_OF_MEMORY 2

int cudaMalloc(void **ptr, size_t size);
int cudaFree(void *ptr);

static _Atomic uint64_t used, calls, sum, wrong;
static __thread void (*leave)(void);
static __thread sigjmp_buf outside;

/* Nothing in them minds being interrupted by another call of them. */
__attribute__((noinline)) int cudaMalloc(void **ptr, size_t size)
{
	if (leave)
		leave();
	if (FAILS(size))
		return OUT_OF_MEMORY;
	*ptr = (void *)(uintptr_t)(BASE + (used += 4096));
	return 0;
}

__attribute__((noinline)) int cudaFree(void *ptr)
{
	if (leave)
		leave();
	return ptr ? 0 : 1;
}

/* An allocation and its free, whose results are checked. */
static void pair(size_t size)
{
	void *ptr = NULL;
	int result = cudaMalloc(&ptr, size);

	wrong += result != (FAILS(size) ? OUT_OF_MEMORY : 0);
	wrong += (result == 0) != ((uintptr_t)ptr > BASE);
	result = cudaFree(ptr);
	wrong += result != (FAILS(size) ? 1 : 0);
	sum += size * 31 + (size_t)result;
	calls += 2;
}

static int go_down(unsigned int depth, size_t round)
{
	volatile char room[64];
	void *ptr = NULL;
	int below;

	room[0] = (char)depth;
	if (depth == 0) {
		pair(round);
		return room[0];
	}
	/* Every hundredth frame is inside a pair. */
	if (depth % 100 == 0)
		wrong += cudaMalloc(&ptr, 7 * depth) != 0;
	below = go_down(depth - 1, round);
	if (depth % 100 == 0)
		wrong += cudaFree(ptr) != 0;
	return below + room[0];
}

static void run_deep(size_t rounds)
{
	for (size_t i = 0; i < rounds; i++)
		sum += (uint64_t)(unsigned int)go_down(DEPTH, i);
	calls += rounds * 2 * (DEPTH / 100);
}

static void run_pairs(size_t rounds)
{
	for (size_t i = 0; i < rounds; i++)
		pair(i);
}

/* What handlers have done is not part of the result. */
static void on_timer(int signo)
{
	uint64_t calls_before = calls, sum_before = sum;
	int error = errno;

	(void)signo;
	pair(5);
	calls = calls_before;
	sum = sum_before;
	errno = error;
}

static void start_timer(int flags, long usec)
{
	struct sigaction action = {.sa_handler = on_timer, .sa_flags = flags | SA_RESTART};
	struct itimerval timer = {{0, usec}, {0, usec}};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void run_signals(size_t rounds)
{
	start_timer(0, 1000);
	run_pairs(rounds);
	start_timer(0, 0);
}

static void run_alt(size_t rounds)
{
	static char room[1 << 16]; /* below every stack */
	stack_t alternate = {.ss_sp = room, .ss_size = sizeof(room)};

	sigaltstack(&alternate, NULL);
	start_timer(SA_ONSTACK, 1000);
	run_pairs(rounds);
	start_timer(0, 0);
}

static void jump(void)
{
	leave = NULL;
	siglongjmp(outside, 1);
}

static void on_jump(int signo)
{
	(void)signo;
	jump();
}

static void interrupted(void)
{
	raise(SIGUSR1);
}

static void leave_once(void (*how)(void))
{
	void *ptr;

	if (sigsetjmp(outside, 1))
		return;
	leave = how;
	(void)cudaMalloc(&ptr, 1);
	wrong++; /* it does not come here */
}

static void run_longjmp(size_t rounds)
{
	signal(SIGUSR1, on_jump);
	for (size_t i = 0; i < rounds; i++) {
		leave_once(i % 2 ? jump : interrupted);
		calls++;
		pair(i);
	}
}

static void end_thread(void)
{
	pthread_exit(NULL);
}

static void *die_inside(void *arg)
{
	void *ptr;

	run_pairs(3);
	leave = end_thread;
	if (arg)
		(void)cudaMalloc(&ptr, 1);
	else
		(void)cudaFree(&ptr);
	wrong++;
	return NULL;
}

static void run_dying(size_t rounds)
{
	for (size_t i = 0; i < rounds; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, die_inside, (void *)(i % 2)) == 0)
			pthread_join(thread, NULL);
	}
}

static void run_threads(size_t rounds)
{
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		wrong += pthread_create(&threads[i], NULL, (void *(*)(void *))(void *)run_pairs,
					(void *)rounds) != 0;
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static int outcome(pid_t child)
{
	int status = -1;

	return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static pid_t start_by_vfork(bool executes)
{
	pid_t child = vfork();

	if (child == 0 && executes)
		execl("/bin/true", "true", NULL);
	if (child == 0)
		_exit(0);
	return child;
}

static void *beside_vfork(void *arg)
{
	for (size_t i = 0; i < (size_t)arg; i++)
		wrong += outcome(start_by_vfork(i % 2)) != 0;
	return NULL;
}

static void *beside_fork(void *arg)
{
	for (size_t i = 0; i < (size_t)arg; i++) {
		pid_t child = fork();

		if (child == 0) {
			calls = sum = wrong = 0;
			run_pairs(20);
			_exit(wrong || calls != 40 ? 99 : (int)(sum % 64));
		}
		sum += (uint64_t)outcome(child);
	}
	return NULL;
}

static void run_beside(void *(*what)(void *), size_t rounds)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, what, (void *)(rounds / 20)) != 0)
		exit(1);
	run_threads(rounds / 2);
	pthread_join(thread, NULL);
}

static void run_vfork(size_t rounds)
{
	run_beside(beside_vfork, rounds);
}

static void run_fork(size_t rounds)
{
	run_beside(beside_fork, rounds);
}

/* Stops it now and then, and takes some steps: through calls, breakpoints and returns. */
static void step_through(pid_t child)
{
	int status;

	if (ptrace(PTRACE_SEIZE, child, NULL, NULL) < 0)
		exit(2);
	for (;;) {
		usleep(500);
		if (ptrace(PTRACE_INTERRUPT, child, NULL, NULL) < 0)
			return;
		for (int i = 0; i < 300; i++) {
			if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
				wrong += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
				return;
			}
			ptrace(i < 299 ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, NULL);
		}
	}
}

static void run_traced(size_t rounds)
{
	int ways[2];
	pid_t child;

	if (pipe(ways) < 0)
		exit(1);
	child = fork();
	if (child == 0) {
		run_pairs(rounds);
		_exit(wrong || write(ways[1], (void *)&sum, sizeof(sum)) != sizeof(sum));
	}
	step_through(child);
	wrong += read(ways[0], (void *)&sum, sizeof(sum)) != sizeof(sum);
	calls = 2 * rounds;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(size_t rounds);
	} scenarios[] = {
		{"deep", run_deep},       {"signals", run_signals}, {"alt", run_alt},
		{"longjmp", run_longjmp}, {"dying", run_dying},     {"vfork", run_vfork},
		{"fork", run_fork},       {"traced", run_traced},   {"threads", run_threads},
	};

	puts("{\"phase\":\"started\"}");
	fflush(stdout);
	if (getchar() == EOF || argc < 3)
		return 2;
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
		if (strcmp(argv[1], scenarios[i].name) == 0)
			scenarios[i].run(strtoul(argv[2], NULL, 10));
	printf("{\"phase\":\"%s\",\"calls\":%llu,\"sum\":%llu,\"wrong\":%llu}\n", argv[1],
	       (unsigned long long)calls, (unsigned long long)sum, (unsigned long long)wrong);
	return wrong != 0;
}
