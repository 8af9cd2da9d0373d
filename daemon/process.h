/* SPDX-License-Identifier: Apache-2.0 */
/* One tracked process: who it is, what it holds, by allocation and by call site. */
#ifndef SRTLEAK_PROCESS_H
#define SRTLEAK_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "api.h"
#include "budget.h"
#include "event.h"
#include "history.h"
#include "pools.h"
#include "probes.h"
#include "quota.h"
#include "site.h"
#include "table.h"
#include "visible_devices.h"

#define SITES_PER_PROCESS 4096 /* what exceeds it is summed in one site without a stack */

#define RECHECKS_PER_TICK 8 /* some 100 us each */

/* Why figures may be too low: bits, and their names in interface.md. */
#define PROCESS_PARTIALS(X)           \
	X(LATE_ATTACH, "late_attach") \
	X(LIMIT, "limit")             \
	X(LOST, "lost")               \
	X(PATCHED, "patched")         \
	X(SECCOMP, "seccomp")         \
	X(FILE_SYSTEM, "file_system") \
	X(BUDGET, "budget")

enum process_partial {
#define X(name, json) PARTIAL_##name,
	PROCESS_PARTIALS(X)
#undef X
		PARTIAL_MAX
};

const char *partial_name(enum process_partial partial);

/* One outstanding allocation. The first member is the table's key. A million of them must stay
 * small, so each member has the bits that it needs; alloc_time_ns() and process_site() read the two
 * that are not what they say.
 */
struct alloc {
	uint64_t id;
	uint64_t ptr : ADDRESS_BITS;
	int64_t device : 64 - ADDRESS_BITS;
	uint64_t size : SIZE_BITS;
	uint64_t site : 64 - SIZE_BITS; /* index into the process's list */
	uint32_t time;                  /* CLOCK_BOOTTIME, 1 << TIME_SHIFT nanoseconds */
	uint32_t tid : 22;              /* the kernel's PID_MAX_LIMIT */
	uint32_t api : 8;
	uint32_t sweep : 2; /* the repair that saw it last */
};
_Static_assert(sizeof(struct alloc) == 32, "a million of them must stay small");
_Static_assert(API_MAX <= UINT8_MAX, "a row's number fits");
_Static_assert(SITES_PER_PROCESS < 1 << (64 - SIZE_BITS), "a site's index fits");

static inline uint64_t alloc_time_ns(const struct alloc *alloc)
{
	return (uint64_t)alloc->time << TIME_SHIFT;
}

/* Entries of a process's tables of sites, by site id, and of stacks, by stack and kind. */
struct site_ref {
	uint64_t key;
	struct site *site;
	uint64_t stack; /* as the probes number it; 0 in the table of sites */
};

/* Outstanding memory of one kind on one device. */
#define PLACE_KEY(device, kind) ((uint64_t)((device) + 2) << 8 | (uint64_t)(kind))
#define PLACE_DEVICE(key) ((int)((key) >> 8) - 2)
#define PLACE_KIND(key) ((enum memory_kind)((key)&0xff))

struct place_usage {
	uint64_t key;
	uint64_t bytes, count;
};

struct usage {
	uint64_t bytes, count;                 /* outstanding */
	uint64_t allocs_total, frees_total;    /* calls */
	uint64_t allocated_bytes, freed_bytes; /* in all */
};

/* What became of looking for an interpreter. */
enum python_search {
	PYTHON_NOT_FOUND, /* so far: a library that holds one may be loaded yet */
	PYTHON_NOT_READY, /* found, but being initialised: look again soon */
	PYTHON_KNOWN,
	PYTHON_UNKNOWN, /* a version or build without a layout that fits: native stacks only */
};

struct python;
struct modules;

struct process {
	pid_t pid;
	uint64_t start_ticks;           /* USER_HZ after boot; with the pid, who it is */
	double started_at, attached_at; /* Unix seconds */
	uint64_t found_ns;              /* of the news that led to it, CLOCK_BOOTTIME */
	uint32_t image;                 /* as the probes number it; 0: has not called yet */
	uid_t uid;
	pid_t group;
	pid_t inner_pid;  /* in its own PID namespace; 0: that is ours */
	char *label_comm; /* for metrics, once settled */
	char *comm, *title, *cmdline, *cgroup;
	char *container, *pod; /* NULL for none */

