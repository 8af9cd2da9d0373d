/* SPDX-License-Identifier: Apache-2.0 */
/* Leaks GPU memory from a chain of named functions.
 *
 * usage: leak [OPTIONS] [COUNT [SIZE]]
 *
 * Loads libcudart, takes COUNT blocks (default 10) of SIZE bytes (default 1 MiB) and keeps them.
 * After each phase it prints {"pid":N,"phase":NAME}: loaded, allocated, freed_unknown, freed.
 */
#include <dlfcn.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "macro.h"

#define SETTLE_MS 500 /* from loading the library to the first call, for probes to be placed */
#define MAX_THREADS 256
#define MAX_COUNT 10000000
#define OUT_OF_MEMORY 2

static const char help[] =
	"usage: leak [OPTIONS] [COUNT [SIZE]]\n"
	"  --lib PATH        libcudart to load (default $SIMCUDA_DIR/libcudart.so.13)\n"
	"  --at-once         allocate as soon as the library is loaded\n"
	"  --threads N       N threads take COUNT blocks each\n"
	"  --fail N          N more calls before that, which fail (simulated libraries only)\n"
	"  --free-unknown N  then free N pointers that were never allocated\n"
	"  --then-free       then free all blocks\n"
	"  --fork            have a child process that does not use CUDA\n"
	"  --ledger PATH     write what is outstanding, after each phase (simulated libraries "
	"only)\n"
	"  --step            wait for a line on stdin after each phase\n"
	"  --hold SECS       then stay, or until SIGTERM or the end of stdin\n"
	"  --exec ARGS...    in place of that become another leak with these arguments\n";

static struct {
	char lib[4096];
	const char *ledger;
	size_t count, size;
	unsigned int threads, fail, free_unknown;
	double hold;
	bool at_once, then_free, fork, step;
	char **exec; /* arguments of the next program, or NULL */
} options = {.count = 10, .size = 1 << 20};

static struct {
	int (*malloc)(void **ptr, size_t size);
	int (*free)(void *ptr);
	void (*fail_next)(unsigned int n, int error);
	int (*ledger_write)(const char *path);
} cuda;

static void **blocks;
static volatile sig_atomic_t stopped;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "leak: %s: %s\n", what, why);
	exit(1);
}

static void on_sigterm(int signo)
{
	(void)signo;
	stopped = 1;
}

/* The chain that a stack of the leak shows, outermost first. */

static __attribute__((noinline)) void *grow_workspace(size_t size)
{
	void *ptr = NULL;

	if (cuda.malloc(&ptr, size))
		return NULL;
	return ptr;
}

static __attribute__((noinline)) void *prepare_context(size_t size)
{
	void *ptr = grow_workspace(size);

	return ptr;
}

static __attribute__((noinline)) void *handle_request(size_t size)
{
	void *ptr = prepare_context(size);

	return ptr;
}

static void *handle_requests(void *first)
{
	void **slot = first;

	for (size_t i = 0; i < options.count; i++) {
		slot[i] = handle_request(options.size);
		if (!slot[i])
			die("cudaMalloc", "failed");
	}
	return NULL;
}

static void allocate(void)
{
	pthread_t threads[MAX_THREADS];

	if (!options.threads) {
		handle_requests(blocks);
		return;
	}
	for (unsigned int i = 0; i < options.threads; i++)
		if (pthread_create(&threads[i], NULL, handle_requests, blocks + i * options.count))
			die("pthread_create", "failed");
	for (unsigned int i = 0; i < options.threads; i++)
		pthread_join(threads[i], NULL);
}

static void fail(void)
{
	cuda.fail_next(options.fail, OUT_OF_MEMORY);
	for (unsigned int i = 0; i < options.fail; i++)
		if (handle_request(options.size))
			die("--fail", "a call succeeded");
}

static void free_unknown(void)
{
	for (unsigned int i = 0; i < options.free_unknown; i++)
		cuda.free((void *)(0x1000 + 0x1000 * (uintptr_t)i));
}

static void free_all(void)
{
	for (size_t i = 0; i < MAX(options.threads, 1) * options.count; i++)
		if (cuda.free(blocks[i]))
			die("cudaFree", "failed");
}

/* Reads stdin up to the end of a line; false at its end, or once the program is to stop. */
static bool read_line(void)
{
	char c = '\0';

	while (!stopped && c != '\n')
		if (read(STDIN_FILENO, &c, 1) <= 0)
			return false;
	return !stopped;
}

static void phase(const char *name)
{
	if (options.ledger && cuda.ledger_write(options.ledger))
		die(options.ledger, "cannot write the ledger");
	printf("{\"pid\":%d,\"phase\":\"%s\"}\n", getpid(), name);
	fflush(stdout);
	if (options.step && !read_line())
		exit(0);
}

