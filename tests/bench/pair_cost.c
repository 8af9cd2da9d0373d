/* SPDX-License-Identifier: Apache-2.0 */
/* What one cudaMalloc and its cudaFree cost inside the probes, by the kernel's own account
 * (BPF_ENABLE_STATS), with and without stacks. The trap into the kernel comes on top; `srtleakctl
 * doctor` measures that.
 *
 * usage: pair_cost [PAIRS]
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "daemon/discovery.h"
#include "daemon/log.h"
#include "daemon/tracker.h"
#include "macro.h"

#define CUDART "build/bench/simcuda/libcudart.so.13" /* copies, which nobody else calls */
#define PROGRAMS 16

static const struct bench_case {
	const char *name;
	const char *depth;
	bool no_stacks;
} cases[] = {
	{"no stack", "1", true},
	{"Python stack of 1 frame", "1", false},
	{"Python stack of 20 frames", "20", false},
	{"Python stack of 100 frames", "100", false},
};

struct bench {
	struct tracker tracker;
	struct discovery discovery;
	pid_t child;
	FILE *from, *to;
};

static void spawn(struct bench *b, const struct bench_case *c, const char *pairs)
{
	int in[2], out[2];

	if (pipe(in) < 0 || pipe(out) < 0)
		exit(1);
	b->child = fork();
	if (b->child == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		close(in[1]);
		close(out[0]);
		setenv("SIMCUDA_INIT_MS", "0", 1);
		execl("/usr/bin/python3.11", "python3.11", "tests/bench/pairs.py", CUDART, c->depth,
		      pairs, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	b->to = fdopen(in[1], "w");
	b->from = fdopen(out[0], "r");
}

/* Lets the child go on to its next stop; the daemon's part runs only while it stands still, so that
 * its work does not show in the figures. (The ring holds 58,254 events.)
 */
static void until_next_stop(struct bench *b, bool go)
{
	char line[16];

	if (go) {
		fputs("\n", b->to);
		fflush(b->to);
	}
	if (!fgets(line, sizeof(line), b->from))
		exit(1);
	for (int i = 0; i < 20; i++)
		sd_event_run(b->tracker.loop, 50000);
	tracker_tick(&b->tracker);
}

static void read_costs(const struct probes *probes, uint64_t *ret_runs, double *ret_seconds)
{
	struct probes_cost costs[PROGRAMS];
	size_t n = probes_cost(probes, costs, PROGRAMS);

	*ret_runs = 0;
	*ret_seconds = 0;
	for (size_t i = 0; i < n; i++)
		if (strncmp(costs[i].program, "api_", 4) == 0) {
			*ret_runs += costs[i].runs;
			*ret_seconds += costs[i].seconds;
		}
}

static int measure(const struct bench_case *c, const char *pairs)
{
	static const char *const globs[] = {"build/bench/simcuda/*.so.*"};
	static const struct scope everyone;
	static struct bench b;
	struct object_options options = {.multi = true, .no_stacks = c->no_stacks};
	uint64_t runs_before, runs;
	double before, after, n = strtod(pairs, NULL);
	struct probes *probes;
	sd_event *loop;
	int r;

	r = sd_event_new(&loop);
	if (r >= 0)
		r = probes_load(&options, tracker_event, &b.tracker, &probes);
	if (r < 0)
		return r;
	tracker_init(&b.tracker, loop, probes, &everyone);
	r = discovery_start(&b.discovery, &b.tracker, true, globs, ARRAY_SIZE(globs));
	if (r < 0)
		return r;
	spawn(&b, c, pairs);
	until_next_stop(&b, false);
	read_costs(probes, &runs_before, &before);
	until_next_stop(&b, true);
	read_costs(probes, &runs, &after);
	printf("%-28s %6.0f ns a pair, %4.1f probe hits a pair, %4.0f ns a hit\n", c->name,
	       (after - before) / n * 1e9, (double)(runs - runs_before) / n,
	       (after - before) / (double)(runs - runs_before) * 1e9);
	kill(b.child, SIGKILL);
	waitpid(b.child, NULL, 0);
	fclose(b.from);
	fclose(b.to);
	discovery_stop(&b.discovery, false);
	tracker_done(&b.tracker);
	probes_free(probes);
	sd_event_unref(loop);
	return 0;
}

int main(int argc, char **argv)
{
	_cleanup_close_ int stats = bpf_enable_stats(BPF_STATS_RUN_TIME);

	if (stats < 0) {
		fprintf(stderr, "pair_cost: BPF statistics: %s\n", strerror(errno));
		return 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = measure(&cases[i], argc > 1 ? argv[1] : "20000");

		if (r < 0) {
			fprintf(stderr, "pair_cost: %s\n", strerror(-r));
			return 1;
		}
	}
	return 0;
}
