/* SPDX-License-Identifier: Apache-2.0 */
/* Which processes are tracked by rule: what to include and exclude by executable, user, cgroup. */
#ifndef SRTLEAK_SCOPE_H
#define SRTLEAK_SCOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum scope_sort {
	SCOPE_EXE,    /* glob over the executable's path */
	SCOPE_USER,   /* the real user */
	SCOPE_CGROUP, /* glob over the path of the cgroup */
	SCOPE_SORTS
};

struct scope_rule {
	enum scope_sort sort;
	bool excludes;
	char *glob; /* NULL for users */
	uid_t uid;
};

/* Zeroed, it admits everyone. */
struct scope {
	struct scope_rule *rules;
	size_t n_rules;
};

/* What the rules look at; NULL and -1: not known. */
struct scope_subject {
	const char *exe, *cgroup;
	uid_t uid;
};

/* Adds a rule. In globs, fnmatch(3)'s, `*` stands for slashes too. A user is a number or a name
 * known to this host, which is looked up now. -EINVAL where the value is not good, *ret_why then
 * says why; -ENOMEM.
 */
int scope_add(struct scope *scope, enum scope_sort sort, bool excludes, const char *value,
	      const char **ret_why);

/* Frees the rules and leaves it empty. */
void scope_free(struct scope *scope);

/* Whether some rule is of that sort. */
bool scope_looks_at(const struct scope *scope, enum scope_sort sort);

/* No rule excludes it and, of each sort that has rules to include, one includes it. What is not
 * known about it counts against it where rules ask for it.
 */
bool scope_admits(const struct scope *scope, const struct scope_subject *subject);

#endif
