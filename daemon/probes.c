/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "clock.h"
#include "log.h"
#include "macro.h"
#include "probes.h"

#define LIVE_BATCH 4096 /* entries fetched at once; more than ever share a bucket */
#define COUNTER_READINGS 16
#define COUNTERS_TOGETHER_NS 20000 /* a reading that was not disturbed */

struct probes {
	struct object object;
	struct grants grants;
	struct pins *pins;
	struct ring_buffer *ring;
	probes_event_fn event;
	void *userdata;
	uint64_t turn_ends; /* CLOCK_MONOTONIC */
};

static int on_event(void *userdata, void *data, size_t size)
{
	struct probes *p = userdata;

	if (size >= sizeof(struct event))
		p->event(data, p->userdata);
	/* A failure ends the walk behind this event. */
	return clock_monotonic_ns() < p->turn_ends ? 0 : -EAGAIN;
}

int probes_load(const struct object_options *options, probes_event_fn event, void *userdata,
		struct probes **ret)
{
	_cleanup_(probes_freep) struct probes *p = calloc(1, sizeof(*p));
	int r, pins_error = 0;

	if (!p)
		return -ENOMEM;
	p->event = event;
	p->userdata = userdata;
	r = object_open(options, &p->object, &pins_error);
	if (r < 0) {
		free(TAKE_PTR(p));
		return r;
	}
	if (pins_error < 0)
		log_warning("pinning: %s: tracking ends with this daemon", strerror(-pins_error));
	else
		p->pins = options->pins;
	p->grants = (struct grants){
		.grants = p->object.maps[MAP_grants],
		.refused = p->object.maps[MAP_refused],
	};
	p->ring = ring_buffer__new(p->object.maps[MAP_events], on_event, p, NULL);
	if (!p->ring)
		return -errno;
	*ret = TAKE_PTR(p);
	return 0;
}

struct probes *probes_free(struct probes *p)
{
	if (!p)
		return NULL;
	ring_buffer__free(p->ring);
	object_close(&p->object);
	free(p);
	return NULL;
}

bool probes_adopted(const struct probes *p)
{
	return p->object.adopted;
}

struct pins *probes_pins(const struct probes *p)
{
	return p->pins;
}

int probes_entry(const struct probes *p)
{
	return p->object.programs[PROGRAM_api_entry];
}

int probes_return(const struct probes *p)
{
	return p->object.programs[PROGRAM_api_return];
}

int probes_ring_fd(const struct probes *p)
{
	return ring_buffer__epoll_fd(p->ring);
}

int probes_news_fd(const struct probes *p)
{
	return p->object.programs[PROGRAM_on_mapped] >= 0 ? p->object.maps[MAP_news] : -1;
}

bool probes_consume(struct probes *p)
{
	p->turn_ends = clock_monotonic_ns() + PROBES_TURN_NS;
	return ring_buffer__consume(p->ring) == -EAGAIN;
}

/* Whoever preempts us between two counters lets them drift apart: then they are read again, and the
 * quickest reading is the one.
 */
static int read_counters(int fd, uint64_t *values, size_t size)
{
	_cleanup_free_ uint64_t *latest = malloc(size);
	uint64_t shortest = UINT64_MAX;

	if (!latest)
		return -ENOMEM;
	for (int i = 0; i < COUNTER_READINGS && shortest > COUNTERS_TOGETHER_NS; i++) {
		uint32_t keys[COUNTER_SLOTS], position, count = COUNTER_SLOTS;
		uint64_t began = clock_monotonic_ns(), taken;

		if (bpf_map_lookup_batch(fd, NULL, &position, keys, latest, &count, NULL) < 0 &&
		    errno != ENOENT)
			return -errno;
		taken = clock_monotonic_ns() - began;
		if (count < COUNTER_SLOTS)
			return -EIO;
		if (taken < shortest)
			memcpy(values, latest, size);
		shortest = MIN(shortest, taken);
	}
	return 0;
}

int probes_counters(const struct probes *p, uint64_t ret[COUNTER_SLOTS])
{
	int cpus = libbpf_num_possible_cpus(), r;
	_cleanup_free_ uint64_t *values = NULL;
	size_t size;

	if (cpus < 0)
		return cpus;
	size = COUNTER_SLOTS * (size_t)cpus * sizeof(*values);
	values = calloc(1, size);
	r = values ? read_counters(p->object.maps[MAP_counters], values, size) : -ENOMEM;
	if (r < 0)
		return r;
	memset(ret, 0, COUNTER_SLOTS * sizeof(*ret));
	for (size_t i = 0; i < COUNTER_SLOTS * (size_t)cpus; i++)
		ret[i / (size_t)cpus] += values[i];
	return 0;
}

