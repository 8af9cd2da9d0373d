/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "error.h"
#include "macro.h"
#include "memory.h"
#include "options.h"
#include "top/rows.h"

#define PID_LIMIT 4194304 /* the kernel's own */
#define SITE_DIGITS 16
#define FIRST_VALUE 256 /* of getopt_long(), above all characters */
#define DELAY_MIN 0.1   /* seconds */
#define DELAY_MAX 86400.0
#define KIND_WORD(name, json, summed) " " json

/* Parsers return 0 or -EINVAL; what is expected is said by the table. */
static int parse_socket(struct options *options, const char *value)
{
	options->socket = value;
	return *value ? 0 : -EINVAL;
}

static int parse_json(struct options *options, const char *value)
{
	(void)value;
	options->json = true;
	return 0;
}

static int parse_no_color(struct options *options, const char *value)
{
	(void)value;
	options->no_color = true;
	return 0;
}

static int parse_help(struct options *options, const char *value)
{
	(void)value;
	options->help = true;
	return 0;
}

static int parse_version(struct options *options, const char *value)
{
	(void)value;
	options->version = true;
	return 0;
}

static int parse_kind(struct options *options, const char *value)
{
	options->kind = value;
	for (size_t i = 0; i < n_memory_kinds; i++)
		if (strcmp(value, memory_kinds[i].name) == 0)
			return 0;
	return -EINVAL;
}

static int parse_sort(struct options *options, const char *value)
{
	static const char *const keys[] = {"bytes", "count", "growth", "age"};

	options->sort = value;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strcmp(value, keys[i]) == 0)
			return 0;
	return -EINVAL;
}

/* A decimal number without sign or space, at most `max`. */
static int parse_number(const char *value, unsigned long max, unsigned long *ret)
{
	unsigned long number;
	char *end;

	if (*value < '0' || *value > '9')
		return -EINVAL;
	errno = 0;
	number = strtoul(value, &end, 10);
	if (errno || *end || number > max)
		return -EINVAL;
	*ret = number;
	return 0;
}

static int parse_limit(struct options *options, const char *value)
{
	unsigned long number;
	int err = parse_number(value, UINT32_MAX, &number);

	if (!err)
		options->limit = (uint32_t)number;
	return err;
}

static int parse_site(struct options *options, const char *value)
{
	options->site = value;
	if (strlen(value) != SITE_DIGITS || strspn(value, "0123456789abcdef") != SITE_DIGITS)
		return -EINVAL;
	return 0;
}

static int parse_older_than(struct options *options, const char *value)
{
	static const struct {
		char unit;
		double seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	size_t digits = strspn(value, "0123456789.");
	double number;
	char *end;

	if (digits == 0 || strlen(value) != digits + 1)
		return -EINVAL;
	number = strtod(value, &end);
	if (end != value + digits || !isfinite(number))
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (*end != units[i].unit)
			continue;
		options->older_than = number * units[i].seconds;
		return 0;
	}
	return -EINVAL;
}

static int parse_top_sort(struct options *options, const char *value)
{
	options->sort = value;
	return rows_sort_named(value) >= 0 ? 0 : -EINVAL;
}

static int parse_batch(struct options *options, const char *value)
{
	(void)value;
	options->batch = true;
	return 0;
}

static int parse_frames(struct options *options, const char *value)
{
	unsigned long number;
	int err = parse_number(value, UINT32_MAX, &number);

	if (err || number == 0)
		return -EINVAL;
	options->frames = (uint32_t)number;
	return 0;
}

static int parse_delay(struct options *options, const char *value)
{
	double seconds;
	char *end;

	if (*value < '0' || *value > '9' || value[strspn(value, "0123456789.")])
		return -EINVAL;
	seconds = strtod(value, &end);
	if (*end || !(seconds >= DELAY_MIN && seconds <= DELAY_MAX))
		return -EINVAL;
	options->delay = seconds;
	return 0;
}

static const struct option_definition {
	const char *name;
	const char *argument; /* how --help calls it; NULL: takes none */
	unsigned bit;         /* OPTION_*, 0: of the program itself */
	int (*parse)(struct options *options, const char *value);
	const char *help;
} definitions[] = {
	{"socket", "PATH", 0, parse_socket,
	 "socket of the daemon (default: $SRTLEAK_SOCKET, else " PROTOCOL_SOCKET ")"},
	{"json", NULL, 0, parse_json, "print one JSON object"},
	{"no-color", NULL, 0, parse_no_color, "no colours, not even on a terminal"},
	{"help", NULL, 0, parse_help, "show this help, or that of a command"},
	{"version", NULL, 0, parse_version, "show the version"},
	{"kind", "KIND", OPTION_KIND, parse_kind, "only this kind:" SRTLEAK_KINDS(KIND_WORD)},
	{"sort", "KEY", OPTION_SORT, parse_sort, "order: bytes, count, growth, age"},
	{"site", "ID", OPTION_SITE, parse_site, "only of this call site (16 hex digits)"},
	{"older-than", "DUR", OPTION_OLDER_THAN, parse_older_than,
	 "only what is older: 90s, 10m, 2h, 1d"},
	{"limit", "N", OPTION_LIMIT, parse_limit, "at most so many, 0: all"},
	{"batch", NULL, OPTION_TOP, parse_batch, "print frames, one below the other"},
	{"frames", "N", OPTION_TOP, parse_frames, "with --batch: end after so many"},
	{"delay", "SECS", OPTION_TOP, parse_delay,
	 "seconds from one look to the next (0.1 to 86400; 2)"},
	{"sort", "KEY", OPTION_TOP, parse_top_sort, "order: " ROWS_SORT_KEYS},
};

