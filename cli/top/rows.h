/* SPDX-License-Identifier: Apache-2.0 */
/* What the lists of top show: processes, servers of several processes, and call sites, as rows that
 * are filtered, grouped and sorted in the same way.
 */
#ifndef SRTLEAK_CLI_TOP_ROWS_H
#define SRTLEAK_CLI_TOP_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "api.h"

#define HISTORY_MAX 60

/* The past of a figure, the newest sample last; NAN is a gap. */
struct history {
	double bytes[HISTORY_MAX];
	size_t n;
	double interval_s;
};

/* X(name of the constant, word on the command line and on the screen) */
#define ROWS_SORTS(X)       \
	X(BYTES, "bytes")   \
	X(GROWTH, "growth") \
	X(COUNT, "count")   \
	X(AGE, "age")       \
	X(NAME, "name")     \
	X(PID, "pid")
#define ROWS_SORT_KEYS "bytes, growth, count, age, name, pid"

enum rows_sort {
#define X(name, word) SORT_##name,
	ROWS_SORTS(X)
#undef X
		SORT_MAX
};

enum row_role {
	ROW_PLAIN,
	ROW_GROUP, /* the sum over the processes of a server */
	ROW_MEMBER,
};

/* A number that is not known is NAN. */
struct row {
	uint64_t key; /* the same thing has the same key in the next list */
	enum row_role role;
	const json_t *json; /* the process or site; of a group, that of its first process */
	int64_t pid;
	int64_t group;
	size_t members; /* of a group */
	bool folded;
	double kinds[KIND_MAX]; /* bytes by kind, of processes */
	double bytes;
	double count;
	double growth;      /* bytes a second */
	double age;         /* seconds */
	double share;       /* of its kind in the process, of sites, 0 to 1 */
	double lost;        /* events */
	unsigned marks;     /* bits by the order of row_marks */
	int verdict;        /* index of row_verdicts, -1: none */
	char *label;        /* escaped */
	size_t label_short; /* where in it the part begins that is shown when room is short */
	struct history history;
};

struct rows {
	struct row *items;
	size_t n;
	bool filtered; /* the filter hides something */
};

/* Servers that are shown as one line, by the pid of the group. */
struct folds {
	int64_t *groups;
	size_t n;
};

struct rows_order {
	enum rows_sort sort;
	bool reversed;
	const char *filter; /* only what contains this text; "": all */
};

/* Why figures are too low, as a letter each: {name in "partial", letter, words}. */
struct row_mark {
	const char *reason;
	char letter;
	const char *words;
};
#define ROW_MARKS 7
extern const struct row_mark row_marks[ROW_MARKS];

extern const char *const row_verdicts[]; /* from harmless to bad, NULL at the end */

/* The index of a sort key, or -1; and back. */
int rows_sort_named(const char *name);
const char *rows_sort_name(enum rows_sort sort);

/* Make the rows of a reply; `now` (Unix seconds) is when it came. The rows borrow from the JSON,
 * which must stay. Return 0 or -ENOMEM.
 */
int rows_of_processes(const json_t *ps, const struct rows_order *order, const struct folds *folds,
		      double now, struct rows *ret);
int rows_of_sites(const json_t *sites, const struct rows_order *order, struct rows *ret);
void rows_clear(struct rows *rows);

/* The row with a key, or NULL. */
const struct row *rows_find(const struct rows *rows, uint64_t key);

bool folds_has(const struct folds *folds, int64_t group);
/* Folds or unfolds; -ENOMEM is possible when folding. */
int folds_set(struct folds *folds, int64_t group, bool folded);
void folds_clear(struct folds *folds);

/* Keys of rows. */
uint64_t row_key_of_process(int64_t pid);
uint64_t row_key_of_group(int64_t group);

#endif
