/* SPDX-License-Identifier: Apache-2.0 */
/* Queues of those who watch: order, what is lost and where that is told, who gets what. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/watch.h"
#include "macro.h"

#define RESERVED 64 /* places that only starts and exits may take */
#define SIZE_OF(n) (1000 + (n))

/* A process that holds nothing, as far as a watch looks at it. */
static struct process make_process(pid_t pid)
{
	struct process p = {.pid = pid, .start_ticks = (uint64_t)pid * 7, .pidfd = -1};

	table_init(&p.allocs, sizeof(struct alloc));
	return p;
}

static void tell(struct watch *watch, const struct process *p, uint32_t type, uint64_t n)
{
	struct event event = {
		.time_ns = n,
		.size = SIZE_OF(n),
		.addr = 0x1000 + n,
		.tid = 5,
		.api = API_cudaMalloc,
		.type = type,
	};

	watch_event(watch, p, &event);
}

static void expect(struct watcher *w, enum watch_type type, uint64_t size)
{
	struct watch_record record;

	assert_true(watcher_is_ready(w));
	assert_true(watcher_take(w, &record));
	assert_int_equal(record.type, type);
	assert_int_equal(record.size, size);
}

static void expect_nothing(struct watcher *w)
{
	struct watch_record record;

	assert_false(watcher_is_ready(w));
	assert_false(watcher_take(w, &record));
}

static void test_order(void **state)
{
	struct process p = make_process(10);
	struct watch watch;
	struct watcher *w;

	(void)state;
	watch_init(&watch);
	assert_int_equal(watcher_new(&watch, NULL, &w), 0);
	expect_nothing(w);
	for (uint64_t round = 0; round < 5; round++) { /* more than the queue holds, in all */
		for (uint64_t i = 0; i < WATCH_QUEUE / 2; i++)
			tell(&watch, &p, EVENT_ALLOC, i);
		for (uint64_t i = 0; i < WATCH_QUEUE / 2; i++)
			expect(w, WATCH_ALLOC, SIZE_OF(i));
		expect_nothing(w);
	}
	assert_int_equal(watch.dropped, 0);
	watcher_free(w);
	watch_done(&watch);
}

static void test_dropped_in_its_place(void **state)
{
	const uint64_t held = WATCH_QUEUE - RESERVED;
	struct process p = make_process(10);
	struct watch watch;
	struct watcher *w;

	(void)state;
	watch_init(&watch);
	assert_int_equal(watcher_new(&watch, NULL, &w), 0);
	for (uint64_t i = 0; i < held + 100; i++)
		tell(&watch, &p, EVENT_ALLOC, i);
	assert_int_equal(watch.dropped, 100);
	assert_int_equal(watch_fullest(&watch), held);
	watch_life(&watch, &p, WATCH_EXIT, 1); /* has a place still, behind what is missing */
	for (uint64_t i = 0; i < 10; i++)
		expect(w, WATCH_ALLOC, SIZE_OF(i));
	for (uint64_t i = 0; i < 3; i++)
		tell(&watch, &p, EVENT_FREE_UNKNOWN, i);
	for (uint64_t i = 10; i < held; i++)
		expect(w, WATCH_ALLOC, SIZE_OF(i));
	expect(w, WATCH_DROPPED, 100);
	expect(w, WATCH_EXIT, 0);
	for (uint64_t i = 0; i < 3; i++)
		expect(w, WATCH_FREE, SIZE_OF(i));
	expect_nothing(w);
	watcher_free(w);
	watch_done(&watch);
}

static void test_dropped_at_the_end(void **state)
{
	struct process p = make_process(10);
	struct watch watch;
	struct watcher *w;

	(void)state;
	watch_init(&watch);
	assert_int_equal(watcher_new(&watch, NULL, &w), 0);
	for (uint64_t i = 0; i < 2 * WATCH_QUEUE; i++)
		watch_life(&watch, &p, WATCH_START, i);
	for (uint64_t i = 0; i < WATCH_QUEUE; i++)
		expect(w, WATCH_START, 0);
	expect(w, WATCH_DROPPED, WATCH_QUEUE);
	expect_nothing(w);
	watch_lost(&watch, &p, 7); /* on the way to the daemon */
	expect(w, WATCH_DROPPED, 7);
	expect_nothing(w);
	assert_int_equal(watch.dropped, WATCH_QUEUE);
	watcher_free(w);
	watch_done(&watch);
}

static void test_one_process(void **state)
{
	struct process p = make_process(10), other = make_process(11), successor = p;
	struct watch watch;
	struct watcher *one, *all;

	(void)state;
	successor.start_ticks++;
	watch_init(&watch);
	assert_int_equal(watcher_new(&watch, &p, &one), 0);
	assert_int_equal(watcher_new(&watch, NULL, &all), 0);
	tell(&watch, &p, EVENT_ALLOC, 1);
	tell(&watch, &other, EVENT_ALLOC, 2);
	watch_life(&watch, &other, WATCH_EXIT, 3);
	expect(one, WATCH_ALLOC, SIZE_OF(1));
	expect_nothing(one);
	watch_life(&watch, &p, WATCH_EXIT, 4);
	assert_false(watcher_is_over(one)); /* its last event is not yet taken */
	watch_life(&watch, &successor, WATCH_START, 5);
	tell(&watch, &successor, EVENT_ALLOC, 6);
	expect(one, WATCH_EXIT, 0);
	watch_told(&watch);
	assert_false(watcher_is_over(one)); /* it may have ended since they were fetched */
	watch_told(&watch);
	assert_true(watcher_is_over(one));
	assert_true(watcher_is_ready(one)); /* to be told so */
	expect(all, WATCH_ALLOC, SIZE_OF(1));
	expect(all, WATCH_ALLOC, SIZE_OF(2));
	expect(all, WATCH_EXIT, 0);
	expect(all, WATCH_EXIT, 0);
	expect(all, WATCH_START, 0);
	expect(all, WATCH_ALLOC, SIZE_OF(6));
	expect_nothing(all);
	watcher_free(one);
	watcher_free(all);
	watch_done(&watch);
}

