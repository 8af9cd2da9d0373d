/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "buffer.h"
#include "clock.h"
#include "container.h"
#include "interpreter.h"
#include "log.h"
#include "macro.h"
#include "names.h"
#include "pidfd.h"
#include "process.h"
#include "procfs.h"
#include "stack_names.h"
#include "symbols.h"

const char *partial_name(enum process_partial partial)
{
	static const char *const names[PARTIAL_MAX] = {
#define X(name, json) json,
		PROCESS_PARTIALS(X)
#undef X
	};

	return names[partial];
}

void process_refresh(struct process *p)
{
	char comm[64];
	char *title = NULL;

	if (procfs_comm(p->pid, comm) < 0)
		return;
	free(p->comm);
	p->comm = strdup(comm);
	if (arguments_title(p->pid, comm, &title) == 0) {
		free(p->title);
		p->title = title;
	}
}

static void identify(struct process *p)
{
	struct container container;

	if (procfs_start_ticks(p->pid, &p->start_ticks) == 0)
		procfs_start_time(p->start_ticks, &p->started_at);
	process_refresh(p);
	arguments_cmdline(p->pid, &p->cmdline);
	procfs_status(p->pid, &p->uid, &p->inner_pid);
	if (procfs_group(p->pid, &p->group) < 0)
		p->group = p->pid;
	if (procfs_cgroup(p->pid, &p->cgroup) < 0)
		return;
	container_parse(p->cgroup, &container);
	p->container = container.id[0] ? strdup(container.id) : NULL;
	p->pod = container.pod[0] ? strdup(container.pod) : NULL;
}

struct process *process_new(pid_t pid, struct quotas *quotas)
{
	struct process *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->pid = pid;
	p->quotas = quotas;
	p->pidfd = process_fd_open(pid);
	p->is_gone = p->pidfd == -ESRCH;
	p->uid = (uid_t)-1;
	p->attached_at = clock_unix();
	table_init(&p->allocs, sizeof(struct alloc));
	table_init(&p->places, sizeof(struct place_usage));
	table_init(&p->pools, sizeof(struct pool));
	table_init(&p->sites, sizeof(struct site_ref));
	table_init(&p->stacks, sizeof(struct site_ref));
	identify(p);
	return p;
}

void process_unseen(struct process *p)
{
	p->partial |= 1U << PARTIAL_LATE_ATTACH;
	p->unseen_ns = clock_boottime_ns();
	process_mapped(p, false);
	p->is_noted = false;
}

void process_mapped(struct process *p, bool was_armed)
{
	bool was_whole = p->is_whole;

	p->is_part |= !was_armed;
	p->is_whole = !p->is_part;
	if (p->is_whole != was_whole)
		p->is_noted = false;
}

void process_empty(struct process *p)
{
	table_foreach (&p->sites, struct site_ref, ref)
		site_free(ref->site);
	table_clear(&p->sites);
	free(TAKE_PTR(p->site_list));
	table_clear(&p->stacks);
	table_clear(&p->allocs);
	table_clear(&p->places);
	table_clear(&p->pools);
	memset(p->usage, 0, sizeof(p->usage));
	memset(p->history, 0, sizeof(p->history));
	memset(p->failures, 0, sizeof(p->failures));
	p->lost_events = 0;
	p->python = python_free(p->python);
	p->python_search = PYTHON_NOT_FOUND;
	p->python_attempts = 0;
	p->python_due_ns = p->python_pause_ns = 0;
	p->modules = modules_free(p->modules);
	p->gpu_setting = visible_setting_free(p->gpu_setting);
	free(TAKE_PTR(p->gpus));
	quota_give(&p->quotas->site_bytes, p->uid, p->site_bytes);
	quota_give(&p->quotas->cache_bytes, p->uid, p->cache_bytes);
	p->site_bytes = p->cache_bytes = 0;
}

struct process *process_free(struct process *p)
{
	if (!p)
		return NULL;
	process_empty(p);
	sd_event_source_unref(p->ended);
	if (p->pidfd >= 0)
		close(p->pidfd);
	free(p->label_comm);
	free(p->comm);
	free(p->title);
	free(p->cmdline);
	free(p->cgroup);
	free(p->container);
	free(p->pod);
	free(p);
	return NULL;
}

/* A process changes while it is read, so one misfit proves nothing. */
#define PYTHON_ATTEMPTS 3
#define PYTHON_PAUSE_NS 50000000ULL /* doubles with each look that was in vain */
#define PYTHON_PAUSE_MAX_NS 5000000000ULL

static void python_misfit(struct process *p, int error)
{
	if (error == -EAGAIN || (error == -EBADMSG && ++p->python_attempts < PYTHON_ATTEMPTS)) {
		p->python_search = PYTHON_NOT_READY;
		return;
	}
	if (error != -EOPNOTSUPP && error != -EBADMSG) {
		p->python_search = PYTHON_NOT_FOUND;
		return;
	}
	p->python_search = PYTHON_UNKNOWN;
	log_limited(
		LOG_LEVEL_NOTICE,
		"process %d: its Python interpreter is of a %s that is not known: native stacks "
		"only",
		p->pid, error == -EBADMSG ? "build" : "version");
}

