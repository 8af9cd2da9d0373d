/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "environment.h"
#include "macro.h"
#include "reader.h"
#include "visible_devices.h"

#define NO_BOARD SIZE_MAX
#define INSTANCES_VISIBLE 1 /* MIG instances that CUDA enumerates */

/* One entry of the list. */
struct entry {
	const char *text;
	size_t size;
};

/* What has been read of the list. */
struct list {
	const struct gpu_boards *boards;
	bool in_order; /* the boards stand in CUDA's order */
	bool seen[GPUS_MAX];
	struct visible_devices *ret;
};

enum taken {
	TAKEN,
	ENDED,    /* the list ends before this entry */
	REPEATED, /* it names nothing at all */
};

static void add(struct list *list, const char *uuid)
{
	struct visible_devices *ret = list->ret;

	if (ret->n < GPUS_MAX)
		snprintf(ret->uuid[ret->n++], GPU_UUID_SIZE, "%s", uuid);
}

static enum taken add_board(struct list *list, size_t board, const char *uuid)
{
	if (list->seen[board])
		return REPEATED;
	list->seen[board] = true;
	add(list, uuid);
	return TAKEN;
}

static bool is_index(const char *text)
{
	char *end;

	return strtol(text, &end, 10) >= 0 && end != text;
}

/* A number as strtol(3) reads it: what follows its digits is of no interest. */
static enum taken take_index(struct list *list, struct entry entry)
{
	char digits[32];
	long index;

	snprintf(digits, sizeof(digits), "%.*s", (int)MIN(entry.size, sizeof(digits)), entry.text);
	index = strtol(digits, NULL, 10);
	if (!is_index(digits) || (size_t)index >= list->boards->n)
		return ENDED;
	return add_board(list, (size_t)index,
			 list->in_order ? list->boards->items[index].uuid : "");
}

static bool begins(const char *uuid, struct entry entry)
{
	return strncasecmp(uuid, entry.text, entry.size) == 0;
}

/* The board that begins so; NO_BOARD where there are none or several. */
static size_t find_board(const struct gpu_boards *boards, struct entry entry, size_t *ret_unnamed)
{
	size_t found = NO_BOARD, n = 0;

	*ret_unnamed = 0;
	for (size_t i = 0; i < boards->n; i++) {
		*ret_unnamed += boards->items[i].uuid[0] == '\0';
		if (boards->items[i].uuid[0] && begins(boards->items[i].uuid, entry)) {
			found = i;
			n++;
		}
	}
	return n == 1 ? found : NO_BOARD;
}

/* Into the lower case in which NVML writes it. */
static void copy_uuid(struct entry entry, char ret[GPU_UUID_SIZE])
{
	size_t prefix = strncmp(entry.text, "MIG-GPU-", 8) == 0 ? 8 : GPU_UUID_PREFIX;

	snprintf(ret, GPU_UUID_SIZE, "%.*s", (int)entry.size, entry.text);
	for (char *c = ret + prefix; *c; c++)
		*c = (char)tolower((unsigned char)*c);
}

static enum taken take_uuid(struct list *list, struct entry entry)
{
	size_t digits = entry.size - MIN(entry.size, GPU_UUID_PREFIX), unnamed, board;
	char uuid[GPU_UUID_SIZE] = "";

	if (strncmp(entry.text, "GPU-", 4) != 0 || digits == 0 ||
	    !gpu_uuid_begins(entry.text + GPU_UUID_PREFIX, digits))
		return ENDED;
	board = find_board(list->boards, entry, &unnamed);
	if (board != NO_BOARD)
		return add_board(list, board, list->boards->items[board].uuid);
	if (list->boards->known && unnamed == 0)
		return ENDED;
	/* None can be compared with: the process goes by it, so it names one. */
	if (digits == GPU_UUID_DIGITS)
		copy_uuid(entry, uuid);
	for (size_t i = 0; i < list->ret->n; i++)
		if (*uuid && strcmp(list->ret->uuid[i], uuid) == 0)
			return REPEATED;
	add(list, uuid);
	return TAKEN;
}

/* "/GI/CI": the numbers of the GPU instance and of the compute instance in it. */
static bool is_instance(struct entry entry)
{
	char text[16];
	unsigned int gpu, compute;
	int end = 0;

	if (entry.size >= sizeof(text))
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)entry.size, entry.text);
	return sscanf(text, "/%3u/%3u%n", &gpu, &compute, &end) == 2 && text[end] == '\0';
}

/* "MIG-UUID" or "MIG-GPU-UUID/GI/CI". One that is cut short is in use, but nobody tells its rest.
 */
