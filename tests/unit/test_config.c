/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration: files, drop-ins, keys, and what is said about errors. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "macro.h"
#include "protocol.h"

static char folder[] = "/tmp/srtleak-config-[X]-XXXXXX";
static char main_path[128], drop_in_folder[160];

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(main_path, sizeof(main_path), "%s/srtleak.conf", folder);
	snprintf(drop_in_folder, sizeof(drop_in_folder), "%s.d", main_path);
	return mkdir(drop_in_folder, 0700);
}

static int tear_down(void **state)
{
	(void)state;
	unlink(main_path);
	return rmdir(drop_in_folder) < 0 ? -1 : rmdir(folder);
}

static void write_file(const char *path, const char *text, size_t size)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, size, f), size);
	fclose(f);
}

/* Loads a main file with that text; it must be good. */
static void load(struct config *config, const char *text)
{
	char error[512] = "";

	write_file(main_path, text, strlen(text));
	assert_int_equal(config_load(config, main_path, true, error, sizeof(error)), 0);
	assert_string_equal(error, "");
}

static void test_defaults(void **state)
{
	struct config config;

	(void)state;
	load(&config, "");
	assert_string_equal(config.socket, PROTOCOL_SOCKET);
	assert_string_equal(config.listen, CONFIG_LISTEN);
	assert_int_equal(config.attach, ATTACH_AUTO);
	assert_int_equal(config.n_libraries, 0);
	assert_int_equal(config.n_pids, 0);
	assert_int_equal(config.max_series, 10000);
	assert_int_equal(config.log_above, 0);
	assert_true(config.probe_budget == 0.01);
	assert_int_equal(config.scope.n_rules, 0);
	config_free(&config);
	config_free(&config);
}

static void test_all_keys(void **state)
{
	struct config config;

	(void)state;
	load(&config, "\xef\xbb\xbf# comment\n"
		      "socket = /run/x.sock\n"
		      "  listen=[::1]:80   ; comment\r\n"
		      "\t\n"
		      "libraries = /a/*.so\n"
		      "\tlibraries: /b/*.so\n"
		      "log_above = 40 GiB\n"
		      "include_user = root\n"
		      "exclude_cgroup = /user.slice/*\n"
		      "exclude_exe = *\n"
		      "attach = perf");
	assert_string_equal(config.socket, "/run/x.sock");
	assert_string_equal(config.listen, "[::1]:80");
	assert_int_equal(config.attach, ATTACH_PERF);
	assert_int_equal(config.n_libraries, 2);
	assert_string_equal(config.libraries[0], "/a/*.so");
	assert_string_equal(config.libraries[1], "/b/*.so");
	assert_int_equal(config.log_above, 40ULL << 30);
	assert_int_equal(config.scope.n_rules, 3);
	assert_int_equal(config.scope.rules[0].uid, 0);
	assert_string_equal(config.scope.rules[1].glob, "/user.slice/*");
	assert_true(config.scope.rules[2].excludes);
	config_free(&config);
}

/* 200 bytes are what the library makes room for, newline and NUL among them. */
static void fill(char *line, size_t size)
{
	memset(line, 'x', size);
	memcpy(line, "libraries = /", 13);
	line[size] = '\0';
}

static void test_longest_line(void **state)
{
	char text[256], line[200];
	struct config config;

	(void)state;
	fill(line, 190);
	snprintf(text, sizeof(text), "%s\nattach = multi\n", line);
	load(&config, text);
	assert_string_equal(config.libraries[0], line + 12);
	assert_int_equal(config.attach, ATTACH_MULTI);
	config_free(&config);
}

/* The message with "FILE" for the main file's path. */
static void check_error(const char *text, size_t size, const char *expected)
{
	struct config config = {.n_pids = 77};
	char error[512] = "";

	write_file(main_path, text, size);
	assert_int_equal(config_load(&config, main_path, true, error, sizeof(error)), -EINVAL);
	assert_int_equal(strncmp(error, main_path, strlen(main_path)), 0);
	assert_string_equal(error + strlen(main_path), expected);
	assert_int_equal(config.n_pids, 77);
	assert_null(config.socket);
}

