/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "legacy.h"
#include "log.h"
#include "macro.h"
#include "quota.h"
#include "reader.h"

struct legacy {
	struct {
		char name[PINS_FOLDER_MAX];
		bool is_kept;
	} pins[LIBRARIES_MAX];
	size_t n;
};

static void inherit(const char *name, void *userdata)
{
	struct legacy *legacy = userdata;

	if (legacy->n < LIBRARIES_MAX && strlen(name) < PINS_FOLDER_MAX)
		strcpy(legacy->pins[legacy->n++].name, name);
}

int legacy_new(struct pins *pins, struct legacy **ret)
{
	_cleanup_free_ struct legacy *legacy = calloc(1, sizeof(*legacy));
	int r = legacy ? pins_each_folder(pins, inherit, legacy) : -ENOMEM;

	if (r < 0)
		return r;
	*ret = TAKE_PTR(legacy);
	return 0;
}

struct legacy *legacy_free(struct legacy *legacy)
{
	free(legacy);
	return NULL;
}

int legacy_take(struct legacy *legacy, const struct probes *probes, bool multi,
		const struct library_file *file, struct library **ret)
{
	for (size_t i = 0; legacy && i < legacy->n; i++) {
		char name[PINS_FOLDER_MAX];
		int r;

		if (!library_pin_fits(legacy->pins[i].name, file->id, &file->st))
			continue;
		strcpy(name, legacy->pins[i].name);
		r = library_adopt(probes, multi, file, name, ret);
		if (reader_is_to_be_asked_again(r)) {
			legacy->pins[i].is_kept = true;
			return r;
		}
		legacy->pins[i] = legacy->pins[--legacy->n];
		if (r < 0)
			pins_remove(probes_pins(probes), name);
		return r < 0 ? -ENOENT : 0;
	}
	return -ENOENT;
}

bool legacy_keep(struct legacy *legacy, uint64_t file)
{
	bool is_kept = false;

	for (size_t i = 0; legacy && i < legacy->n; i++) {
		if (library_pin_file(legacy->pins[i].name) != file)
			continue;
		legacy->pins[i].is_kept = is_kept = true;
	}
	return is_kept;
}

uint32_t legacy_last_number(const struct legacy *legacy)
{
	uint32_t last = 0;

	for (size_t i = 0; legacy && i < legacy->n; i++)
		last = MAX(last, library_pin_number(legacy->pins[i].name));
	return last;
}

bool legacy_has_number(const struct legacy *legacy, uint32_t number)
{
	for (size_t i = 0; legacy && i < legacy->n; i++)
		if (library_pin_number(legacy->pins[i].name) == number)
			return true;
	return false;
}

void legacy_drop(struct legacy *legacy, const struct probes *probes)
{
	for (size_t i = legacy ? legacy->n : 0; i-- > 0;) {
		const char *name = legacy->pins[i].name;

		if (legacy->pins[i].is_kept) {
			log_info("leaving an earlier daemon's probes in a file that was deleted "
				 "and is in use (%s)",
				 name);
			continue;
		}
		log_info("taking out an earlier daemon's probes whose file is gone or changed (%s)",
			 name);
		pins_remove(probes_pins(probes), name);
		probes_arm(probes, library_pin_number(name), 0);
		legacy->pins[i] = legacy->pins[--legacy->n];
	}
}
