/* SPDX-License-Identifier: Apache-2.0 */
#include "ends.h"
#include "macro.h"

struct end {
	uint64_t pid;
	uint64_t time_ns;
	uint64_t exiting; /* ticks */
};

void ends_init(struct ends *ends)
{
	table_init(&ends->table, sizeof(struct end));
}

void ends_clear(struct ends *ends)
{
	table_clear(&ends->table);
}

static struct end *end_of(struct ends *ends, pid_t pid)
{
	struct end *end;

	if (ends->table.count >= ENDS_MAX)
		table_clear(&ends->table);
	return table_add(&ends->table, (uint64_t)pid, (void **)&end) < 0 ? NULL : end;
}

void ends_note(struct ends *ends, pid_t pid, uint64_t time_ns)
{
	struct end *end = end_of(ends, pid);

	if (end)
		end->time_ns = MAX(end->time_ns, time_ns);
}

void ends_exits(struct ends *ends, pid_t pid, uint64_t start_ticks)
{
	struct end *end = end_of(ends, pid);

	if (end)
		end->exiting = start_ticks;
}

uint64_t ends_exiting(const struct ends *ends, pid_t pid)
{
	const struct end *end = table_find(&ends->table, (uint64_t)pid);

	return end ? end->exiting : 0;
}

bool ends_outdate(const struct ends *ends, pid_t pid, uint64_t news_ns)
{
	const struct end *end = table_find(&ends->table, (uint64_t)pid);

	return end && news_ns < end->time_ns;
}
