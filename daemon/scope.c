/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fnmatch.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"
#include "scope.h"

#define RULES_MAX 256
#define UNKNOWN_UID ((uid_t)-1)

static int refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

static int find_user(const char *value, uid_t *ret, const char **ret_why)
{
	const struct passwd *user;
	unsigned long uid;

	if (value[strspn(value, "0123456789")] != '\0') {
		user = getpwnam(value);
		if (!user)
			return refuse(ret_why, "no such user");
		*ret = user->pw_uid;
		return 0;
	}
	errno = 0;
	uid = strtoul(value, NULL, 10);
	if (errno || uid >= UNKNOWN_UID)
		return refuse(ret_why, "no user id");
	*ret = (uid_t)uid;
	return 0;
}

int scope_add(struct scope *scope, enum scope_sort sort, bool excludes, const char *value,
	      const char **ret_why)
{
	struct scope_rule rule = {.sort = sort, .excludes = excludes}, *longer;
	int r;

	if (scope->n_rules == RULES_MAX)
		return refuse(ret_why, "more than 256 rules to include and exclude");
	if (sort == SCOPE_USER) {
		r = find_user(value, &rule.uid, ret_why);
		if (r < 0)
			return r;
	} else if (!strchr("/*?[", *value)) {
		return refuse(ret_why, "would match no path: begins neither with / nor with *");
	}
	longer = reallocarray(scope->rules, scope->n_rules + 1, sizeof(*longer));
	if (!longer)
		return -ENOMEM;
	scope->rules = longer;
	if (sort != SCOPE_USER) {
		rule.glob = strdup(value);
		if (!rule.glob)
			return -ENOMEM;
	}
	scope->rules[scope->n_rules++] = rule;
	return 0;
}

void scope_free(struct scope *scope)
{
	for (size_t i = 0; i < scope->n_rules; i++)
		free(scope->rules[i].glob);
	free(scope->rules);
	*scope = (struct scope){0};
}

bool scope_looks_at(const struct scope *scope, enum scope_sort sort)
{
	for (size_t i = 0; i < scope->n_rules; i++)
		if (scope->rules[i].sort == sort)
			return true;
	return false;
}

static bool is_known(const struct scope_subject *subject, enum scope_sort sort)
{
	switch (sort) {
	case SCOPE_EXE:
		return subject->exe;
	case SCOPE_CGROUP:
		return subject->cgroup;
	default:
		return subject->uid != UNKNOWN_UID;
	}
}

static bool matches(const struct scope_rule *rule, const struct scope_subject *subject)
{
	if (rule->sort == SCOPE_USER)
		return rule->uid == subject->uid;
	return fnmatch(rule->glob, rule->sort == SCOPE_EXE ? subject->exe : subject->cgroup, 0) ==
	       0;
}

static bool sort_admits(const struct scope *scope, enum scope_sort sort,
			const struct scope_subject *subject)
{
	bool lists_some = false, included = false;

	for (size_t i = 0; i < scope->n_rules; i++) {
		const struct scope_rule *rule = &scope->rules[i];

		if (rule->sort != sort)
			continue;
		if (!is_known(subject, sort) || (rule->excludes && matches(rule, subject)))
			return false;
		lists_some |= !rule->excludes;
		included |= !rule->excludes && matches(rule, subject);
	}
	return included || !lists_some;
}

bool scope_admits(const struct scope *scope, const struct scope_subject *subject)
{
	for (int sort = 0; sort < SCOPE_SORTS; sort++)
		if (!sort_admits(scope, (enum scope_sort)sort, subject))
			return false;
	return true;
}
