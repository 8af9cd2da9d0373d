/* SPDX-License-Identifier: Apache-2.0 */
/* Tells a daemon of allocations and frees that nobody makes, at a steady rate.
 *
 * usage: flood PINS PID RATE SECONDS
 *
 *  PINS    directory of the daemon's pinned maps (object_…)
 *  PID     a process that it tracks: whose they are to be
 *  RATE    events a second
 *
 * Prints {"events":N,"lost":N,"seconds":S}.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "event.h"
#include "flood.h"
#include "flood.skel.h"
#include "macro.h"

#define SLICE_NS 1000000ULL

static void die(const char *what, int error)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static int pinned(const char *pins, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/map_%s", pins, name);
	fd = bpf_obj_get(path);
	if (fd < 0)
		die(path, fd);
	return fd;
}

static struct flood_bpf *load(const char *pins)
{
	struct flood_bpf *flood = flood_bpf__open();
	struct bpf_map *map;
	int r;

	if (!flood)
		die("opening the program", ENOMEM);
	bpf_object__for_each_map (map, flood->obj)
		if (!bpf_map__is_internal(map) && map != flood->maps.events &&
		    map != flood->maps.counters)
			bpf_map__set_autocreate(map, false);
	r = bpf_map__reuse_fd(flood->maps.events, pinned(pins, "events"));
	if (r == 0)
		r = bpf_map__reuse_fd(flood->maps.counters, pinned(pins, "counters"));
	if (r == 0)
		r = flood_bpf__load(flood);
	if (r < 0)
		die("loading the program", r);
	return flood;
}

/* As many events as are due, a slice of time after the other. */
static void play(struct flood_bpf *flood, uint64_t rate, uint64_t end_ns)
{
	uint64_t began_ns = clock_monotonic_ns(), now_ns = began_ns;
	int fd = bpf_program__fd(flood->progs.flood);

	for (; now_ns < end_ns; now_ns = clock_monotonic_ns()) {
		LIBBPF_OPTS(bpf_test_run_opts, run);
		uint64_t due = (uint64_t)((double)(now_ns - began_ns) / 2e9 * (double)rate);
		uint64_t pairs = due - MIN(due, flood->bss->made);

		flood->bss->pairs = (uint32_t)MIN(pairs, FLOOD_PAIRS_MAX);
		if (pairs > 0 && bpf_prog_test_run_opts(fd, &run) < 0)
			die("running the program", errno);
		if (pairs <= FLOOD_PAIRS_MAX)
			usleep(SLICE_NS / 2000);
	}
}

int main(int argc, char **argv)
{
	struct process_image image;
	struct flood_bpf *flood;
	uint64_t began_ns;
	uint32_t pid;

	if (argc != 5) {
		fputs("usage: flood PINS PID RATE SECONDS\n", stderr);
		return 2;
	}
	pid = (uint32_t)atoi(argv[2]);
	flood = load(argv[1]);
	if (bpf_map_lookup_elem(pinned(argv[1], "processes"), &pid, &image) < 0)
		die("the process", errno);
	flood->bss->image = image.image;
	began_ns = clock_monotonic_ns();
	play(flood, strtoull(argv[3], NULL, 10),
	     began_ns + strtoull(argv[4], NULL, 10) * 1000000000ULL);
	printf("{\"events\":%llu,\"lost\":%llu,\"seconds\":%.3f}\n",
	       (unsigned long long)(2 * flood->bss->made - MIN(flood->bss->made, FLOOD_HELD)),
	       (unsigned long long)flood->bss->lost,
	       (double)(clock_monotonic_ns() - began_ns) / 1e9);
	flood_bpf__destroy(flood);
	return 0;
}