static enum taken take_instance(struct list *list, struct entry entry)
{
	struct entry rest = entry;
	char uuid[GPU_UUID_SIZE] = "";
	bool of_gpu;

	if (list->ret->n == INSTANCES_VISIBLE || entry.size <= GPU_UUID_PREFIX ||
	    strncmp(entry.text, "MIG-", GPU_UUID_PREFIX) != 0)
		return ENDED;
	rest.text += GPU_UUID_PREFIX;
	rest.size -= GPU_UUID_PREFIX;
	of_gpu = rest.size > GPU_UUID_PREFIX && strncmp(rest.text, "GPU-", GPU_UUID_PREFIX) == 0;
	if (of_gpu) {
		rest.text += GPU_UUID_PREFIX;
		rest.size -= GPU_UUID_PREFIX;
	}
	if (rest.size >= GPU_UUID_DIGITS && gpu_uuid_begins(rest.text, GPU_UUID_DIGITS)) {
		rest.text += GPU_UUID_DIGITS;
		rest.size -= GPU_UUID_DIGITS;
		if (of_gpu ? is_instance(rest) : rest.size == 0)
			copy_uuid(entry, uuid);
	}
	add(list, uuid);
	return TAKEN;
}

static void take_list(struct list *list, const char *value,
		      enum taken (*take)(struct list *list, struct entry entry))
{
	enum taken taken = TAKEN;

	while (taken == TAKEN) {
		struct entry entry = {value, strcspn(value, ",")};

		taken = take(list, entry);
		value += entry.size;
		if (!*value)
			break;
		value++;
	}
	if (taken == REPEATED)
		list->ret->n = 0;
}

static void take_all(struct list *list)
{
	for (size_t i = 0; i < list->boards->n; i++)
		add(list, list->in_order ? list->boards->items[i].uuid : "");
}

static bool of_one_model(const struct gpu_boards *boards)
{
	for (size_t i = 1; i < boards->n; i++)
		if (strcmp(boards->items[i].model, boards->items[0].model) != 0)
			return false;
	return true;
}

void visible_devices_parse(const char *value, bool by_bus, const struct gpu_boards *boards,
			   struct visible_devices *ret)
{
	struct list list = {
		.boards = boards, .in_order = by_bus || of_one_model(boards), .ret = ret};

	*ret = (struct visible_devices){.known = true};
	if (value && strncmp(value, "GPU-", 4) == 0)
		take_list(&list, value, take_uuid);
	else if (value && strncmp(value, "MIG-", 4) == 0)
		take_list(&list, value, take_instance);
	else if (!boards->known || boards->split)
		ret->known = value && !is_index(value);
	else if (value)
		take_list(&list, value, take_index);
	else
		take_all(&list);
}

int visible_setting_read(pid_t pid, struct visible_setting **ret)
{
	enum { VISIBLE, ORDER, SLURM, VARIABLES };
	static const char *const names[VARIABLES] = {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
						     "SLURM_JOB_ID"};
	char *values[VARIABLES] = {NULL};
	struct visible_setting *setting;
	int r;

	r = environment_read(pid, names, VARIABLES, values);
	if (r < 0)
		return r;
	setting = calloc(1, sizeof(*setting));
	if (setting) {
		setting->value = TAKE_PTR(values[VISIBLE]);
		setting->by_bus = values[ORDER] && strcmp(values[ORDER], "PCI_BUS_ID") == 0;
		setting->by_slurm = values[SLURM] != NULL;
	}
	for (size_t i = 0; i < VARIABLES; i++)
		free(values[i]);
	*ret = setting;
	return setting ? 0 : -ENOMEM;
}

struct visible_setting *visible_setting_free(struct visible_setting *setting)
{
	if (setting)
		free(setting->value);
	free(setting);
	return NULL;
}

void visible_devices_read(pid_t pid, const struct visible_setting *setting,
			  struct visible_devices *ret)
{
	struct gpu_boards boards = {0};

	(void)reader_boards(pid, &boards);
	if (setting->by_slurm && boards.n > 1)
		boards.known = false; /* it counts the remaining ones */
	visible_devices_parse(setting->value, setting->by_bus, &boards, ret);
}

const char *visible_devices_uuid(const struct visible_devices *devices, long ordinal)
{
	if (!devices || ordinal < 0 || (size_t)ordinal >= devices->n || !devices->uuid[ordinal][0])
		return NULL;
	return devices->uuid[ordinal];
}

bool visible_devices_complete(const struct visible_devices *devices)
{
	bool complete = devices->known;

	for (size_t i = 0; i < devices->n; i++)
		complete &= devices->uuid[i][0] != '\0';
	return complete;
}
