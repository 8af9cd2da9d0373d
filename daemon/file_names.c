/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"
#include "file_names.h"

#define FILES_MAX 4096

/* An inode is given to another file in time, so what has nothing to probe is looked at again; but a
 * process that maps it all day does not keep us busy.
 */
#define NOTHING_GOOD_FOR_NS 5000000000ULL

static uint64_t key_of(unsigned int major, unsigned int minor, uint64_t inode)
{
	uint64_t key =
		((uint64_t)major << 52 ^ (uint64_t)minor << 32 ^ inode) * 0x9e3779b97f4a7c15ULL;

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

const struct file_name *file_names_find(const struct file_names *names, unsigned int major,
					unsigned int minor, uint64_t inode)
{
	const struct file_name *name = table_find(&names->table, key_of(major, minor, inode));

	if (!name || name->inode != inode || name->major != major || name->minor != minor)
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

void file_names_add(struct file_names *names, unsigned int major, unsigned int minor,
		    uint64_t inode, struct library *library, unsigned int missing)
{
	struct file_name *name;

	/* Files without anything to probe come from strangers: start over rather than grow. */
	if (names->table.count >= FILES_MAX && !library)
		file_names_forget(names, NULL);
	if (table_add(&names->table, key_of(major, minor, inode), (void **)&name) < 0)
		return;
	name->inode = inode;
	name->major = major;
	name->minor = minor;
	name->library = library;
	name->missing = missing;
	name->looked_ns = clock_monotonic_ns();
}