void process_find_python(struct process *p, const struct probes *probes)
{
	struct python_target target = {.start_ticks = p->start_ticks};
	uint64_t runtime;
	int r;

	if (p->python_search == PYTHON_KNOWN || p->python_search == PYTHON_UNKNOWN)
		return;
	p->python_wanted = true;
	if (clock_monotonic_ns() < p->python_due_ns)
		return;
	p->python_wanted = false;
	r = interpreter_open(p->pid, &p->python, &runtime);
	if (r < 0) {
		p->python_pause_ns =
			MIN(MAX(2 * p->python_pause_ns, PYTHON_PAUSE_NS), PYTHON_PAUSE_MAX_NS);
		p->python_due_ns = clock_monotonic_ns() + p->python_pause_ns;
		python_misfit(p, r);
		return;
	}
	p->python_search = PYTHON_KNOWN;
	target.runtime = runtime;
	for (size_t i = 0; i < PYTHON_LAYOUTS; i++)
		if (python_layouts[i].version == python_layout(p->python)->version)
			target.layout = (uint32_t)i;
	r = probes_set_python(probes, p->pid, &target);
	if (r < 0)
		log_warning("process %d: Python stacks: %s", p->pid, strerror(-r));
}

/* What was read from the process is kept as far as there is room; it can be read again. */
static void settle_caches(struct process *p)
{
	struct quota *quota = &p->quotas->cache_bytes;

	quota_give(quota, p->uid, p->cache_bytes);
	p->cache_bytes = modules_memory(p->modules) + python_memory(p->python);
	if (quota_take(quota, p->uid, 0, p->cache_bytes))
		return;
	p->modules = modules_free(p->modules);
	python_forget(p->python);
	p->cache_bytes = python_memory(p->python);
	quota_charge(quota, p->uid, p->cache_bytes);
}

/* Whether there is time left, of this second, to find out about the process. */
static bool has_time(struct process *p)
{
	if (p->time_second != p->quotas->second)
		p->time_spent = 0;
	p->time_second = p->quotas->second;
	return quota_has(&p->quotas->time, p->uid, p->time_spent, 1);
}

/* The names of an event's stack; an empty stack where it was not stored or cannot be named. */
static void resolve(struct process *p, const struct probes *probes, const struct event *event,
		    bool verify, struct buffer *strings, struct site_stack *ret)
{
	uint64_t words[STACK_WORDS], began = quota_time(), spent;

	if (!event->stack || probes_stack(probes, event->image, event->stack, words) < 0) {
		ret->truncated = true;
		return;
	}
	if (!p->modules)
		p->modules = modules_new(p->pid);
	if (STACK_PYTHON(words[0]) > 0)
		process_find_python(p, probes); /* a forked child's is known to the probes first */
	if (stack_names(words, verify, p->python, p->modules, strings, ret) < 0)
		*ret = (struct site_stack){.truncated = true};
	settle_caches(p);
	spent = quota_time() - began;
	p->time_spent += spent;
	quota_charge(&p->quotas->time, p->uid, spent);
}

/* Makes a site that has an entry in the table already. */
static struct site *add_site(struct process *p, uint64_t id, const struct event *event,
			     const struct site_stack *stack)
{
	struct site **longer = reallocarray(p->site_list, p->sites.count, sizeof(*longer));
	struct site *site;

	if (!longer)
		return NULL;
	p->site_list = longer;
	site = site_new(id, (enum memory_kind)event->kind, (enum api)event->api, stack);
	if (!site)
		return NULL;
	site->index = (uint16_t)(p->sites.count - 1);
	longer[site->index] = site;
	p->site_bytes += site_size(stack);
	quota_charge(&p->quotas->site_bytes, p->uid, site_size(stack));
	return site;
}

static bool has_room(struct process *p, const struct site_stack *stack)
{
	struct quota *quota = &p->quotas->site_bytes;

	if (p->sites.count < SITES_PER_PROCESS &&
	    quota_has(quota, p->uid, p->site_bytes, site_size(stack)))
		return true;
	quota->refused++;
	p->partial |= 1U << PARTIAL_LIMIT;
	return false;
}

static struct site *site_of_names(struct process *p, const struct event *event,
				  const struct site_stack *stack)
{
	static const struct site_stack nothing = {.truncated = true};
	enum memory_kind kind = (enum memory_kind)event->kind;
	uint64_t id = site_identify(kind, stack);
	struct site_ref *ref = table_find(&p->sites, id);

	if (ref)
		return ref->site;
	if (!has_room(p, stack)) {
		stack = &nothing;
		id = site_identify(kind, stack);
	}
	if (table_add(&p->sites, id, (void **)&ref) < 0)
		return NULL;
	if (!ref->site)
		ref->site = add_site(p, id, event, stack);
	if (ref->site)
		return ref->site;
	table_remove(&p->sites, id);
	return NULL;
}

