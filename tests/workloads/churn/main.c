/* SPDX-License-Identifier: Apache-2.0 */
/* usage: churn [--threads N] [--calls N] [--driver] [--leave] --ledger PATH
 *
 * The rows come from api.h, so a new one is covered as soon as it is there. Memory stands in slots
 * that all threads share: frees are mostly made by another thread than the allocation, addresses
 * are used again, and some calls are wrong (never allocated, of another kind, twice, NULL).
 *
 * Each line on stdin starts a round of N calls per thread; after it, and once at the start, the
 * ledger is written and a line is printed:
 * {"pid":N,"ended":N,"left":N,"rows":{API:[done, nothing, failed],...}}.
 * "nothing" is a call that succeeded and neither made nor ended an allocation; "ended" are those
 * that went with their context, "left" calls that never returned (--leave). A child process exports
 * memory to open, which is not in these sums.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "churn.h"

#define THREADS_MAX 64

const struct api_row rows[API_MAX] = {API_TABLE_ROWS};
const char *const names[API_MAX] = {
#define X(symbol, ...) #symbol,
	SRTLEAK_APIS(X)
#undef X
};

static struct {
	size_t threads, calls;
	bool driver, leave;
	const char *ledger;
} options = {.threads = 16, .calls = 2500};

static struct slot slots[SLOTS];
static atomic_uint pools_made;

static struct thread {
	pthread_t id;
	struct worker worker;
} threads[THREADS_MAX];

/* A freed pointer may be another thread's at once, so it is freed again only while all others are
 * outside of any call.
 */
static pthread_rwlock_t others = PTHREAD_RWLOCK_INITIALIZER;

void die(const char *what, const char *why)
{
	fprintf(stderr, "churn: %s: %s\n", what, why);
	exit(1);
}

uint64_t draw(struct worker *w, uint64_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (w->random >> 11) % below;
}

static bool is_pool(enum api api)
{
	return rows[api].action == ACTION_ALLOC && rows[api].space == SPACE_POOL;
}

bool can_be_called(enum api api)
{
	return world.functions[api] && !(is_pool(api) && pools_made >= POOLS_MADE_MAX);
}

enum api draw_row(struct worker *w, enum api_action action)
{
	enum api api;

	do
		api = (enum api)draw(w, API_MAX);
	while (rows[api].action != action || !can_be_called(api));
	return api;
}

void count(struct worker *w, enum api api, enum outcome outcome)
{
	w->counts[api][outcome]++;
	pools_made += outcome != FAILED && is_pool(api);
}

static void misuse(struct worker *w, const struct slot *slot)
{
	enum api api = draw_row(w, ACTION_FREE);

	switch (draw(w, 4)) {
	case 0:
		release(w, api, 0, false);
		break;
	case 1:
		if (!release(w, api, NEVER_ALLOCATED, true))
			die(names[api], "freed what was never allocated");
		break;
	case 2:
		physical_misuse(w, (size_t)(slot - slots));
		break;
	default:
		if (slot->ptr && way_back(slot->api) != way_back(api) && !takes_back(api, slot) &&
		    rows[api].pointer != POINTER_ARG32 && !release(w, api, slot->ptr, true))
			die(names[api], "freed what it cannot");
	}
}

static bool is_physical(const struct slot *slot)
{
	return rows[slot->api].space == SPACE_PHYSICAL;
}

static void free_twice(struct worker *w, struct slot *slot)
{
	uint64_t ptr = slot->ptr;

	if (!ptr || is_physical(slot))
		return;
	empty(w, slot);
	for (int api = 0; api < API_MAX && !slot->ptr; api++)
		if (world.functions[api] && rows[api].action == ACTION_FREE &&
		    takes_back((enum api)api, &(struct slot){.api = slot->api, .ptr = ptr}) &&
		    !release(w, (enum api)api, ptr, true))
			die(names[api], "freed twice");
}

static void use(struct worker *w, struct slot *slot)
{
	size_t index = (size_t)(slot - slots);

	if (draw(w, 32) == 0) {
		misuse(w, slot);
	} else if (options.leave && draw(w, 64) == 0 && leave_suits(slot)) {
		leave(w, slot);
	} else if (slot->ptr && is_physical(slot)) {
		physical_use(w, slot, index);
	} else if (slot->ptr && slot->opens && draw(w, 3) == 0) {
		open_again(w, slot, index);
	} else if (slot->ptr) {
		empty(w, slot);
	} else {
		slot->api = draw_row(w, ACTION_ALLOC);
		if (way_back(slot->api) != TO_CLOSE || index < EXPORTED)
			fill(w, slot, index);
	}
}

