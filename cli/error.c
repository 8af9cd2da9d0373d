/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include <jansson.h>

#include "error.h"
#include "output.h"

static bool use_json;
static bool output_begun;

void error_use_json(bool json)
{
	use_json = json;
}

void error_output_begun(void)
{
	output_begun = true;
}

/* Text from argv need not be UTF-8, which JSON has to be: the escaped form always is. */
static void print_json(enum cli_status status, const char *hint, const char *what, const char *why)
{
	_cleanup_(json_cleanup) json_t *object =
		json_pack("{s:{s:s, s:s, s:s?, s:i}}", "error", "what", what, "why", why, "hint",
			  hint, "status", (int)status);

	if (output_begun)
		putchar('\n');
	if (object && json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) == 0)
		putchar('\n');
}

static void print_error(enum cli_status status, const char *hint, const char *what, const char *why)
{
	_cleanup_free_ char *safe_what = output_escape(what);
	_cleanup_free_ char *safe_why = output_escape(why);

	if (!safe_what || !safe_why) {
		fputs("srtleakctl: out of memory\n", stderr);
		return;
	}
	if (use_json) {
		print_json(status, hint, safe_what, safe_why);
		return;
	}
	/* Rows that are already printed belong above the message when both go to one terminal. */
	fflush(stdout);
	fprintf(stderr, "srtleakctl: %s: %s\n", safe_what, safe_why);
	if (hint)
		fprintf(stderr, "%s\n", hint);
}

int error_report(enum cli_status status, const char *hint, const char *what, const char *why, ...)
{
	char reason[1024];
	va_list args;

	va_start(args, why);
	vsnprintf(reason, sizeof(reason), why, args);
	va_end(args);
	print_error(status, hint, what, reason);
	return status;
}

int error_usage(const char *command, const char *why, ...)
{
	char reason[512];
	char hint[128];
	va_list args;

	va_start(args, why);
	vsnprintf(reason, sizeof(reason), why, args);
	va_end(args);
	snprintf(hint, sizeof(hint), "Try: srtleakctl %s%s--help", command ? command : "",
		 command ? " " : "");
	print_error(CLI_USAGE, hint, "wrong usage", reason);
	return CLI_USAGE;
}
