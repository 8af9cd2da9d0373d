/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "exposition.h"
#include "metrics.h"
#include "metrics_self.h"
#include "names.h"

#define COMM_SETTLES_SECONDS 60.0    /* servers rename themselves while they start */
#define SITES_LISTED 10              /* of a process, by bytes */
#define SITES_LISTED_MAX 30          /* with those still kept */
#define SITE_KEPT_NS 900000000000ULL /* a series that comes and goes breaks rate() */

/* The processes of one exposition. The last of them may be a sum, with pid 0. */
struct selection {
	struct process **processes;
	size_t n;
	struct process *other; /* NULL: nothing was summed */
	size_t dropped;        /* series that the sum stands for */
};

static void process_labels(struct exposition *e, const struct process *p)
{
	if (p->pid == 0)
		exposition_label(e, "pid", "other");
	else
		exposition_label_number(e, "pid", p->pid);
	exposition_label(e, "comm", p->label_comm ? p->label_comm : p->comm);
}

static uint64_t usage_field(const struct process *p, int kind, size_t offset)
{
	uint64_t value;

	memcpy(&value, (const char *)&p->usage[kind] + offset, sizeof(value));
	return value;
}

/* Kinds that were ever used; those that add up where the figures are to be added. */
static void write_outstanding(struct exposition *e, const char *name, const struct process *p,
			      size_t offset)
{
	for (int kind = 0; kind < KIND_MAX; kind++) {
		if (p->usage[kind].allocs_total == 0 || !kind_is_summed((enum memory_kind)kind))
			continue;
		exposition_begin(e, name);
		process_labels(e, p);
		exposition_label(e, "container", p->container);
		exposition_label(e, "device", NULL); /* not known */
		exposition_label(e, "kind", kind_name((enum memory_kind)kind));
		exposition_u64(e, usage_field(p, kind, offset));
	}
}

static void write_totals(struct exposition *e, const char *name, const struct process *p,
			 size_t offset)
{
	for (int kind = 0; kind < KIND_MAX; kind++) {
		if (p->usage[kind].allocs_total == 0)
			continue;
		exposition_begin(e, name);
		process_labels(e, p);
		exposition_label(e, "kind", kind_name((enum memory_kind)kind));
		exposition_u64(e, usage_field(p, kind, offset));
	}
}

static void write_growth(struct exposition *e, const char *name, const struct process *p,
			 size_t offset)
{
	double growth;

	(void)offset;
	for (int kind = 0; kind < KIND_MAX; kind++) {
		if (p->usage[kind].allocs_total == 0 || !kind_is_summed((enum memory_kind)kind) ||
		    !history_growth(&p->history[kind], &growth))
			continue;
		exposition_begin(e, name);
		process_labels(e, p);
		exposition_label(e, "kind", kind_name((enum memory_kind)kind));
		exposition_double(e, growth);
	}
}

static void write_failures(struct exposition *e, const char *name, const struct process *p,
			   size_t offset)
{
	(void)offset;
	for (int api = 0; api < API_MAX; api++) {
		if (p->failures[api] == 0)
			continue;
		exposition_begin(e, name);
		process_labels(e, p);
		exposition_label(e, "api", api_symbol((enum api)api));
		exposition_u64(e, p->failures[api]);
	}
}

static void write_graphs(struct exposition *e, const char *name, const struct process *p,
			 size_t offset)
{
	(void)offset;
	if (p->usage[KIND_GRAPH].allocs_total == 0)
		return;
	exposition_begin(e, name);
	process_labels(e, p);
	exposition_u64(e, p->usage[KIND_GRAPH].count);
}

static const char *last_two_components(const char *path)
{
	const char *start = path ? path + strlen(path) : NULL;

	for (int slashes = 0; start && start > path; start--)
		if (start[-1] == '/' && ++slashes == 2)
			break;
	return start;
}