static void use_any(struct worker *w)
{
	struct slot *slot = &slots[draw(w, SLOTS)];

	if (atomic_flag_test_and_set(&slot->busy))
		return;
	use(w, slot);
	atomic_flag_clear(&slot->busy);
}

static void free_any_twice(struct worker *w)
{
	pthread_rwlock_wrlock(&others);
	free_twice(w, &slots[draw(w, SLOTS)]);
	pthread_rwlock_unlock(&others);
}

static void turn(struct worker *w)
{
	if (draw(w, 512) == 0) {
		free_any_twice(w);
		return;
	}
	pthread_rwlock_rdlock(&others);
	if (draw(w, 64) == 0)
		context_turn(w, use_any);
	else if (draw(w, 64) == 0)
		side_call(w);
	else if (options.leave && draw(w, 256) == 0)
		leave_end(w);
	else
		use_any(w);
	pthread_rwlock_unlock(&others);
}

static void *work(void *arg)
{
	context_begin(arg);
	for (size_t i = 0; i < options.calls; i++)
		turn(arg);
	return NULL;
}

static void report(void)
{
	const char *separator = "";
	uint64_t ended = 0, left = 0;

	if (world_write_ledger(options.ledger))
		die(options.ledger, "cannot write the ledger");
	for (size_t i = 0; i < options.threads; i++) {
		ended += threads[i].worker.ended;
		left += threads[i].worker.left;
	}
	printf("{\"pid\":%d,\"ended\":%ju,\"left\":%ju,\"rows\":{", getpid(), (uintmax_t)ended,
	       (uintmax_t)left);
	for (int api = 0; api < API_MAX; api++) {
		uint64_t sums[OUTCOMES] = {0};

		if (!world.functions[api])
			continue;
		for (size_t i = 0; i < options.threads; i++)
			for (int outcome = 0; outcome < OUTCOMES; outcome++)
				sums[outcome] += threads[i].worker.counts[api][outcome];
		printf("%s\"%s\":[%ju,%ju,%ju]", separator, names[api], (uintmax_t)sums[DONE],
		       (uintmax_t)sums[NOTHING], (uintmax_t)sums[FAILED]);
		separator = ",";
	}
	puts("}}");
	fflush(stdout);
}

static void play_round(void)
{
	static bool has_begun;

	if (!has_begun)
		world_begin(&threads[0].worker);
	has_begun = true;
	for (size_t i = 0; i < options.threads; i++)
		if (pthread_create(&threads[i].id, NULL, work, &threads[i].worker))
			die("pthread_create", "failed");
	for (size_t i = 0; i < options.threads; i++)
		pthread_join(threads[i].id, NULL);
}

static void parse(int argc, char **argv)
{
	static const struct option known[] = {
		{"threads", required_argument, NULL, 't'}, {"calls", required_argument, NULL, 'c'},
		{"driver", no_argument, NULL, 'd'},        {"leave", no_argument, NULL, 'j'},
		{"ledger", required_argument, NULL, 'l'},  {},
	};
	int which;

	while ((which = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (which == 't')
			options.threads = strtoul(optarg, NULL, 0);
		else if (which == 'c')
			options.calls = strtoul(optarg, NULL, 0);
		else if (which == 'd')
			options.driver = true;
		else if (which == 'j')
			options.leave = true;
		else if (which == 'l')
			options.ledger = optarg;
		else
			exit(2);
	}
	if (!options.ledger || options.threads < 1 || options.threads > THREADS_MAX)
		die("usage", "churn [--threads N] [--calls N] [--driver] [--leave] --ledger PATH");
}

int main(int argc, char **argv)
{
	char line[16];

	parse(argc, argv);
	for (size_t i = 0; i < options.threads; i++)
		threads[i].worker.random = 0x9e3779b97f4a7c15ULL * (i + 1);
	world_load(options.driver);
	report();
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long times = strtoul(line, NULL, 10);

		do
			play_round();
		while (times-- > 1);
		report();
	}
	return 0;
}
