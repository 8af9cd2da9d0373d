/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "exposition.h"
#include "metrics.h"
#include "metrics_self.h"
#include "names.h"
#include "procfs.h"

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

static bool is_bytes(size_t offset)
{
	return offset == offsetof(struct usage, bytes) ||
	       offset == offsetof(struct usage, allocated_bytes) ||
	       offset == offsetof(struct usage, freed_bytes);
}

static void write_place(struct exposition *e, const char *name, const struct process *p, int device,
			enum memory_kind kind, uint64_t value)
{
	exposition_begin(e, name);
	process_labels(e, p);
	exposition_label(e, "container", p->container);
	if (device == DEVICE_UNKNOWN)
		exposition_label(e, "device", NULL);
	else
		exposition_label_number(e, "device", device);
	exposition_label(e, "kind", kind_name(kind));
	exposition_u64(e, value);
}

/* Kinds that were ever used; those that add up where the figures are to be added. By device, but
 * for the sum of processes: each of them has its own ordinals.
 */
static void write_outstanding(struct exposition *e, const char *name, const struct process *p,
			      size_t offset)
{
	for (int kind = 0; kind < KIND_MAX && p->pid == 0; kind++)
		if (p->usage[kind].allocs_total > 0 && kind_is_summed((enum memory_kind)kind))
			write_place(e, name, p, DEVICE_UNKNOWN, (enum memory_kind)kind,
				    usage_field(p, kind, offset));
	table_foreach (&p->places, struct place_usage, place)
		if (kind_is_summed(PLACE_KIND(place->key)))
			write_place(e, name, p, PLACE_DEVICE(place->key), PLACE_KIND(place->key),
				    is_bytes(offset) ? place->bytes : place->count);
}

