/* SPDX-License-Identifier: Apache-2.0 */
/* allocs: single outstanding allocations of a process, printed as they arrive. */
#include <errno.h>
#include <stdio.h>

#include "command.h"
#include "error.h"
#include "macro.h"
#include "memory.h"
#include "output.h"
#include "protocol.h"
#include "request.h"
#include "table.h"

static const struct table_column columns[] = {
	{.title = "PTR", .right = true},
	{.title = "SIZE", .right = true},
	{.title = "KIND"},
	{.title = "API"},
	{.title = "DEVICE"},
	{.title = "TID", .right = true},
	{.title = "AGE", .right = true},
	{.title = "SITE"},
	{.title = "HANDLE", .optional = true},
};

struct listing {
	struct table *table;
	size_t shown;
};

static void add_row(struct table *table, const json_t *allocation)
{
	table_row(table, STYLE_NONE);
	table_json_text(table, json_object_get(allocation, "ptr"));
	table_json_bytes(table, json_object_get(allocation, "size"));
	table_json_text(table, json_object_get(allocation, "kind"));
	table_json_text(table, json_object_get(allocation, "api"));
	table_json_count(table, json_object_get(allocation, "device"));
	table_json_count(table, json_object_get(allocation, "tid"));
	table_json_duration(table, json_object_get(allocation, "age_s"));
	table_json_text(table, json_object_get(allocation, "site"));
	table_json_text(table, json_object_get(allocation, "handle"));
}

static int print_allocations(const json_t *parameters, const json_t *items, bool first,
			     void *userdata)
{
	struct listing *listing = userdata;

	if (first)
		memory_print_partial(json_object_get(parameters, "partial"));
	for (size_t i = 0; i < json_array_size(items); i++)
		add_row(listing->table, json_array_get(items, i));
	listing->shown += json_array_size(items);
	return table_print(listing->table);
}

static json_t *parameters_of(const struct options *options)
{
	json_t *older_than = options->older_than > 0 ? json_real(options->older_than) : NULL;

	return json_pack("{s:i, s:s*, s:o*, s:I}", "pid", (int)options->pid, "site", options->site,
			 "older_than", older_than, "limit", (json_int_t)options->limit);
}

int cmd_allocs(const struct options *options)
{
	_cleanup_(table_cleanup) struct table *table =
		table_new(columns, ARRAY_SIZE(columns), false);
	struct listing listing = {.table = table};
	char what[64];
	struct request request = {
		.what = what,
		.method = METHOD_ALLOCS,
		.items = "allocations",
		.reply = print_allocations,
		.userdata = &listing,
	};
	json_t *parameters = parameters_of(options);
	int status;

	snprintf(what, sizeof(what), "allocations of process %d", (int)options->pid);
	if (!table || !parameters) {
		json_decref(parameters);
		return error_report(CLI_FAILURE, NULL, what, "out of memory");
	}
	status = request_run(options, &request, parameters);
	if (status != CLI_OK || options->json)
		return status;
	if (listing.shown == 0)
		puts("No outstanding allocation matches.");
	else if (options->limit && listing.shown >= options->limit)
		printf("The first %zu are shown; all: --limit 0\n", listing.shown);
	return CLI_OK;
}
