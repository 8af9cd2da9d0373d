/* SPDX-License-Identifier: Apache-2.0 */
/* Our probes on one library and no other, with the daemon's tables behind them.
 *
 * usage: armed MODE LIBRARY...
 *
 * The libraries have the runtime's functions, or the driver's where their name begins with
 * libcuda.so. Prints {} when they are armed, then for each line of stdin, when all events have been
 * taken in:
 * {"events":N,"lost":N,"runs":N,"program_ns":N}, since the start; the last two are the kernel's
 * account of the probes' programs, while it keeps one (bpf_stats_enabled).
 *
 *  MODE        what it shows
 *  stacks      all that the daemon does, with one link for a library's entries and one for returns
 *  perf        likewise, with a link for each function, as kernels before 6.6 have it
 *  no-stacks   as `stacks`, without stacks
 *  null        programs that do nothing, where ours are: the price of the traps
 *  null-peer   likewise, where memleak-libbpf's are: at entry and return of allocations and at
 *              entry of frees; by perf links
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "daemon/library.h"
#include "daemon/link.h"
#include "daemon/log.h"
#include "daemon/names.h"
#include "daemon/tracker.h"
#include "macro.h"
#include "uapi.h"

#define PLACES_MAX API_MAX

static const struct mode {
	const char *name;
	bool is_null, no_stacks, multi, all_returns;
} modes[] = {
	{.name = "stacks", .multi = true},
	{.name = "perf"},
	{.name = "no-stacks", .multi = true, .no_stacks = true},
	{.name = "null", .is_null = true, .multi = true, .all_returns = true},
	{.name = "null-peer", .is_null = true},
};

struct armed {
	sd_event *loop;
	struct probes *probes;
	struct tracker tracker;
};

static int fail(const char *what, int error)
{
	fprintf(stderr, "armed: %s: %s\n", what, strerror(-error));
	return 1;
}

static int attach(const struct armed *a, bool multi, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct library_file file = {.fd = fd, .path = path};
	struct library *library; /* goes with the process */
	int r = fd < 0 || fstat(fd, &file.st) < 0 ? -errno : 0;

	for (int family = 0; family < FAMILY_MAX && r >= 0; family++) {
		file.family = (enum api_family)family;
		r = library_open(a->probes, multi, &file, (uint32_t)family + 1, &library);
		if (r >= 0)
			r = library_attach(library);
	}
	return r;
}

static int load_null(bool multi)
{
	const struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options,
		    .expected_attach_type = multi ? UAPI_BPF_TRACE_UPROBE_MULTI : 0);
	int fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, NULL, "GPL", program, ARRAY_SIZE(program),
			       &options);

	return fd < 0 ? -errno : fd;
}

static int attach_null_at(const struct mode *mode, int program, const char *path, bool at_return,
			  const unsigned long *offsets, uint32_t n)
{
	static const uint64_t cookies[PLACES_MAX];
	int r = 0;

	if (mode->multi)
		return link_multi(program, path, at_return, offsets, cookies, n,
				  LINK_EVERY_PROCESS);
	for (uint32_t i = 0; i < n && r >= 0; i++)
		r = link_perf(program, path, at_return, offsets[i], 0, LINK_EVERY_PROCESS);
	return r;
}

static int attach_null(const struct mode *mode, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct probe_point points[API_MAX] = {0};
	unsigned long entries[PLACES_MAX], returns[PLACES_MAX];
	uint32_t n_entries = 0, n_returns = 0;
	int program, r;

	r = fd < 0 ? -errno : survey_library(fd, FAMILY_CUDART, points);
	if (r < 0)
		return r;
	for (int api = 0; api < API_MAX; api++) {
		if (points[api].state != PROBE_ATTACHED)
			continue;
		entries[n_entries++] = points[api].offset;
		if (mode->all_returns || api_rows[api].action == ACTION_ALLOC)
			returns[n_returns++] = points[api].offset;
	}
	program = load_null(mode->multi);
	if (program < 0)
		return program;
	r = attach_null_at(mode, program, path, true, returns, n_returns);
	if (r >= 0)
		r = attach_null_at(mode, program, path, false, entries, n_entries);
	return MIN(r, 0);
}

static int on_ring(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct armed *a = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	tracker_tick(&a->tracker);
	return 0;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct armed *a = userdata;
	bool more = tracker_tick(&a->tracker);

	sd_event_source_set_time(source, more ? usec : usec + TRACKER_TICK_USEC);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void report(struct armed *a)
{
	struct probes_cost costs[PROBES_PROGRAMS];
	uint64_t counters[COUNTER_SLOTS] = {0}, runs = 0;
	double seconds = 0;
	size_t n;

	while (tracker_tick(&a->tracker))
		continue;
	n = probes_cost(a->probes, costs, ARRAY_SIZE(costs));
	for (size_t i = 0; i < n; i++)
		if (strncmp(costs[i].program, "api_", 4) == 0) {
			runs += costs[i].runs;
			seconds += costs[i].seconds;
		}
	(void)probes_counters(a->probes, counters);
	printf("{\"events\":%ju,\"lost\":%ju,\"runs\":%ju,\"program_ns\":%.0f}\n",
	       (uintmax_t)a->tracker.events, (uintmax_t)counters[COUNTER_LOST_RING],
	       (uintmax_t)runs, seconds * 1e9);
	fflush(stdout);
}

static int on_line(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	char line[64];

	(void)source;
	(void)revents;
	if (read(fd, line, sizeof(line)) <= 0)
		return sd_event_exit(((struct armed *)userdata)->loop, 0);
	report(userdata);
	return 0;
}

/* As the daemon does: at once when a probe forces it, and ten times a second. */
static int follow(struct armed *a)
{
	int r;

	r = sd_event_add_io(a->loop, NULL, probes_ring_fd(a->probes), EPOLLIN, on_ring, a);
	if (r >= 0)
		r = sd_event_add_time(a->loop, NULL, CLOCK_MONOTONIC, 0, 0, on_tick, a);
	if (r >= 0)
		r = sd_event_add_io(a->loop, NULL, STDIN_FILENO, EPOLLIN, on_line, a);
	return r < 0 ? r : 0;
}

static int arm(struct armed *a, const struct mode *mode, const char *path)
{
	static const struct scope everyone;
	const struct object_options options = {.multi = mode->multi, .no_stacks = mode->no_stacks};
	int r;

	r = sd_event_new(&a->loop);
	if (r >= 0)
		r = probes_load(&options, tracker_event, &a->tracker, &a->probes);
	if (r < 0)
		return r;
	tracker_init(&a->tracker, a->loop, a->probes, &everyone);
	r = mode->is_null ? attach_null(mode, path) : attach(a, mode->multi, path);
	return r < 0 ? r : follow(a);
}

int main(int argc, char **argv)
{
	static struct armed a;
	const struct mode *mode = NULL;
	int r;

	for (size_t i = 0; argc == 3 && i < ARRAY_SIZE(modes); i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			mode = &modes[i];
	if (!mode) {
		fputs("usage: armed stacks|perf|no-stacks|null|null-peer LIBRARY\n", stderr);
		return 2;
	}
	r = arm(&a, mode, argv[2]);
	if (r < 0)
		return fail(argv[2], r);
	puts("{}");
	fflush(stdout);
	r = sd_event_loop(a.loop);
	return r < 0 ? fail("the loop", r) : 0;
}
