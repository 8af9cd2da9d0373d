/* SPDX-License-Identifier: Apache-2.0 */
/* Takes more of everything than is anybody's due.
 *
 * usage: greedy [--uid N] [--processes N] WHAT COUNT LEDGER
 *
 * As the user N (root), in that many processes (1) at once. WHAT is one of
 *
 *   blocks    each process takes COUNT blocks of 512 bytes and keeps them
 *   stacks    the same, each block from another call stack; it keeps the first KEPT of them
 *   threads   the same, each block from another thread, which lives on
 *   handles   the same, of physical memory
 *   flood     COUNT threads of each process take and free a block over and over
 *   children  each process keeps forking a child that takes COUNT blocks and ends
 *   forks     the same, and the child does nothing
 *
 * LEDGER, with the process's number behind it, is where the first four write what they hold. When
 * all are done, or have begun what has no end, it prints {"pids":[N,...]}; and at the end of stdin
 * {"rounds":N}, how often the last three did it in all.
 */
#include <dlfcn.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "cuda_types.h"
#include "macro.h"
#include "open.h"

#define BLOCK_BYTES 512
#define GRANULE (2UL << 20)
#define KEPT 30000
#define PROCESSES_MAX 4096U
#define THREAD_STACK (64 << 10)
#define DEPTH 20 /* of a stack; each frame is one of two */

static int (*cuda_malloc)(void **ptr, size_t size);
static int (*cuda_free)(void *ptr);
static int (*create)(uint64_t *handle, size_t size, const CUmemAllocationProp *prop,
		     unsigned long long flags);
static int (*write_ledger)(const char *path);

static struct {
	atomic_ulong rounds, ready;
	atomic_bool stopped;
} * shared; /* by all processes */

static void die(const char *what, const char *why)
{
	fprintf(stderr, "greedy: %s: %s\n", what, why);
	exit(1);
}

static void load(void)
{
	void *runtime = simcuda_open("libcudart.so.13"), *driver = simcuda_open("libcuda.so.1");
	int (*init)(unsigned int) = dlsym(driver, "cuInit");

	cuda_malloc = dlsym(runtime, "cudaMalloc");
	cuda_free = dlsym(runtime, "cudaFree");
	write_ledger = dlsym(driver, "simcuda_ledger_write");
	create = dlsym(driver, "cuMemCreate");
	if (!create || !cuda_malloc || !cuda_free || !write_ledger || !init || init(0))
		die("the libraries", "have not what they should have");
}

static void *take(void)
{
	void *ptr;

	if (cuda_malloc(&ptr, BLOCK_BYTES))
		die("cudaMalloc", "failed");
	return ptr;
}

static void take_blocks(unsigned long count)
{
	for (unsigned long i = 0; i < count; i++)
		take();
}

static void take_here(unsigned long number)
{
	void *block = take();

	if (number >= KEPT)
		cuda_free(block);
}

static void turn_right(unsigned long turns, unsigned int depth);

__attribute__((noinline)) static void turn_left(unsigned long turns, unsigned int depth)
{
	if (depth == DEPTH)
		take_here(turns);
	else if (turns >> depth & 1)
		turn_right(turns, depth + 1);
	else
		turn_left(turns, depth + 1);
	__asm__ volatile("");
}

__attribute__((noinline)) static void turn_right(unsigned long turns, unsigned int depth)
{
	if (depth == DEPTH)
		take_here(turns);
	else if (turns >> depth & 1)
		turn_right(turns, depth + 1);
	else
		turn_left(turns, depth + 1);
	__asm__ volatile("");
}

static void take_from_stacks(unsigned long count)
{
	for (unsigned long i = 0; i < count; i++)
		turn_left(i, 0);
}

static void take_handles(unsigned long count)
{
	CUmemAllocationProp prop = {.type = 1, .location = {.type = 1}};
	uint64_t handle;

	for (unsigned long i = 0; i < count; i++)
		if (create(&handle, GRANULE, &prop, 0))
			die("cuMemCreate", "failed");
}