const struct grants *probes_grants(const struct probes *p)
{
	return &p->grants;
}

int probes_policies_fd(const struct probes *p)
{
	return p->object.maps[MAP_policies];
}

int probes_image(const struct probes *p, pid_t pid, struct process_image *ret)
{
	uint32_t key = (uint32_t)pid;

	return bpf_map_lookup_elem(p->object.maps[MAP_processes], &key, ret) < 0 ? -errno : 0;
}

int probes_drop_image(const struct probes *p, pid_t pid, uint64_t start_ticks, uint32_t *ret_image)
{
	uint32_t key = (uint32_t)pid;
	struct process_image image;
	int r = probes_image(p, pid, &image);

	if (r < 0)
		return r;
	if (image.start_ns / NS_PER_TICK != start_ticks)
		return -ENOENT;
	bpf_map_delete_elem(p->object.maps[MAP_processes], &key);
	*ret_image = image.image;
	return 0;
}

/* The kernel waits for all programs that run after a map inside a map was replaced (5.0 and later),
 * and for no other change of a map.
 */
void probes_wait(void)
{
	uint32_t key = 0;
	_cleanup_close_ int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, NULL, 4, 4, 1, NULL);
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = (uint32_t)inner);
	_cleanup_close_ int outer =
		inner < 0 ? -1
			  : bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, NULL, 4, 4, 1, &options);

	if (outer < 0 || bpf_map_update_elem(outer, &key, &inner, BPF_ANY) < 0)
		log_limited(LOG_LEVEL_WARNING, "not waited for calls under way: %s",
			    strerror(errno));
}

int probes_set_python(const struct probes *p, pid_t pid, const struct python_target *target)
{
	uint32_t key = (uint32_t)pid;

	return bpf_map_update_elem(p->object.maps[MAP_python], &key, target, BPF_ANY) < 0 ? -errno
											  : 0;
}

void probes_drop_python(const struct probes *p, pid_t pid, uint64_t start_ticks)
{
	int fd = p->object.maps[MAP_python];
	uint32_t key = (uint32_t)pid;
	struct python_target target;

	if (bpf_map_lookup_elem(fd, &key, &target) == 0 && target.start_ticks == start_ticks)
		bpf_map_delete_elem(fd, &key);
}

int probes_note(const struct probes *p, pid_t pid, const struct tracked *note)
{
	const int *maps = p->object.maps;
	uint32_t key = (uint32_t)pid, zero = 0;
	uint64_t newest_ns;

	if (bpf_map_update_elem(maps[MAP_tracked], &key, note, BPF_ANY) < 0)
		return -errno;
	/* Whoever sees that there is news must find it. */
	if (note->unseen_ns > 0 &&
	    bpf_map_lookup_elem(maps[MAP_data_unseen], &zero, &newest_ns) == 0 &&
	    note->unseen_ns > newest_ns)
		(void)bpf_map_update_elem(maps[MAP_data_unseen], &zero, &note->unseen_ns, BPF_ANY);
	return 0;
}

void probes_drop_note(const struct probes *p, pid_t pid, uint64_t start_ticks)
{
	uint32_t key = (uint32_t)pid;
	struct tracked note;

	if (probes_noted(p, pid, &note) == 0 && note.start_ticks == start_ticks)
		bpf_map_delete_elem(p->object.maps[MAP_tracked], &key);
}

int probes_noted(const struct probes *p, pid_t pid, struct tracked *ret)
{
	uint32_t key = (uint32_t)pid;

	return bpf_map_lookup_elem(p->object.maps[MAP_tracked], &key, ret) < 0 ? -errno : 0;
}

uint32_t probes_last_image(const struct probes *p)
{
	return object_last_image(&p->object);
}

static int set_any_steps(const struct probes *p, bool any)
{
	uint32_t zero = 0, value = any;

	return bpf_map_update_elem(p->object.maps[MAP_data_steps], &zero, &value, BPF_ANY) < 0
		       ? -errno
		       : 0;
}

int probes_set_step(const struct probes *p, uint32_t image, enum probe_step step, bool any)
{
	int fd = p->object.maps[MAP_steps];

	if (step == STEP_FULL)
		(void)bpf_map_delete_elem(fd, &image);
	else if (bpf_map_update_elem(fd, &image, &step, BPF_ANY) < 0)
		return -errno;
	return set_any_steps(p, any);
}