#define CHECK_ERROR(text, expected) check_error(text, sizeof(text) - 1, expected)

static void test_errors(void **state)
{
	char line[1000];

	(void)state;
	CHECK_ERROR("\nattach = x\n", ":2: attach: none of auto, multi, perf");
	CHECK_ERROR("nokey = x\n", ":1: nokey: no such key");
	CHECK_ERROR("pid = 1\n", ":1: pid: no such key");
	CHECK_ERROR("socket =\n", ":1: socket: has no value");
	CHECK_ERROR("= x\n", ":1: no such key");
	CHECK_ERROR("socket\n", ":1: not KEY = VALUE");
	CHECK_ERROR("socket\nattach = x\n", ":1: not KEY = VALUE");
	CHECK_ERROR("attach = x\nsocket\n", ":1: attach: none of auto, multi, perf");
	CHECK_ERROR("# x\n[main]\n", ":2: there are no sections");
	CHECK_ERROR("\xef\xbb\xbf[main]\n", ":1: there are no sections");
	CHECK_ERROR("socket = /a\0b\n", ":1: holds a NUL byte");
	CHECK_ERROR("libraries = *.so\n", ":1: libraries: does not begin with /");
	CHECK_ERROR("include_exe = /usr/bin/python3 # servers\n",
		    ":1: include_exe: holds \" #\": a comment behind a value begins with \" ;\"");
	CHECK_ERROR("max_series = 99\n", ":1: max_series: no number from 100 to 1000000");
	CHECK_ERROR("\nlog_above = 40 GB\n", ":2: log_above: neither none nor a size such as "
					     "40 GiB, 512M, 1000000");
	CHECK_ERROR("include_user = no-such-user\n", ":1: include_user: no such user");
	CHECK_ERROR("exclude_exe = python3\n", ":1: exclude_exe: would match no path: begins "
					       "neither with / nor with *");
	fill(line, sizeof(line) - 1);
	check_error(line, strlen(line), ":1: line is too long");
	fill(line, 200);
	check_error(line, strlen(line), ":1: line is too long");
}

static void test_unreadable(void **state)
{
	char error[512], path[192];
	struct config config;

	(void)state;
	snprintf(path, sizeof(path), "%s/missing.conf", folder);
	assert_int_equal(config_load(&config, path, true, error, sizeof(error)), -ENOENT);
	assert_non_null(strstr(error, "missing.conf: No such file"));
	assert_int_equal(config_load(&config, path, false, error, sizeof(error)), 0);
	config_free(&config);
	assert_int_equal(config_load(&config, folder, true, error, sizeof(error)), -EISDIR);
	assert_non_null(strstr(error, "Is a directory"));
}

static void test_drop_ins(void **state)
{
	static const struct drop_in {
		const char *name;
		const char *text;
	} files[] = {
		{"20-b.conf", "attach = multi\nlibraries = /3\n"},
		{"10-a.conf", "attach = perf\nlibraries = /2\nlisten = none\n"},
		{".hidden.conf", "nonsense"},
		{"30-c.conf~", "nonsense"},
		{"README", "nonsense"},
	};
	char path[256], error[512];
	struct config config;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", drop_in_folder, files[i].name);
		write_file(path, files[i].text, strlen(files[i].text));
	}
	load(&config, "attach = auto\nlibraries = /1\n");
	assert_int_equal(config.attach, ATTACH_MULTI);
	assert_null(config.listen);
	assert_int_equal(config.n_libraries, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(config.libraries[i][1], '1' + (char)i);
	config_free(&config);

	snprintf(path, sizeof(path), "%s/20-b.conf", drop_in_folder);
	write_file(path, "\n\nx = y\n", 8);
	assert_int_equal(config_load(&config, main_path, true, error, sizeof(error)), -EINVAL);
	assert_string_equal(error + strlen(drop_in_folder), "/20-b.conf:3: x: no such key");

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", drop_in_folder, files[i].name);
		unlink(path);
	}
}

