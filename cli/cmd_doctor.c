/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: is this host fit for the daemon, and what is to be done where it is not. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <bpf/libbpf.h>
#include <jansson.h>

#include "check.h"
#include "command.h"
#include "error.h"
#include "output.h"
#include "protocol.h"

static const struct {
	const char *name;
	check_fn run;
} checks[] = {
	{"kernel", check_kernel},           {"btf", check_btf},
	{"privileges", check_privileges},   {"bpf_load", check_bpf_load},
	{"ring_buffer", check_ring_buffer}, {"uprobe_multi", check_uprobe_multi},
	{"uprobe_perf", check_uprobe_perf}, {"perf_mmap2", check_perf_mmap2},
	{"probe_cost", check_probe_cost},   {"cuda_libraries", check_cuda_libraries},
	{"daemon", check_daemon},
};

static const struct {
	const char *name;
	enum style style;
} results[] = {
	[CHECK_OK] = {"ok", STYLE_GREEN},
	[CHECK_WARN] = {"warn", STYLE_YELLOW},
	[CHECK_FAIL] = {"fail", STYLE_RED},
};

void check_set(struct check *check, enum check_result result, const char *hint, const char *format,
	       ...)
{
	va_list args;

	check->result = result;
	check->hint = hint;
	va_start(args, format);
	vsnprintf(check->detail, sizeof(check->detail), format, args);
	va_end(args);
}

static void print_text(const char *name, const struct check *check)
{
	_cleanup_free_ char *detail = output_escape(check->detail);
	char result[16];

	snprintf(result, sizeof(result), "%-5s", results[check->result].name);
	output_styled(results[check->result].style, result);
	printf(" %-14s  %s\n", name, detail ? detail : "");
	if (check->hint)
		printf("%22s%s\n", "", check->hint);
	/* Measuring takes a moment: what is known is shown meanwhile. */
	fflush(stdout);
}

/* A detail may end in the middle of a character, or hold a path that is not UTF-8: escaped it is.
 */
static json_t *check_json(const char *name, const struct check *check)
{
	_cleanup_free_ char *detail = output_escape(check->detail);

	if (!detail)
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:s?}", "name", name, "result",
			 results[check->result].name, "detail", detail, "hint", check->hint);
}

static int print_json(const struct check found[ARRAY_SIZE(checks)])
{
	_cleanup_(json_cleanup) json_t *object = json_pack("{s:[]}", "checks");
	json_t *array = json_object_get(object, "checks");

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		if (json_array_append_new(array, check_json(checks[i].name, &found[i])) < 0)
			return error_report(CLI_FAILURE, NULL, "checks", "out of memory");
	if (json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) == 0)
		putchar('\n');
	return CLI_OK;
}

int cmd_doctor(const struct options *options)
{
	struct check found[ARRAY_SIZE(checks)] = {0};
	int status = CLI_OK;

	libbpf_set_print(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		checks[i].run(&found[i], options);
		if (found[i].result == CHECK_FAIL)
			status = CLI_FAILURE;
		if (!options->json)
			print_text(checks[i].name, &found[i]);
	}
	if (options->json && print_json(found) != CLI_OK)
		return CLI_FAILURE;
	return status;
}