void probes_clear_steps(const struct probes *p)
{
	int fd = p->object.maps[MAP_steps];
	uint32_t image;

	for (uint32_t i = 0; i < PROCESSES_MAX && bpf_map_get_next_key(fd, NULL, &image) == 0; i++)
		(void)bpf_map_delete_elem(fd, &image);
	(void)set_any_steps(p, false);
}

/* How many were there. */
static uint32_t forget(const struct probes *p, const struct forget *wanted)
{
	LIBBPF_OPTS(bpf_test_run_opts, run);
	uint32_t key = 0;

	if (bpf_map_update_elem(p->object.maps[MAP_forgets], &key, wanted, BPF_ANY) < 0 ||
	    bpf_prog_test_run_opts(p->object.programs[PROGRAM_forget], &run) < 0) {
		log_limited(LOG_LEVEL_ERROR, "what is over cannot be removed from the maps: %s",
			    strerror(errno));
		return 0;
	}
	return run.retval;
}

static size_t forget_all(const struct probes *p, enum forget_what what, const struct live_key *keys,
			 size_t n)
{
	struct forget wanted = {.what = what};
	size_t removed = 0;

	for (size_t i = 0; i < n; i++) {
		wanted.keys[wanted.n++].key = keys[i];
		if (wanted.n < FORGET_MAX && i + 1 < n)
			continue;
		removed += forget(p, &wanted);
		wanted.n = 0;
	}
	return removed;
}

size_t probes_forget(const struct probes *p, const struct live_key *keys, size_t n)
{
	return forget_all(p, FORGET_ALLOCATIONS, keys, n);
}

void probes_take(const struct probes *p, pid_t pid, const struct live_key *key, uint64_t id)
{
	const struct forget wanted = {
		.what = FORGET_ALLOCATIONS,
		.n = 1,
		.tgid = (uint32_t)pid,
		.keys = {{.key = *key, .id = id}},
	};

	(void)forget(p, &wanted);
}

void probes_forget_handles(const struct probes *p, const struct live_key *keys, size_t n)
{
	(void)forget_all(p, FORGET_HANDLES, keys, n);
}

void probes_forget_mappings(const struct probes *p, const struct live_key *keys, size_t n)
{
	(void)forget_all(p, FORGET_MAPPINGS, keys, n);
}

void probes_release(const struct probes *p, uint32_t image)
{
	const struct live_key key = {.image = image};

	(void)forget_all(p, FORGET_GRANTS, &key, 1);
}

void probes_arm(const struct probes *p, uint32_t library, uint64_t time_ns)
{
	int fd = p->object.maps[MAP_armed];
	uint32_t key = library & UINT16_MAX; /* as much of it as a cookie has */

	if (time_ns)
		(void)bpf_map_update_elem(fd, &key, &time_ns, BPF_ANY);
	else
		(void)bpf_map_delete_elem(fd, &key);
}

void probes_disarm_others(const struct probes *p,
			  bool (*is_probed)(uint32_t library, void *userdata), void *userdata)
{
	int fd = p->object.maps[MAP_armed];
	uint32_t key, next;
	bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;

	while (more) {
		key = next;
		more = bpf_map_get_next_key(fd, &key, &next) == 0;
		if (!is_probed(key, userdata))
			bpf_map_delete_elem(fd, &key);
	}
}

void probes_forget_referents(const struct probes *p, const struct live_key *keys, size_t n)
{
	(void)forget_all(p, FORGET_REFERENTS, keys, n);
}

int probes_referent(const struct probes *p, const struct live_key *key, struct referent *ret)
{
	return bpf_map_lookup_elem(p->object.maps[MAP_referents], key, ret) < 0 ? -errno : 0;
}

/* A map with keys of struct live_key. */
static int each_entry(int fd, size_t value_size,
		      int (*fn)(const struct live_key *key, const void *value, void *userdata),
		      void *userdata)
{
	_cleanup_free_ struct live_key *keys = calloc(LIVE_BATCH, sizeof(*keys));
	_cleanup_free_ unsigned char *values = calloc(LIVE_BATCH, value_size);
	uint32_t position, count;
	bool first = true;
	int r, end = 0;

	if (!keys || !values)
		return -ENOMEM;
	while (!end) {
		count = LIVE_BATCH;
		end = bpf_map_lookup_batch(fd, first ? NULL : &position, &position, keys, values,
					   &count, NULL);
		if (end < 0 && errno != ENOENT)
			return -errno;
		first = false;
		for (uint32_t i = 0; i < count; i++) {
			r = fn(&keys[i], values + i * value_size, userdata);
			if (r != 0)
				return r;
		}
	}
	return 0;
}

