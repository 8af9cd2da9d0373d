/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "look.h"
#include "macro.h"
#include "real_files.h"

#define PIECES_MAX 64 /* mappings of one library in one process */

/* One process. */
struct sight {
	struct looks *looks;
	pid_t pid;
};

int looks_init(struct looks *looks, struct library *const *libraries, size_t n)
{
	*looks = (struct looks){.libraries = libraries, .n = n};
	looks->looks = calloc(MAX(n, (size_t)1), sizeof(*looks->looks));
	return looks->looks ? 0 : -ENOMEM;
}

void looks_done(struct looks *looks)
{
	for (size_t i = 0; i < COSTLY_MAX; i++)
		free(looks->kept[i]);
	free(looks->looks);
	*looks = (struct looks){0};
}

static enum intact worse(enum intact a, enum intact b)
{
	return a == INTACT_NO || b == INTACT_YES ? a : b;
}

/* All of its mappings, as that with the functions may be in pieces. */
static int on_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	const struct sight *sight = userdata;
	const struct looks *l = sight->looks;

	for (size_t i = 0; i < l->n; i++) {
		struct look *look = &l->looks[i];

		if (!l->libraries[i] || look->pieces > PIECES_MAX ||
		    !library_is_mapped(l->libraries[i], mapping))
			continue;
		if (look->pieces++ == PIECES_MAX)
			look->found = INTACT_UNKNOWN;
		else
			look->found = worse(look->found, intact_look(sight->pid, mapping,
								     l->libraries[i]->points));
	}
	return 0;
}

static bool is_any_unread(const struct looks *looks)
{
	for (size_t i = 0; i < looks->n; i++)
		if (looks->looks[i].found == INTACT_UNKNOWN && looks->looks[i].pieces <= PIECES_MAX)
			return true;
	return false;
}

static void set_all(struct looks *looks, size_t pieces, enum intact found)
{
	for (size_t i = 0; i < looks->n; i++)
		looks->looks[i] = (struct look){.pieces = pieces, .found = found};
}

static int take(struct looks *looks, pid_t pid)
{
	struct sight sight = {.looks = looks, .pid = pid};

	set_all(looks, 0, INTACT_YES);
	return real_files_each(pid, on_mapping, &sight);
}

/* What was mapped may be gone before its code is read, with the process or by an exec. */
static void take_surely(struct looks *looks, pid_t pid)
{
	int r = take(looks, pid);

	if (r == 0 && is_any_unread(looks))
		r = take(looks, pid);
	if (r == -E2BIG)
		set_all(looks, 1, INTACT_UNKNOWN);
	else if (r < 0)
		set_all(looks, 0, INTACT_YES);
}

static void keep(struct looks *looks, int place)
{
	size_t size = MAX(looks->n, (size_t)1) * sizeof(*looks->looks);

	if (!looks->kept[place])
		looks->kept[place] = malloc(size);
	if (looks->kept[place])
		memcpy(looks->kept[place], looks->looks, looks->n * sizeof(*looks->looks));
}

void looks_take(struct looks *looks, pid_t pid)
{
	uint64_t began_ns = clock_monotonic_ns();
	int place = costly_find(&looks->costly, pid);

	if (place >= 0 && looks->kept[place]) {
		memcpy(looks->looks, looks->kept[place], looks->n * sizeof(*looks->looks));
		return;
	}
	take_surely(looks, pid);
	place = costly_note(&looks->costly, pid, began_ns);
	if (place >= 0)
		keep(looks, place);
}
