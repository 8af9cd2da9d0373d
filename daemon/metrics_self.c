/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/resource.h>
#include <unistd.h>

#include "metrics_self.h"
#include "names.h"
#include "version.h"

static void gauge(struct exposition *e, const char *name, const char *help, double value)
{
	exposition_head(e, name, METRIC_GAUGE, help);
	exposition_begin(e, name);
	exposition_double(e, value);
}

static void counter(struct exposition *e, const char *name, const char *help, uint64_t value)
{
	exposition_head(e, name, METRIC_COUNTER, help);
	exposition_begin(e, name);
	exposition_u64(e, value);
}

static void write_losses(struct exposition *e, const struct subject *s)
{
	static const char name[] = "srtleak_events_lost_total";
	uint64_t counters[COUNTER_SLOTS] = {0};

	probes_counters(s->tracker->probes, counters);
	exposition_head(e, name, METRIC_COUNTER, "Calls or events lost, by cause.");
	for (int i = 0; i < COUNTER_MAX; i++) {
		if (!counter_is_loss((enum counter)i))
			continue;
		exposition_begin(e, name);
		exposition_label(e, "cause", counter_name((enum counter)i));
		exposition_u64(e, counters[i]);
	}
	exposition_begin(e, name);
	exposition_label(e, "cause", "mapping_records");
	exposition_u64(e, s->discovery->records_lost);
}

static uint64_t count_probes(const struct discovery *d, enum api_family family,
			     enum probe_state state)
{
	uint64_t n = 0;

	for (size_t i = 0; i < d->n_libraries; i++)
		n += library_count(d->libraries[i], family, state);
	return n;
}

static void write_probes(struct exposition *e, const struct discovery *d)
{
	static const char name[] = "srtleak_probes";

	exposition_head(e, name, METRIC_GAUGE, "Functions of the probed libraries, by state.");
	for (int i = 0; i < FAMILY_MAX; i++) {
		enum api_family family = (enum api_family)i;
		const struct {
			const char *name;
			uint64_t n;
		} states[] = {
			{"attached", count_probes(d, family, PROBE_ATTACHED)},
			{"slow", count_probes(d, family, PROBE_SLOW)},
			{"missing", count_probes(d, family, PROBE_MISSING)},
			{"skipped", count_probes(d, family, PROBE_ALIAS) +
					    count_probes(d, family, PROBE_FAILED)},
		};

		for (size_t k = 0; k < ARRAY_SIZE(states); k++) {
			exposition_begin(e, name);
			exposition_label(e, "library", family_name(family));
			exposition_label(e, "state", states[k].name);
			exposition_u64(e, states[k].n);
		}
	}
}

static void write_cost(struct exposition *e, const struct probes *probes)
{
	static const char name[] = "srtleak_probe_seconds_total";
	struct probes_cost costs[PROBES_PROGRAMS];
	size_t n = probes_cost(probes, costs, ARRAY_SIZE(costs));

	if (n == 0)
		return;
	exposition_head(e, name, METRIC_COUNTER,
			"Time spent in the probes while kernel.bpf_stats_enabled is set.");
	for (size_t i = 0; i < n; i++) {
		exposition_begin(e, name);
		exposition_label(e, "program", costs[i].program);
		exposition_double(e, costs[i].seconds);
	}
}

static size_t count_descriptors(void)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (dir && readdir(dir))
		n++;
	return n > 3 ? n - 3 : 0; /* two dots, and the folder's own */
}

static void write_process(struct exposition *e, const struct subject *s)
{
	_cleanup_fclose_ FILE *statm = fopen("/proc/self/statm", "re");
	unsigned long pages = 0, all_pages = 0;
	struct rlimit descriptors = {0};
	struct rusage usage;

	if (statm && fscanf(statm, "%lu %lu", &all_pages, &pages) != 2)
		pages = all_pages = 0;
	getrusage(RUSAGE_SELF, &usage);
	getrlimit(RLIMIT_NOFILE, &descriptors);
	exposition_head(e, "process_cpu_seconds_total", METRIC_COUNTER, "CPU time of the daemon.");
	exposition_begin(e, "process_cpu_seconds_total");
	exposition_double(e,
			  (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
				  (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	gauge(e, "process_resident_memory_bytes", "Memory of the daemon.",
	      (double)pages * (double)sysconf(_SC_PAGESIZE));
	gauge(e, "process_virtual_memory_bytes", "Address space of the daemon.",
	      (double)all_pages * (double)sysconf(_SC_PAGESIZE));
	gauge(e, "process_open_fds", "Descriptors of the daemon.", (double)count_descriptors());
	gauge(e, "process_max_fds", "Descriptors that the daemon may have.",
	      (double)descriptors.rlim_cur);
	gauge(e, "process_start_time_seconds", "Start of the daemon since the Unix epoch.",
	      s->started_at_unix);
}

void metrics_write_self(struct exposition *e, const struct subject *s)
{
	counter(e, "srtleak_events_total", "Events received from the probes.", s->tracker->events);
	write_losses(e, s);
	counter(e, "srtleak_events_recovered_total",
		"Allocations and frees found in the kernel's table after their event was lost.",
		s->tracker->recovered);
	write_probes(e, s->discovery);
	write_cost(e, s->tracker->probes);
	exposition_head(e, "srtleak_build_info", METRIC_GAUGE, "1, labelled with the version.");
	exposition_begin(e, "srtleak_build_info");
	exposition_label(e, "version", SRTLEAK_VERSION);
	exposition_u64(e, 1);
	write_process(e, s);
}
