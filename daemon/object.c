/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "fnv.h"
#include "log.h"
#include "macro.h"
#include "object.h"
#include "srtleak.skel.h"
#include "uapi.h"

static const char *const map_names[MAP_MAX] = {
#define X(name) #name,
	OBJECT_MAPS(X)
#undef X
};

static const char *const program_names[PROGRAM_MAX] = {
#define X(name) #name,
	OBJECT_PROGRAMS(X)
#undef X
};

struct skeleton_parts {
	struct bpf_map *maps[MAP_MAX];
	struct bpf_program *programs[PROGRAM_MAX];
	struct bpf_link *links[PROGRAM_MAX];
};

static struct skeleton_parts parts_of(const struct srtleak_bpf *s)
{
	return (struct skeleton_parts){
		.maps =
			{
#define X(name) s->maps.name,
				OBJECT_MAPS(X)
#undef X
			},
		.programs =
			{
#define X(name) s->progs.name,
				OBJECT_PROGRAMS(X)
#undef X
			},
		.links =
			{
#define X(name) s->links.name,
				OBJECT_PROGRAMS(X)
#undef X
			},
	};
}

const char *object_program_name(enum object_program program)
{
	return program_names[program];
}

void object_close(struct object *object)
{
	for (int i = 0; i < MAP_MAX; i++)
		cleanup_close(&object->maps[i]);
	for (int i = 0; i < PROGRAM_MAX; i++) {
		cleanup_close(&object->links[i]);
		cleanup_close(&object->programs[i]);
	}
}

static void empty(struct object *object)
{
	memset(object, 0xff, sizeof(*object)); /* descriptors of -1 */
	object->adopted = false;
}

static void skeleton_destroy(struct srtleak_bpf **s)
{
	srtleak_bpf__destroy(*s);
}

#define LINES_TOLD 6 /* of many, the last */

/* Where the last lines of a text begin. */
static char *last_lines(char *text)
{
	size_t lines = 0;

	for (char *end = text + strlen(text); end > text; end--)
		if (end[-1] == '\n' && lines++ == LINES_TOLD)
			return end;
	return text;
}

/* libbpf explains a failed load at warning level, in many lines: for whoever looks into it. The
 * verifier gives its reason at the end.
 */
