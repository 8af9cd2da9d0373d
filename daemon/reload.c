/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "buffer.h"
#include "clock.h"
#include "log.h"
#include "macro.h"
#include "policy.h"
#include "reload.h"

#define CHARS_ERROR 512

/* Keeps what is in force of a key that only a restart changes. False where memory is short. */
static bool keep(struct config *fresh, const struct config *in_force, const struct config_key *key)
{
	const char *text = config_text(in_force, key), *why;

	log_warning("%s: a change needs a restart; until then it is %s", key->name, text);
	return config_set(fresh, key->name, text, &why) == 0;
}

/* Marks the effects that changes have, and collects the names of the keys. */
static bool compare(struct config *fresh, const struct config *in_force,
		    bool changed[CONFIG_EFFECTS], struct buffer *names)
{
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];

		if (strcmp(config_text(fresh, key), config_text(in_force, key)) == 0)
			continue;
		changed[key->effect] = true;
		if (key->effect == CONFIG_AT_RESTART) {
			if (!keep(fresh, in_force, key))
				return false;
			continue;
		}
		buffer_append(names, names->size > 0 ? ", " : " ", names->size > 0 ? 2 : 1);
		buffer_append(names, key->name, strlen(key->name));
	}
	return !buffer_failed(names);
}

/* Those that leave go first: they make room. */
static void apply_scope(const struct reload *r)
{
	_cleanup_free_ pid_t *ignored = NULL;
	int n;

	tracker_rescope(r->tracker);
	n = policy_ignored_by_rule(r->tracker->probes, &ignored);
	if (n < 0)
		log_error("processes that were excluded stay so: %s", strerror(-n));
	for (int i = 0; i < n; i++)
		if (admission_admits(&r->tracker->admission, ignored[i]))
			(void)discovery_look(r->discovery, ignored[i], true);
}

static void apply(const struct reload *r, const bool changed[CONFIG_EFFECTS])
{
	const struct config *config = r->config;
	int err = 0;

	r->tracker->notices.log_above = config->log_above;
	r->tracker->restraint.limit = config->probe_budget;
	if (r->http)
		http_set_max_series(r->http, config->max_series);
	if (changed[CONFIG_LIBRARIES])
		err = discovery_search(r->discovery, (const char *const *)config->libraries,
				       config->n_libraries);
	if (err < 0)
		log_error("looking for processes that map new libraries: %s", strerror(-err));
	if (changed[CONFIG_SCOPE])
		apply_scope(r);
}

static void refuse(const char *error)
{
	log_error("configuration not reloaded, the earlier one stays in force: %s", error);
	sd_notifyf(0, "READY=1\nSTATUS=Configuration not reloaded: %s", error);
}

void reload_configuration(const struct reload *r)
{
	_cleanup_(config_free) struct config fresh = {0};
	_cleanup_(buffer_free) struct buffer names = {0};
	bool changed[CONFIG_EFFECTS] = {false};
	char error[CHARS_ERROR];
	struct config before;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_monotonic_ns() / 1000);
	if (options_load(r->options, &fresh, error, sizeof(error)) < 0) {
		refuse(error);
		return;
	}
	if (!compare(&fresh, r->config, changed, &names)) {
		refuse("not enough memory");
		return;
	}
	before = *r->config;
	*r->config = fresh;
	fresh = before;
	apply(r, changed);
	log_notice("configuration reloaded; changed:%.*s", names.size > 0 ? (int)names.size : 8,
		   names.size > 0 ? names.data : " nothing");
	sd_notify(0, "READY=1\nSTATUS=Configuration reloaded");
}
