/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"
#include "put_off.h"

struct entry {
	uint64_t pid;
	uint64_t until_ns; /* CLOCK_MONOTONIC */
};

void put_off_init(struct put_off *put_off)
{
	table_init(&put_off->table, sizeof(struct entry));
}

void put_off_clear(struct put_off *put_off)
{
	table_clear(&put_off->table);
}

void put_off_note(struct put_off *put_off, pid_t pid)
{
	struct entry *entry;

	if (put_off->table.count >= PUT_OFF_MAX)
		table_clear(&put_off->table);
	if (table_add(&put_off->table, (uint64_t)pid, (void **)&entry) >= 0)
		entry->until_ns = clock_monotonic_ns() + PUT_OFF_NS;
}

bool put_off_holds(const struct put_off *put_off, pid_t pid)
{
	const struct entry *entry = table_find(&put_off->table, (uint64_t)pid);

	return entry && clock_monotonic_ns() < entry->until_ns;
}
