/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <time.h>

#include "say.h"

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void say_call(const char *name, uint64_t from_ns, int result)
{
	printf("{\"call\":\"%s\",\"from\":%" PRIu64 ",\"to\":%" PRIu64 ",\"result\":%d}\n", name,
	       from_ns, now_ns(), result);
}

static void print_address(const char *name, uint64_t address)
{
	if (address)
		printf(",\"%s\":\"0x%" PRIx64 "\"", name, address);
	else
		printf(",\"%s\":null", name);
}

void say_kept(const char *kind, const char *api, uint64_t ptr, uint64_t size, uint64_t handle)
{
	printf("{\"kept\":{\"kind\":\"%s\",\"api\":\"%s\"", kind, api);
	print_address("ptr", ptr);
	print_address("handle", handle);
	if (size == SIZE_UNKNOWN)
		fputs(",\"size\":null}}\n", stdout);
	else
		printf(",\"size\":%" PRIu64 "}}\n", size);
}