static void *take_and_stay(void *barrier)
{
	take();
	pthread_barrier_wait(barrier);
	for (;;)
		pause();
	return NULL;
}

static void start_threads(unsigned long count, void *(*body)(void *), void *argument)
{
	pthread_attr_t small;
	pthread_t thread;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, THREAD_STACK);
	for (unsigned long i = 0; i < count; i++)
		if (pthread_create(&thread, &small, body, argument))
			die("pthread_create", "failed");
}

static void take_from_threads(unsigned long count)
{
	static pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, (unsigned int)count + 1);
	start_threads(count, take_and_stay, &barrier);
	pthread_barrier_wait(&barrier);
}

static void *take_and_free(void *unused)
{
	while (!shared->stopped) {
		cuda_free(take());
		shared->rounds++;
	}
	return unused;
}

static void flood(unsigned long count)
{
	start_threads(count, take_and_free, NULL);
	shared->ready++;
	for (;;)
		pause();
}

static void fork_on(unsigned long count)
{
	shared->ready++;
	while (!shared->stopped) {
		pid_t child = fork();

		if (child == 0) {
			take_blocks(count);
			_exit(0);
		}
		if (child > 0)
			waitpid(child, NULL, 0);
		shared->rounds++;
	}
}

static void fork_idly(unsigned long count)
{
	(void)count;
	fork_on(0);
}

static const struct {
	const char *name;
	void (*go)(unsigned long count);
} ways[] = {
	{"blocks", take_blocks},
	{"stacks", take_from_stacks},
	{"threads", take_from_threads},
	{"handles", take_handles},
	{"flood", flood},
	{"children", fork_on},
	{"forks", fork_idly},
};

static void be_greedy(size_t way, unsigned long count, const char *ledger, size_t number)
{
	char path[4096];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ways[way].go(count);
	snprintf(path, sizeof(path), "%s%zu", ledger, number);
	if (!shared->stopped && write_ledger(path))
		die(path, "cannot be written");
	shared->ready++;
	for (;;)
		pause();
}

static void report(const pid_t *pids, size_t n)
{
	printf("{\"pids\":[");
	for (size_t i = 0; i < n; i++)
		printf("%s%d", i ? "," : "", pids[i]);
	puts("]}");
	fflush(stdout);
}

static size_t find_way(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		if (strcmp(ways[i].name, name) == 0)
			return i;
	die(name, "is no way to be greedy");
	return 0;
}

static void be_user(uid_t uid)
{
	if (uid && (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
		die("--uid", "not permitted");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"uid", required_argument, NULL, 'u'},
						{"processes", required_argument, NULL, 'p'},
						{0}};
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	unsigned long processes = 1, count;
	static pid_t pids[PROCESSES_MAX];
	uid_t uid = 0;
	size_t way;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (c == 'u')
			uid = (uid_t)strtoul(optarg, NULL, 10);
		else if (c == 'p')
			processes = MIN(strtoul(optarg, NULL, 10), PROCESSES_MAX);
		else
			return 2;
	if (argc != optind + 3) {
		fputs("usage: greedy [--uid N] [--processes N] WHAT COUNT LEDGER\n", stderr);
		return 2;
	}
	way = find_way(argv[optind]);
	count = strtoul(argv[optind + 1], NULL, 10);
	load();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		die("mmap", "failed");
	be_user(uid);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < processes; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			be_greedy(way, count, argv[optind + 2], i);
		if (pids[i] < 0)
			die("fork", "failed");
	}
	while (shared->ready < processes)
		usleep(1000);
	report(pids, processes);
	poll(&in, 1, -1);
	shared->stopped = true;
	for (size_t i = 0; i < processes; i++)
		kill(pids[i], SIGKILL);
	while (wait(NULL) > 0)
		continue;
	printf("{\"rounds\":%lu}\n", shared->rounds);
	return 0;
}
