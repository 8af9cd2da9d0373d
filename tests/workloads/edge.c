/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that make and release a few pieces of physical memory, again and again: together they
 * hold now less, now more than what is a process's own of the records for that (HANDLES_OWN).
 *
 * usage: edge COUNT
 *
 * Prints {"pid":N}, and for each line on stdin does it COUNT times on each thread and prints {}.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cuda_types.h"
#include "macro.h"
#include "open.h"

#define THREADS 8
#define HELD 4
#define BYTES (2ULL << 20)

static int (*create)(uint64_t *handle, size_t size, const CUmemAllocationProp *prop,
		     uint64_t flags);
static int (*release)(uint64_t handle);
static unsigned long count;

static void *work(void *unused)
{
	const CUmemAllocationProp prop = {.type = 1, .location = {.type = 1}};
	uint64_t handles[HELD];

	for (unsigned long i = 0; i < count; i++) {
		for (int j = 0; j < HELD; j++)
			if (create(&handles[j], BYTES, &prop, 0) != 0)
				exit(1);
		for (int j = 0; j < HELD; j++)
			if (release(handles[j]) != 0)
				exit(1);
	}
	return unused;
}

int main(int argc, char **argv)
{
	void *driver = simcuda_open("libcuda.so.1");
	int (*init)(unsigned int flags);
	pthread_t threads[THREADS];
	char line[16];

	if (argc != 2)
		return 2;
	count = strtoul(argv[1], NULL, 10);
	*(void **)&init = dlsym(driver, "cuInit");
	*(void **)&create = dlsym(driver, "cuMemCreate");
	*(void **)&release = dlsym(driver, "cuMemRelease");
	if (!init || !create || !release || init(0) != 0)
		return 1;
	printf("{\"pid\":%d}\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
			if (pthread_create(&threads[i], NULL, work, NULL) != 0)
				return 1;
		for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
			pthread_join(threads[i], NULL);
		printf("{}\n");
		fflush(stdout);
	}
	return 0;
}