/* Exec: the process goes on, which its descriptor tells. */
static void test_exec_is_no_end(void **state)
{
	struct process p = make_process(10);
	struct watch watch;
	struct watcher *w;
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	p.pidfd = ends[0];
	watch_init(&watch);
	assert_int_equal(watcher_new(&watch, &p, &w), 0);
	watch_life(&watch, &p, WATCH_EXIT, 1);
	expect(w, WATCH_EXIT, 0);
	expect_nothing(w);
	watch_told(&watch);
	watch_told(&watch);
	assert_false(watcher_is_over(w));
	assert_int_equal(write(ends[1], "x", 1), 1); /* readable, as of a process that has ended */
	watch_told(&watch);
	watch_life(&watch, &p, WATCH_START, 2); /* was still on the way */
	expect(w, WATCH_START, 0);
	watch_told(&watch);
	assert_false(watcher_is_over(w)); /* the end itself is still to be told */
	watch_life(&watch, &p, WATCH_EXIT, 3);
	expect(w, WATCH_EXIT, 0);
	watch_told(&watch);
	assert_true(watcher_is_over(w));
	watcher_free(w);
	watch_done(&watch);
	close(ends[0]);
	close(ends[1]);
}

/* An allocation that is back because its free failed was never told to be gone; a free is told by
 * the call that made it, if one was seen.
 */
static void test_frees(void **state)
{
	struct process p = make_process(10);
	struct event back = {.api = API_cudaMalloc, .type = EVENT_ALLOC, .result = 700};
	struct event freed = {.api = API_cudaHostAlloc, .kind = KIND_HOST, .type = EVENT_FREE};
	const struct {
		int32_t by;
		uint16_t told;
	} cases[] = {{API_cudaFreeHost, API_cudaFreeHost}, {API_MAX, API_MAX}, {-1, API_MAX}};
	struct watch_record record;
	struct watch watch;
	struct watcher *w;

	(void)state;
	watch_init(&watch);
	assert_int_equal(watcher_new(&watch, NULL, &w), 0);
	watch_event(&watch, &p, &back);
	expect_nothing(w);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		freed.result = cases[i].by;
		watch_event(&watch, &p, &freed);
		assert_true(watcher_take(w, &record));
		assert_int_equal(record.type, WATCH_FREE);
		assert_int_equal(record.api, cases[i].told);
		assert_int_equal(record.kind, KIND_HOST);
	}
	watcher_free(w);
	watch_done(&watch);
}

static void test_too_many(void **state)
{
	struct watcher *w[WATCHERS_MAX], *none = NULL;
	struct watch watch;

	(void)state;
	watch_init(&watch);
	for (size_t i = 0; i < WATCHERS_MAX; i++)
		assert_int_equal(watcher_new(&watch, NULL, &w[i]), 0);
	assert_int_equal(watcher_new(&watch, NULL, &none), -EUSERS);
	assert_null(none);
	assert_int_equal(watch.refused, 1);
	watcher_free(w[3]);
	assert_int_equal(watcher_new(&watch, NULL, &w[3]), 0);
	for (size_t i = 0; i < WATCHERS_MAX; i++)
		watcher_free(w[i]);
	assert_int_equal(watch.count, 0);
	watch_done(&watch);
}

static void tell_at(struct watch *watch, struct process *p, struct site *site)
{
	struct alloc *alloc;
	struct event event = {.id = site->id, .api = API_cudaMalloc, .type = EVENT_ALLOC};

	assert_int_equal(table_add(&p->allocs, event.id, (void **)&alloc), 1);
	alloc->site = 0;
	p->site_list = &site;
	watch_event(watch, p, &event);
	p->site_list = NULL;
	table_clear(&p->allocs);
}

/* What a site is called outlives it, and is not kept without bounds. */
static void test_names(void **state)
{
	struct site_stack stack = {.n_python = 2, .n_native = 1};
	struct process p = make_process(10);
	const struct site *name;
	struct watch watch;
	struct watcher *w;

	(void)state;
	stack.python[0] = (struct site_python_frame){"inner", "/a/inner.py", 3};
	stack.python[1] = (struct site_python_frame){"outer", "/a/outer.py", 4};
	stack.native[0] = (struct site_native_frame){"lib.so", "f", 5};
	watch_init(&watch);
	assert_int_equal(watcher_new(&watch, NULL, &w), 0);
	for (uint64_t id = 1; id <= WATCH_NAMES_MAX + 1; id++) {
		struct site *site = site_new(id, KIND_DEVICE, API_cudaMalloc, &stack);

		tell_at(&watch, &p, site);
		site_free(site);
		name = watch_name(&watch, id);
		assert_non_null(name);
		assert_int_equal(name->n_python, 1);
		assert_string_equal(name->python[0].function, "inner");
		assert_true(watch.names.count <= WATCH_NAMES_MAX);
	}
	assert_null(watch_name(&watch, 0));
	assert_null(watch_name(&watch, 99999));
	watcher_free(w);
	assert_int_equal(watch.names.count, 0);
	watch_done(&watch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_dropped_in_its_place),
		cmocka_unit_test(test_dropped_at_the_end),
		cmocka_unit_test(test_one_process),
		cmocka_unit_test(test_exec_is_no_end),
		cmocka_unit_test(test_frees),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
