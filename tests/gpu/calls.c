/* SPDX-License-Identifier: Apache-2.0 */
/* Tells which functions of libraries a process calls, and in which order.
 *
 * usage: calls PID multi|each OUTPUT < FUNCTIONS
 *
 * FUNCTIONS has a line `OFFSET PATH` for each function: where it is in the file, in hex. Prints
 * `ready` once all are probed in the process PID, and then writes a line a call into OUTPUT until
 * SIGTERM or the end of the process: `E` or `R` (entry, return), CLOCK_MONOTONIC in ns, thread,
 * stack pointer of the entry, number of the line; at the end `lost N`.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>

#include "calls.h"
#include "calls.skel.h"
#include "daemon/link.h"
#include "macro.h"
#include "uapi.h"

#define FUNCTIONS_MAX 8192
#define LIBRARIES_MAX 16
#define WAIT_MS 100

struct function {
	unsigned long offset;
	int library;
};

static struct {
	char *libraries[LIBRARIES_MAX];
	int n_libraries;
	struct function functions[FUNCTIONS_MAX];
	size_t n_functions;
	FILE *output;
} tracer;

static volatile sig_atomic_t stopped;

static void on_signal(int signo)
{
	(void)signo;
	stopped = 1;
}

static int library_number(const char *path)
{
	for (int i = 0; i < tracer.n_libraries; i++)
		if (strcmp(tracer.libraries[i], path) == 0)
			return i;
	if (tracer.n_libraries == LIBRARIES_MAX)
		return -E2BIG;
	tracer.libraries[tracer.n_libraries] = strdup(path);
	return tracer.libraries[tracer.n_libraries] ? tracer.n_libraries++ : -ENOMEM;
}

static int read_functions(void)
{
	char line[4200], path[4096];

	while (fgets(line, sizeof(line), stdin)) {
		struct function *f = &tracer.functions[tracer.n_functions];

		if (tracer.n_functions == FUNCTIONS_MAX)
			return -E2BIG;
		if (sscanf(line, "%lx %4095[^\n]", &f->offset, path) != 2)
			return -EINVAL;
		f->library = library_number(path);
		if (f->library < 0)
			return f->library;
		tracer.n_functions++;
	}
	return tracer.n_functions > 0 ? 0 : -ENODATA;
}

struct target {
	const char *library;
	pid_t pid;
	unsigned long offsets[FUNCTIONS_MAX];
	uint64_t cookies[FUNCTIONS_MAX];
	uint32_t n;
};

/* For as long as this program runs: nobody closes the descriptors. */
static int attach_program(int program_fd, bool at_return, const struct target *target, bool multi)
{
	int link = 0;

	if (multi)
		return link_multi(program_fd, target->library, at_return, target->offsets,
				  target->cookies, target->n, target->pid);
	for (uint32_t i = 0; i < target->n && link >= 0; i++)
		link = link_perf(program_fd, target->library, at_return, target->offsets[i],
				 target->cookies[i], target->pid);
	return link;
}

/* Returns first: an entry without its return would look like a call that never ends. */
static int attach(struct calls_bpf *object, pid_t pid, bool multi)
{
	static struct target target;
	int r = 0;

	target.pid = pid;
	for (int library = 0; library < tracer.n_libraries && r >= 0; library++) {
		target.library = tracer.libraries[library];
		target.n = 0;
		for (size_t i = 0; i < tracer.n_functions; i++) {
			if (tracer.functions[i].library != library)
				continue;
			target.offsets[target.n] = tracer.functions[i].offset;
			target.cookies[target.n++] = i;
		}
		r = attach_program(bpf_program__fd(object->progs.at_return), true, &target, multi);
		if (r >= 0)
			r = attach_program(bpf_program__fd(object->progs.at_entry), false, &target,
					   multi);
		if (r < 0)
			fprintf(stderr, "calls: %s: %s\n", target.library, strerror(-r));
	}
	return r;
}

static int on_call(void *userdata, void *data, size_t size)
{
	const struct call *call = data;

	(void)userdata;
	if (size >= sizeof(*call))
		fprintf(tracer.output, "%c %" PRIu64 " %" PRIu32 " %" PRIx64 " %" PRIu32 "\n",
			call->function & CALL_RETURN ? 'R' : 'E', (uint64_t)call->time_ns,
			call->tid, (uint64_t)call->sp, call->function & ~CALL_RETURN);
	return 0;
}

static int trace(struct calls_bpf *object, pid_t pid)
{
	struct ring_buffer *ring =
		ring_buffer__new(bpf_map__fd(object->maps.calls), on_call, NULL, NULL);

	if (!ring)
		return -errno;
	puts("ready");
	fflush(stdout);
	while (!stopped && kill(pid, 0) == 0)
		(void)ring_buffer__poll(ring, WAIT_MS);
	(void)ring_buffer__consume(ring);
	ring_buffer__free(ring);
	fprintf(tracer.output, "lost %" PRIu64 "\n", (uint64_t)object->bss->lost);
	return fclose(tracer.output) ? -errno : 0;
}

static struct calls_bpf *load(bool multi)
{
	struct calls_bpf *object = calls_bpf__open();
	enum bpf_attach_type type = (enum bpf_attach_type)UAPI_BPF_TRACE_UPROBE_MULTI;

	if (object && multi) {
		bpf_program__set_expected_attach_type(object->progs.at_entry, type);
		bpf_program__set_expected_attach_type(object->progs.at_return, type);
	}
	if (object && calls_bpf__load(object) == 0)
		return object;
	calls_bpf__destroy(object);
	return NULL;
}

static int fail(const char *what, int error)
{
	fprintf(stderr, "calls: %s: %s\n", what, strerror(error));
	return 1;
}

int main(int argc, char **argv)
{
	struct rlimit many = {.rlim_cur = 65536, .rlim_max = 65536};
	struct sigaction stop = {.sa_handler = on_signal};
	struct calls_bpf *object;
	bool multi;
	pid_t pid;
	int r;

	if (argc != 4) {
		fputs("usage: calls PID multi|each OUTPUT < FUNCTIONS\n", stderr);
		return 2;
	}
	pid = (pid_t)strtol(argv[1], NULL, 10);
	multi = strcmp(argv[2], "multi") == 0 && link_multi_supported() > 0;
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	(void)setrlimit(RLIMIT_NOFILE, &many);
	tracer.output = fopen(argv[3], "we");
	if (!tracer.output)
		return fail(argv[3], errno);
	r = read_functions();
	if (r < 0)
		return fail("functions", -r);
	object = load(multi);
	if (!object)
		return fail("loading", errno);
	r = attach(object, pid, multi);
	if (r >= 0)
		r = trace(object, pid);
	calls_bpf__destroy(object);
	return r < 0 ? fail("tracing", -r) : 0;
}
