/* SPDX-License-Identifier: Apache-2.0 */
/* Holds many blocks while it takes and gives back others all the time.
 *
 * usage: hoard COUNT
 *
 * Takes COUNT blocks of 512 bytes and keeps them, prints {"pid":N}, then takes and frees blocks of
 * 1024 bytes until the end of stdin.
 */
#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "open.h"

#define KEPT_BYTES 512
#define PASSING_BYTES 1024
#define PASSING 64 /* taken before they are freed */

static int (*cuda_malloc)(void **ptr, size_t size);
static int (*cuda_free)(void *ptr);

static void *take(size_t size)
{
	void *ptr = NULL;

	if (cuda_malloc(&ptr, size)) {
		fputs("hoard: cudaMalloc failed\n", stderr);
		exit(1);
	}
	return ptr;
}

static void load(void)
{
	void *runtime = simcuda_open("libcudart.so.13");

	cuda_malloc = dlsym(runtime, "cudaMalloc");
	cuda_free = dlsym(runtime, "cudaFree");
	if (!cuda_malloc || !cuda_free) {
		fputs("hoard: the runtime has not what it should have\n", stderr);
		exit(1);
	}
}

static void come_and_go(void)
{
	void *passing[PASSING];

	for (size_t i = 0; i < PASSING; i++)
		passing[i] = take(PASSING_BYTES);
	for (size_t i = 0; i < PASSING; i++)
		cuda_free(passing[i]);
}

int main(int argc, char **argv)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	unsigned long count = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;

	if (!count) {
		fputs("usage: hoard COUNT\n", stderr);
		return 2;
	}
	load();
	for (unsigned long i = 0; i < count; i++)
		take(KEPT_BYTES);
	printf("{\"pid\":%d}\n", getpid());
	fflush(stdout);
	while (poll(&in, 1, 0) == 0)
		come_and_go();
	return 0;
}
