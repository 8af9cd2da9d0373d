/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"
#include "macro.h"
#include "quota.h"
#include "share.h"

struct user {
	uint64_t key;
	uint64_t used;
};

static uint64_t key_of(uid_t uid)
{
	return (uint64_t)share_user(uid) + 1; /* 0 is no key */
}

void quota_init(struct quota *quota, uint64_t limit, bool by_process)
{
	*quota = (struct quota){.limit = limit, .by_process = by_process};
	table_init(&quota->users, sizeof(struct user));
	table_init(&quota->debts, sizeof(struct user));
}

void quota_done(struct quota *quota)
{
	table_clear(&quota->users);
	table_clear(&quota->debts);
}

bool quota_has(const struct quota *quota, uid_t uid, uint64_t own, uint64_t n)
{
	const struct user *user = table_find(&quota->users, key_of(uid));
	bool is_counted = user && (uid != 0 || !quota->by_process);

	return share_allows(quota->limit, quota->used, is_counted ? user->used : 0, own, n);
}

bool quota_take(struct quota *quota, uid_t uid, uint64_t own, uint64_t n)
{
	if (!quota_has(quota, uid, own, n)) {
		quota->refused++;
		return false;
	}
	quota_charge(quota, uid, n);
	return true;
}

void quota_charge(struct quota *quota, uid_t uid, uint64_t n)
{
	struct user *user;

	if (n == 0)
		return;
	quota->used += n;
	if (table_add(&quota->users, key_of(uid), (void **)&user) >= 0)
		user->used += n;
}

void quota_give(struct quota *quota, uid_t uid, uint64_t n)
{
	struct user *user = table_find(&quota->users, key_of(uid));

	quota->used -= MIN(n, quota->used);
	if (!user)
		return;
	user->used -= MIN(n, user->used);
	if (user->used == 0)
		table_remove(&quota->users, key_of(uid));
}

void quota_owe(struct quota *quota, uid_t uid, uint64_t n)
{
	struct user *user;

	if (uid != 0 && n > 0 && table_add(&quota->debts, key_of(uid), (void **)&user) >= 0)
		user->used += n;
}

bool quota_owes(const struct quota *quota, uid_t uid)
{
	return table_find(&quota->debts, key_of(uid));
}

static void pay_debts(struct quota *quota)
{
	struct table_cursor cursor = {0};
	struct user *user;

	while ((user = table_next(&quota->debts, &cursor))) {
		user->used -= MIN(user->used, quota->limit / 4);
		if (user->used == 0)
			table_remove(&quota->debts, user->key);
	}
}

void quota_clear(struct quota *quota)
{
	quota->used = 0;
	table_clear(&quota->users);
	pay_debts(quota);
}

void quotas_init(struct quotas *quotas)
{
	*quotas = (struct quotas){0};
#define X(name, limit, by_process) quota_init(&quotas->name, limit, by_process);
	SRTLEAK_QUOTAS(X)
#undef X
}

void quotas_done(struct quotas *quotas)
{
#define X(name, limit, by_process) quota_done(&quotas->name);
	SRTLEAK_QUOTAS(X)
#undef X
}

void quotas_next_second(struct quotas *quotas)
{
	quota_clear(&quotas->time);
	quotas->second++;
}

static uint64_t waited_ns;

void quota_note_waiting(uint64_t ns)
{
	waited_ns += ns;
}

uint64_t quota_time(void)
{
	return (clock_ns(CLOCK_THREAD_CPUTIME_ID) + waited_ns) / 1000;
}
