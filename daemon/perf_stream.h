/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's report of executable mappings and exec, from every CPU (perf_event_open(2)). */
#ifndef SRTLEAK_PERF_STREAM_H
#define SRTLEAK_PERF_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

struct perf_stream;

struct perf_mapping {
	pid_t pid;
	uint64_t time_ns; /* CLOCK_BOOTTIME */
	uint64_t start, end, offset;
	unsigned int major, minor;
	uint64_t inode;
	const char *path; /* as the process sees it; good until the callback returns */
};

struct perf_handlers {
	void (*mapping)(const struct perf_mapping *mapping, void *userdata);
	void (*executed)(pid_t pid, uint64_t time_ns, void *userdata);
	void (*lost)(uint64_t records, void *userdata);
	void *userdata;
};

/* False where perf_event_open(2) is not for this process, whatever the reason. */
bool perf_stream_permitted(void);

int perf_stream_open(sd_event *loop, const struct perf_handlers *handlers,
		     struct perf_stream **ret);
struct perf_stream *perf_stream_free(struct perf_stream *stream);

#endif
