/* SPDX-License-Identifier: Apache-2.0 */
/* What CUDA_VISIBLE_DEVICES makes of the machine's GPUs. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/visible_devices.h"
#include "macro.h"

#define REST "-d72c-4106-c12f-20bd9faed9f6"
#define A "GPU-8932f937" REST
#define B "GPU-8932aaaa" REST /* begins as A does */
#define C "GPU-1111aaaa" REST
#define D "GPU-00000000" REST /* on no machine */
#define MARKS "\?\?\?\?\?\?\?\?-\?\?\?\?-\?\?\?\?-\?\?\?\?-\?\?\?\?\?\?\?\?\?\?\?\?"
#define M "MIG-5c9d2f11-0b6e-5a43-8f70-6f1f6a2a9d04"
#define N "MIG-5c9d2f11-0b6e-5a43-8f70-6f1f6a2a9d05"

enum machine {
	EQUAL,   /* three boards of one model */
	MIXED,   /* the second is of another model */
	IDLE,    /* the driver does not know the third board's UUID yet */
	SPLIT,   /* there are MIG instances */
	UNKNOWN, /* nobody tells */
	MACHINES,
};

static const struct sample {
	const char *value;
	enum machine machine;
	bool by_bus;
	const char *devices; /* UUIDs, '?' where unknown, with blanks between; NULL: not known */
} samples[] = {
	/* all, and none */
	{NULL, EQUAL, false, A " " B " " C},
	{NULL, MIXED, false, "? ? ?"},
	{NULL, MIXED, true, A " " B " " C},
	{NULL, IDLE, false, A " " B " ?"},
	{NULL, SPLIT, false, NULL},
	{NULL, UNKNOWN, false, NULL},
	{"", EQUAL, false, ""},
	{"", UNKNOWN, false, ""},
	{"-1", EQUAL, false, ""},
	{"-1", UNKNOWN, false, ""},
	{"NoDevFiles", EQUAL, false, ""},
	{"NoDevFiles", SPLIT, false, ""},
	{"none", UNKNOWN, false, ""},
	/* indices */
	{"0", EQUAL, false, A},
	{"0,2", EQUAL, false, A " " C},
	{"2,0,1", EQUAL, false, C " " A " " B},
	{"2,1", MIXED, false, "? ?"},
	{"2,1", MIXED, true, C " " B},
	{"2", IDLE, true, "?"},
	{"0", SPLIT, true, NULL},
	{"0", UNKNOWN, true, NULL},
	{"+1", UNKNOWN, true, NULL},
	{" 1 , 2 ", EQUAL, false, B " " C},
	{"01,+2", EQUAL, false, B " " C},
	{"1gpu,2x", EQUAL, false, B " " C},
	/* ... with an end */
	{"0,2,-1,1", EQUAL, false, A " " C},
	{"0,3,1", EQUAL, false, A},
	{"3", EQUAL, false, ""},
	{"0,,1", EQUAL, false, A},
	{"0,", EQUAL, false, A},
	{",0", EQUAL, false, ""},
	{"0,x,1", EQUAL, false, A},
	{"1," A, EQUAL, false, B},
	{"99999999999999999999", EQUAL, false, ""},
	{"-99999999999999999999", EQUAL, false, ""},
	/* ... with a repetition */
	{"0,0", EQUAL, false, ""},
	{"0,1,2,1", EQUAL, false, ""},
	{"0,-1,0", EQUAL, false, A},
	/* UUIDs: CUDA's order does not matter */
	{A, EQUAL, false, A},
	{C "," A, MIXED, false, C " " A},
	{C "," A, SPLIT, false, C " " A},
	{C "," A, UNKNOWN, false, C " " A},
	{"GPU-1111AAAA-D72C-4106-C12F-20BD9FAED9F6", EQUAL, false, C},
	{"GPU-1111AAAA-D72C-4106-C12F-20BD9FAED9F6", UNKNOWN, false, C},
	{C "," D "," A, EQUAL, false, C},
	{C "," D, IDLE, false, C " " D}, /* it may be the third board */
	{C "," C, EQUAL, false, ""},
	{C "," C, UNKNOWN, false, ""},
	{C ",0", EQUAL, false, C},
	{C "," M, EQUAL, false, C},
	{C ",", EQUAL, false, C},
	{"gpu-1111aaaa" REST, EQUAL, false, ""},
	/* ... cut short */
	{"GPU-1,GPU-8932f", EQUAL, false, C " " A},
	{"GPU-1111aaaa-", EQUAL, false, C},
	{"GPU-8932", EQUAL, false, ""}, /* of two boards */
	{"GPU-1,GPU-8932", EQUAL, false, C},
	{"GPU-1," C, EQUAL, false, ""}, /* repeated */
	{"GPU-1", UNKNOWN, false, "?"},
	{"GPU-1,GPU-2", UNKNOWN, false, "? ?"},
	{"GPU-7", EQUAL, false, ""},
	{"GPU-7", IDLE, false, "?"},
	{"GPU-", EQUAL, false, ""},
	{"GPU-xyz", UNKNOWN, false, ""},
	{C "0", UNKNOWN, false, ""},
	{"GPU-1111aaaa\x1b", UNKNOWN, false, ""},
	/* MIG: one instance only */
	{M, SPLIT, false, M},
	{M, UNKNOWN, false, M},
	{M "," N, SPLIT, false, M},
	{"MIG-5C9D2F11-0B6E-5A43-8F70-6F1F6A2A9D04", SPLIT, false, M},
	{"MIG-" A "/1/2", SPLIT, false, "MIG-" A "/1/2"},
	{"MIG-" A "/13/0,MIG-" A "/7/0", SPLIT, false, "MIG-" A "/13/0"},
	{"MIG-5c9d", SPLIT, false, "?"},
	{"MIG-5c9d,1", SPLIT, false, "?"},
	{"MIG-" A, SPLIT, false, "?"},
	{"MIG-" A "/1", SPLIT, false, "?"},
	{"MIG-" A "/1/2/3", SPLIT, false, "?"},
	{"MIG-" A "/1000/2", SPLIT, false, "?"},
	{M "\n", SPLIT, false, "?"},
	{"MIG-", SPLIT, false, ""},
};

