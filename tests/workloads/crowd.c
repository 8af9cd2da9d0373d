/* SPDX-License-Identifier: Apache-2.0 */
/* Many small processes that hold CUDA memory.
 *
 * usage: crowd PROCESSES ALLOCATIONS [SITES]
 *
 * Forks PROCESSES times from one process that has loaded the libraries, so that each costs little.
 * Each takes ALLOCATIONS blocks, evenly from SITES (default 1) different call stacks: of 512 bytes
 * at the first, of 1024 at the second, and so on.
 * When all have them it prints {"pid":N,"children":[N,...]}; at the end of stdin all end.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "macro.h"
#include "open.h"

#define BLOCK_BYTES 512
#define PROCESSES_MAX 4096U
#define SITES_MAX 24U /* as deep as a native stack is followed */

static int (*cuda_malloc)(void **ptr, size_t size);
static pid_t children[PROCESSES_MAX];

static void die(const char *what, const char *why)
{
	fprintf(stderr, "crowd: %s: %s\n", what, why);
	exit(1);
}

static void load(void)
{
	void *runtime = simcuda_open("libcudart.so.13"), *driver = simcuda_open("libcuda.so.1");
	int (*init)(unsigned int) = dlsym(driver, "cuInit");

	cuda_malloc = dlsym(runtime, "cudaMalloc");
	if (!cuda_malloc || !init || init(0))
		die("the libraries", "have not what they should have");
}

static void take(size_t size)
{
	void *ptr;

	if (cuda_malloc(&ptr, size))
		die("cudaMalloc", "failed");
}

/* Another depth is another stack. */
__attribute__((noinline)) static void take_at(unsigned long depth, unsigned long count, size_t size)
{
	if (depth > 0)
		take_at(depth - 1, count, size);
	for (unsigned long i = 0; depth == 0 && i < count; i++)
		take(size);
}

static void be_a_child(unsigned long count, unsigned long sites, int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned long depth = 0; depth < sites; depth++)
		take_at(depth, count / sites, BLOCK_BYTES * (depth + 1));
	if (write(ready, "", 1) != 1)
		die("write", "failed");
	for (;;)
		pause();
}

static void report(size_t n)
{
	printf("{\"pid\":%d,\"children\":[", getpid());
	for (size_t i = 0; i < n; i++)
		printf("%s%d", i ? "," : "", children[i]);
	puts("]}");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	unsigned long sites = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
	int ready[2];
	char byte;

	if (n < 1 || n > PROCESSES_MAX || sites < 1 || sites > SITES_MAX) {
		fputs("usage: crowd PROCESSES ALLOCATIONS [SITES]\n", stderr);
		return 2;
	}
	load();
	if (pipe(ready) < 0)
		die("pipe", "failed");
	for (size_t i = 0; i < n; i++) {
		children[i] = fork();
		if (children[i] < 0)
			die("fork", "failed");
		if (children[i] == 0)
			be_a_child(count, sites, ready[1]);
	}
	close(ready[1]);
	for (size_t i = 0; i < n; i++)
		if (read(ready[0], &byte, 1) != 1)
			die("a child", "failed");
	report(n);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	for (size_t i = 0; i < n; i++)
		kill(children[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	return 0;
}
