/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

const struct api_row api_rows[API_MAX] = {API_TABLE_ROWS};

static const char *const symbols[API_MAX] = {
#define X(symbol, ...) #symbol,
	SRTLEAK_APIS(X)
#undef X
};

static const struct {
	const char *name;
	bool summed;
} kinds[KIND_MAX] = {
#define X(kind, json, sum) [KIND_##kind] = {.name = json, .summed = sum},
	SRTLEAK_KINDS(X)
#undef X
};

static const struct {
	const char *name;
	bool is_loss;
} counters[COUNTER_MAX] = {
#define X(counter, json, loss) [COUNTER_##counter] = {.name = json, .is_loss = loss},
	SRTLEAK_COUNTERS(X)
#undef X
};

const char *api_symbol(enum api api)
{
	return symbols[api];
}

const char *family_name(enum api_family family)
{
	return family == FAMILY_CUDART ? "cudart" : "cuda";
}

const char *kind_name(enum memory_kind kind)
{
	return kinds[kind].name;
}

bool kind_has_size(enum memory_kind kind)
{
	return kind != KIND_IPC && kind != KIND_GRAPH;
}

bool kind_is_summed(enum memory_kind kind)
{
	return kinds[kind].summed;
}

bool kind_is_tracked(enum memory_kind kind)
{
	for (int api = 0; api < API_MAX; api++)
		if (api_rows[api].action == ACTION_ALLOC && api_rows[api].kind == kind)
			return true;
	return false;
}

const char *counter_name(enum counter counter)
{
	return counters[counter].name;
}

bool counter_is_loss(enum counter counter)
{
	return counters[counter].is_loss;
}