/* Code objects die, and others come to lie at their addresses; a library may be mapped just after
 * we looked. What a stack was called once must be looked at again, as far as the time for that
 * goes.
 */
static bool is_settled(struct process *p, const struct site_ref *known)
{
	if ((known->site->n_python == 0 && !known->site->truncated) || p->rechecks == 0)
		return true;
	p->rechecks--;
	return false;
}

/* As process_allocated(). */
static int site_of(struct process *p, const struct probes *probes, const struct event *event,
		   struct site **ret)
{
	uint64_t mixed = event->stack * 0x9e3779b97f4a7c15ULL + event->kind + 1;
	uint64_t key = mixed ? mixed : 1; /* 0 is no key */
	_cleanup_(buffer_free) struct buffer strings = {0};
	struct site_stack stack = {0};
	struct site_ref *known;
	struct site *site;

	known = table_find(&p->stacks, key);
	if (known && (is_settled(p, known) || !has_time(p))) {
		*ret = known->site;
		return 0;
	}
	if (!known && !has_time(p)) {
		p->quotas->time.refused++;
		return -EAGAIN;
	}
	/* The sums are of the first time: later, what is there now is what has called. */
	resolve(p, probes, event, !known, &strings, &stack);
	site = site_of_names(p, event, &stack);
	if (site && table_add(&p->stacks, key, (void **)&known) >= 0) {
		known->site = site;
		known->stack = event->stack;
	}
	*ret = site;
	return site ? 0 : -ENOMEM;
}

static void place_add(struct process *p, const struct alloc *alloc, enum memory_kind kind)
{
	struct place_usage *place;

	if (table_add(&p->places, PLACE_KEY(alloc->device, kind), (void **)&place) < 0)
		return;
	place->bytes += alloc->size;
	place->count++;
}

static void place_take(struct process *p, const struct alloc *alloc, enum memory_kind kind)
{
	struct place_usage *place = table_find(&p->places, PLACE_KEY(alloc->device, kind));

	if (!place || place->count == 0)
		return;
	place->bytes -= MIN(place->bytes, alloc->size);
	place->count--;
}

/* A site's device is known while all that was ever allocated there is of one. */
static void note_device(struct site *site, int device)
{
	if (site->allocs_total == 0)
		site->device = (int16_t)device;
	else if (site->device != device)
		site->device = DEVICE_UNKNOWN;
}

int process_allocated(struct process *p, const struct probes *probes, const struct event *event)
{
	struct alloc *alloc;
	struct usage *usage;
	struct site *site;
	int r = site_of(p, probes, event, &site);

	if (r < 0)
		return r;
	usage = &p->usage[site->kind];
	r = table_add(&p->allocs, event->id, (void **)&alloc);
	if (r <= 0)
		return r;
	alloc->ptr = event->addr & ((1ULL << ADDRESS_BITS) - 1);
	alloc->device = (int)event->device;
	alloc->size = event->size & ((1ULL << SIZE_BITS) - 1);
	alloc->site = site->index;
	alloc->time = (uint32_t)(event->time_ns >> TIME_SHIFT);
	alloc->tid = event->tid & ((1U << 22) - 1);
	alloc->api = (uint8_t)event->api;
	note_device(site, event->device);
	pools_add(&p->pools, event->pool, event->size);
	place_add(p, alloc, site->kind);
	site->bytes += event->size;
	site->count++;
	site->allocs_total++;
	usage->bytes += event->size;
	usage->count++;
	usage->allocs_total++;
	usage->allocated_bytes += event->size;
	return 1;
}

bool process_freed(struct process *p, uint64_t id, uint32_t pool)
{
	struct alloc *alloc = table_find(&p->allocs, id);
	struct usage *usage;
	struct site *site;

	if (!alloc)
		return false;
	site = process_site(p, alloc);
	usage = &p->usage[site->kind];
	pools_take(&p->pools, pool, alloc->size);
	place_take(p, alloc, site->kind);
	usage->bytes -= alloc->size;
	usage->count--;
	usage->frees_total++;
	usage->freed_bytes += alloc->size;
	site->bytes -= alloc->size;
	site->count--;
	site->frees_total++;
	table_remove(&p->allocs, id);
	return true;
}

uint64_t process_memory(const struct process *p)
{
	uint64_t sum = 0;

	for (int kind = 0; kind < KIND_MAX; kind++)
		if (kind_is_summed((enum memory_kind)kind))
			sum += p->usage[kind].bytes;
	return sum;
}

void process_sample(struct process *p)
{
	for (int kind = 0; kind < KIND_MAX; kind++)
		history_add(&p->history[kind], (double)p->usage[kind].bytes);
	table_foreach (&p->sites, struct site_ref, ref)
		history_add(&ref->site->history, (double)ref->site->bytes);
}

void process_memory_history(const struct process *p, struct history *ret)
{
	*ret = (struct history){0};
	for (int kind = 0; kind < KIND_MAX; kind++)
		if (kind_is_summed((enum memory_kind)kind))
			history_sum(ret, &p->history[kind]);
}
