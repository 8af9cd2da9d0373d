/* SPDX-License-Identifier: Apache-2.0 */
/* track, untrack: switch the tracking of one process on or off. */
#include <stdio.h>

#include "command.h"
#include "error.h"
#include "macro.h"
#include "memory.h"
#include "protocol.h"
#include "request.h"

static int print_tracked(const json_t *parameters, const json_t *items, bool first, void *userdata)
{
	const struct options *options = userdata;

	(void)items;
	(void)first;
	if (json_is_true(json_object_get(parameters, "mapped")))
		printf("Process %d is tracked.\n", (int)options->pid);
	else
		printf("Process %d has no CUDA library as yet; it is tracked from its first call "
		       "on.\n",
		       (int)options->pid);
	memory_print_partial(json_object_get(parameters, "partial"));
	return 0;
}

static int print_untracked(const json_t *parameters, const json_t *items, bool first,
			   void *userdata)
{
	const struct options *options = userdata;

	(void)parameters;
	(void)items;
	(void)first;
	printf("Process %d is not tracked any more. Undo: srtleakctl track %d\n", (int)options->pid,
	       (int)options->pid);
	return 0;
}

static int change(const struct options *options, struct request *request, const char *name)
{
	json_t *parameters = json_pack("{s:i}", "pid", (int)options->pid);
	char what[64];

	snprintf(what, sizeof(what), "%s %d", name, (int)options->pid);
	if (!parameters)
		return error_report(CLI_FAILURE, NULL, what, "out of memory");
	request->what = what;
	request->if_denied =
		"Run it as root or as a member of the groups " GROUP_USERS " and " GROUP_ADMINS ".";
	request->userdata = (void *)options;
	return request_run(options, request, parameters);
}

int cmd_track(const struct options *options)
{
	struct request request = {.method = METHOD_TRACK, .reply = print_tracked};

	return change(options, &request, "track");
}

int cmd_untrack(const struct options *options)
{
	struct request request = {.method = METHOD_UNTRACK, .reply = print_untracked};

	return change(options, &request, "untrack");
}
