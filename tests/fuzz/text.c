/* SPDX-License-Identifier: Apache-2.0 */
/* Short texts of others, each by its own function: the first byte says which. */
#include "daemon/buffer.h"
#include "daemon/container.h"
#include "daemon/demangle.h"
#include "daemon/environment.h"
#include "daemon/mask.h"
#include "daemon/python_lines.h"
#include "daemon/utf8.h"
#include "daemon/visible_devices.h"
#include "fuzz.h"
#include "macro.h"
#include "python_layout.h"

static void try_container(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *path = fuzz_string(data, size);
	struct container container;

	container_parse(path, &container);
	if (strlen(container.id) > CONTAINER_ID_MAX || strlen(container.pod) > POD_UID_MAX)
		abort();
}

static void try_environment(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"CUDA_VISIBLE_DEVICES", "A"};
	_cleanup_free_ char *strings = fuzz_string(data, size);
	char *values[ARRAY_SIZE(names)] = {0};

	if (environment_parse(strings, size, names, ARRAY_SIZE(names), values) < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		free(values[i]);
}

static void try_devices(const uint8_t *data, size_t size)
{
	static const struct gpu_boards boards = {
		.known = true,
		.n = 2,
		.items = {{.uuid = "GPU-01234567-89ab-cdef-0123-456789abcdef", .model = "A"},
			  {.uuid = "GPU-01234567-89ab-cdef-0123-456789abcdee", .model = "A"}},
	};
	_cleanup_free_ char *value = fuzz_string(data, size);
	struct visible_devices devices;

	visible_devices_parse(value, size % 2, &boards, &devices);
	if (devices.n > GPUS_MAX)
		abort();
}

static void try_board(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_string(data, size);
	struct gpu_board board;

	(void)gpu_board_parse(text, &board);
}

static void try_arguments(const uint8_t *data, size_t size)
{
	struct buffer out = {0};

	mask_arguments(&out, (const char *)data, size);
	if (memchr(out.data ? out.data : "-", '\0', out.size))
		abort();
	buffer_free(&out);
}

static void try_symbol(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *symbol = fuzz_string(data, size);
	_cleanup_free_ char *name = demangle(symbol);

	if (!name)
		abort();
}

static void try_lines(const uint8_t *data, size_t size)
{
	uint32_t offset;

	if (size < sizeof(offset))
		return;
	memcpy(&offset, data, sizeof(offset));
	for (size_t i = 0; i < PYTHON_LAYOUTS; i++)
		(void)python_line(&python_layouts[i], data + sizeof(offset), size - sizeof(offset),
				  1, offset % 1024);
}

static void try_utf8(const uint8_t *data, size_t size)
{
	for (size_t at = 0, n; at < size; at += n ? n : 1) {
		n = utf8_length(data + at, size - at);
		if (n > size - at)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const tries[])(const uint8_t *data, size_t size) = {
		try_container, try_environment, try_devices, try_board,
		try_arguments, try_symbol,      try_lines,   try_utf8,
	};

	if (size > 0)
		tries[data[0] % ARRAY_SIZE(tries)](data + 1, size - 1);
	return 0;
}
