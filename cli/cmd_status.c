/* SPDX-License-Identifier: Apache-2.0 */
/* status: the daemon's own state, and how far its figures can be relied on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "error.h"
#include "macro.h"
#include "output.h"
#include "protocol.h"
#include "request.h"
#include "table.h"

static const struct table_column probe_columns[] = {
	{.title = "LIBRARY"},
	{.title = "ATTACHED", .right = true},
	{.title = "MISSING", .right = true},
	{.title = "SKIPPED", .right = true},
	{.title = "SLOW", .right = true},
	{.title = "BINARY"},
};

static const struct table_column limit_columns[] = {
	{.title = "LIMIT"},
	{.title = "USED", .right = true},
	{.title = "OF", .right = true},
	{.title = "REFUSED", .right = true},
};

static const struct table_column cost_columns[] = {
	{.title = "PROGRAM"},
	{.title = "RUNS", .right = true},
	{.title = "SECONDS", .right = true},
	{.title = "NS/RUN", .right = true},
};

/* What a cause of loss means to somebody who does not know the probes. */
static const struct {
	const char *cause;
	const char *words;
} loss_words[] = {
	{"process_limit", "allocations of a process above its share"},
	{"live_full", "allocations above the host's limit"},
	{"processes", "processes that had no room to be tracked in the kernel"},
	{"unreadable", "allocations whose result could not be read"},
	{"sampled", "small allocations that were not sampled (probe_budget)"},
	{"ring_full", "events that found the ring buffer full"},
	{"lost_return", "calls whose return was not seen"},
	{"return_without_entry", "returns whose call was not seen"},
	{"thread_storage", "calls of threads without storage"},
	{"stack_full", "call stacks that found no room"},
};

/* One line "name   value"; the name is a literal of this file. */
static void print_field(const char *name, const json_t *value)
{
	_cleanup_free_ char *safe =
		json_is_string(value) ? output_escape(json_string_value(value)) : NULL;

	printf("%-12s ", name);
	if (json_is_integer(value))
		printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
	else
		printf("%s\n", safe ? safe : "-");
}

static void print_uptime(const json_t *seconds)
{
	char text[HUMAN_MAX];

	printf("%-12s %s\n", "uptime",
	       json_is_number(seconds) ? human_duration(text, json_number_value(seconds)) : "-");
}

static void print_capabilities(const json_t *capabilities)
{
	if (!json_is_array(capabilities))
		return;
	printf("%-12s", "access");
	for (size_t i = 0; i < json_array_size(capabilities); i++) {
		const char *name = json_string_value(json_array_get(capabilities, i));
		_cleanup_free_ char *safe = name ? output_escape(name) : NULL;

		printf(" %s", safe ? safe : "-");
	}
	putchar('\n');
}

static void print_title(const char *title)
{
	putchar('\n');
	output_styled(STYLE_BOLD, title);
	putchar('\n');
}

static void note_names(struct table *table, const char *label, const json_t *names)
{
	for (size_t i = 0; i < json_array_size(names); i++) {
		const json_t *entry = json_array_get(names, i);
		const char *symbol = json_string_value(
			json_is_object(entry) ? json_object_get(entry, "symbol") : entry);
		const char *reason = json_string_value(json_object_get(entry, "reason"));
		_cleanup_free_ char *safe_symbol = output_escape(symbol ? symbol : "?");
		_cleanup_free_ char *safe_reason = output_escape(reason ? reason : "");
		char text[512];

		if (!safe_symbol || !safe_reason)
			return;
		snprintf(text, sizeof(text), "%s: %s%s%s", label, safe_symbol, reason ? ": " : "",
			 safe_reason);
		table_note(table, STYLE_DIM, text);
	}
}

static void note_reach(struct table *table, const json_t *processes)
{
	char text[128];

	if (!json_is_integer(processes))
		return;
	snprintf(text, sizeof(text),
		 "probed one by one: %" JSON_INTEGER_FORMAT " processes, and not those that are "
		 "patched or seccomp (ps)",
		 json_integer_value(processes));
	table_note(table, STYLE_YELLOW, text);
}

