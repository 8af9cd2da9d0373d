/* SPDX-License-Identifier: Apache-2.0 */
/* One probed library file: which rows of the API table it exports, where their probes sit, and the
 * links that hold them. A link is made to the file, so it serves every process that maps it, also
 * those to come: the kernel arms them at mmap.
 */
#ifndef SRTLEAK_LIBRARY_H
#define SRTLEAK_LIBRARY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "pins.h"
#include "probes.h"
#include "survey.h"

struct library {
	dev_t device;
	ino_t inode;
	uid_t owner;     /* of the file: who can make more of them */
	uint64_t holder; /* the process that mapped it first, for whoever counts these; 0: none did
			  */
	uint32_t number; /* part of its probes' cookies */
	enum api_family family;
	char *path;
	uint64_t armed_ns;        /* CLOCK_BOOTTIME; 0: by an earlier daemon */
	int fd;                   /* of the file, for library_is_changed() */
	sd_event_source *written; /* for whoever watches the file; may be NULL */
	struct probe_point points[API_MAX];
	int links[2 * API_MAX]; /* descriptors; in the order of pairs of return and entry */
	size_t n_links;
	struct pins *pins;              /* NULL: it ends with the daemon */
	const struct probes *probes;    /* that it is attached to */
	char pin_name[PINS_FOLDER_MAX]; /* which file it is, in which state */
	char folder[PINS_FOLDER_MAX];   /* of its pins: not yet the above until it is settled */
};

/* Finds the family's functions in the file and probes them. The descriptor stays the caller's and
 * is not needed afterwards; path is for people; no two libraries have the same number. -ENOENT:
 * exports none of them.
 */
int library_attach(const struct probes *probes, bool multi, int fd, const char *path,
		   enum api_family family, uint32_t number, struct library **ret);

/* Takes over the links that an earlier daemon has pinned under this name. -ESTALE: they are not of
 * this file as it is now, or not complete.
 */
int library_adopt(const struct probes *probes, bool multi, int fd, const char *path,
		  enum api_family family, const char *pin_name, struct library **ret);

/* To be called when every process that had the file mapped before has been noted as late. Only then
 * may another daemon adopt the probes: it takes who is not noted for one that was seen from the
 * start.
 */
void library_settle(struct library *library);

/* The number in a pin's name; 0: it is not that of a library, or of
 * one that was never settled.
 */
uint32_t library_pin_number(const char *pin_name);

/* Whether a pin is that of this file. */
bool library_pin_fits(const char *pin_name, const struct stat *st);

/* Whether this pin is of the file that a mapping names by device and inode. */
bool library_pin_names(const char *pin_name, dev_t device, ino_t inode);

/* Whether the file has been written to since its probes were placed. */
bool library_is_changed(const struct library *library);

/* Takes the probes out. */
struct library *library_free(struct library *library);

/* Leaves pinned probes in place, for the next daemon. */
struct library *library_leave(struct library *library);

/* Functions of a family that are in a state; those probed. */
size_t library_count(const struct library *library, enum api_family family, enum probe_state state);
size_t library_attached(const struct library *library);

static inline void library_freep(struct library **library)
{
	library_free(*library);
}

#endif
