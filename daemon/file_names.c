/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"
#include "file_names.h"
#include "fnv.h"

#define FILES_MAX 4096

/* What has nothing to probe is looked at again; but a process that maps it all day does not keep us
 * busy.
 */
#define NOTHING_GOOD_FOR_NS 5000000000ULL

static uint64_t key_of(uint64_t id, const struct stat *st)
{
	uint64_t key = fnv(FNV_START, &id, sizeof(id));

	key = fnv(key, &st->st_size, sizeof(st->st_size));
	key = fnv(key, &st->st_mtim.tv_sec, sizeof(st->st_mtim.tv_sec));
	key = fnv(key, &st->st_mtim.tv_nsec, sizeof(st->st_mtim.tv_nsec));
	return key ? key : 1;
}

void file_names_init(struct file_names *names)
{
	table_init(&names->table, sizeof(struct file_name));
}

void file_names_done(struct file_names *names)
{
	table_clear(&names->table);
}

const struct file_name *file_names_find(const struct file_names *names, uint64_t id,
					const struct stat *st)
{
	const struct file_name *name = table_find(&names->table, key_of(id, st));

	if (!name)
		return NULL;
	return name->library || clock_monotonic_ns() - name->looked_ns < NOTHING_GOOD_FOR_NS ? name
											     : NULL;
}

void file_names_forget(struct file_names *names, const struct library *library)
{
	struct table_cursor cursor = {0};
	struct file_name *name;

	while ((name = table_next(&names->table, &cursor)))
		if (name->library == library)
			table_remove(&names->table, name->key);
}

void file_names_add(struct file_names *names, uint64_t id, const struct stat *st,
		    struct library *library, unsigned int missing)
{
	struct file_name *name;

	/* Files come from strangers: start over rather than grow. */
	if (names->table.count >= FILES_MAX)
		table_clear(&names->table);
	if (table_add(&names->table, key_of(id, st), (void **)&name) < 0)
		return;
	name->library = library;
	name->missing = missing;
	name->looked_ns = clock_monotonic_ns();
}
