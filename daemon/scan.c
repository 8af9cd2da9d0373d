/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "libsearch.h"
#include "macro.h"
#include "procfs.h"
#include "scan.h"

#define FINDS_MAX 16       /* more than anybody needs; such a memory is read each time */
#define SCAN_TIME 1000000U /* microseconds */

/* Of one process. */
struct reading {
	struct scan_finds finds;
	bool has_more; /* than are remembered: these were told at once */
	scan_fn fn;
	void *userdata;
};

static void free_finds(struct scan_finds *finds)
{
	for (size_t i = 0; i < finds->n; i++)
		free((char *)finds->finds[i].mapping.path);
	free(finds->finds);
	*finds = (struct scan_finds){0};
}

void scan_init(struct scan *scan)
{
	*scan = (struct scan){0};
	quota_init(&scan->time, SCAN_TIME, false);
}

void scan_done(struct scan *scan)
{
	for (size_t i = 0; i < COSTLY_MAX; i++)
		free_finds(&scan->kept[i]);
	quota_done(&scan->time);
}

static bool remember(struct scan_finds *finds, const struct procfs_mapping *mapping, int family)
{
	struct scan_find *find;

	if (!finds->finds)
		finds->finds = calloc(FINDS_MAX, sizeof(*finds->finds));
	if (!finds->finds || finds->n == FINDS_MAX)
		return false;
	find = &finds->finds[finds->n];
	*find = (struct scan_find){.mapping = *mapping, .family = (enum api_family)family};
	find->mapping.path = strdup(mapping->path);
	finds->n += find->mapping.path != NULL;
	return find->mapping.path;
}

/* Who maps a file a thousand times maps it. */
static bool is_told(const struct scan_finds *finds, const struct procfs_mapping *mapping)
{
	for (size_t i = 0; i < finds->n; i++)
		if (finds->finds[i].mapping.inode == mapping->inode &&
		    finds->finds[i].mapping.major == mapping->major &&
		    finds->finds[i].mapping.minor == mapping->minor &&
		    strcmp(finds->finds[i].mapping.path, mapping->path) == 0)
			return true;
	return false;
}

static int on_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	struct reading *reading = userdata;
	int family = libsearch_family(mapping->path);

	if (family < 0 || is_told(&reading->finds, mapping) ||
	    remember(&reading->finds, mapping, family))
		return 0;
	reading->has_more = true;
	reading->fn(mapping, (enum api_family)family, reading->userdata);
	return 0;
}

static void tell(const struct scan_finds *finds, scan_fn fn, void *userdata)
{
	for (size_t i = 0; i < finds->n; i++)
		fn(&finds->finds[i].mapping, finds->finds[i].family, userdata);
}

static uid_t user_of(pid_t pid)
{
	uid_t uid = 0;
	pid_t inner;

	(void)procfs_status(pid, &uid, &inner);
	return uid;
}

static bool has_time(const struct scan *scan, pid_t pid)
{
	uid_t uid;

	if (scan->time.used == 0)
		return true;
	uid = user_of(pid);
	return uid == 0 || quota_has(&scan->time, uid, 0, 1);
}

int scan_process(struct scan *scan, pid_t pid, scan_fn fn, void *userdata)
{
	struct reading reading = {.fn = fn, .userdata = userdata};
	uint64_t began_ns = clock_monotonic_ns();
	int place = costly_find(&scan->costly, pid);

	if (place >= 0) {
		tell(&scan->kept[place], fn, userdata);
		return 0;
	}
	if (!has_time(scan, pid))
		return -EBUSY;
	(void)mappings_each(pid, MAPPINGS_CODE, on_mapping, &reading);
	place = reading.has_more ? -1 : costly_note(&scan->costly, pid, began_ns);
	if (clock_monotonic_ns() - began_ns >= COSTLY_NS)
		quota_charge(&scan->time, user_of(pid), (clock_monotonic_ns() - began_ns) / 1000);
	tell(&reading.finds, fn, userdata);
	if (place >= 0) {
		free_finds(&scan->kept[place]);
		scan->kept[place] = reading.finds;
	} else {
		free_finds(&reading.finds);
	}
	return 0;
}
