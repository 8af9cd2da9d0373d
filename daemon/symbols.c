/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "demangle.h"
#include "elf_file.h"
#include "macro.h"
#include "pace.h"
#include "mappings.h"
#include "reader.h"
#include "symbols.h"
#include "table.h"

#define MODULES_MAX 16384
#define MODULES_BYTES_MAX (4U << 20) /* with their paths */
#define NAMES_MAX 4096               /* cached names of one process */
#define REREAD_NS 20000000ULL        /* between two looks that nothing called for */
#define REREAD_REST 4                /* times as long as the look took: between any two */

struct module {
	struct procfs_mapping mapping; /* its path is ours */
};

struct name {
	uint64_t address; /* the table's key */
	char *symbol;
	uint64_t offset;
	const struct module *module;
};

struct modules {
	pid_t pid;
	struct module *modules; /* by address */
	size_t n_modules;
	struct table names; /* struct name by address */
	size_t bytes;       /* of the above */
	struct pace looks;
	uint64_t read_at_ns;
	bool changed; /* code was mapped since */
};

struct modules *modules_new(pid_t pid)
{
	struct modules *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	table_init(&m->names, sizeof(struct name));
	m->pid = pid;
	m->changed = true;
	return m;
}

static void forget_names(struct modules *m)
{
	table_foreach (&m->names, struct name, name) {
		m->bytes -= name->symbol ? strlen(name->symbol) + 1 : 0;
		free(name->symbol);
	}
	table_clear(&m->names);
}

static void forget(struct modules *m)
{
	forget_names(m);
	for (size_t i = 0; i < m->n_modules; i++)
		free((char *)m->modules[i].mapping.path);
	free(m->modules);
	m->modules = NULL;
	m->n_modules = 0;
	m->bytes = 0;
}

struct modules *modules_free(struct modules *m)
{
	if (!m)
		return NULL;
	forget(m);
	free(m);
	return NULL;
}

size_t modules_memory(const struct modules *m)
{
	return m ? sizeof(*m) + m->bytes + table_memory(&m->names) : 0;
}

static int on_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	struct modules *m = userdata;
	struct module *grown;

	if (m->n_modules == MODULES_MAX || m->bytes > MODULES_BYTES_MAX)
		return 0;
	if ((m->n_modules & (m->n_modules - 1)) == 0) { /* full at each power of two */
		grown = reallocarray(m->modules, m->n_modules ? 2 * m->n_modules : 1,
				     sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		m->modules = grown;
	}
	m->modules[m->n_modules].mapping = *mapping;
	m->modules[m->n_modules].mapping.path = strdup(mapping->path ? mapping->path : "");
	if (!m->modules[m->n_modules].mapping.path)
		return -ENOMEM;
	m->bytes += sizeof(*m->modules) + strlen(m->modules[m->n_modules].mapping.path) + 1;
	m->n_modules++;
	return 0;
}

void modules_changed(struct modules *m)
{
	if (m)
		m->changed = true;
}

static const struct module *find_module(const struct modules *m, uint64_t address)
{
	size_t low = 0, high = m->n_modules;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (address < m->modules[middle].mapping.start)
			high = middle;
		else if (address >= m->modules[middle].mapping.end)
			low = middle + 1;
		else
			return &m->modules[middle];
	}
	return NULL;
}

static const struct module *locate(struct modules *m, uint64_t address)
{
	const struct module *module = find_module(m, address);

	uint64_t began = clock_monotonic_ns();

	if (!m->changed && (module || began - m->read_at_ns < REREAD_NS))
		return module;
	if (!pace_is_due(&m->looks))
		return module;
	m->changed = false;
	forget(m);
	(void)mappings_each(m->pid, MAPPINGS_EXECUTABLE, on_mapping, m);
	m->read_at_ns = clock_monotonic_ns();
	pace_ran(&m->looks, began, REREAD_REST, 0, UINT64_MAX);
	return find_module(m, address);
}

/* Fills in symbol and offset of a name whose module is known. */
static void look_up(struct modules *m, struct name *name)
{
	const struct procfs_mapping *map = &name->module->mapping;
	uint64_t offset = name->address - 1 - map->start + map->offset, distance;
	char mangled[ELF_NAME_MAX];

	name->offset = offset + 1;
	if (map->path[0] != '/' || reader_symbol(m->pid, map, offset, mangled, &distance) < 0)
		return;
	name->symbol = demangle(mangled);
	m->bytes += name->symbol ? strlen(name->symbol) + 1 : 0;
	name->offset = distance + 1;
}

int modules_name(struct modules *m, uint64_t address, struct native_name *ret)
{
	const struct module *module = locate(m, address);
	struct name *name;
	const char *slash;
	int added;

	if (!module)
		return -ENOENT;
	if (m->names.count >= NAMES_MAX)
		forget_names(m);
	added = table_add(&m->names, address, (void **)&name);
	if (added < 0)
		return added;
	if (added > 0) {
		name->module = module;
		look_up(m, name);
	}
	slash = strrchr(module->mapping.path, '/');
	ret->module = slash ? slash + 1 : NULL;
	ret->symbol = name->symbol;
	ret->offset = name->offset;
	return 0;
}