static void sleep_ms(unsigned int ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	while (!stopped && nanosleep(&left, &left))
		;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void hold(void)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	double end = now() + options.hold;

	while (!stopped && now() < end)
		if (poll(&in, 1, 100) > 0 && !read_line())
			return;
}

static void start_child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork", "failed");
	if (pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	for (;;)
		pause();
}

static void become_next(char *self)
{
	options.exec[0] = self;
	execv("/proc/self/exe", options.exec);
	die("exec", "failed");
}

static void *need(void *library, const char *symbol)
{
	void *fn = library ? dlsym(library, symbol) : NULL;

	if (!fn)
		die(symbol, "not found");
	return fn;
}

static void load(void)
{
	void *runtime = dlopen(options.lib, RTLD_NOW), *driver;

	if (!runtime)
		die("dlopen", dlerror());
	cuda.malloc = need(runtime, "cudaMalloc");
	cuda.free = need(runtime, "cudaFree");
	if (!options.fail && !options.ledger)
		return;
	cuda.free(NULL); /* has the runtime load the driver */
	driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
	cuda.fail_next = need(driver, "simcuda_fail_next");
	cuda.ledger_write = need(driver, "simcuda_ledger_write");
}

static uint64_t number(const char *name, const char *text, uint64_t max)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 0);

	if (!*text || *end || value > max)
		die(name, "not a number in range");
	return value;
}

enum { LIB = 1, AT_ONCE, THREADS, FAIL, FREE_UNKNOWN, THEN_FREE, FORK, LEDGER, STEP, HOLD };

static const struct option known[] = {
	{"lib", required_argument, NULL, LIB},
	{"at-once", no_argument, NULL, AT_ONCE},
	{"threads", required_argument, NULL, THREADS},
	{"fail", required_argument, NULL, FAIL},
	{"free-unknown", required_argument, NULL, FREE_UNKNOWN},
	{"then-free", no_argument, NULL, THEN_FREE},
	{"fork", no_argument, NULL, FORK},
	{"ledger", required_argument, NULL, LEDGER},
	{"step", no_argument, NULL, STEP},
	{"hold", required_argument, NULL, HOLD},
	{"help", no_argument, NULL, 'h'},
	{},
};

static void option(int which)
{
	switch (which) {
	case LIB:
		snprintf(options.lib, sizeof(options.lib), "%s", optarg);
		break;
	case AT_ONCE:
		options.at_once = true;
		break;
	case THREADS:
		options.threads = (unsigned int)number("--threads", optarg, MAX_THREADS);
		break;
	case FAIL:
		options.fail = (unsigned int)number("--fail", optarg, MAX_COUNT);
		break;
	case FREE_UNKNOWN:
		options.free_unknown = (unsigned int)number("--free-unknown", optarg, MAX_COUNT);
		break;
	case THEN_FREE:
		options.then_free = true;
		break;
	case FORK:
		options.fork = true;
		break;
	case LEDGER:
		options.ledger = optarg;
		break;
	case STEP:
		options.step = true;
		break;
	case HOLD:
		options.hold = strtod(optarg, NULL);
		break;
	case 'h':
		fputs(help, stdout);
		exit(0);
	default:
		fputs(help, stderr);
		exit(2);
	}
}

static void parse(int argc, char **argv)
{
	const char *dir = getenv("SIMCUDA_DIR");
	int which;

	snprintf(options.lib, sizeof(options.lib), "%s%slibcudart.so.13", dir ? dir : "",
		 dir ? "/" : "");
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--exec"))
			continue;
		options.exec = &argv[i]; /* its name becomes the next program's */
		argc = i;
	}
	while ((which = getopt_long(argc, argv, "h", known, NULL)) != -1)
		option(which);
	if (optind < argc)
		options.count = number("COUNT", argv[optind++], MAX_COUNT);
	if (optind < argc)
		options.size = number("SIZE", argv[optind++], SIZE_MAX);
	if (optind < argc)
		option('?');
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_sigterm};

	sigaction(SIGTERM, &action, NULL);
	parse(argc, argv);
	blocks = calloc(MAX(options.threads, 1) * options.count + 1, sizeof(*blocks));
	if (!blocks)
		die("memory", "not enough");
	load();
	phase("loaded");
	if (!options.at_once && !options.step)
		sleep_ms(SETTLE_MS);
	if (options.fail)
		fail();
	allocate();
	if (options.fork)
		start_child();
	phase("allocated");
	if (options.free_unknown) {
		free_unknown();
		phase("freed_unknown");
	}
	if (options.then_free) {
		free_all();
		phase("freed");
	}
	if (options.exec)
		become_next(argv[0]);
	hold();
	return 0;
}