	struct table allocs;     /* struct alloc by id */
	struct table sites;      /* struct site_ref by site id */
	struct table stacks;     /* struct site_ref by stack and kind */
	struct site **site_list; /* by index; as many as the table has */
	struct usage usage[KIND_MAX];
	struct history history[KIND_MAX]; /* outstanding bytes */
	struct table places;              /* struct place_usage by device and kind */
	struct table pools;               /* struct pool by number */
	uint64_t failures[API_MAX];
	uint32_t lost_events;   /* of this image, as told to those who watch */
	unsigned int partial;   /* 1 << enum process_partial */
	uint64_t unseen_ns;     /* until then calls may have gone unseen, CLOCK_BOOTTIME */
	bool is_whole, is_part; /* all libraries were armed when it mapped them; one was not */
	unsigned int noted_partial;
	bool is_noted; /* with the partial above, for the next daemon */
	unsigned int partial_logged;
	bool size_logged; /* and has not fallen well below since */

	struct python *python; /* NULL: no interpreter, or none that is known */
	enum python_search python_search;
	unsigned int python_attempts;
	bool python_wanted;                      /* it is time to look again, when it is due */
	uint64_t python_due_ns, python_pause_ns; /* CLOCK_MONOTONIC; of the next look */
	unsigned int rechecks; /* of known Python stacks, left until the next tick */
	struct modules *modules;

	struct budget budget;
	struct visible_setting *gpu_setting; /* as CUDA found it; NULL: not read yet */
	struct visible_devices *gpus;        /* NULL: not looked at yet */
	uint64_t gpus_looked_ns;             /* CLOCK_MONOTONIC */
	struct quotas *quotas;               /* whose user it is */
	uint64_t site_bytes, cache_bytes;    /* what it holds of them */
	uint64_t time_spent;                 /* on it in this second, microseconds */
	uint32_t time_second;

	bool is_gone; /* had ended when it was looked at first */
	int pidfd;    /* readable when the process has ended; negative where it could not be had */
	sd_event_source *ended;
};

/* Reads who the process is; works for one that has just ended too, with less to tell. The quotas
 * stay the caller's.
 */
struct process *process_new(pid_t pid, struct quotas *quotas);
struct process *process_free(struct process *process);

/* Forgets all that it holds, as after exec. */
void process_empty(struct process *process);

/* Marks it as one that may have made calls, until now, which nobody saw. */
void process_unseen(struct process *process);

/* It has mapped a library that was armed before, or was not. */
void process_mapped(struct process *p, bool was_armed);

/* Re-reads what a process can change about itself. */
void process_refresh(struct process *process);

/* Applies an allocation. Returns 1 where it was new, 0 where it is known already, -ENOMEM, or
 * -EAGAIN where its stack is not known and the time for that is used up.
 */
int process_allocated(struct process *process, const struct probes *probes,
		      const struct event *event);

/* Applies a free; false where the id is not known (counted as lost by whoever repairs). pool: that
 * it was from; 0: none, or it is summed up anew later.
 */
bool process_freed(struct process *process, uint64_t id, uint32_t pool);

static inline struct site *process_site(const struct process *process, const struct alloc *alloc)
{
	return process->site_list[alloc->site];
}

/* Bytes of the kinds that add up. */
uint64_t process_memory(const struct process *process);

/* Adds to the histories of the process and its sites; to be called every HISTORY_INTERVAL_S. */
void process_sample(struct process *process);

/* The history of its CUDA memory: of the kinds that add up. */
void process_memory_history(const struct process *process, struct history *ret);

/* Looks for an interpreter in the process and tells the probes, unless that is settled. A look
 * reads all that the process maps; one that was in vain is not repeated at once, but noted as
 * wanted.
 */
void process_find_python(struct process *process, const struct probes *probes);

/* Looks, unless that is settled, at which GPUs the process numbers how. Its environment is read
 * once, when CUDA has been started in it: it may change that before, for CUDA, and after, for its
 * children.
 */
void process_find_gpus(struct process *process);

#endif
