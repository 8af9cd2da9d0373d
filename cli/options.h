/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: options from one table, for parsing and for --help. */
#ifndef SRTLEAK_CLI_OPTIONS_H
#define SRTLEAK_CLI_OPTIONS_H

#include "command.h"

/* Parses what stands before the command. Returns the index of the command in argv (argc if there is
 * none), or -EINVAL after the mistake was reported.
 */
int options_parse_global(int argc, char **argv, struct options *options);

/* Parses what stands after the command, which is argv[0]: its own options and the global ones, in
 * any order, and its operands. Returns 0, or -EINVAL after the mistake was reported.
 */
int options_parse_command(int argc, char **argv, const struct command *command,
			  struct options *options);

/* Prints the help lines of the options that `accepts` names, or of the global ones for 0. */
void options_print_help(unsigned accepts);

#endif
