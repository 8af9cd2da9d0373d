/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "clock.h"
#include "log.h"
#include "notices.h"
#include "size.h"

#define MINUTE_NS (60 * NS_PER_SECOND)

_Static_assert(PARTIAL_MAX == 7, "each has a meaning");
static const char *const partial_meanings[PARTIAL_MAX] = {
	[PARTIAL_LATE_ATTACH] = "calls before it was tracked are missing",
	[PARTIAL_LIMIT] = "it has more allocations, call sites or libraries than are tracked",
	[PARTIAL_LOST] = "returns of calls were not seen",
	[PARTIAL_SECCOMP] =
		"it has a seccomp filter, with which this kernel would end it at a probe",
	[PARTIAL_PATCHED] = "it has written over functions, which are left alone",
	[PARTIAL_FILE_SYSTEM] = "a library is on a file system that is a process: not probed",
	[PARTIAL_BUDGET] = "probes took more of its time than they may: less is recorded of it",
};

void notices_tick(struct notices *n)
{
	if (n->minute_began == 0 || clock_monotonic_ns() - n->minute_began < MINUTE_NS)
		return;
	if (n->left_out > 0)
		log_notice("%u more lines about processes were left out within a minute",
			   n->left_out);
	n->minute_began = 0;
	n->lines = n->left_out = 0;
}

static bool may_log(struct notices *n)
{
	notices_tick(n);
	if (n->minute_began == 0)
		n->minute_began = clock_monotonic_ns();
	if (n->lines == NOTICES_PER_MINUTE) {
		n->left_out++;
		return false;
	}
	n->lines++;
	return true;
}

static const char *name_of(const struct process *p)
{
	return p->comm ? p->comm : "?";
}

void notices_size(struct notices *n, struct process *p)
{
	char is[SIZE_TEXT_MAX], limit[SIZE_TEXT_MAX];
	uint64_t bytes;

	if (n->log_above == 0)
		return;
	bytes = process_memory(p);
	if (p->size_logged && bytes < n->log_above / 2)
		p->size_logged = false;
	if (p->size_logged || bytes <= n->log_above)
		return;
	p->size_logged = true;
	if (may_log(n))
		log_warning("process %d (%s): holds %s of CUDA memory, which is above log_above "
			    "(%s)",
			    p->pid, name_of(p), size_format(bytes, is),
			    size_format(n->log_above, limit));
}

void notices_partial(struct notices *n, struct process *p)
{
	unsigned int fresh = p->partial & ~p->partial_logged;

	p->partial_logged |= fresh;
	for (int i = 0; i < PARTIAL_MAX; i++)
		if (fresh & 1U << i && may_log(n))
			log_notice("process %d (%s): figures may be too low: %s (%s)", p->pid,
				   name_of(p), partial_name((enum process_partial)i),
				   partial_meanings[i]);
}
