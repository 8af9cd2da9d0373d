/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "library.h"
#include "link.h"
#include "log.h"
#include "macro.h"
#include "names.h"

#define PIN_ARMING "arming"

static bool wanted(const struct probe_point *point)
{
	return point->state == PROBE_ATTACHED || point->state == PROBE_SLOW;
}

size_t library_count(const struct library *library, enum api_family family, enum probe_state state)
{
	size_t n = 0;

	for (int api = 0; api < API_MAX && library->family == family; api++)
		n += api_rows[api].family == family && library->points[api].state == state;
	return n;
}

size_t library_attached(const struct library *library)
{
	size_t n = 0;

	for (int api = 0; api < API_MAX; api++)
		n += wanted(&library->points[api]);
	return n;
}

static int attach_multi(struct library *library, const struct probes *probes, const char *path)
{
	unsigned long offsets[API_MAX];
	uint64_t cookies[API_MAX];
	uint32_t n = 0;

	for (int api = 0; api < API_MAX; api++)
		if (wanted(&library->points[api])) {
			offsets[n] = library->points[api].offset;
			cookies[n++] = COOKIE(library->number, (uint64_t)api);
		}
	if (n == 0)
		return -ENOENT;
	/* Returns first: an entry without its return would look like a call that never ends. */
	for (int entry = 0; entry < 2; entry++) {
		int fd = link_multi(entry ? probes_entry(probes) : probes_return(probes), path,
				    !entry, offsets, cookies, n, LINK_EVERY_PROCESS);

		if (fd < 0)
			return fd;
		library->links[library->n_links++] = fd;
	}
	return 0;
}

static int attach_perf_pair(struct library *library, const struct probes *probes, const char *path,
			    int api)
{
	uint64_t offset = library->points[api].offset;
	uint64_t cookie = COOKIE(library->number, (uint64_t)api);
	_cleanup_close_ int at_return =
		link_perf(probes_return(probes), path, true, offset, cookie, LINK_EVERY_PROCESS);
	int entry;

	if (at_return < 0)
		return at_return;
	entry = link_perf(probes_entry(probes), path, false, offset, cookie, LINK_EVERY_PROCESS);
	if (entry < 0)
		return entry;
	library->links[library->n_links++] = TAKE_FD(at_return);
	library->links[library->n_links++] = entry;
	return 0;
}

static int attach_perf(struct library *library, const struct probes *probes, const char *path)
{
	int last = -ENOENT;

	for (int api = 0; api < API_MAX; api++) {
		int r;

		if (!wanted(&library->points[api]))
			continue;
		r = attach_perf_pair(library, probes, path, api);
		if (r < 0) {
			library->points[api].state = PROBE_FAILED;
			library->points[api].error = last = r;
		}
	}
	return library->n_links > 0 ? 0 : last;
}

/* The name says which file it is, and with which content: not by the time of its last change, which
 * another name, or none, for the file is too.
 */
static void name_pin(struct library *library, const struct stat *st)
{
	snprintf(library->pin_name, sizeof(library->pin_name),
		 "library_%" PRIx32 "_%" PRIx64 "_%" PRIx64 "_%" PRIx64 "_%" PRIx64,
		 library->number, (uint64_t)st->st_dev, (uint64_t)st->st_ino,
		 (uint64_t)st->st_mtim.tv_sec * 1000000000 + (uint64_t)st->st_mtim.tv_nsec,
		 (uint64_t)st->st_size);
}

uint32_t library_pin_number(const char *pin_name)
{
	uint32_t number;

	return sscanf(pin_name, "library_%" SCNx32 "_", &number) == 1 ? number : 0;
}

bool library_pin_fits(const char *pin_name, const struct stat *st)
{
	struct library named = {.number = library_pin_number(pin_name)};

	name_pin(&named, st);
	return named.number && strcmp(named.pin_name, pin_name) == 0;
}

bool library_pin_names(const char *pin_name, dev_t device, ino_t inode)
{
	uint64_t named_device, named_inode;

	return sscanf(pin_name, "library_%*x_%" SCNx64 "_%" SCNx64 "_", &named_device,
		      &named_inode) == 2 &&
	       named_device == device && named_inode == inode;
}