/* Short forms. */
static const struct {
	char letter;
	const char *name;
} letters[] = {{'h', "help"}, {'n', "frames"}, {'d', "delay"}};

/* The short form of an option, 0: it has none. */
static char letter_of(const struct option_definition *definition)
{
	for (size_t i = 0; i < ARRAY_SIZE(letters); i++)
		if (strcmp(letters[i].name, definition->name) == 0)
			return letters[i].letter;
	return 0;
}

/* The definition behind what getopt_long() returned. */
static const struct option_definition *take_option(int value)
{
	size_t i = 0;

	if (value >= FIRST_VALUE)
		return &definitions[value - FIRST_VALUE];
	while (letter_of(&definitions[i]) != value)
		i++;
	return &definitions[i];
}

/* What getopt_long() is to know. */
struct getopt_tables {
	struct option longs[ARRAY_SIZE(definitions) + 1];
	char shorts[sizeof("+:") + 2 * ARRAY_SIZE(letters)];
};

/* The options that a command accepts, on top of the global ones; `mode` is how shorts begin. */
static void fill_getopt(unsigned accepts, const char *mode, struct getopt_tables *tables)
{
	char *out = stpcpy(tables->shorts, mode);
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(definitions); i++) {
		const struct option_definition *definition = &definitions[i];

		if (definition->bit != 0 && !(definition->bit & accepts))
			continue;
		tables->longs[n++] = (struct option){
			.name = definition->name,
			.has_arg = definition->argument ? required_argument : no_argument,
			.val = FIRST_VALUE + (int)i,
		};
		if (!letter_of(definition))
			continue;
		*out++ = letter_of(definition);
		if (definition->argument)
			*out++ = ':';
	}
	*out = '\0';
	tables->longs[n] = (struct option){0};
}

static int report_unknown(const char *command, char **argv)
{
	if (optopt >= FIRST_VALUE)
		error_usage(command, "--%s takes no value", take_option(optopt)->name);
	else if (optopt)
		error_usage(command, "unknown option -%c", optopt);
	else
		error_usage(command, "unknown option %s", argv[optind - 1]);
	return -EINVAL;
}

static int apply(const char *command, const struct option_definition *definition,
		 struct options *options)
{
	if (definition->parse(options, optarg) == 0)
		return 0;
	error_usage(command, "--%s %s: not a valid %s (%s)", definition->name, optarg,
		    definition->argument, definition->help);
	return -EINVAL;
}

static int parse(int argc, char **argv, const char *command, const char *mode, unsigned accepts,
		 struct options *options)
{
	struct getopt_tables tables;
	int value;
	int err = 0;

	fill_getopt(accepts, mode, &tables);
	opterr = 0;
	optind = 0;
	while (!err && (value = getopt_long(argc, argv, tables.shorts, tables.longs, NULL)) != -1) {
		if (value == '?')
			return report_unknown(command, argv);
		if (value == ':') {
			error_usage(command, "%s needs a value", argv[optind - 1]);
			return -EINVAL;
		}
		err = apply(command, take_option(value), options);
	}
	return err;
}

int options_parse_global(int argc, char **argv, struct options *options)
{
	int err = parse(argc, argv, NULL, "+:", 0, options);

	return err ? err : optind;
}

static int parse_pid(const char *command, const char *value, struct options *options)
{
	unsigned long number;

	if (parse_number(value, PID_LIMIT, &number) < 0 || number == 0) {
		error_usage(command, "%s is not a process id", value);
		return -EINVAL;
	}
	options->pid = (pid_t)number;
	return 0;
}

int options_parse_command(int argc, char **argv, const struct command *command,
			  struct options *options)
{
	int err = parse(argc, argv, command->name, ":", command->accepts, options);
	int operands = command->takes_pid ? 1 : 0;

	if (err || options->help || options->version)
		return err;
	if (argc - optind > operands) {
		error_usage(command->name, "unexpected argument %s", argv[optind + operands]);
		return -EINVAL;
	}
	if (argc - optind < operands && command->args[0] == '[')
		return 0;
	if (argc - optind < operands) {
		error_usage(command->name, "it needs the PID of a process");
		return -EINVAL;
	}
	return command->takes_pid ? parse_pid(command->name, argv[optind], options) : 0;
}

void options_print_help(unsigned accepts)
{
	for (size_t i = 0; i < ARRAY_SIZE(definitions); i++) {
		const struct option_definition *definition = &definitions[i];
		char left[32], short_form[8] = "";

		if (accepts ? !(definition->bit & accepts) : definition->bit != 0)
			continue;
		if (letter_of(definition))
			snprintf(short_form, sizeof(short_form), "-%c, ", letter_of(definition));
		snprintf(left, sizeof(left), "%s--%s%s%s", short_form, definition->name,
			 definition->argument ? " " : "",
			 definition->argument ? definition->argument : "");
		printf("  %-18s %s\n", left, definition->help);
	}
}