static void make_machine(enum machine machine, struct gpu_boards *ret)
{
	static const char *const uuids[] = {A, B, C};

	*ret = (struct gpu_boards){.known = machine != UNKNOWN, .split = machine == SPLIT};
	for (size_t i = 0; i < ARRAY_SIZE(uuids) && ret->known; i++) {
		struct gpu_board *board = &ret->items[ret->n++];

		strcpy(board->model, machine == MIXED && i == 1 ? "NVIDIA T4" : "NVIDIA H100");
		strcpy(board->uuid, machine == IDLE && i == 2 ? "" : uuids[i]);
	}
}

static void test_samples(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const struct sample *s = &samples[i];
		struct visible_devices devices;
		struct gpu_boards boards;
		char text[1024] = "";

		make_machine(s->machine, &boards);
		memset(&devices, 0xa5, sizeof(devices));
		visible_devices_parse(s->value, s->by_bus, &boards, &devices);
		for (size_t k = 0; k < devices.n; k++) {
			const char *uuid = visible_devices_uuid(&devices, (long)k);

			strcat(text, k ? " " : "");
			strcat(text, uuid ? uuid : "?");
		}
		if (devices.known != (s->devices != NULL) || strcmp(text, s->devices ?: "") != 0)
			fail_msg("sample %zu, '%s': %s '%s'", i, s->value ?: "(not set)",
				 devices.known ? "known" : "not known", text);
		assert_int_equal(visible_devices_complete(&devices),
				 s->devices && !strchr(s->devices, '?'));
	}
}

static void test_many(void **state)
{
	struct gpu_boards boards = {.known = true, .n = GPUS_MAX};
	struct visible_devices devices;
	char value[8 * GPU_UUID_SIZE * GPUS_MAX] = "";

	(void)state;
	visible_devices_parse(NULL, true, &boards, &devices);
	assert_int_equal(devices.n, GPUS_MAX);
	boards.known = false;
	for (unsigned int i = 0; i < 2 * GPUS_MAX; i++)
		sprintf(value + strlen(value), "GPU-%08x" REST ",", i);
	visible_devices_parse(value, true, &boards, &devices);
	assert_int_equal(devices.n, GPUS_MAX);
}

static void test_no_ordinal(void **state)
{
	struct visible_devices devices = {.known = true, .n = 1, .uuid = {A}};

	(void)state;
	assert_string_equal(visible_devices_uuid(&devices, 0), A);
	assert_null(visible_devices_uuid(&devices, 1));
	assert_null(visible_devices_uuid(&devices, -1));
	assert_null(visible_devices_uuid(&devices, LONG_MAX));
	assert_null(visible_devices_uuid(NULL, 0));
}

static void test_board(void **state)
{
	static const struct {
		const char *text;
		bool good;
		struct gpu_board board;
	} boards[] = {
		{"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 123\n"
		 "GPU UUID: \t " A
		 "\nVideo BIOS: \t 96.00.99.00.01\nBus Location: \t 0000:1a:00.0\n"
		 "Device Minor: \t 3\nGPU Excluded:\t No\n",
		 true,
		 {.minor = 3, .uuid = A, .model = "NVIDIA H100 80GB HBM3"}},
		{"Model: NVIDIA A10\nGPU UUID: \t GPU-" MARKS "\n",
		 true,
		 {.minor = UINT_MAX, .model = "NVIDIA A10"}},
		{"Model: NVIDIA A10\nGPU UUID: " A "0\nDevice Minor: x",
		 true,
		 {.minor = UINT_MAX, .model = "NVIDIA A10"}},
		{"Model: NVIDIA A10\nGPU UUID: " A "\nGPU Excluded:\t Yes\n", false, {0}},
		{"GPU UUID: " A "\n", false, {0}},
		{"Model:\n", false, {0}},
		{"Model", false, {0}},
		{"", false, {0}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(boards); i++) {
		struct gpu_board board = {.bus = 7};
		char text[512];

		strcpy(text, boards[i].text);
		assert_int_equal(gpu_board_parse(text, &board), boards[i].good);
		assert_int_equal(board.bus, 7);
		assert_int_equal(board.minor, boards[i].board.minor);
		assert_string_equal(board.uuid, boards[i].board.uuid);
		assert_string_equal(board.model, boards[i].board.model);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_no_ordinal),
		cmocka_unit_test(test_board),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