static void write_sites(struct exposition *e, const char *name, const struct process *p,
			size_t offset)
{
	uint64_t now = clock_boottime_ns();
	size_t written = 0;

	(void)offset;
	table_foreach (&p->sites, struct site_ref, ref) {
		const struct site *site = ref->site;
		const struct site_python_frame *frame = site->n_python > 0 ? site->python : NULL;

		if (site->listed_until_ns < now || ++written > SITES_LISTED_MAX)
			continue;
		exposition_begin(e, name);
		process_labels(e, p);
		exposition_label(e, "container", p->container);
		exposition_label_id(e, "site", site->id);
		exposition_label(e, "kind", kind_name(site->kind));
		exposition_label(e, "function",
				 frame                ? frame->function
				 : site->n_native > 0 ? site->native[0].symbol
						      : NULL);
		exposition_label(e, "file",
				 frame                ? last_two_components(frame->file)
				 : site->n_native > 0 ? site->native[0].module
						      : NULL);
		exposition_label_number(e, "line", frame ? frame->line : 0);
		exposition_u64(e, site->bytes);
	}
}

static void write_info(struct exposition *e, const char *name, const struct process *p,
		       size_t offset)
{
	(void)offset;
	if (p->pid == 0)
		return;
	exposition_begin(e, name);
	process_labels(e, p);
	exposition_label(e, "title", p->title);
	exposition_label(e, "container", p->container);
	exposition_label(e, "pod_uid", NULL); /* not known */
	exposition_label(e, "cgroup", p->cgroup);
	exposition_label_number(e, "uid", p->uid);
	exposition_label_number(e, "group", p->group);
	exposition_u64(e, 1);
}

static void write_start_time(struct exposition *e, const char *name, const struct process *p,
			     size_t offset)
{
	(void)offset;
	if (p->pid == 0)
		return;
	exposition_begin(e, name);
	exposition_label_number(e, "pid", p->pid);
	exposition_double(e, p->started_at);
}

static void write_partial(struct exposition *e, const char *name, const struct process *p,
			  size_t offset)
{
	(void)offset;
	for (int i = 0; i < PARTIAL_MAX; i++) {
		if (!(p->partial & 1U << i))
			continue;
		exposition_begin(e, name);
		exposition_label_number(e, "pid", p->pid);
		exposition_label(e, "reason", partial_name((enum process_partial)i));
		exposition_u64(e, 1);
	}
}

/* Every metric of a process. */
static const struct family {
	const char *name;
	enum metric_type type;
	const char *help;
	void (*write)(struct exposition *e, const char *name, const struct process *p,
		      size_t offset);
	size_t offset; /* in struct usage */
} families[] = {
#define USAGE(member) offsetof(struct usage, member)
	{"srtleak_outstanding_bytes", METRIC_GAUGE, "CUDA memory allocated and not freed.",
	 write_outstanding, USAGE(bytes)},
	{"srtleak_outstanding_allocations", METRIC_GAUGE, "CUDA allocations not freed.",
	 write_outstanding, USAGE(count)},
	{"srtleak_growth_bytes_per_second", METRIC_GAUGE,
	 "How fast the floor of what is outstanding has risen in the last ten minutes.",
	 write_growth, 0},
	{"srtleak_graph_execs", METRIC_GAUGE, "Instantiated CUDA graphs.", write_graphs, 0},
	{"srtleak_allocations_total", METRIC_COUNTER, "Allocating calls that succeeded.",
	 write_totals, USAGE(allocs_total)},
	{"srtleak_frees_total", METRIC_COUNTER, "Allocations freed.", write_totals,
	 USAGE(frees_total)},
	{"srtleak_allocated_bytes_total", METRIC_COUNTER, "Bytes allocated.", write_totals,
	 USAGE(allocated_bytes)},
	{"srtleak_freed_bytes_total", METRIC_COUNTER, "Bytes freed.", write_totals,
	 USAGE(freed_bytes)},
	{"srtleak_allocation_failures_total", METRIC_COUNTER, "Allocating calls that failed.",
	 write_failures, 0},
	{"srtleak_site_outstanding_bytes", METRIC_GAUGE,
	 "CUDA memory not freed, by the call site that allocated it; the largest ones.",
	 write_sites, 0},
	{"srtleak_process_info", METRIC_GAUGE, "1, labelled with what the process is.", write_info,
	 0},
	{"srtleak_process_start_time_seconds", METRIC_GAUGE,
	 "Start of the process since the Unix epoch.", write_start_time, 0},
	{"srtleak_process_partial", METRIC_GAUGE, "1 where figures may be too low, and why.",
	 write_partial, 0},
#undef USAGE
};

