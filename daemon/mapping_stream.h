/* SPDX-License-Identifier: Apache-2.0 */
/* What perf_stream.h tells, from the BPF programs instead, for daemons that may not open it. Told
 * are mappings of files called like CUDA libraries, and any of processes that use CUDA.
 */
#ifndef SRTLEAK_MAPPING_STREAM_H
#define SRTLEAK_MAPPING_STREAM_H

#include "perf_stream.h"
#include "probes.h"

struct mapping_stream;

/* The probes must have been loaded with the option tell_news, and outlive the stream. */
int mapping_stream_open(sd_event *loop, const struct probes *probes,
			const struct perf_handlers *handlers, struct mapping_stream **ret);
struct mapping_stream *mapping_stream_free(struct mapping_stream *stream);

#endif