static void add_probe(struct table *table, const json_t *probe)
{
	table_row(table, STYLE_NONE);
	table_json_text(table, json_object_get(probe, "library"));
	table_json_count(table, json_object_get(probe, "attached"));
	table_printf(table, "%zu", json_array_size(json_object_get(probe, "missing")));
	table_printf(table, "%zu", json_array_size(json_object_get(probe, "skipped")));
	table_printf(table, "%zu", json_array_size(json_object_get(probe, "slow")));
	table_json_text(table, json_object_get(probe, "binary"));
	/* Symbols that a library does not have are its version's; those left out on purpose and
	 * those that cost more are worth a line.
	 */
	note_names(table, "skipped", json_object_get(probe, "skipped"));
	note_names(table, "slow", json_object_get(probe, "slow"));
	note_reach(table, json_object_get(probe, "one_by_one"));
}

static int print_probes(const json_t *probes)
{
	_cleanup_(table_cleanup) struct table *table =
		table_new(probe_columns, ARRAY_SIZE(probe_columns), false);

	if (!table)
		return -ENOMEM;
	print_title("Probes");
	if (json_array_size(probes) == 0)
		puts("No library with CUDA functions was found yet.");
	for (size_t i = 0; i < json_array_size(probes); i++)
		add_probe(table, json_array_get(probes, i));
	return table_print(table);
}

static const char *words_for(const char *cause)
{
	for (size_t i = 0; i < ARRAY_SIZE(loss_words); i++)
		if (strcmp(loss_words[i].cause, cause) == 0)
			return loss_words[i].words;
	return NULL;
}

/* Causes that never happened are left out. */
static void print_losses(const json_t *lost)
{
	const char *cause;
	json_t *number;

	json_object_foreach((json_t *)lost, cause, number)
	{
		_cleanup_free_ char *safe = output_escape(cause);
		const char *words = words_for(cause);
		char text[HUMAN_MAX];

		if (!safe || json_integer_value(number) == 0)
			continue;
		snprintf(text, sizeof(text), "  %-10" JSON_INTEGER_FORMAT " ",
			 json_integer_value(number));
		output_styled(STYLE_YELLOW, text);
		printf("%s%s%s%s\n", words ? words : "", words ? " (" : "", safe, words ? ")" : "");
	}
}

static void print_events(const json_t *events)
{
	const json_t *lost = json_object_get(events, "lost");
	json_int_t sum = 0;
	const char *cause;
	json_t *number;

	json_object_foreach((json_t *)lost, cause, number) sum += json_integer_value(number);
	print_title("Events");
	print_field("received", json_object_get(events, "received"));
	printf("%-12s %" JSON_INTEGER_FORMAT "\n", "lost", sum);
	print_losses(lost);
	print_field("recovered", json_object_get(events, "recovered"));
}

/* Libraries that were armed only after a process had mapped them, and how long that took. */
static void print_late_attach(const json_t *late)
{
	json_int_t count = json_integer_value(json_object_get(late, "count"));

	if (count == 0)
		return;
	printf("%-12s %" JSON_INTEGER_FORMAT, "armed late", count);
	printf(" libraries, median %.1f ms after they were mapped, at most %.1f ms\n",
	       json_number_value(json_object_get(late, "median_ms")),
	       json_number_value(json_object_get(late, "max_ms")));
}

/* Files and memory of processes that could not be read for good. */
static void print_reader(const json_t *reader)
{
	json_int_t timeouts = json_integer_value(json_object_get(reader, "timeouts"));
	json_int_t crashes = json_integer_value(json_object_get(reader, "crashes"));

	if (timeouts + crashes == 0)
		return;
	printf("%-12s %" JSON_INTEGER_FORMAT " reads of files or memory took too long, "
	       "%" JSON_INTEGER_FORMAT " ended the reader (see the journal)\n",
	       "reader", timeouts, crashes);
}

/* Processes whose probes took more of their time than they may. */
static void print_stepped(const json_t *budget)
{
	static const struct {
		const char *key, *words;
	} steps[] = {
		{"no_stacks", "without call stacks"},
		{"sampled", "with small allocations sampled"},
	};
	const json_t *away = json_object_get(budget, "untracked");
	const json_t *entry;
	char text[HUMAN_MAX];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		json_int_t n = json_integer_value(json_object_get(budget, steps[i].key));

		if (n > 0)
			printf("%-12s processes %s: %" JSON_INTEGER_FORMAT "\n", "", steps[i].words,
			       n);
	}
	json_array_foreach(away, i, entry) printf(
		"%-12s process %" JSON_INTEGER_FORMAT " is left alone for %s more\n", "",
		json_integer_value(json_object_get(entry, "pid")),
		human_duration(text, json_number_value(json_object_get(entry, "back_in_s"))));
}

