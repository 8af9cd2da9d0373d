/* SPDX-License-Identifier: Apache-2.0 */
#include "ends.h"
#include "macro.h"

struct end {
	uint64_t pid;
	uint64_t time_ns;
};

void ends_init(struct ends *ends)
{
	table_init(&ends->table, sizeof(struct end));
}

void ends_clear(struct ends *ends)
{
	table_clear(&ends->table);
}

void ends_note(struct ends *ends, pid_t pid, uint64_t time_ns)
{
	struct end *end;

	if (ends->table.count >= ENDS_MAX)
		table_clear(&ends->table);
	if (table_add(&ends->table, (uint64_t)pid, (void **)&end) >= 0)
		end->time_ns = MAX(end->time_ns, time_ns);
}

bool ends_outdate(const struct ends *ends, pid_t pid, uint64_t news_ns)
{
	const struct end *end = table_find(&ends->table, (uint64_t)pid);

	return end && news_ns < end->time_ns;
}
