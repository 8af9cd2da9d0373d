/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "metrics.h"
#include "utf8.h"
#include "version.h"

#define COMM_SETTLES_SECONDS 60.0 /* servers rename themselves while they start */

static void label(struct buffer *out, const char *name, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;
	size_t n = value ? strlen(value) : 0;

	buffer_printf(out, "%s=\"", name);
	while (n > 0) {
		size_t length = utf8_length(s, n);

		if (length == 0)
			buffer_string(out, "\xef\xbf\xbd"); /* U+FFFD */
		else if (*s == '\n')
			buffer_string(out, "\\n");
		else if (*s == '"' || *s == '\\')
			buffer_printf(out, "\\%c", *s);
		else
			buffer_append(out, s, length);
		s += length ? length : 1;
		n -= length ? length : 1;
	}
	buffer_string(out, "\"");
}

static void head(struct buffer *out, const char *name, const char *type, const char *help)
{
	buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void process_labels(struct buffer *out, const struct process *p)
{
	buffer_printf(out, "pid=\"%d\",", p->pid);
	label(out, "comm", p->label_comm ? p->label_comm : p->comm);
}

/* Per process and kind; `summed` ones only, where the figures must add up. */
static const struct family {
	const char *name, *type, *help;
	size_t field;
	bool outstanding; /* kinds that add up, with container and device */
} families[] = {
#define USAGE(member) offsetof(struct usage, member)
	{"srtleak_outstanding_bytes", "gauge", "CUDA memory allocated and not freed, in bytes.",
	 USAGE(bytes), true},
	{"srtleak_outstanding_allocations", "gauge", "CUDA allocations not freed.", USAGE(count),
	 true},
	{"srtleak_allocations_total", "counter", "Allocating calls that succeeded.",
	 USAGE(allocs_total), false},
	{"srtleak_frees_total", "counter", "Allocations freed.", USAGE(frees_total), false},
	{"srtleak_allocated_bytes_total", "counter", "Bytes allocated.", USAGE(allocated_bytes),
	 false},
	{"srtleak_freed_bytes_total", "counter", "Bytes freed.", USAGE(freed_bytes), false},
#undef USAGE
};

static void write_family(const struct family *family, const struct tracker *t, struct buffer *out)
{
	head(out, family->name, family->type, family->help);
	table_foreach (&t->processes, struct process_ref, ref) {
		const struct process *p = ref->process;

		for (int kind = 0; kind < KIND_MAX; kind++) {
			uint64_t value;

			if (p->usage[kind].allocs_total == 0 ||
			    (family->outstanding && !kind_is_summed((enum memory_kind)kind)))
				continue;
			memcpy(&value, (const char *)&p->usage[kind] + family->field,
			       sizeof(value));
			buffer_printf(out, "%s{", family->name);
			process_labels(out, p);
			if (family->outstanding) {
				buffer_string(out, ",");
				label(out, "container", p->container);
				buffer_string(out, ",device=\"\""); /* not known */
			}
			buffer_printf(out, ",kind=\"%s\"} %" PRIu64 "\n",
				      kind_name((enum memory_kind)kind), value);
		}
	}
}

static void write_failures(const struct tracker *t, struct buffer *out)
{
	head(out, "srtleak_allocation_failures_total", "counter", "Allocating calls that failed.");
	table_foreach (&t->processes, struct process_ref, ref)
		for (int api = 0; api < API_MAX; api++) {
			if (ref->process->failures[api] == 0)
				continue;
			buffer_string(out, "srtleak_allocation_failures_total{");
			process_labels(out, ref->process);
			buffer_printf(out, ",api=\"%s\"} %" PRIu64 "\n", api_symbol((enum api)api),
				      ref->process->failures[api]);
		}
}

static void write_partial(const struct tracker *t, struct buffer *out)
{
	static const char *const reasons[PARTIAL_MAX] = {
#define X(name, text) text,
		PROCESS_PARTIALS(X)
#undef X
	};

	head(out, "srtleak_process_partial", "gauge", "1 where figures may be too low, and why.");
	table_foreach (&t->processes, struct process_ref, ref)
		for (int i = 0; i < PARTIAL_MAX; i++)
			if (ref->process->partial & 1U << i)
				buffer_printf(
					out,
					"srtleak_process_partial{pid=\"%d\",reason=\"%s\"} 1\n",
					ref->process->pid, reasons[i]);
	head(out, "srtleak_process_start_time_seconds", "gauge",
	     "Start of the process since the Unix epoch, in seconds.");
	table_foreach (&t->processes, struct process_ref, other)
		buffer_printf(out, "srtleak_process_start_time_seconds{pid=\"%d\"} %.2f\n",
			      other->process->pid, other->process->started_at);
}

static void write_events(const struct subject *s, struct buffer *out)
{
	static const struct {
		const char *name;
		bool loss;
	} causes[COUNTER_MAX] = {
#define X(name, text, is_loss) {text, is_loss},
		SRTLEAK_COUNTERS(X)
#undef X
	};
	uint64_t counters[COUNTER_MAX] = {0};

	probes_counters(s->tracker->probes, counters);
	head(out, "srtleak_events_total", "counter", "Events received from the probes.");
	buffer_printf(out, "srtleak_events_total %" PRIu64 "\n", s->tracker->events);
	head(out, "srtleak_events_lost_total", "counter", "Calls or events lost, by cause.");
	for (int i = 0; i < COUNTER_MAX; i++)
		if (causes[i].loss)
			buffer_printf(out, "srtleak_events_lost_total{cause=\"%s\"} %" PRIu64 "\n",
				      causes[i].name, counters[i]);
	buffer_printf(out, "srtleak_events_lost_total{cause=\"mapping_records\"} %" PRIu64 "\n",
		      s->discovery->records_lost);
	head(out, "srtleak_events_recovered_total", "counter",
	     "Allocations and frees found in the kernel's table after their event was lost.");
	buffer_printf(out, "srtleak_events_recovered_total %" PRIu64 "\n", s->tracker->recovered);
}

static uint64_t count_probes(const struct discovery *d, enum api_family family,
			     enum probe_state state)
{
	uint64_t n = 0;

	for (size_t i = 0; i < d->n_libraries; i++)
		n += library_count(d->libraries[i], family, state);
	return n;
}

static void write_probes(const struct discovery *d, struct buffer *out)
{
	head(out, "srtleak_probes", "gauge", "Functions of the probed libraries, by state.");
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

		for (size_t s = 0; s < ARRAY_SIZE(states); s++)
			buffer_printf(out,
				      "srtleak_probes{library=\"%s\",state=\"%s\"} %" PRIu64 "\n",
				      family_name(family), states[s].name, states[s].n);
	}
}

