/* SPDX-License-Identifier: Apache-2.0 */
/* packaging/srtleak.conf: it holds every key with its true default, and works. */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "macro.h"

#define SHIPPED "packaging/srtleak.conf" /* tests run in the root of the tree */

static void load(struct config *config, const char *path)
{
	char error[512];

	if (config_load(config, path, true, error, sizeof(error)) < 0)
		fail_msg("%s", error);
}

/* Defaults cannot be told by what was said of the keys alone. */
static void assert_default_values(const struct config *config)
{
	_cleanup_(config_free) struct config defaults = {0};

	assert_int_equal(config_set_defaults(&defaults), 0);
	assert_string_equal(config->listen, defaults.listen);
	assert_int_equal(config->attach, ATTACH_AUTO);
	assert_int_equal(config->max_series, defaults.max_series);
	assert_int_equal(config->log_above, 0);
	for (size_t i = 0; i < config_keys_count; i++)
		if (config_keys[i].standard)
			assert_string_equal(config_text(config, &config_keys[i]),
					    config_keys[i].standard);
}

static void test_as_shipped_it_changes_nothing(void **state)
{
	_cleanup_(config_free) struct config config = {0};

	(void)state;
	load(&config, SHIPPED);
	assert_default_values(&config);
	assert_int_equal(config.n_libraries, 0);
	assert_int_equal(config.scope.n_rules, 0);
}

/* Copies the file with the comment marks of keys taken away: `#key`, where `# text` is text. */
static void uncomment(FILE *to)
{
	_cleanup_fclose_ FILE *from = fopen(SHIPPED, "re");
	char line[256];

	assert_non_null(from);
	while (fgets(line, sizeof(line), from))
		fputs(line + (line[0] == '#' && islower((unsigned char)line[1])), to);
	assert_int_equal(fflush(to), 0);
}

static void test_every_key_has_its_default(void **state)
{
	_cleanup_(config_free) struct config config = {0};
	char path[] = "/tmp/srtleak-shipped-XXXXXX";
	int fd = mkstemp(path);
	_cleanup_fclose_ FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	(void)state;
	assert_non_null(file);
	uncomment(file);
	load(&config, path);
	unlink(path);
	assert_default_values(&config);
	for (size_t i = 0; i < config_keys_count; i++)
		if (config_keys[i].in_file && !*config_text(&config, &config_keys[i]))
			fail_msg("%s: is not in " SHIPPED, config_keys[i].name);
}

/* config_set_defaults() has set the others already: look for the line itself. */
static void test_every_key_is_named(void **state)
{
	_cleanup_fclose_ FILE *file = fopen(SHIPPED, "re");
	char text[1 << 16], expected[128];
	size_t n;

	(void)state;
	assert_non_null(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	assert_in_range(n, 1, sizeof(text) - 2);
	text[n] = '\0';
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];

		if (!key->in_file)
			continue;
		snprintf(expected, sizeof(expected), "\n#%s = %s%s", key->name,
			 key->standard ? key->standard : "", key->standard ? "\n" : "");
		if (!strstr(text, expected))
			fail_msg("not in " SHIPPED ": %s", expected + 1);
	}
}

static void test_the_table_of_keys(void **state)
{
	(void)state;
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];

		assert_true(key->is_list == !key->standard);
		/* What is in force could not be kept of a list. */
		assert_false(key->is_list && key->effect == CONFIG_AT_RESTART);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_shipped_it_changes_nothing),
		cmocka_unit_test(test_every_key_has_its_default),
		cmocka_unit_test(test_every_key_is_named),
		cmocka_unit_test(test_the_table_of_keys),
	};

	unsetenv("SRTLEAK_SOCKET");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
