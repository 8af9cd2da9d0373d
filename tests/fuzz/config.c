/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files. */
#include <stdio.h>

#include "daemon/config.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config = {0};
	char path[64], error[512];
	size_t length = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fuzz_file(data, size));
	if (config_load(&config, path, true, error, sizeof(error)) < 0)
		return strlen(error) == 0 ? abort(), 0 : 0;
	for (size_t i = 0; i < config_keys_count; i++)
		length += strlen(config_text(&config, &config_keys[i]));
	if (length == 0)
		abort();
	config_free(&config);
	return 0;
}