static void write_cost(const struct probes *probes, struct buffer *out)
{
	struct probes_cost costs[16];
	size_t n = probes_cost(probes, costs, ARRAY_SIZE(costs));

	head(out, "srtleak_probe_seconds_total", "counter",
	     "Time spent in the probes; 0 unless kernel.bpf_stats_enabled is set.");
	for (size_t i = 0; i < n; i++)
		buffer_printf(out, "srtleak_probe_seconds_total{program=\"%s\"} %.6f\n",
			      costs[i].program, costs[i].seconds);
}

static void write_self(const struct subject *s, struct buffer *out)
{
	struct rusage usage;
	unsigned long pages = 0;
	_cleanup_fclose_ FILE *statm = fopen("/proc/self/statm", "re");

	if (statm && fscanf(statm, "%*u %lu", &pages) != 1)
		pages = 0;
	getrusage(RUSAGE_SELF, &usage);
	head(out, "srtleak_build_info", "gauge", "1, labelled with the version.");
	buffer_printf(out, "srtleak_build_info{version=\"%s\"} 1\n", SRTLEAK_VERSION);
	head(out, "process_cpu_seconds_total", "counter", "CPU time of the daemon, in seconds.");
	buffer_printf(out, "process_cpu_seconds_total %.3f\n",
		      (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
			      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	head(out, "process_resident_memory_bytes", "gauge", "Memory of the daemon, in bytes.");
	buffer_printf(out, "process_resident_memory_bytes %lu\n",
		      pages * (unsigned long)sysconf(_SC_PAGESIZE));
	head(out, "process_start_time_seconds", "gauge",
	     "Start of the daemon since the Unix epoch, in seconds.");
	buffer_printf(out, "process_start_time_seconds %.2f\n", s->started_at_unix);
}

/* Settles the comm that a process is labelled with for the rest of its life. */
static void settle_comm(const struct tracker *t, double now)
{
	table_foreach (&t->processes, struct process_ref, ref) {
		struct process *p = ref->process;

		if (p->label_comm || now - p->started_at < COMM_SETTLES_SECONDS)
			continue;
		process_refresh(p);
		if (p->comm)
			p->label_comm = strdup(p->comm);
	}
}

void metrics_write(const struct subject *s, struct buffer *out)
{
	settle_comm(s->tracker, process_unix_now());
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		write_family(&families[i], s->tracker, out);
	write_failures(s->tracker, out);
	write_partial(s->tracker, out);
	write_events(s, out);
	write_probes(s->discovery, out);
	write_cost(s->tracker->probes, out);
	write_self(s, out);
}