static void check_values(const char *key, const char *const *good, const char *const *bad)
{
	struct config config = {0};
	const char *why;

	for (; *good; good++)
		assert_int_equal(config_set(&config, key, *good, &why), 0);
	for (; *bad; bad++) {
		why = NULL;
		assert_int_equal(config_set(&config, key, *bad, &why), -EINVAL);
		assert_non_null(why);
	}
	config_free(&config);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define LONG_PATH "/4567890123456789012345678901234567890123456789012345678901234567890123456789"

static void test_values(void **state)
{
	(void)state;
	check_values("listen",
		     LIST("none", "127.0.0.1:9748", "0.0.0.0:1", "[::]:65535", "[fe80::1]:80",
			  "localhost:80"),
		     LIST("", "9748", ":9748", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0",
			  "127.0.0.1:65536", "127.0.0.1:+80", "127.0.0.1: 80",
			  "127.0.0.1:99999999999999999999", "::1:80", "[::1]", "[::1:80", "[]:80",
			  "[127.0.0.1]:80", "256.0.0.1:80", "example.org:80", "NONE",
			  LONG_PATH ":80"));
	check_values("pid", LIST("1", "2147483647"),
		     LIST("", "0", "-1", "2147483648", "1x", " 1", "99999999999999999999"));
	check_values("socket", LIST("/run/x", "x", LONG_PATH), LIST("", LONG_PATH LONG_PATH));
	check_values("attach", LIST("auto", "multi", "perf"), LIST("", "Auto", "mult"));
	check_values("libraries", LIST("/x/*"), LIST("", "x", "./x"));
	check_values("probe_budget", LIST("none", "1", "0.5", "0.01", "100", "2.5%"),
		     LIST("", "0", "-1", "101", "1 %", "1x", "nan", "inf", "1e1", "0x1", "%", "1%%",
			  "1.2.3", "."));
	check_values("log_above", LIST("none", "1", "512M", "40 GiB"), LIST("", "0", "1.5G", "-1"));
	check_values("exclude_user", LIST("root", "0", "65534"), LIST("", "-1", "4294967295"));
	check_values("include_cgroup", LIST("/", "*/x", "[/]x"), LIST("", "x"));
	check_values("Attach", LIST(NULL), LIST("auto"));
}

static void test_lists_are_bounded(void **state)
{
	struct config config = {0};
	const char *why = NULL;
	int n = 0;

	(void)state;
	while (config_set(&config, "pid", "1", &why) == 0)
		assert_true(++n <= 1024);
	assert_non_null(why);
	n = 0;
	while (config_set(&config, "libraries", "/x", &why) == 0)
		assert_true(++n <= 64);
	assert_int_equal(config.n_pids, 1024);
	assert_int_equal(config.n_libraries, 64);
	config_free(&config);
}

/* What reloading compares. */
static void test_texts(void **state)
{
	const struct config_key *libraries = config_find_key("libraries");
	const struct config_key *attach = config_find_key("attach");
	struct config config;

	(void)state;
	assert_null(config_find_key("nokey"));
	load(&config, "libraries = /b\nattach = perf\nlibraries = /a\nattach = multi\n");
	assert_string_equal(config_text(&config, libraries), "/b\n/a");
	assert_string_equal(config_text(&config, attach), "multi");
	config_free(&config);
	assert_string_equal(config_text(&config, attach), "");
	load(&config, "");
	assert_string_equal(config_text(&config, libraries), "");
	assert_string_equal(config_text(&config, attach), "auto");
	config_free(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),     cmocka_unit_test(test_all_keys),
		cmocka_unit_test(test_longest_line), cmocka_unit_test(test_errors),
		cmocka_unit_test(test_unreadable),   cmocka_unit_test(test_drop_ins),
		cmocka_unit_test(test_values),       cmocka_unit_test(test_lists_are_bounded),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
