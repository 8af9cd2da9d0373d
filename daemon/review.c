/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "review.h"

#define RELOOK_NS 300000000ULL /* at who maps them, before they are joined */

int review_begin(struct review *review, struct library *const *libraries, size_t n)
{
	*review = (struct review){.n = n};
	memcpy(review->libraries, libraries, n * sizeof(*libraries));
	if (looks_init(&review->looks, review->libraries, n) < 0)
		return -ENOMEM;
	review->is_under_way = true;
	for (size_t i = 0; i < n; i++)
		libraries[i]->may_join = !libraries[i]->spares_filtered;
	return 0;
}

void review_end(struct review *review)
{
	looks_done(&review->looks);
	free(review->users.pids);
	*review = (struct review){0};
}

void review_forget(struct review *review, const struct library *library)
{
	for (size_t i = 0; i < review->n; i++)
		if (review->libraries[i] == library)
			review->libraries[i] = NULL;
}

static void join_none(struct review *review)
{
	for (size_t i = 0; i < review->n; i++)
		if (review->libraries[i])
			review->libraries[i]->may_join = false;
}

static bool note_user(struct review *review, pid_t pid)
{
	size_t n = review->users.n;
	pid_t *grown;

	if ((n & (n - 1)) == 0) { /* full at each power of two */
		grown = reallocarray(review->users.pids, n ? 2 * n : 1, sizeof(*grown));
		if (!grown)
			return false;
		review->users.pids = grown;
	}
	review->users.pids[review->users.n++] = pid;
	return true;
}

struct turn {
	struct review *review;
	reach_fn fn;
	void *userdata;
};

static void attach(const struct turn *turn, struct library *library, pid_t pid, enum intact found)
{
	unsigned int partial =
		library_reaches(library, pid) ? 0 : reach_attach_one(library, pid, found);

	library->may_join &= found == INTACT_YES;
	if (partial)
		turn->fn(pid, partial, turn->userdata);
}

static int look_at(pid_t pid, void *userdata)
{
	const struct turn *turn = userdata;
	struct review *review = turn->review;
	bool is_user = false;

	looks_take(&review->looks, pid);
	for (size_t i = 0; i < review->n; i++) {
		const struct look *look = &review->looks.looks[i];

		if (look->pieces == 0 || !review->libraries[i])
			continue;
		is_user = true;
		attach(turn, review->libraries[i], pid, look->found);
	}
	if (is_user && !note_user(review, pid))
		join_none(review);
	return 0;
}

bool review_go_on(struct review *review, reach_fn fn, void *userdata)
{
	struct turn turn = {.review = review, .fn = fn, .userdata = userdata};

	return walk_slice(&review->walk, look_at, &turn);
}

/* They may have been written over since the walk came by. */
static void look_again(struct review *review, struct looks *fresh, pid_t pid)
{
	looks_take(fresh, pid);
	for (size_t i = 0; i < review->n; i++)
		if (review->libraries[i] && fresh->looks[i].pieces > 0)
			review->libraries[i]->may_join &= fresh->looks[i].found == INTACT_YES;
}

/* False where that takes too long. */
static bool look_at_users_again(struct review *review, struct looks *fresh)
{
	uint64_t ends_ns = clock_monotonic_ns() + RELOOK_NS;

	for (size_t i = 0; i < review->users.n; i++) {
		if (clock_monotonic_ns() >= ends_ns)
			return false;
		look_again(review, fresh, review->users.pids[i]);
	}
	/* who has mapped them since */
	for (size_t i = 0; i < review->n; i++) {
		for (size_t j = 0; review->libraries[i] && j < review->libraries[i]->n_ones; j++) {
			if (clock_monotonic_ns() >= ends_ns)
				return false;
			look_again(review, fresh, review->libraries[i]->ones[j]->pid);
		}
	}
	return true;
}

static bool any_may_join(const struct review *review)
{
	for (size_t i = 0; i < review->n; i++)
		if (review->libraries[i] && review->libraries[i]->may_join)
			return true;
	return false;
}

size_t review_join(struct review *review, uint32_t (*next_number)(void *userdata), void *userdata)
{
	struct looks fresh;
	size_t joined = 0;

	if (any_may_join(review) && looks_init(&fresh, review->libraries, review->n) == 0) {
		bool is_sure = look_at_users_again(review, &fresh);

		for (size_t i = 0; i < review->n && is_sure; i++)
			joined += review->libraries[i] && review->libraries[i]->may_join &&
				  library_join(review->libraries[i], next_number(userdata)) == 0;
		looks_done(&fresh);
	}
	review_end(review);
	return joined;
}