static int on_libbpf_print(enum libbpf_print_level level, const char *format, va_list args)
{
	_cleanup_free_ char *text = NULL;
	char *rest = NULL;

	if (level != LIBBPF_WARN || vasprintf(&text, format, args) < 0)
		return 0;
	for (char *line = strtok_r(last_lines(text), "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest))
		log_info("%s", line);
	return 0;
}

static struct srtleak_bpf *open_skeleton(const struct object_options *options)
{
	struct srtleak_bpf *s;

	libbpf_set_print(on_libbpf_print);
	s = srtleak_bpf__open();
	if (!s)
		return NULL;
	s->rodata->take_stacks = !options->no_stacks;
	s->rodata->tell_news = options->tell_news;
	bpf_program__set_autoload(s->progs.on_mapped, options->tell_news);
	if (!options->tell_news)
		bpf_map__set_max_entries(s->maps.news, (uint32_t)sysconf(_SC_PAGESIZE));
	if (options->multi) {
		bpf_program__set_expected_attach_type(
			s->progs.api_entry, (enum bpf_attach_type)UAPI_BPF_TRACE_UPROBE_MULTI);
		bpf_program__set_expected_attach_type(
			s->progs.api_return, (enum bpf_attach_type)UAPI_BPF_TRACE_UPROBE_MULTI);
	}
	return s;
}

/* Which object this is: its bytes and all that is set before it is loaded. */
static uint64_t object_hash(const struct object_options *options)
{
	size_t size;
	const void *bytes = srtleak_bpf__elf_bytes(&size);
	const unsigned char switches[] = {options->multi, options->no_stacks, options->tell_news};

	return fnv(fnv(FNV_START, bytes, size), switches, sizeof(switches));
}

uint32_t object_last_image(const struct object *object)
{
	__typeof__(*((struct srtleak_bpf *)NULL)->bss) globals;
	uint32_t key = 0;

	return bpf_map_lookup_elem(object->maps[MAP_bss], &key, &globals) < 0 ? 0
									      : globals.last_image;
}

static bool is_loaded(const struct bpf_program *program)
{
	return bpf_program__autoload(program);
}

static int duplicate(int fd, int *ret)
{
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *ret < 0 ? -errno : 0;
}

/* Keeps the descriptors alone: the skeleton's copy of the object is megabytes. */
static int keep_descriptors(const struct srtleak_bpf *s, struct object *object)
{
	const struct skeleton_parts parts = parts_of(s);
	int r = 0;

	for (int i = 0; i < MAP_MAX && r == 0; i++)
		r = duplicate(bpf_map__fd(parts.maps[i]), &object->maps[i]);
	for (int i = 0; i < PROGRAM_MAX && r == 0; i++) {
		if (!is_loaded(parts.programs[i]))
			continue;
		r = duplicate(bpf_program__fd(parts.programs[i]), &object->programs[i]);
		if (r == 0 && parts.links[i])
			r = duplicate(bpf_link__fd(parts.links[i]), &object->links[i]);
	}
	return r;
}

static int load(struct srtleak_bpf *s, struct object *object)
{
	int r = srtleak_bpf__load(s);

	if (r == 0)
		r = srtleak_bpf__attach(s);
	return r < 0 ? r : keep_descriptors(s, object);
}

/* Pins a descriptor as SORT_NAME. */
static int put(struct pins *pins, int fd, const char *sort, const char *name)
{
	char full[PINS_NAME_MAX];

	snprintf(full, sizeof(full), "%s_%s", sort, name);
	return pins_put(pins, fd, full);
}

static int get(const struct pins *pins, const char *sort, const char *name, int *ret)
{
	char full[PINS_NAME_MAX];

	snprintf(full, sizeof(full), "%s_%s", sort, name);
	*ret = pins_get(pins, full);
	return *ret < 0 ? *ret : 0;
}

static int pin(struct pins *pins, const struct object *object)
{
	int r = 0;

	for (int i = 0; i < MAP_MAX && r == 0; i++)
		r = put(pins, object->maps[i], "map", map_names[i]);
	for (int i = 0; i < PROGRAM_MAX && r == 0; i++) {
		if (object->programs[i] < 0)
			continue;
		r = put(pins, object->programs[i], "program", program_names[i]);
		if (r == 0 && object->links[i] >= 0)
			r = put(pins, object->links[i], "life", program_names[i]);
	}
	return r < 0 ? r : pins_complete(pins);
}

static int check_map(int fd, const struct bpf_map *wanted)
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	return info.type == bpf_map__type(wanted) && info.key_size == bpf_map__key_size(wanted) &&
			       info.value_size == bpf_map__value_size(wanted) &&
			       info.max_entries == bpf_map__max_entries(wanted) &&
			       info.map_flags == bpf_map__map_flags(wanted)
		       ? 0
		       : -EBADMSG;
}

static int check_program(int fd, const char *name)
{
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	return strncmp(info.name, name, sizeof(info.name) - 1) == 0 ? 0 : -EBADMSG;
}

static int adopt(struct pins *pins, const struct srtleak_bpf *s, struct object *object)
{
	const struct skeleton_parts parts = parts_of(s);
	int r = 0;

	for (int i = 0; i < MAP_MAX && r == 0; i++) {
		r = get(pins, "map", map_names[i], &object->maps[i]);
		if (r == 0)
			r = check_map(object->maps[i], parts.maps[i]);
	}
	for (int i = 0; i < PROGRAM_MAX && r == 0; i++) {
		if (!is_loaded(parts.programs[i]))
			continue;
		r = get(pins, "program", program_names[i], &object->programs[i]);
		if (r == 0)
			r = check_program(object->programs[i], program_names[i]);
		if (r == 0 && i > PROGRAM_api_return)
			r = get(pins, "life", program_names[i], &object->links[i]);
	}
	object->adopted = r == 0;
	return r;
}

/* Adopts what is there; what does not fit is removed. Returns 1 where it was adopted, 0 where a new
 * set is begun, or why there can be no pins.
 */
static int try_adopt(struct pins *pins, const struct srtleak_bpf *s, uint64_t hash,
		     struct object *object)
{
	bool removed;
	int found = pins_choose(pins, hash, &removed), r;

	if (removed)
		log_notice("another version's probes were pinned: they are taken out, tracking "
			   "starts afresh");
	if (found <= 0)
		return found;
	r = adopt(pins, s, object);
	if (r == 0)
		return 1;
	log_warning("what an earlier daemon has pinned does not fit: %s: starting afresh",
		    strerror(-r));
	object_close(object);
	empty(object);
	pins_remove_sets(pins);
	return pins_choose(pins, hash, &removed);
}

int object_open(const struct object_options *options, struct object *ret, int *ret_pins_error)
{
	_cleanup_(skeleton_destroy) struct srtleak_bpf *s = open_skeleton(options);
	struct object object;
	int pinned = 0, r = 0;

	if (!s)
		return -errno;
	empty(&object);
	if (options->pins)
		pinned = try_adopt(options->pins, s, object_hash(options), &object);
	if (!object.adopted)
		r = load(s, &object);
	if (r == 0 && options->pins && pinned == 0)
		pinned = pin(options->pins, &object);
	if (r < 0) {
		object_close(&object);
		return r;
	}
	*ret_pins_error = MIN(pinned, 0);
	*ret = object;
	return 0;
}
