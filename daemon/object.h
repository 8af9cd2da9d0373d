/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF object as descriptors: loaded, or adopted from what an earlier daemon has pinned. */
#ifndef SRTLEAK_OBJECT_H
#define SRTLEAK_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "pins.h"

/* What is used of it: X(name in the object). */
#define OBJECT_MAPS(X) \
	X(threads)     \
	X(live)        \
	X(handles)     \
	X(mappings)    \
	X(referents)   \
	X(armed)       \
	X(processes)   \
	X(python)      \
	X(forked)      \
	X(grants)      \
	X(shares)      \
	X(refused)     \
	X(policies)    \
	X(tracked)     \
	X(steps)       \
	X(stacks) X(events) X(news) X(counters) X(forgets) X(data_unseen) X(data_steps) X(bss)
/* Those behind api_return follow processes: each has a link of its own. */
#define OBJECT_PROGRAMS(X) \
	X(forget) X(api_entry) X(api_return) X(on_exit) X(on_exec) X(on_fork) X(on_mapped)

enum object_map {
#define X(name) MAP_##name,
	OBJECT_MAPS(X)
#undef X
		MAP_MAX
};

enum object_program {
#define X(name) PROGRAM_##name,
	OBJECT_PROGRAMS(X)
#undef X
		PROGRAM_MAX
};

struct object {
	bool adopted;
	int maps[MAP_MAX], programs[PROGRAM_MAX];
	int links[PROGRAM_MAX]; /* of the programs that follow processes; -1 for the uprobes */
};

struct object_options {
	bool multi;        /* load the uprobe programs for multi links; else for perf links */
	bool tell_news;    /* of mappings and exec (mapping_stream.h) */
	bool no_stacks;    /* what the probes cost without them (tests/bench) */
	struct pins *pins; /* NULL: nothing is adopted or pinned; stays the caller's */
};

/* Fills in descriptors, which object_close() closes. Where the pins hold this very object (same
 * bytes, same options, same shapes of maps) it is adopted; else it is loaded, attached to fork,
 * exec and exit, and pinned. A failure to pin leaves it working, unpinned; *ret_pins_error says so.
 */
int object_open(const struct object_options *options, struct object *ret, int *ret_pins_error);
void object_close(struct object *object);

/* The number that was given to a process image last; 0 where it cannot be read. */
uint32_t object_last_image(const struct object *object);

const char *object_program_name(enum object_program program);

#endif