static void print_budget(const json_t *budget)
{
	const json_t *limit = json_object_get(budget, "limit");

	printf("%-12s ", "budget");
	if (json_is_number(limit))
		printf("probes may take %.4g %% of a process's time",
		       100 * json_number_value(limit));
	else
		printf("probes may take any share of a process's time");
	printf("; a probed call costs %.1f us here besides its programs\n",
	       json_number_value(json_object_get(budget, "trap_ns")) / 1e3);
	print_stepped(budget);
}

static void print_memory(const char *name, const json_t *bytes)
{
	char text[HUMAN_MAX];

	printf("%-12s %s\n", name,
	       json_is_number(bytes) ? human_bytes(text, json_number_value(bytes)) : "-");
}

static void print_tables(const json_t *tables)
{
	print_title("Tables");
	print_field("processes", json_object_get(tables, "processes"));
	print_field("allocations", json_object_get(tables, "allocations"));
	print_field("live entries", json_object_get(tables, "live"));
	print_field("sites", json_object_get(tables, "sites"));
	print_memory("memory", json_object_get(tables, "memory_bytes"));
	print_memory("in kernel", json_object_get(tables, "kernel_bytes"));
}

static int print_limits(const json_t *limits)
{
	_cleanup_(table_cleanup) struct table *table =
		table_new(limit_columns, ARRAY_SIZE(limit_columns), false);

	if (!table)
		return -ENOMEM;
	print_title("Limits");
	for (size_t i = 0; i < json_array_size(limits); i++) {
		const json_t *limit = json_array_get(limits, i);
		const json_t *refused = json_object_get(limit, "refused");

		table_row(table, json_integer_value(refused) ? STYLE_YELLOW : STYLE_NONE);
		table_json_text(table, json_object_get(limit, "name"));
		table_json_count(table, json_object_get(limit, "used"));
		table_json_count(table, json_object_get(limit, "limit"));
		table_json_count(table, refused);
	}
	return table_print(table);
}

static int print_cost(const json_t *cost)
{
	_cleanup_(table_cleanup) struct table *table =
		table_new(cost_columns, ARRAY_SIZE(cost_columns), false);
	const char *program;
	json_t *figures;

	if (json_is_null(cost)) {
		puts("\nCost         not counted; sysctl kernel.bpf_stats_enabled=1 turns that on");
		return 0;
	}
	if (!table)
		return -ENOMEM;
	print_title("Cost");
	json_object_foreach((json_t *)cost, program, figures)
	{
		const json_t *seconds = json_object_get(figures, "seconds");
		double runs = json_number_value(json_object_get(figures, "runs"));

		table_row(table, STYLE_NONE);
		table_text(table, program);
		table_json_count(table, json_object_get(figures, "runs"));
		if (json_is_number(seconds))
			table_printf(table, "%.3f", json_number_value(seconds));
		else
			table_text(table, NULL);
		if (json_is_number(seconds) && runs > 0)
			table_printf(table, "%.0f", 1e9 * json_number_value(seconds) / runs);
		else
			table_text(table, NULL);
	}
	return table_print(table);
}

static int print_status(const json_t *status, const json_t *items, bool first, void *userdata)
{
	int err;

	(void)items;
	(void)first;
	(void)userdata;
	print_field("version", json_object_get(status, "version"));
	print_field("pid", json_object_get(status, "pid"));
	print_uptime(json_object_get(status, "uptime_s"));
	print_field("kernel", json_object_get(status, "kernel"));
	print_field("attach mode", json_object_get(status, "attach_mode"));
	if (json_is_string(json_object_get(status, "pins")))
		print_field("pinned below", json_object_get(status, "pins"));
	else
		puts("pinned below nothing: tracking ends with this daemon");
	print_capabilities(json_object_get(json_object_get(status, "access"), "capabilities"));
	print_late_attach(json_object_get(status, "late_attach"));
	print_reader(json_object_get(status, "reader"));
	print_budget(json_object_get(status, "budget"));
	err = print_probes(json_object_get(status, "probes"));
	if (err)
		return err;
	print_events(json_object_get(status, "events"));
	print_tables(json_object_get(status, "tables"));
	err = print_limits(json_object_get(status, "limits"));
	return err ? err : print_cost(json_object_get(status, "cost"));
}

int cmd_status(const struct options *options)
{
	static const struct request request = {
		.what = "status of the daemon",
		.method = METHOD_STATUS,
		.reply = print_status,
	};

	return request_run(options, &request, NULL);
}
