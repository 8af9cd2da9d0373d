/* SPDX-License-Identifier: Apache-2.0 */
/* srtleakctl: asks the daemon and shows what it says. One command is one cmd_*.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "error.h"
#include "macro.h"
#include "options.h"
#include "output.h"
#include "protocol.h"
#include "version.h"

static const struct command commands[] = {
	{"top", "", "live view: processes, their call sites, one stack", OPTION_TOP, 0, false,
	 cmd_top},
	{"ps", "", "tracked processes, the biggest first", 0, 0, false, cmd_ps},
	{"sites", "PID", "outstanding memory by call site, with stacks",
	 OPTION_KIND | OPTION_SORT | OPTION_LIMIT, 20, true, cmd_sites},
	{"allocs", "PID", "single outstanding allocations",
	 OPTION_SITE | OPTION_OLDER_THAN | OPTION_LIMIT, 100, true, cmd_allocs},
	{"watch", "[PID]", "what happens now, one line an event", 0, 0, true, cmd_watch},
	{"track", "PID", "switch the tracking of a process on", 0, 0, true, cmd_track},
	{"untrack", "PID", "switch it off, until the process ends", 0, 0, true, cmd_untrack},
	{"status", "", "the daemon: probes, losses, limits, cost", 0, 0, false, cmd_status},
	{"doctor", "", "checks this host, without a daemon", 0, 0, false, cmd_doctor},
};

static void print_help(void)
{
	puts("Usage: srtleakctl [OPTIONS] COMMAND [ARGS]\n\n"
	     "Shows what memory GPU processes hold and where their code allocated "
	     "it.\n\nCommands:");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-7s %-10s %s\n", commands[i].name, commands[i].args,
		       commands[i].summary);
	puts("\nOptions:");
	options_print_help(0);
	puts("\nExit status: 0 success, 1 failure, 2 wrong usage, 3 daemon not reachable,\n"
	     "4 permission denied, 5 no such process or not tracked.");
}

static void print_command_help(const struct command *command)
{
	printf("Usage: srtleakctl %s%s%s [OPTIONS]\n\n%s: %s\n\nOptions:\n", command->name,
	       *command->args ? " " : "", command->args, command->name, command->summary);
	if (command->accepts)
		options_print_help(command->accepts);
	if (command->limit)
		printf("  %-18s (%u where --limit is not given)\n", "", command->limit);
	options_print_help(0);
}

/* How many letters have to be added, removed or replaced to get from one name to the other. */
static size_t distance(const char *from, const char *to)
{
	size_t row[32];
	size_t n = strlen(to);

	if (n >= ARRAY_SIZE(row) || strlen(from) >= ARRAY_SIZE(row))
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 0; from[i]; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < n; j++) {
			size_t replaced = diagonal + (from[i] != to[j]);

			diagonal = row[j + 1];
			row[j + 1] = MIN(replaced, MIN(row[j], row[j + 1]) + 1);
		}
	}
	return row[n];
}

static int report_unknown(const char *name)
{
	const char *nearest = NULL;
	size_t best = 3; /* further away is another word, not a slip */

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		size_t far = distance(name, commands[i].name);

		if (far < best && far < strlen(commands[i].name)) {
			best = far;
			nearest = commands[i].name;
		}
	}
	if (nearest)
		return error_usage(NULL, "unknown command %s, did you mean %s?", name, nearest);
	return error_usage(NULL, "unknown command %s", name);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* Mistakes in the options have to be told in the form that the options ask for. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

/* Help and version win over all else. Returns whether one of them was asked for. */
static bool print_information(const struct options *options, const struct command *command)
{
	if (options->help && command)
		print_command_help(command);
	else if (options->help)
		print_help();
	else if (options->version)
		puts("srtleakctl " SRTLEAK_VERSION);
	return options->help || options->version;
}

static int run(int argc, char **argv)
{
	const char *environment = getenv(PROTOCOL_SOCKET_ENV);
	struct options options = {
		.socket = environment && *environment ? environment : PROTOCOL_SOCKET,
	};
	const struct command *command;
	int first = options_parse_global(argc, argv, &options);

	if (first < 0)
		return CLI_USAGE;
	if (print_information(&options, NULL))
		return CLI_OK;
	if (first >= argc)
		return error_usage(NULL, "no command is given");
	command = find_command(argv[first]);
	if (!command)
		return report_unknown(argv[first]);
	options.limit = command->limit;
	if (options_parse_command(argc - first, argv + first, command, &options) < 0)
		return CLI_USAGE;
	if (print_information(&options, command))
		return CLI_OK;
	error_use_json(options.json);
	output_init(options.no_color);
	return command->run(&options);
}

int main(int argc, char **argv)
{
	int status;

	output_init(true);
	error_use_json(wants_json(argc, argv));
	status = run(argc, argv);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		error_use_json(false);
		return error_report(CLI_FAILURE, NULL, "standard output", "%s", strerror(errno));
	}
	return status;
}
