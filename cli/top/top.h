/* SPDX-License-Identifier: Apache-2.0 */
/* The state of the live view: what was fetched, what is looked at, and how. */
#ifndef SRTLEAK_CLI_TOP_TOP_H
#define SRTLEAK_CLI_TOP_TOP_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "../command.h"
#include "fetch.h"
#include "layout.h"
#include "rows.h"

#define DELAY_STANDARD_S 2.0
#define FILTER_MAX 64 /* bytes */

/* Each view is reached from the one before it. */
enum view { VIEW_PROCESSES, VIEW_SITES, VIEW_STACK };

/* A list of rows, and where in it the user is. The views have one each but for the last. */
struct list {
	struct rows rows;
	unsigned present;  /* layout_present() */
	uint64_t selected; /* key of a row */
	size_t index;      /* where that row is, or was */
	size_t first;      /* the first row on the screen */
	size_t page;       /* rows that the screen had room for */
	enum rows_sort sort;
	bool reversed;
	char filter[FILTER_MAX];
};

/* What a round asks of the daemon, in this order. */
enum question { ASK_PS, ASK_SITES, ASK_STATUS, QUESTIONS };

/* The process or site that was chosen, as it was when it was last seen, whatever lists hide. */
struct subject {
	json_t *json; /* NULL: none is chosen */
	struct row row;
	bool gone; /* not in the last answer */
};

struct top {
	const char *socket;
	double delay_s;

	/* What the daemon said, and when */
	struct fetch fetch;
	enum question asking; /* QUESTIONS: the round is over */
	json_t *answers[QUESTIONS];
	double answered_at;  /* Unix seconds, of the processes */
	int64_t answered_ms; /* the same by fetch_now_ms() */
	int64_t next_round_ms;
	int64_t round_began_ms;
	bool no_growth_sort; /* the daemon is too old to order sites by growth */
	char failure[128];   /* why it cannot be reached, "": it can */

	/* What is looked at */
	enum view view;
	struct list lists[COLUMN_SETS]; /* of VIEW_PROCESSES, VIEW_SITES */
	struct folds folds;
	struct subject process; /* of VIEW_SITES */
	struct subject site;    /* of VIEW_STACK */
	size_t stack_first;
	size_t stack_lines;
	size_t stack_page;

	bool help;
	bool typing; /* the keys go to the filter */
	bool paused;
	bool quit;
	bool dirty; /* the screen is not what it should be */
};

/* The list that the view shows; of a stack, that of its site. */
struct list *top_list(struct top *top);

/* Chooses what a row shows as the process or site to look into. */
void top_choose(struct top *top, struct subject *subject, const struct row *row);
void subject_clear(struct subject *subject);

/* Looks for what is chosen in the last answers. */
void top_follow(struct top *top, enum question question);

/* Makes the rows anew, after new data or another order. Out of memory leaves the rows as they were.
 */
void top_rebuild(struct top *top, enum column_set set);

/* Keeps the selection on its row, or near where that was. */
void list_keep(struct list *list);

/* Runs until the user ends it. Returns an enum cli_status, and has reported what went wrong. */
int top_run(const struct options *options);

/* Prints frames. Returns an enum cli_status, and has reported what went wrong. */
int top_batch(const struct options *options);

/* Asks for the processes and waits for the answer, which is the caller's. Returns an enum
 * cli_status, and has reported what went wrong.
 */
int top_ask_processes(const struct options *options, json_t **ret);

#endif
