/* SPDX-License-Identifier: Apache-2.0 */
/* When pids saw their last exit or exec. News of mappings and exec come from several CPUs and not
 * in order: what is older than the end of a program speaks of that program, and not of whom the pid
 * belongs to now.
 */
#ifndef SRTLEAK_ENDS_H
#define SRTLEAK_ENDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "table.h"

#define ENDS_MAX 4096 /* then it starts over: news are seldom late by more than milliseconds */

struct ends {
	struct table table;
};

void ends_init(struct ends *ends);
void ends_clear(struct ends *ends);

/* Times are CLOCK_BOOTTIME. */
void ends_note(struct ends *ends, pid_t pid, uint64_t time_ns);
bool ends_outdate(const struct ends *ends, pid_t pid, uint64_t news_ns);

/* The process that started then exits. Since Linux 6.16 that is said while its memory is there yet,
 * and whoever looks then would take it for a new one.
 */
void ends_exits(struct ends *ends, pid_t pid, uint64_t start_ticks);

/* When the process of that pid which exits has started; 0: none is known to. */
uint64_t ends_exiting(const struct ends *ends, pid_t pid);

#endif
