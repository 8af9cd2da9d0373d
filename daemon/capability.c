/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "capability.h"
#include "macro.h"

static const struct {
	int number;
	const char *name;
} known[] = {
	{CAP_BPF, "CAP_BPF"},
	{CAP_PERFMON, "CAP_PERFMON"},
	{CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
	{CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
	{CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE"},
	{CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
	{CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE"},
};
_Static_assert(ARRAY_SIZE(known) <= CAPABILITIES_MAX, "all names fit");

static uint64_t effective(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	if (syscall(SYS_capget, &header, data) < 0)
		return 0;
	return (uint64_t)data[1].effective << 32 | data[0].effective;
}

size_t capability_names(const char *ret[CAPABILITIES_MAX])
{
	uint64_t mask = effective();
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (mask & 1ULL << known[i].number)
			ret[n++] = known[i].name;
	return n;
}

bool capability_can_probe(bool multi)
{
	const uint64_t admin = 1ULL << CAP_SYS_ADMIN;
	const uint64_t both = 1ULL << CAP_BPF | 1ULL << CAP_PERFMON;
	uint64_t mask = effective();

	return mask & admin || (multi && (mask & both) == both);
}

bool capability_can_read(void)
{
	return effective() & 1ULL << CAP_SYS_PTRACE;
}
