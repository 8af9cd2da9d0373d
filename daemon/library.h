/* SPDX-License-Identifier: Apache-2.0 */
/* One probed library file: which rows of the API table it exports, where their probes sit, and the
 * links that hold them. A link is made to the file, so it serves every process that maps it, also
 * those to come: the kernel arms them at mmap. While a process has written over a function of it
 * the library is split: the others have links of their own, one by one, and are late.
 */
#ifndef SRTLEAK_LIBRARY_H
#define SRTLEAK_LIBRARY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "link_set.h"
#include "mappings.h"
#include "pins.h"
#include "probes.h"
#include "survey.h"

#ifndef LIBRARY_ONES_MAX
#define LIBRARY_ONES_MAX 128 /* processes that are probed one by one; a user's, half of them */
#endif

#define LIBRARY_NAMES_MAX 8 /* that are watched for writes */

/* A process that is probed by itself. */
struct library_one {
	pid_t pid;
	uid_t uid;
	int pidfd;
	struct link_set links;
};

struct library {
	uint64_t file;   /* which it is (real_files.h) */
	dev_t mount;     /* as in struct library_file */
	uid_t owner;     /* likewise */
	uint64_t holder; /* the process that mapped it first, for whoever counts these; 0: none did
			  */
	uint32_t number; /* part of its probes' cookies */
	enum api_family family;
	char *path;
	uint64_t armed_ns; /* CLOCK_BOOTTIME; 0: by an earlier daemon */
	uint64_t used_ns;  /* CLOCK_MONOTONIC, when somebody was seen to map it last */
	int fd;            /* of the file, for library_is_changed() */
	/* For whoever watches the file: through its own name, and through others' (an overlay's);
	 * may be NULL.
	 */
	sd_event_source *written[LIBRARY_NAMES_MAX];
	struct probe_point points[API_MAX];
	bool multi;            /* the sort of links */
	struct link_set links; /* to every process; empty while it is split */
	struct library_one *ones[LIBRARY_ONES_MAX];
	size_t n_ones;
	uint64_t ones_refused;
	struct {
		pid_t pid;
		uint64_t at_ns; /* CLOCK_MONOTONIC */
		unsigned int partial;
	} left_alone;                   /* who was last, for reach.h */
	bool may_join;                  /* nobody has written over it, as far as was looked */
	bool spares_filtered;           /* processes with a seccomp filter are not probed */
	bool is_patched;                /* at the end: a process has written over a probe */
	struct pins *pins;              /* NULL: it ends with the daemon */
	const struct probes *probes;    /* that it is attached to */
	char pin_name[PINS_FOLDER_MAX]; /* which file it is, in which state */
	char folder[PINS_FOLDER_MAX];   /* of its pins: not yet the above until it is settled */
	uint64_t settles_ns;            /* CLOCK_MONOTONIC, when that is due; 0: it is */
};

/* A file that may be probed. */
struct library_file {
	int fd;           /* stays the caller's, and is not needed afterwards */
	struct stat st;   /* of it, of the real file (reader_real_file()) */
	uint64_t id;      /* which that is */
	bool is_own_name; /* and not one that another file system has for it */
	dev_t mount;      /* the file system that it was found in: that one, where it is */
	const char *path;
	pid_t pid;   /* that has it mapped; 0: none that is known */
	uid_t owner; /* who can make more of them */
	enum api_family family;
};

/* Finds the family's functions in the file and probes none yet; no two libraries have the same
 * number. -ENOENT: exports none of them.
 */
int library_open(const struct probes *probes, bool multi, const struct library_file *file,
		 uint32_t number, struct library **ret);

/* Probes them in every process. */
int library_attach(struct library *library);

/* Probes them in one process, which has not written over any of them, while the library is split.
 * Returns 1, or 0 where they are already. -ENOSPC: in too many, in all or of that user's.
 */
int library_attach_one(struct library *library, pid_t pid, uid_t uid);

/* Whether the process's calls meet the probes. */
bool library_reaches(const struct library *library, pid_t pid);

/* Probes them in every process again, under another number: for a moment some calls meet both. To
 * be settled then, as what was attached.
 */
int library_join(struct library *library, uint32_t number);

/* Lets go of processes that were probed one by one and have ended. */
void library_drop_ended(struct library *library);

/* Takes over the links that an earlier daemon has pinned under this name. If they were not settled,
 * nobody knows whom they have missed: then the library is taken to be armed now. -ESTALE: they are
 * not of this file as it is now, or not complete.
 */
int library_adopt(const struct probes *probes, bool multi, const struct library_file *file,
		  const char *pin_name, struct library **ret);

/* To be called when every process that had the file mapped before has been noted as late: another
 * daemon that adopts the probes takes who is not noted for one that was seen from the start.
 */
void library_settle(struct library *library);

/* The number in a pin's name; 0: it is not that of a library. */
uint32_t library_pin_number(const char *pin_name);

/* Whether a pin is that of this file with this content. */
bool library_pin_fits(const char *pin_name, uint64_t id, const struct stat *st);

/* Which file this pin is of; 0: it is not that of a library. Links keep it in use. */
uint64_t library_pin_file(const char *pin_name);

/* Whether the file has been written to since its probes were placed, or a moment ago, as far as
 * this host knows.
 */
bool library_is_changed(const struct library *library);

/* Takes probes out until then (CLOCK_MONOTONIC, but for one at least); returns whether all of them
 * are. It is only to be freed then.
 */
bool library_take_out(struct library *library, uint64_t until_ns);

/* Takes the probes out. */
struct library *library_free(struct library *library);

/* Leaves pinned probes in place, for the next daemon. */
struct library *library_leave(struct library *library);

/* Functions of a family that are in a state; those probed. */
size_t library_count(const struct library *library, enum api_family family, enum probe_state state);
size_t library_attached(const struct library *library);

/* Whether a mapping that real_files_each() tells of is one of it. */
static inline bool library_is_mapped(const struct library *library,
				     const struct procfs_mapping *mapping)
{
	return library->file == mapping->file;
}

static inline bool library_is_split(const struct library *library)
{
	return library->links.n == 0;
}

static inline void library_freep(struct library **library)
{
	library_free(*library);
}

#endif
