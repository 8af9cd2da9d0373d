/* SPDX-License-Identifier: Apache-2.0 */
/* Finding CUDA libraries, and the processes that map them: on disk at start, in running processes
 * at start, and in every mapping made from then on.
 */
#ifndef SRTLEAK_DISCOVERY_H
#define SRTLEAK_DISCOVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file_names.h"
#include "leaving.h"
#include "library.h"
#include "reaping.h"
#include "review.h"
#include "scan.h"
#include "tracker.h"
#include "walk.h"

#define PUT_OFF 64U
#define LATENCIES 256 /* of the last late mappings, for the median */

/* Which links are used, and whether processes with a seccomp filter are spared (reach.h). */
struct discovery_rules {
	bool multi, spares_filtered;
};

struct discovery {
	struct tracker *tracker;
	const struct probes *probes;
	struct discovery_rules rules;
	struct library *libraries[LIBRARIES_MAX];
	size_t n_libraries;
	uint32_t last_number;       /* given to a library */
	struct legacy *legacy;      /* probes that an earlier daemon has left; NULL: none */
	struct file_names files;    /* what became of which */
	struct perf_stream *stream; /* one of the two */
	struct mapping_stream *bpf_stream;
	sd_event_source *rescan, *settle, *reap;
	struct pace rescans, inspections, rejoins;
	struct walk rescan_walk, inspection_walk;
	struct review review;
	struct scan rescan_scan; /* of the walk that is under way */
	uint64_t rescan_took_ns;
	bool is_rescan_due; /* since the one under way has begun */
	/* Whose user's time is used up, by pid and second, as who maps much asks for it often. */
	struct {
		pid_t pid;
		uint32_t second;
	} put_off[PUT_OFF];
	struct reaping reaping;
	struct leaving leaving;
	bool is_adopting;            /* it starts, where an earlier daemon has recorded */
	bool is_crowded;             /* a file was refused: unused ones are to make room */
	uint64_t records_lost;       /* mappings that the kernel could not report */
	uint64_t late;               /* files armed only after somebody had mapped them */
	double latencies[LATENCIES]; /* seconds from mapping to armed, the last ones */
};

/* Starts watching, then looks at what is there already: in this order nothing slips between.
 * `globs` name further library files. The tracker must be ready. Probes of an earlier daemon are
 * taken over where their file is found again, and else taken out.
 */
int discovery_start(struct discovery *d, struct tracker *tracker,
		    const struct discovery_rules *rules, const char *const *globs, size_t n_globs);

/* keep: pinned probes stay in place for the next daemon. */
void discovery_stop(struct discovery *d, bool keep);

/* Looks on disk again, at the usual places and at the globs, and for processes that map what was
 * found now.
 */
int discovery_search(struct discovery *d, const char *const *globs, size_t n_globs);

/* Whether the process maps a probed library. If it does, and is to be tracked, it is from now on;
 * late: what it called before is missing.
 */
bool discovery_look(struct discovery *d, pid_t pid, bool late);

/* Milliseconds from mapping to armed, over the last late files; false where there was none. */
bool discovery_latency(const struct discovery *d, double *ret_median, double *ret_max);

#endif
