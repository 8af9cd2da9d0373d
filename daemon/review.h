/* SPDX-License-Identifier: Apache-2.0 */
/* Going through all processes, a slice at a time, for libraries that are split (library.h): nothing
 * is told of who maps them by fork, and once nobody has written over them any more, they are
 * probed in every process again.
 */
#ifndef SRTLEAK_REVIEW_H
#define SRTLEAK_REVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "look.h"
#include "quota.h"
#include "reach.h"
#include "walk.h"

struct review {
	struct library *libraries[LIBRARIES_MAX]; /* NULL: gone by now */
	size_t n;
	struct looks looks;
	struct walk walk;
	bool is_under_way;
	struct {
		pid_t *pids;
		size_t n;
	} users; /* of any of them, until now */
};

/* Begins for these libraries. -ENOMEM. Zeroed, none is under way. */
int review_begin(struct review *review, struct library *const *libraries, size_t n);

/* A slice: whoever is not probed yet is, and fn called. Returns whether it was the last. */
bool review_go_on(struct review *review, reach_fn fn, void *userdata);

/* After the last: gives a link to every process to those that nobody has written over, with numbers
 * from next_number(userdata). Returns how many these were; the review has ended.
 */
size_t review_join(struct review *review, uint32_t (*next_number)(void *userdata), void *userdata);

/* The library is to be freed. */
void review_forget(struct review *review, const struct library *library);

/* Ends it early, or not at all. */
void review_end(struct review *review);

#endif
