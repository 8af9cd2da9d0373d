/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "block.h"
#include "call.h"
#include "driver_api.h"
#include "simcuda.h"
#include "visible.h"

struct sim_settings sim_settings;

static pthread_mutex_t call_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t init_mutex = PTHREAD_MUTEX_INITIALIZER;
static bool ready;

/* All under call_mutex. */
static struct failures {
	unsigned int left;
	CUresult error;
} memory_failures, place_failures;
static struct {
	unsigned int ms;
	unsigned long since; /* the value of `hurries` then */
	CUresult error;
} late;
static unsigned long hurries;
static pthread_cond_t hurry = PTHREAD_COND_INITIALIZER;
static uint64_t random_state;
static uint64_t counts[2][2]; /* [ALLOC, FREE][ok, failed] */

static _Thread_local const char *outer_api;
static _Thread_local void (*way_out)(void), (*way_out_of_place)(void);
static _Thread_local unsigned int return_ms;
static _Thread_local unsigned long return_since;
static _Thread_local bool nested;

static uint64_t setting(const char *name, uint64_t otherwise, uint64_t max)
{
	const char *text = getenv(name);
	char *end;
	unsigned long long value;

	if (!text || !*text)
		return otherwise;
	value = strtoull(text, &end, 0);
	return *end || value > max ? otherwise : value;
}

static void settings_read(void)
{
	const char *visible;

	sim_settings = (struct sim_settings){
		.device_bytes = setting("SIMCUDA_DEVICE_BYTES", 80ULL << 30, 1ULL << 41),
		.init_ms = (unsigned int)setting("SIMCUDA_INIT_MS", 100, 600000),
		.fail_permille = (unsigned int)setting("SIMCUDA_FAIL_PERMILLE", 0, 1000),
		.seed = setting("SIMCUDA_SEED", 1, UINT64_MAX),
	};
	/* Most programs that set it for others to look at run on whatever there is. */
	visible = getenv("SIMCUDA_DEVICES") ? getenv("CUDA_VISIBLE_DEVICES") : NULL;
	sim_settings.devices = visible_devices(
		visible, (int)setting("SIMCUDA_DEVICES", 2, SIM_MAX_DEVICES), sim_settings.board);
}

static void sleep_ms(unsigned int ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	while (nanosleep(&left, &left))
		;
}

/* Under call_mutex, which others may have meanwhile. */
static void be_late(unsigned int ms, unsigned long since)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += ms / 1000;
	end.tv_nsec += ms % 1000 * 1000000L;
	if (end.tv_nsec >= 1000000000L) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000L;
	}
	while (hurries == since && pthread_cond_timedwait(&hurry, &call_mutex, &end) == 0)
		;
}

static void initialise(void)
{
	settings_read();
	sleep_ms(sim_settings.init_ms);
	pthread_mutex_lock(&call_mutex);
	random_state = sim_settings.seed * 0x9e3779b97f4a7c15ULL | 1;
	blocks_init();
	ready = true;
	pthread_mutex_unlock(&call_mutex);
}

CUresult cuInit(unsigned int flags)
{
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&init_mutex);
	if (!ready)
		initialise();
	pthread_mutex_unlock(&init_mutex);
	return sim_settings.devices ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

/* xorshift64: the same seed and order of calls give the same failures. */
static bool drawn_to_fail(void)
{
	if (!sim_settings.fail_permille)
		return false;
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 16) % 1000 < sim_settings.fail_permille;
}

static CUresult ordered_to_fail(struct failures *failures)
{
	if (!failures->left)
		return CUDA_SUCCESS;
	failures->left--;
	return failures->error;
}

static void leave(void (**way_out_of)(void))
{
	void (*way)(void) = *way_out_of;

	*way_out_of = NULL;
	outer_api = NULL;
	way();
}

static CUresult fail_late(void)
{
	unsigned int ms = late.ms;

	late.ms = 0;
	be_late(ms, late.since);
	return late.error;
}

/* As a library does that uses its own functions. */
static void call_own(void)
{
	CUdeviceptr ptr;

	nested = false;
	if (!cuMemAlloc_v2(&ptr, 1))
		cuMemFree_v2(ptr);
}

CUresult call_begin(enum call_kind kind)
{
	CUresult r;

	if (nested)
		call_own();
	if (kind == CALL_ALLOC && way_out)
		leave(&way_out);
	pthread_mutex_lock(&call_mutex);
	if (!ready)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (kind == CALL_OTHER)
		return CUDA_SUCCESS;
	if (kind == CALL_PLACE && late.ms)
		return fail_late();
	if (kind == CALL_PLACE)
		return ordered_to_fail(&place_failures);
	r = ordered_to_fail(&memory_failures);
	if (r)
		return r;
	return drawn_to_fail() ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUresult call_end(enum call_kind kind, CUresult result)
{
	unsigned int ms = return_ms;

	if (kind == CALL_ALLOC || kind == CALL_FREE)
		counts[kind][result != CUDA_SUCCESS]++;
	return_ms = 0;
	if (ms)
		be_late(ms, return_since);
	pthread_mutex_unlock(&call_mutex);
	if (kind == CALL_FREE && result == CUDA_SUCCESS && way_out)
		leave(&way_out);
	if (kind == CALL_PLACE && result == CUDA_SUCCESS && way_out_of_place)
		leave(&way_out_of_place);
	return result;
}

const char *call_api(const char *api)
{
	return outer_api ? outer_api : api;
}

void simcuda_outer(const char *api)
{
	outer_api = api;
}

void simcuda_fail_late(unsigned int ms, int error)
{
	pthread_mutex_lock(&call_mutex);
	late.ms = ms;
	late.since = hurries;
	late.error = (CUresult)error;
	pthread_mutex_unlock(&call_mutex);
}

int simcuda_nest_next(void)
{
	nested = true;
	return 0;
}

int simcuda_return_late(unsigned int ms)
{
	return_ms = ms;
	pthread_mutex_lock(&call_mutex);
	return_since = hurries;
	pthread_mutex_unlock(&call_mutex);
	return 0;
}

int simcuda_go_on(void)
{
	pthread_mutex_lock(&call_mutex);
	hurries++;
	pthread_cond_broadcast(&hurry);
	pthread_mutex_unlock(&call_mutex);
	return 0;
}

void simcuda_leave(void (*way)(void))
{
	way_out = way;
}

void simcuda_leave_place(void (*way)(void))
{
	way_out_of_place = way;
}

static void fail_next(struct failures *failures, unsigned int n, int error)
{
	pthread_mutex_lock(&call_mutex);
	*failures = (struct failures){.left = n, .error = (CUresult)error};
	pthread_mutex_unlock(&call_mutex);
}

void simcuda_fail_next(unsigned int n, int error)
{
	fail_next(&memory_failures, n, error);
}

void simcuda_fail_next_place(unsigned int n, int error)
{
	fail_next(&place_failures, n, error);
}

static uint64_t count_of(int what, bool failed)
{
	uint64_t n;

	if (what != SIMCUDA_ALLOC && what != SIMCUDA_FREE)
		return 0;
	pthread_mutex_lock(&call_mutex);
	n = counts[what][failed];
	pthread_mutex_unlock(&call_mutex);
	return n;
}

uint64_t simcuda_calls_ok(int what)
{
	return count_of(what, false);
}

uint64_t simcuda_calls_failed(int what)
{
	return count_of(what, true);
}
