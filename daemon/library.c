/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "clock.h"
#include "library.h"
#include "link.h"
#include "log.h"
#include "macro.h"
#include "names.h"
#include "pidfd.h"
#include "reader.h"
#include "share.h"

#define PIN_ARMING "arming"
#define PIN_SETTLED "library"
#define PIN_UNSETTLED "unsettled"
#define JUST_NOW_S 0.05

size_t library_count(const struct library *library, enum api_family family, enum probe_state state)
{
	size_t n = 0;

	for (int api = 0; api < API_MAX && library->family == family; api++)
		n += api_rows[api].family == family && library->points[api].state == state;
	return n;
}

size_t library_attached(const struct library *library)
{
	return probes_wanted(library->points);
}

static struct link_target target_of(struct library *library)
{
	return (struct link_target){
		.probes = library->probes,
		.multi = library->multi,
		.fd = library->fd,
		.number = library->number,
		.points = library->points,
	};
}

/* The name says which file it is, and with which content: not by the time of its last change, which
 * another name, or none, for the file is too.
 */
static void name_pin(uint32_t number, uint64_t id, const struct stat *st, char ret[PINS_FOLDER_MAX])
{
	snprintf(ret, PINS_FOLDER_MAX, PIN_SETTLED "_%" PRIx32 "_%" PRIx64 "_%" PRIx64 "_%" PRIx64,
		 number, id,
		 (uint64_t)st->st_mtim.tv_sec * 1000000000 + (uint64_t)st->st_mtim.tv_nsec,
		 (uint64_t)st->st_size);
}

/* Without the state, from the number on; NULL where it is not a library's. */
static const char *after_state(const char *pin_name)
{
	static const char *const states[] = {PIN_SETTLED "_", PIN_UNSETTLED "_"};

	for (size_t i = 0; i < ARRAY_SIZE(states); i++)
		if (strncmp(pin_name, states[i], strlen(states[i])) == 0)
			return pin_name + strlen(states[i]);
	return NULL;
}

static bool is_settled(const char *pin_name)
{
	return strncmp(pin_name, PIN_SETTLED "_", sizeof(PIN_SETTLED)) == 0;
}

uint32_t library_pin_number(const char *pin_name)
{
	const char *rest = after_state(pin_name);
	uint32_t number;

	return rest && sscanf(rest, "%" SCNx32 "_", &number) == 1 ? number : 0;
}

bool library_pin_fits(const char *pin_name, uint64_t id, const struct stat *st)
{
	const char *rest = after_state(pin_name);
	uint32_t number = library_pin_number(pin_name);
	char wanted[PINS_FOLDER_MAX];

	name_pin(number, id, st, wanted);
	return number && strcmp(after_state(wanted), rest) == 0;
}

uint64_t library_pin_file(const char *pin_name)
{
	const char *rest = after_state(pin_name);
	uint64_t id;

	return rest && sscanf(rest, "%*x_%" SCNx64 "_", &id) == 1 ? id : 0;
}

/* The real file as it is now. Here, the file system is not asked, which may not answer. */
static int look_at(int fd, struct stat *ret, uint64_t *ret_id)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &st) < 0)
		return -errno;
	*ret = (struct stat){
		.st_dev = makedev(st.stx_dev_major, st.stx_dev_minor),
		.st_ino = st.stx_ino,
		.st_size = (off_t)st.stx_size,
		.st_mtim = {.tv_sec = st.stx_mtime.tv_sec, .tv_nsec = st.stx_mtime.tv_nsec},
	};
	return reader_real_file(0, fd, ret, ret_id);
}

/* The time of a change is that of the last tick before. */
static bool is_just_now(const struct timespec *time)
{
	return clock_unix() - ((double)time->tv_sec + (double)time->tv_nsec / 1e9) < JUST_NOW_S;
}

bool library_is_changed(const struct library *library)
{
	struct stat st = {0};
	uint64_t id = 0;

	return look_at(library->fd, &st, &id) < 0 ||
	       !library_pin_fits(library->pin_name, id, &st) || is_just_now(&st.st_mtim);
}

/* The pin of a link, in its library's folder: by pair, the return first as in `links`. */
static void name_link(const char *folder, size_t link, char ret[PINS_NAME_MAX])
{
	snprintf(ret, PINS_NAME_MAX, "%s/%s_%zu", folder, link % 2 ? "entry" : "return", link / 2);
}

