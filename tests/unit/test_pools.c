/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of pools of stream-ordered memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api.h"
#include "daemon/pools.h"

#define HANDLE 0x5400000000ULL
#define NOW_NS 5000

static struct table pools;

static int begin(void **state)
{
	(void)state;
	table_init(&pools, sizeof(struct pool));
	return 0;
}

static int end(void **state)
{
	(void)state;
	table_clear(&pools);
	return 0;
}

static void tell(uint8_t type, uint64_t size, int32_t result)
{
	const struct event event = {
		.type = type,
		.addr = HANDLE,
		.size = size,
		.kind = KIND_DEVICE,
		.device = 1,
		.pool = 7,
		.time_ns = NOW_NS,
		.result = result,
	};

	pools_event(&pools, &event);
}

static const struct pool *seventh(void)
{
	return table_find(&pools, 7);
}

static void test_sums(void **state)
{
	(void)state;
	tell(EVENT_POOL, 0, 0);
	assert_int_equal(seventh()->handle, HANDLE);
	assert_int_equal(seventh()->device, 1);
	pools_add(&pools, 7, 100);
	pools_add(&pools, 7, 50);
	pools_take(&pools, 7, 100);
	pools_add(&pools, 0, 1000); /* of no pool */
	assert_int_equal(pools.count, 1);
	assert_int_equal(seventh()->used, 50);
	assert_int_equal(seventh()->count, 1);
	assert_int_equal(seventh()->high_water, 150);
}

/* What the driver told holds until more is used, or it is trimmed. */
static void test_reserved(void **state)
{
	(void)state;
	pools_add(&pools, 7, 50);
	assert_int_equal(seventh()->told_ns, 0);
	tell(EVENT_POOL_SIZE, 200, 0);
	assert_int_equal(seventh()->told_ns, NOW_NS);
	assert_int_equal(seventh()->reserved, 200);
	pools_add(&pools, 7, 150);
	assert_int_equal(seventh()->told_ns, NOW_NS);
	pools_add(&pools, 7, 1);
	assert_int_equal(seventh()->told_ns, 0);
	tell(EVENT_POOL_SIZE, 300, 0);
	tell(EVENT_POOL_TRIM, 300, 0);
	assert_int_equal(seventh()->told_ns, 0);
}

static void test_trim(void **state)
{
	static const struct {
		uint64_t keep, high_water;
	} cases[] = {{200, 150}, {100, 100}, {10, 50}};

	(void)state;
	pools_add(&pools, 7, 50);
	pools_add(&pools, 7, 100);
	pools_take(&pools, 7, 100);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tell(EVENT_POOL_TRIM, cases[i].keep, 0);
		assert_int_equal(seventh()->high_water, cases[i].high_water);
	}
}

static void test_outlived(void **state)
{
	(void)state;
	tell(EVENT_POOL, 0, 0);
	pools_add(&pools, 7, 50);
	tell(EVENT_POOL, 0, 1);
	assert_true(seventh()->is_destroyed);
	pools_take(&pools, 7, 50);
	assert_null(seventh());
}

/* What the kernel says is right: a pool that it has, one that is over but used, one that is gone.
 */
static void test_compared(void **state)
{
	const struct handle known = {.id = 1 << 20, .number = 7, .kind = KIND_DEVICE, .device = 1};

	(void)state;
	for (uint32_t number = 7; number < 10; number++)
		pools_add(&pools, number, 50);
	pools_compare(&pools);
	pools_restore(&pools, HANDLE, &known);
	pools_add(&pools, 7, 20);
	pools_add(&pools, 8, 30);
	pools_compared(&pools);
	assert_int_equal(pools.count, 2);
	assert_false(seventh()->is_destroyed);
	assert_int_equal(seventh()->used, 20);
	assert_int_equal(seventh()->high_water, 50);
	assert_true(((struct pool *)table_find(&pools, 8))->is_destroyed);
	pools_take(&pools, 8, 30);
	assert_null(table_find(&pools, 8));
}

/* Its number is another's: nothing is left of what was said of it. */
static void test_number_used_again(void **state)
{
	const struct event other = {
		.type = EVENT_POOL,
		.addr = HANDLE + 512,
		.device = 0,
		.kind = KIND_HOST,
		.pool = 7,
	};

	(void)state;
	tell(EVENT_POOL, 0, 0);
	pools_add(&pools, 7, 50);
	pools_take(&pools, 7, 50);
	tell(EVENT_POOL_SIZE, 200, 0);
	pools_event(&pools, &other); /* the end of the first was lost */
	assert_int_equal(seventh()->handle, HANDLE + 512);
	assert_int_equal(seventh()->high_water, 0);
	assert_int_equal(seventh()->told_ns, 0);
	assert_int_equal(seventh()->kind, KIND_HOST);
}

/* A device's own pool is none of the kind of another that it uses. */
static void test_restored(void **state)
{
	const struct handle made = {
		.id = 1 << 20, /* its own */
		.number = 7,
		.kind = KIND_MANAGED,
		.device = DEVICE_UNKNOWN,
	};
	const struct handle of_device = {.id = 3, .number = 7, .kind = KIND_MANAGED, .device = 1};
	const struct pool *own;

	(void)state;
	pools_restore(&pools, HANDLE, &made);
	pools_restore(&pools, POOL_OF_DEVICE | 1, &of_device);
	assert_int_equal(pools.count, 2);
	assert_int_equal(seventh()->kind, KIND_MANAGED);
	assert_int_equal(seventh()->handle, HANDLE);
	own = table_find(&pools, 3);
	assert_non_null(own);
	assert_int_equal(own->kind, KIND_DEVICE);
	assert_int_equal(own->handle, 0);
	assert_int_equal(own->device, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sums, begin, end),
		cmocka_unit_test_setup_teardown(test_reserved, begin, end),
		cmocka_unit_test_setup_teardown(test_trim, begin, end),
		cmocka_unit_test_setup_teardown(test_outlived, begin, end),
		cmocka_unit_test_setup_teardown(test_compared, begin, end),
		cmocka_unit_test_setup_teardown(test_number_used_again, begin, end),
		cmocka_unit_test_setup_teardown(test_restored, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
