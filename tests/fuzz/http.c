/* SPDX-License-Identifier: Apache-2.0 */
/* What is looked at of HTTP requests; libmicrohttpd has read them. */
#include "daemon/http.c" /* NOLINT: its functions are its own */

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_string(data, size);
	double wanted = quality(text, "application/openmetrics-text");

	if (wanted > 0 && !strcasestr(text, "openmetrics"))
		abort();
	if (host_is_address(text) && strpbrk(text, "/@\\ \r\n"))
		abort();
	return 0;
}