bool library_is_changed(const struct library *library)
{
	struct stat st;

	return fstat(library->fd, &st) < 0 || !library_pin_fits(library->pin_name, &st);
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
	for (size_t i = 0; i < library->n_links && r == 0; i++) {
		name_link(PIN_ARMING, i, name);
		r = pins_put(library->pins, library->links[i], name);
	}
	if (r == 0)
		r = pins_rename(library->pins, PIN_ARMING, library->folder);
	return r;
}

void library_settle(struct library *library)
{
	if (strcmp(library->folder, library->pin_name) != 0 &&
	    pins_rename(library->pins, library->folder, library->pin_name) == 0)
		strcpy(library->folder, library->pin_name);
}

static int identify(struct library *library, int fd, const char *path, enum api_family family,
		    uint32_t number)
{
	struct stat st;

	library->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (library->fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	library->device = st.st_dev;
	library->inode = st.st_ino;
	library->owner = st.st_uid;
	library->number = number;
	library->family = family;
	library->path = strdup(path);
	if (!library->path)
		return -ENOMEM;
	name_pin(library, &st);
	return survey_library(fd, family, library->points);
}

int library_attach(const struct probes *probes, bool multi, int fd, const char *path,
		   enum api_family family, uint32_t number, struct library **ret)
{
	_cleanup_(library_freep) struct library *library = calloc(1, sizeof(*library));
	/* What was opened and read is what is probed, whatever the path leads to by now. */
	char through_fd[64];
	int r;

	if (!library)
		return -ENOMEM;
	library->fd = -1;
	r = identify(library, fd, path, family, number);
	if (r < 0)
		return r;
	snprintf(through_fd, sizeof(through_fd), "/proc/self/fd/%d", fd);
	r = multi ? attach_multi(library, probes, through_fd)
		  : attach_perf(library, probes, through_fd);
	if (r < 0)
		return r;
	library->armed_ns = clock_boottime_ns();
	probes_arm(probes, number, library->armed_ns);
	library->probes = probes;
	library->pins = probes_pins(probes);
	snprintf(library->folder, sizeof(library->folder), "unsettled_%" PRIx32, number);
	r = pin(library);
	if (r < 0) {
		log_warning("%s: pinning its probes: %s: they end with this daemon", path,
			    strerror(-r));
		pins_remove(library->pins, PIN_ARMING);
		library->pins = NULL;
	}
	*ret = TAKE_PTR(library);
	return 0;
}

/* Opens as many pinned links as the survey says there must be. */
static int open_links(struct library *library, bool multi)
{
	size_t n = multi ? 2 : 2 * library_attached(library);
	char name[PINS_NAME_MAX];

	while (library->n_links < n) {
		int fd;

		name_link(library->folder, library->n_links, name);
		fd = pins_get(library->pins, name);
		if (fd < 0)
			return -ESTALE;
		library->links[library->n_links++] = fd;
	}
	return 0;
}

int library_adopt(const struct probes *probes, bool multi, int fd, const char *path,
		  enum api_family family, const char *pin_name, struct library **ret)
{
	_cleanup_(library_freep) struct library *library = calloc(1, sizeof(*library));
	int r;

	if (!library)
		return -ENOMEM;
	library->fd = -1;
	r = identify(library, fd, path, family, library_pin_number(pin_name));
	if (r < 0)
		return r;
	if (strcmp(library->pin_name, pin_name) != 0)
		return -ESTALE; /* another file, or changed since */
	strcpy(library->folder, library->pin_name);
	library->pins = probes_pins(probes);
	library->probes = probes;
	r = open_links(library, multi);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(library);
	return 0;
}

struct library *library_leave(struct library *library)
{
	/* Entries first, so that no call begins that would miss its return. */
	while (library->n_links > 0)
		close(library->links[--library->n_links]);
	sd_event_source_disable_unref(library->written);
	cleanup_close(&library->fd);
	free(library->path);
	free(library);
	return NULL;
}

struct library *library_free(struct library *library)
{
	char name[PINS_NAME_MAX];

	if (!library)
		return NULL;
	/* Each pin before its descriptor: the kernel takes a probe out at once when a descriptor
	 * was the last to hold it, and some time later when a pin was.
	 */
	for (size_t i = library->n_links; library->pins && i-- > 0;) {
		name_link(library->folder, i, name);
		pins_remove(library->pins, name);
	}
	pins_remove(library->pins, library->folder);
	if (library->probes)
		probes_arm(library->probes, library->number, 0);
	return library_leave(library);
}
