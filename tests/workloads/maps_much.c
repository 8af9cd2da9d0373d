/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that share one memory with as many mappings as a process may have.
 *
 * usage: maps_much MAPPINGS PROCESSES FILE
 *
 * Maps the file's first and third page, executable, in turns, so that no two neighbours become one.
 * Then makes that many processes that share this memory (CLONE_VM) and do nothing.
 * When all are there it prints {"pid":N,"mappings":N}; at the end of stdin all end.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PAGE 4096UL
#define STACK 4096UL

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static unsigned long map_all(unsigned long count, const char *path)
{
	int fd = open(path, O_RDONLY);
	unsigned long n = 0;

	if (fd < 0)
		die(path);
	for (; n < count; n++)
		if (mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd,
			 (off_t)(n % 2 * 2 * PAGE)) == MAP_FAILED)
			break;
	close(fd);
	return n;
}

static int wait_for_the_end(void *unused)
{
	(void)unused;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 4 ? strtoul(argv[1], NULL, 10) : 0, mapped;
	unsigned long processes = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
	char *stacks, byte;

	if (!count) {
		fprintf(stderr, "usage: maps_much MAPPINGS PROCESSES FILE\n");
		return 2;
	}
	stacks = mmap(NULL, (processes + 1) * STACK, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stacks == MAP_FAILED)
		die("mmap");
	mapped = map_all(count, argv[3]);
	for (unsigned long i = 0; i < processes; i++)
		if (clone(wait_for_the_end, stacks + (i + 1) * STACK, CLONE_VM | SIGCHLD, NULL) < 0)
			die("clone");
	printf("{\"pid\":%d,\"mappings\":%lu}\n", getpid(), mapped);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