#define EACH(name, map, type)                                                                 \
	struct name##_walk {                                                                  \
		probes_##name##_fn fn;                                                        \
		void *userdata;                                                               \
	};                                                                                    \
	static int each_##name(const struct live_key *key, const void *value, void *userdata) \
	{                                                                                     \
		const struct name##_walk *walk = userdata;                                    \
                                                                                              \
		return walk->fn(key, value, walk->userdata);                                  \
	}                                                                                     \
	int probes_each_##name(const struct probes *p, probes_##name##_fn fn, void *userdata) \
	{                                                                                     \
		struct name##_walk walk = {.fn = fn, .userdata = userdata};                   \
                                                                                              \
		return each_entry(p->object.maps[map], sizeof(type), each_##name, &walk);     \
	}
EACH(live, MAP_live, struct live_value)
EACH(handle, MAP_handles, struct handle)
EACH(mapping, MAP_mappings, struct mapping)
EACH(referent, MAP_referents, struct referent)
#undef EACH

int probes_each_image(const struct probes *p, probes_image_fn fn, void *userdata)
{
	int fd = p->object.maps[MAP_processes], r;
	uint32_t pid, *previous = NULL;

	/* A key that is removed meanwhile restarts the kernel's walk; the bound ends it. */
	for (unsigned int i = 0; i < 2 * PROCESSES_MAX; i++) {
		struct process_image image;

		if (bpf_map_get_next_key(fd, previous, &pid) < 0)
			return 0;
		previous = &pid;
		if (bpf_map_lookup_elem(fd, &pid, &image) < 0)
			continue;
		r = fn((pid_t)pid, &image, userdata);
		if (r != 0)
			return r;
	}
	return -EAGAIN;
}

int probes_stack(const struct probes *p, uint32_t image, uint64_t id, uint64_t ret[STACK_WORDS])
{
	struct stack_key key = {.id = id, .image = image};
	uint64_t used = 1;

	for (size_t at = 0; at < STACK_WORDS && at < used; at += STACK_CHUNK_WORDS) {
		if (bpf_map_lookup_elem(p->object.maps[MAP_stacks], &key, ret + at) < 0)
			return -errno;
		if (key.chunk++ == 0)
			used = 1 + 3 * STACK_PYTHON(ret[0]) + STACK_NATIVE(ret[0]);
	}
	return 0;
}

size_t probes_forget_stack(const struct probes *p, uint32_t image, uint64_t id)
{
	struct stack_key key = {.id = id, .image = image};

	for (; key.chunk < STACK_CHUNKS; key.chunk++)
		if (bpf_map_delete_elem(p->object.maps[MAP_stacks], &key) < 0)
			break;
	return key.chunk;
}

void probes_drop_stacks(const struct probes *p, bool (*is_over)(uint32_t image, void *userdata),
			void *userdata)
{
	int fd = p->object.maps[MAP_stacks];
	struct stack_key key, next;
	bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;

	/* The bound ends a walk that the kernel restarts because a key went away meanwhile. */
	for (uint32_t i = 0; more && i < 2 * STACK_CHUNKS_MAX; i++) {
		key = next;
		more = bpf_map_get_next_key(fd, &key, &next) == 0;
		if (is_over(key.image, userdata))
			bpf_map_delete_elem(fd, &key);
	}
}

size_t probes_cost(const struct probes *p, struct probes_cost *ret, size_t n)
{
	uint64_t runs = 0;
	size_t filled = 0;

	for (int i = 0; i < PROGRAM_MAX && filled < n; i++) {
		struct bpf_prog_info info = {0};
		uint32_t size = sizeof(info);

		if (bpf_obj_get_info_by_fd(p->object.programs[i], &info, &size) < 0)
			continue;
		ret[filled].program = object_program_name((enum object_program)i);
		ret[filled].runs = info.run_cnt;
		ret[filled++].seconds = (double)info.run_time_ns / 1e9;
		runs += info.run_cnt;
	}
	return runs > 0 ? filled : 0;
}

/* The kernel tells a map's memory only in the descriptor's fdinfo. */
static uint64_t map_memory(int fd)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[128];
	unsigned long long bytes = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	return bytes;
}

uint64_t probes_map_memory(const struct probes *p)
{
	uint64_t sum = 0;

	for (int i = 0; i < MAP_MAX; i++)
		sum += map_memory(p->object.maps[i]);
	return sum;
}