/* Complete or not at all: the folder gets its name when all is in it. */
static int pin(struct library *library)
{
	char name[PINS_NAME_MAX];
	int r;

	pins_remove(library->pins, PIN_ARMING);
	r = pins_make_folder(library->pins, PIN_ARMING);
	for (size_t i = 0; i < library->links.n && r == 0; i++) {
		name_link(PIN_ARMING, i, name);
		r = pins_put(library->pins, library->links.fds[i], name);
	}
	if (r == 0)
		r = pins_rename(library->pins, PIN_ARMING, library->folder);
	return r;
}

void library_settle(struct library *library)
{
	library->settles_ns = 0;
	if (strcmp(library->folder, library->pin_name) != 0 &&
	    pins_rename(library->pins, library->folder, library->pin_name) == 0)
		strcpy(library->folder, library->pin_name);
}

static int set_number(struct library *library, uint32_t number)
{
	struct stat st = {0};
	uint64_t id = 0;
	int r;

	r = look_at(library->fd, &st, &id);
	if (r < 0)
		return r;
	library->number = number;
	name_pin(number, id, &st, library->pin_name);
	return 0;
}

int library_open(const struct probes *probes, bool multi, const struct library_file *file,
		 uint32_t number, struct library **ret)
{
	_cleanup_(library_freep) struct library *library = calloc(1, sizeof(*library));
	int r;

	if (!library)
		return -ENOMEM;
	library->fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 3);
	if (library->fd < 0)
		return -errno;
	library->file = file->id;
	library->mount = file->mount;
	library->owner = file->owner;
	library->family = file->family;
	library->multi = multi;
	library->path = strdup(file->path);
	if (!library->path)
		return -ENOMEM;
	r = set_number(library, number);
	if (r == 0)
		r = reader_survey(file->pid, library->fd, &file->st, file->family, library->points);
	if (r < 0)
		return r;
	library->probes = probes;
	*ret = TAKE_PTR(library);
	return 0;
}

/* From the first probe on the probes must know it for a library that is probed; since when all of
 * its calls are seen is known when the last one stands.
 */
static void note_arming(const struct library *library)
{
	probes_arm(library->probes, library->number, PROBES_ARMING);
}

static void note_armed(struct library *library)
{
	library->armed_ns = clock_boottime_ns();
	probes_arm(library->probes, library->number, library->armed_ns);
}

int library_attach(struct library *library)
{
	const struct link_target target = target_of(library);
	int r;

	note_arming(library);
	r = link_set_make(&target, LINK_EVERY_PROCESS, &library->links);
	if (r < 0) {
		probes_arm(library->probes, library->number, 0);
		return r;
	}
	note_armed(library);
	library->pins = probes_pins(library->probes);
	snprintf(library->folder, sizeof(library->folder), PIN_UNSETTLED "_%s",
		 after_state(library->pin_name));
	r = pin(library);
	if (r < 0) {
		log_warning("%s: pinning its probes: %s: they end with this daemon", library->path,
			    strerror(-r));
		pins_remove(library->pins, PIN_ARMING);
		library->pins = NULL;
	}
	return 0;
}

static struct library_one *one_free(struct library_one *one)
{
	link_set_close(&one->links);
	close(one->pidfd);
	free(one);
	return NULL;
}

void library_drop_ended(struct library *library)
{
	for (size_t i = library->n_ones; i-- > 0;)
		if (process_fd_is_over(library->ones[i]->pidfd)) {
			one_free(library->ones[i]);
			library->ones[i] = library->ones[--library->n_ones];
		}
}

bool library_reaches(const struct library *library, pid_t pid)
{
	for (size_t i = 0; i < library->n_ones; i++)
		if (library->ones[i]->pid == pid)
			return true;
	return !library_is_split(library);
}

/* As share.h has it; each process needs one place, so root is a user like the others. */
static bool has_room(const struct library *library, uid_t uid)
{
	uint64_t of_user = 0;

	for (size_t i = 0; i < library->n_ones; i++)
		of_user += share_user(library->ones[i]->uid) == share_user(uid);
	return share_allows(LIBRARY_ONES_MAX, library->n_ones, of_user, 0, 1);
}

