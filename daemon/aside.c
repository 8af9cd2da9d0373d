/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "aside.h"
#include "clock.h"
#include "log.h"
#include "macro.h"
#include "real_files.h"
#include "walk.h"

#define DISCARD_NS 5000000000ULL

void aside_leave(struct library *library)
{
	int r = library->pins ? pins_set_aside(library->pins, library->folder, library->pin_name)
			      : -ENOTSUP;

	if (r < 0) {
		log_warning("%s: taking its probes out though a process has written over functions "
			    "of it: they could not be left: %s",
			    library->path, strerror(-r));
		library_free(library);
		return;
	}
	log_notice("%s: its probes stay, as a process has written over functions of it",
		   library->path);
	library_leave(library);
}

struct discarding {
	struct pins *pins;
	const char *name;
	uint64_t ends_ns; /* later, those not looked at stay */
	size_t kept;
};

static int is_mapped(const struct procfs_mapping *mapping, void *userdata)
{
	const struct discarding *d = userdata;

	return library_pin_file(d->name) == mapping->file;
}

static int maps_it(pid_t pid, void *userdata)
{
	int r = real_files_each(pid, is_mapped, userdata);

	return r > 0 || r == -E2BIG;
}

static void discard(const char *name, void *userdata)
{
	struct discarding *d = userdata;
	uint64_t now = clock_monotonic_ns();

	d->name = name;
	if (now < d->ends_ns && walk_within(d->ends_ns - now, maps_it, d) == 0)
		pins_remove_aside(d->pins, name);
	else
		d->kept++;
}

size_t aside_discard(struct pins *pins)
{
	struct discarding discarding = {
		.pins = pins,
		.ends_ns = clock_monotonic_ns() + DISCARD_NS,
	};

	if (pins)
		(void)pins_each_aside(pins, discard, &discarding);
	return discarding.kept;
}