static uint64_t summed_bytes(const struct process *p)
{
	uint64_t sum = 0;

	for (int kind = 0; kind < KIND_MAX; kind++)
		sum += kind_is_summed((enum memory_kind)kind) ? p->usage[kind].bytes : 0;
	return sum;
}

static int compare_processes(const void *a, const void *b)
{
	const struct process *x = *(struct process *const *)a, *y = *(struct process *const *)b;
	uint64_t more = summed_bytes(x), less = summed_bytes(y);

	if (more != less)
		return more < less ? 1 : -1;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* Settles the comm that a process is labelled with for the rest of its life. */
static void settle_comm(struct process *p, double now)
{
	if (p->label_comm || now - p->started_at < COMM_SETTLES_SECONDS)
		return;
	process_refresh(p);
	if (p->comm)
		p->label_comm = strdup(p->comm);
}

/* Marks the sites with most bytes as listed. A selection of a few from thousands: one pass each. */
static void list_sites(const struct process *p)
{
	uint64_t now = clock_boottime_ns(), below = UINT64_MAX;

	for (int i = 0; i < SITES_LISTED; i++) {
		uint64_t largest = 0;

		table_foreach (&p->sites, struct site_ref, ref)
			if (ref->site->bytes < below)
				largest = MAX(largest, ref->site->bytes);
		if (largest == 0)
			return;
		table_foreach (&p->sites, struct site_ref, other)
			if (other->site->bytes == largest)
				other->site->listed_until_ns = now + SITE_KEPT_NS;
		below = largest;
	}
}

static size_t count_series(const struct process *p)
{
	_cleanup_(buffer_free) struct buffer scratch = {0};
	struct exposition e = {.out = &scratch};

	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		families[i].write(&e, families[i].name, p, families[i].offset);
	return e.series;
}

static void add_to_other(struct selection *s, const struct process *p)
{
	if (!s->other)
		s->other = calloc(1, sizeof(*s->other));
	if (!s->other)
		return;
	for (int kind = 0; kind < KIND_MAX; kind++) {
		struct usage *sum = &s->other->usage[kind];
		const struct usage *one = &p->usage[kind];

		sum->bytes += one->bytes;
		sum->count += one->count;
		sum->allocs_total += one->allocs_total;
		sum->frees_total += one->frees_total;
		sum->allocated_bytes += one->allocated_bytes;
		sum->freed_bytes += one->freed_bytes;
	}
	for (int api = 0; api < API_MAX; api++)
		s->other->failures[api] += p->failures[api];
}

static void select_processes(const struct tracker *t, size_t max_series, struct selection *ret)
{
	double now = clock_unix();
	size_t n = 0, series = 0;

	*ret = (struct selection){
		.processes = calloc(t->processes.count + 1, sizeof(*ret->processes)),
	};
	if (!ret->processes)
		return;
	table_foreach (&t->processes, struct process_ref, ref) {
		settle_comm(ref->process, now);
		list_sites(ref->process);
		ret->processes[n++] = ref->process;
	}
	qsort(ret->processes, n, sizeof(*ret->processes), compare_processes);
	for (size_t i = 0; i < n; i++) {
		size_t more = count_series(ret->processes[i]);

		if (ret->dropped > 0 || series + more > max_series) {
			add_to_other(ret, ret->processes[i]);
			ret->dropped += more;
			continue;
		}
		series += more;
		ret->n++;
	}
}

void metrics_write(const struct subject *subject, bool openmetrics, size_t max_series,
		   struct buffer *out)
{
	struct exposition e = {.out = out, .openmetrics = openmetrics};
	struct selection s;

	select_processes(subject->tracker, max_series, &s);
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *family = &families[i];

		exposition_head(&e, family->name, family->type, family->help);
		for (size_t k = 0; k < s.n; k++)
			family->write(&e, family->name, s.processes[k], family->offset);
		if (s.other)
			family->write(&e, family->name, s.other, family->offset);
	}
	exposition_head(&e, "srtleak_series_dropped", METRIC_GAUGE,
			"Series of processes that are summed under pid=\"other\".");
	exposition_begin(&e, "srtleak_series_dropped");
	exposition_u64(&e, s.dropped);
	metrics_write_self(&e, subject);
	exposition_end(&e);
	free(s.processes);
	free(s.other);
}