static void write_totals(struct exposition *e, const char *name, const struct process *p,
			 size_t offset)
{
	for (int kind = 0; kind < KIND_MAX; kind++) {
		if (p->usage[kind].allocs_total == 0 ||
		    (is_bytes(offset) && !kind_has_size((enum memory_kind)kind)))
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

static void write_site(struct exposition *e, const char *name, const struct process *p,
		       const struct site *site)
{
	const struct site_python_frame *frame = site->n_python > 0 ? site->python : NULL;
	const struct site_native_frame *native = site->n_native > 0 ? site->native : NULL;

	exposition_begin(e, name);
	process_labels(e, p);
	exposition_label(e, "container", p->container);
	exposition_label_id(e, "site", site->id);
	exposition_label(e, "kind", kind_name(site->kind));
	exposition_label(e, "function", frame ? frame->function : native ? native->symbol : NULL);
	exposition_label(e, "file",
			 frame    ? last_two_components(frame->file)
			 : native ? native->module
				  : NULL);
	exposition_label_number(e, "line", frame ? frame->line : 0);
	exposition_u64(e, site->bytes);
}

static void write_sites(struct exposition *e, const char *name, const struct process *p,
			size_t offset)
{
	uint64_t now = clock_boottime_ns();
	size_t written = 0;

	(void)offset;
	table_foreach (&p->sites, struct site_ref, ref) {
		if (ref->site->listed_until_ns < now || ++written > SITES_LISTED_MAX)
			continue;
		if (e->out)
			write_site(e, name, p, ref->site);
		else
			e->series++; /* names are cache misses: counted is without them */
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
	exposition_label(e, "pod_uid", p->pod);
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

static int compare_processes(const void *a, const void *b)
{
	const struct process *x = *(struct process *const *)a, *y = *(struct process *const *)b;
	uint64_t more = process_memory(x), less = process_memory(y);

	if (more != less)
		return more < less ? 1 : -1;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* Settles the comm that a process is labelled with for the rest of its life. */
static void settle_comm(struct process *p, double now)
{
	char comm[PROCFS_COMM_SIZE];

	if (!p->label_comm && now - p->started_at >= COMM_SETTLES_SECONDS &&
	    procfs_comm(p->pid, comm) == 0)
		p->label_comm = strdup(comm);
}

/* Marks the sites with most bytes as listed. */
static void list_sites(const struct process *p, uint64_t now)
{
	struct site *largest[SITES_LISTED];
	size_t n = 0;

	table_foreach (&p->sites, struct site_ref, ref) {
		struct site *site = ref->site;
		size_t at = n;

		if (site->bytes == 0)
			continue;
		while (at > 0 && largest[at - 1]->bytes < site->bytes)
			at--;
		if (at == SITES_LISTED)
			continue;
		n = MIN(n + 1, SITES_LISTED);
		memmove(&largest[at + 1], &largest[at], (n - at - 1) * sizeof(*largest));
		largest[at] = site;
	}
	for (size_t i = 0; i < n; i++)
		largest[i]->listed_until_ns = now + SITE_KEPT_NS;
}

static size_t count_series(const struct process *p)
{
	struct exposition e = {0};

	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		families[i].write(&e, families[i].name, p, families[i].offset);
	return e.series;
}

static void add_usage(struct process *sum, const struct process *p)
{
	for (int kind = 0; kind < KIND_MAX; kind++) {
		struct usage *all = &sum->usage[kind];
		const struct usage *one = &p->usage[kind];

		all->bytes += one->bytes;
		all->count += one->count;
		all->allocs_total += one->allocs_total;
		all->frees_total += one->frees_total;
		all->allocated_bytes += one->allocated_bytes;
		all->freed_bytes += one->freed_bytes;
	}
	for (int api = 0; api < API_MAX; api++)
		sum->failures[api] += p->failures[api];
}

/* All processes, those that hold most first. */
static int gather(const struct tracker *t, struct selection *s)
{
	uint64_t now = clock_boottime_ns();
	double now_unix = clock_unix();

	s->processes = calloc(t->processes.count + 1, sizeof(*s->processes));
	if (!s->processes)
		return -ENOMEM;
	table_foreach (&t->processes, struct process_ref, ref) {
		settle_comm(ref->process, now_unix);
		list_sites(ref->process, now);
		s->processes[s->n++] = ref->process;
	}
	qsort(s->processes, s->n, sizeof(*s->processes), compare_processes);
	return 0;
}

/* Sums the processes that the budget has no room for. */
static int sum_others(struct selection *s, size_t budget)
{
	struct process *sum = s->other = calloc(1, sizeof(*sum));
	size_t n = 0, series, more;

	if (!sum)
		return -ENOMEM;
	for (size_t i = 0; i < s->n; i++)
		add_usage(sum, s->processes[i]);
	series = count_series(sum); /* the sum of some of them has no more */
	while (n < s->n && series + (more = count_series(s->processes[n])) <= budget) {
		series += more;
		n++;
	}
	memset(sum, 0, sizeof(*sum));
	for (size_t i = n; i < s->n; i++) {
		add_usage(sum, s->processes[i]);
		s->dropped += count_series(s->processes[i]);
	}
	s->n = n;
	return 0;
}

static void selection_done(struct selection *s)
{
	free(s->processes);
	free(s->other);
}

static int select_processes(const struct tracker *t, size_t budget, struct selection *s)
{
	size_t series = 0;
	int r = gather(t, s);

	for (size_t i = 0; i < s->n; i++)
		series += count_series(s->processes[i]);
	return r == 0 && series > budget ? sum_others(s, budget) : r;
}

int metrics_write(const struct subject *subject, bool openmetrics, size_t max_series,
		  struct buffer *out)
{
	static const char dropped[] = "srtleak_series_dropped";
	_cleanup_(selection_done) struct selection s = {0};
	struct exposition e = {.out = out, .openmetrics = openmetrics};
	int r;

	metrics_write_self(&e, subject);
	r = select_processes(subject->tracker, max_series - MIN(max_series, e.series + 1), &s);
	if (r < 0)
		return r;
	exposition_head(&e, dropped, METRIC_GAUGE,
			"Series of processes that are summed under pid=\"other\".");
	exposition_begin(&e, dropped);
	exposition_u64(&e, s.dropped);
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *family = &families[i];

		exposition_head(&e, family->name, family->type, family->help);
		for (size_t k = 0; k < s.n; k++)
			family->write(&e, family->name, s.processes[k], family->offset);
		if (s.other)
			family->write(&e, family->name, s.other, family->offset);
	}
	exposition_end(&e);
	return buffer_failed(out) ? -ENOMEM : 0;
}