int library_attach_one(struct library *library, pid_t pid, uid_t uid)
{
	const struct link_target target = target_of(library);
	_cleanup_close_ int pidfd = -1;
	_cleanup_free_ struct library_one *one = NULL;
	int r;

	if (library_reaches(library, pid))
		return 0;
	if (!has_room(library, uid)) {
		library->ones_refused++;
		return -ENOSPC;
	}
	pidfd = process_fd_open(pid);
	if (pidfd < 0)
		return pidfd;
	one = calloc(1, sizeof(*one));
	if (!one)
		return -ENOMEM;
	one->pid = pid;
	one->uid = uid;
	if (library->n_ones == 0)
		note_arming(library);
	r = link_set_make(&target, pid, &one->links);
	if (r < 0)
		return r;
	one->pidfd = TAKE_FD(pidfd);
	library->ones[library->n_ones++] = TAKE_PTR(one);
	note_armed(library);
	return 1;
}

static void drop_ones(struct library *library)
{
	while (library->n_ones > 0)
		one_free(library->ones[--library->n_ones]);
}

int library_join(struct library *library, uint32_t number)
{
	uint32_t before = library->number;
	int r = set_number(library, number);

	if (r == 0)
		r = library_attach(library);
	if (r < 0) {
		(void)set_number(library, before);
		return r;
	}
	/* Meanwhile calls meet both; then those that are under way have lost their probe. */
	drop_ones(library);
	probes_arm(library->probes, before, 0);
	return 0;
}

/* Opens as many pinned links as the survey says there must be. */
static int open_links(struct library *library)
{
	const struct link_target target = target_of(library);
	size_t n = link_set_size(&target);
	char name[PINS_NAME_MAX];

	while (library->links.n < n) {
		int fd;

		name_link(library->folder, library->links.n, name);
		fd = pins_get(library->pins, name);
		if (fd < 0)
			return -ESTALE;
		library->links.fds[library->links.n++] = fd;
	}
	return 0;
}

int library_adopt(const struct probes *probes, bool multi, const struct library_file *file,
		  const char *pin_name, struct library **ret)
{
	_cleanup_(library_freep) struct library *library = NULL;
	int r = library_open(probes, multi, file, library_pin_number(pin_name), &library);

	if (!library)
		return r;
	if (strcmp(after_state(library->pin_name), after_state(pin_name)) != 0)
		return -ESTALE; /* another file, or changed since */
	snprintf(library->folder, sizeof(library->folder), "%s", pin_name);
	library->pins = probes_pins(probes);
	r = open_links(library);
	if (r < 0)
		return r;
	if (!is_settled(pin_name))
		library->armed_ns = clock_boottime_ns();
	*ret = TAKE_PTR(library);
	return 0;
}

struct library *library_leave(struct library *library)
{
	link_set_close(&library->links);
	drop_ones(library);
	for (size_t i = 0; i < LIBRARY_NAMES_MAX; i++)
		sd_event_source_disable_unref(library->written[i]);
	cleanup_close(&library->fd);
	free(library->path);
	free(library);
	return NULL;
}

/* The last link: its pin before its descriptor, as the kernel takes a probe out at once when a
 * descriptor was the last to hold it, and some time later when a pin was.
 */
static void take_out_link(struct library *library)
{
	size_t last = --library->links.n;
	char name[PINS_NAME_MAX];

	if (library->pins) {
		name_link(library->folder, last, name);
		pins_remove(library->pins, name);
	}
	close(library->links.fds[last]);
}

bool library_take_out(struct library *library, uint64_t until_ns)
{
	do {
		if (library->links.n > 0)
			take_out_link(library);
		else if (library->n_ones > 0)
			one_free(library->ones[--library->n_ones]);
	} while (library->links.n + library->n_ones > 0 && clock_monotonic_ns() < until_ns);
	return library->links.n + library->n_ones == 0;
}

struct library *library_free(struct library *library)
{
	if (!library)
		return NULL;
	(void)library_take_out(library, UINT64_MAX);
	pins_remove(library->pins, library->folder);
	if (library->probes)
		probes_arm(library->probes, library->number, 0);
	return library_leave(library);
}
