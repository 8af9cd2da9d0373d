/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "macro.h"
#include "options.h"
#include "protocol.h"
#include "version.h"

#define OPTIONS_MAX 64
#define HELP_COLUMN 24
#define NAME_MAX_CHARS 32

static const struct option fixed_options[] = {
	{"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'v'},      {"no-pin", no_argument, NULL, 'n'},
	{"reset", no_argument, NULL, 'r'},
};

/* Configuration keys are options too, with dashes between their words. */
static const char *option_name(const struct config_key *key)
{
	static char names[OPTIONS_MAX][NAME_MAX_CHARS];
	char *name = names[key - config_keys];

	snprintf(name, NAME_MAX_CHARS, "%s", key->name);
	for (char *c = name; *c; c++)
		if (*c == '_')
			*c = '-';
	return name;
}

static void fill_in(struct option options[OPTIONS_MAX])
{
	size_t n = ARRAY_SIZE(fixed_options);

	memset(options, 0, OPTIONS_MAX * sizeof(*options));
	memcpy(options, fixed_options, sizeof(fixed_options));
	for (size_t i = 0; i < config_keys_count; i++)
		options[n++] =
			(struct option){option_name(&config_keys[i]), required_argument, NULL, 'k'};
}

static void usage(void)
{
	puts("Usage: srtleakd [OPTION]...\n"
	     "Finds memory leaks of live GPU inference servers, from outside.\n");
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];

		printf("  --%s %-*s %s%s%s%s\n", option_name(key),
		       HELP_COLUMN - (int)strlen(key->name), key->argument, key->help,
		       key->standard ? " (default " : "", key->standard ? key->standard : "",
		       key->standard ? ")" : "");
	}
	puts("  --config FILE               read this instead of " CONFIG_PATH "\n"
	     "  --no-pin                    the same as --pin-dir none\n"
	     "  --reset                     remove all that an earlier daemon pinned, and exit\n"
	     "  --help, --version");
}

int options_parse(struct options *ret, int argc, char **argv)
{
	struct option options[OPTIONS_MAX];
	int option;

	*ret = (struct options){.argc = argc, .argv = argv};
	fill_in(options);
	opterr = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'h') {
			usage();
			return DAEMON_STOPPED;
		}
		if (option == 'v') {
			puts("srtleakd " SRTLEAK_VERSION);
			return DAEMON_STOPPED;
		}
		if (option == 'c')
			ret->config_path = optarg;
		if (option == 'r')
			ret->reset = true;
		if (option == '?') {
			log_error("%s: no such option, or its value is missing; try --help",
				  argv[optind - 1]);
			return DAEMON_USAGE;
		}
	}
	if (optind < argc) {
		log_error("%s: takes no arguments; try --help", argv[optind]);
		return DAEMON_USAGE;
	}
	return -1;
}

int options_load(const struct options *o, struct config *ret, char *ret_error, size_t n)
{
	_cleanup_(config_free) struct config config = {0};
	struct option options[OPTIONS_MAX];
	const char *why = "no memory";
	int option, index, r;

	r = config_load(&config, o->config_path ? o->config_path : CONFIG_PATH,
			o->config_path != NULL, ret_error, n);
	if (r < 0)
		return r;
	fill_in(options);
	optind = 0; /* getopt's word for starting over */
	while ((option = getopt_long(o->argc, o->argv, "", options, &index)) != -1) {
		if (option == 'k')
			r = config_set(&config,
				       config_keys[(size_t)index - ARRAY_SIZE(fixed_options)].name,
				       optarg, &why);
		if (option == 'n')
			r = config_set(&config, "pin_dir", "none", &why);
		if (r < 0) {
			snprintf(ret_error, n, "--%s %s: %s", options[index].name, optarg, why);
			return r;
		}
	}
	*ret = config;
	config = (struct config){0};
	return 0;
}
