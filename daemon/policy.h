/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's table of who is recorded (event.h, struct policy). */
#ifndef SRTLEAK_POLICY_H
#define SRTLEAK_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "event.h"
#include "probes.h"

/* What holds for processes without an entry. */
int policy_set_others(const struct probes *probes, enum verdict verdict);
enum verdict policy_others(const struct probes *probes);

/* The entry of the process with that pid and start time; -ENOENT. */
int policy_get(const struct probes *probes, pid_t pid, uint64_t start_ticks, struct policy *ret);

/* Writes it. -ESRCH where there is no such process, or it has ended: then there is none. Where the
 * table is full, entries of processes that are gone are taken out first; -E2BIG if that makes no
 * room.
 */
int policy_set(const struct probes *probes, pid_t pid, const struct policy *policy);
void policy_drop(const struct probes *probes, pid_t pid);

/* Entries of the table, of POLICIES_MAX. */
size_t policy_count(const struct probes *probes);

/* Drops what the command line of an earlier daemon said. */
void policy_drop_options(const struct probes *probes);

/* All processes that a rule or the budget, and no person, has made ignored. Returns how many;
 * ret_pids is the caller's to free.
 */
int policy_ignored_by_rule(const struct probes *probes, pid_t **ret_pids);

#endif
