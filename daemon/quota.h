/* SPDX-License-Identifier: Apache-2.0 */
/* What all processes share in the daemon: room in a table, memory, its time. Shared out among users
 * and processes as the probes' pools are (share.h).
 */
#ifndef SRTLEAK_QUOTA_H
#define SRTLEAK_QUOTA_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "table.h"

struct quota {
	uint64_t limit, used;
	uint64_t refused;
	bool by_process;    /* each has a part; else root is a user like the others */
	struct table users; /* what each has of `used` */
	struct table
		debts; /* what each but root took beyond that, and gets nothing until it is paid */
};

void quota_init(struct quota *quota, uint64_t limit, bool by_process);
void quota_done(struct quota *quota);

/* Takes `n` for one of the user's processes that holds `own`: 0 where none has a part. False, and
 * counted, where it is too much.
 */
bool quota_take(struct quota *quota, uid_t uid, uint64_t own, uint64_t n);

/* The same without taking. */
bool quota_has(const struct quota *quota, uid_t uid, uint64_t own, uint64_t n);

/* Takes without asking: for what is known only afterwards. */
void quota_charge(struct quota *quota, uid_t uid, uint64_t n);

void quota_give(struct quota *quota, uid_t uid, uint64_t n);

/* Of what is given back again and again (quota_clear()), what may be more than there is at once:
 * who owes some gets no more of what took so long. For the rest nobody has less for it. Root owes
 * nothing: it is not one user in such things.
 */
void quota_owe(struct quota *quota, uid_t uid, uint64_t n);
bool quota_owes(const struct quota *quota, uid_t uid);

/* All is given back, and a quarter of the limit paid of each debt. */
void quota_clear(struct quota *quota);

#ifndef LIBRARIES_MAX
#define LIBRARIES_MAX 256 /* probed files */
#endif
#ifndef SITE_BYTES_MAX
#define SITE_BYTES_MAX (64U << 20)
#endif
#ifndef CACHE_BYTES_MAX
#define CACHE_BYTES_MAX (64U << 20) /* what was read from processes and can be read again */
#endif
#ifndef TIME_MAX
#define TIME_MAX 600000U /* microseconds of each second, for finding out about processes */
#endif

/* The daemon's quotas: X(name, limit, each process has a part) */
#define SRTLEAK_QUOTAS(X)                     \
	X(processes, PROCESSES_MAX, false)    \
	X(libraries, LIBRARIES_MAX, true)     \
	X(site_bytes, SITE_BYTES_MAX, true)   \
	X(cache_bytes, CACHE_BYTES_MAX, true) \
	X(time, TIME_MAX, false)

struct quotas {
#define X(name, limit, by_process) struct quota name;
	SRTLEAK_QUOTAS(X)
#undef X
	uint32_t second; /* counts them; in each, time begins anew */
};

void quotas_init(struct quotas *quotas);
void quotas_done(struct quotas *quotas);

/* To be called every second. */
void quotas_next_second(struct quotas *quotas);

/* Processor time of this thread so far, and what it has waited for others to find out; for what is
 * charged to `time`; microseconds.
 */
uint64_t quota_time(void);
void quota_note_waiting(uint64_t ns);

#endif
