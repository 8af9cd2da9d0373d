/* SPDX-License-Identifier: Apache-2.0 */
/* top: the live view, or frames for logs. */
#include "command.h"
#include "error.h"
#include "top/top.h"

int cmd_top(const struct options *options)
{
	if (options->batch)
		return top_batch(options);
	if (options->json)
		return error_usage("top", "--json needs --batch");
	if (options->frames)
		return error_usage("top", "--frames needs --batch");
	return top_run(options);
}
