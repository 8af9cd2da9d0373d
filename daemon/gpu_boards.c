/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_boards.h"
#include "macro.h"
#include "root_file.h"

#define FOLDER "/proc/driver/nvidia"
#define TEXT_MAX 4096
#define NAMES_MAX 256 /* in a folder: what is not the driver's may be endless */

bool gpu_uuid_begins(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return n <= GPU_UUID_DIGITS;
}

/* The driver shows question marks until the board was used for the first time. */
static void take_uuid(const char *value, char ret[GPU_UUID_SIZE])
{
	size_t n = strlen(value);

	if (n != GPU_UUID_PREFIX + GPU_UUID_DIGITS || strncmp(value, "GPU-", 4) != 0 ||
	    !gpu_uuid_begins(value + GPU_UUID_PREFIX, GPU_UUID_DIGITS))
		return;
	memcpy(ret, value, n + 1);
	for (char *c = ret + GPU_UUID_PREFIX; *c; c++)
		*c = (char)tolower((unsigned char)*c);
}

/* "NAME: VALUE" with blanks and tabs before and behind the value. */
static char *split_line(char *line)
{
	char *value = strchr(line, ':'), *end;

	if (!value)
		return NULL;
	*value++ = '\0';
	value += strspn(value, " \t");
	for (end = value + strlen(value); end > value && isspace((unsigned char)end[-1]); end--)
		;
	*end = '\0';
	return value;
}

bool gpu_board_parse(char *text, struct gpu_board *ret)
{
	struct gpu_board board = {.bus = ret->bus, .minor = UINT_MAX};
	bool has_model = false, excluded = false;
	char *next;

	for (char *line = text; line; line = next) {
		char *value;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		value = split_line(line);
		if (!value)
			continue;
		if (strcmp(line, "Model") == 0)
			has_model = snprintf(board.model, sizeof(board.model), "%s", value) > 0;
		else if (strcmp(line, "GPU UUID") == 0)
			take_uuid(value, board.uuid);
		else if (strcmp(line, "Device Minor") == 0 && isdigit((unsigned char)*value))
			board.minor = (unsigned int)strtoul(value, NULL, 10);
		else if (strcmp(line, "GPU Excluded") == 0)
			excluded = strcmp(value, "Yes") == 0;
	}
	if (!has_model || excluded)
		return false;
	*ret = board;
	return true;
}

/* "0000:1a:00.0", as the driver's folders are called. */
static bool parse_bus(const char *name, uint64_t *ret)
{
	unsigned int domain, bus, device, function;
	int end = 0;

	if (strlen(name) > 16 ||
	    sscanf(name, "%8x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) != 4 ||
	    name[end] != '\0')
		return false;
	*ret = (uint64_t)domain << 32 | bus << 16 | device << 8 | function;
	return true;
}

static bool read_board(pid_t pid, const char *name, struct gpu_board *ret)
{
	char path[128], text[TEXT_MAX + 1];
	_cleanup_close_ int fd = -1;
	ssize_t n;

	if (!parse_bus(name, &ret->bus))
		return false;
	snprintf(path, sizeof(path), FOLDER "/gpus/%s/information", name);
	fd = root_open_file(pid, path);
	n = fd < 0 ? -1 : read(fd, text, TEXT_MAX);
	if (n < 0)
		return false;
	text[n] = '\0';
	return gpu_board_parse(text, ret);
}

/* Calls fn for the names in a folder until it returns false. */
static int each_name(pid_t pid, const char *path,
		     bool (*fn)(pid_t pid, const char *name, void *userdata), void *userdata)
{
	int fd = root_open(pid, path, O_RDONLY | O_DIRECTORY);
	_cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		cleanup_close(&fd);
		return -ENOENT;
	}
	for (size_t i = 0; i < NAMES_MAX && (entry = readdir(dir)); i++)
		if (!fn(pid, entry->d_name, userdata))
			break;
	return 0;
}

static bool add_board(pid_t pid, const char *name, void *userdata)
{
	struct gpu_boards *boards = userdata;

	if (read_board(pid, name, &boards->items[boards->n]))
		boards->n++;
	return boards->n < GPUS_MAX;
}

static bool is_instance(pid_t pid, const char *name, void *userdata)
{
	(void)pid;
	*(bool *)userdata = strncmp(name, "gi", 2) == 0;
	return !*(bool *)userdata;
}

static bool is_split(pid_t pid, const struct gpu_board *board)
{
	bool found = false;
	char path[128];

	snprintf(path, sizeof(path), FOLDER "/capabilities/gpu%u/mig", board->minor);
	return board->minor != UINT_MAX && each_name(pid, path, is_instance, &found) == 0 && found;
}

/* A runtime may leave /proc as it is and give the container the nodes of its own devices only. */
static bool has_node(pid_t pid, const struct gpu_board *board)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/nvidia%u", board->minor);
	return board->minor == UINT_MAX || root_has(pid, path);
}

static int compare_boards(const void *a, const void *b)
{
	const struct gpu_board *x = a, *y = b;

	return (x->bus > y->bus) - (x->bus < y->bus);
}

void gpu_boards_read(pid_t pid, struct gpu_boards *ret)
{
	size_t n = 0;

	*ret = (struct gpu_boards){0};
	if (each_name(pid, FOLDER "/gpus", add_board, ret) < 0)
		return;
	for (size_t i = 0; i < ret->n; i++) {
		if (!has_node(pid, &ret->items[i]))
			continue;
		ret->split |= is_split(pid, &ret->items[i]);
		ret->items[n++] = ret->items[i];
	}
	ret->n = n;
	/* Who uses CUDA has a GPU: where none is found, it was looked for in the wrong place. */
	ret->known = n > 0;
	qsort(ret->items, n, sizeof(*ret->items), compare_boards);
}
