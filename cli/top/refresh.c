/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "../output.h"
#include "macro.h"
#include "protocol.h"
#include "refresh.h"

#define AT_ONCE 0 /* as the time of the next round: even while paused */
#define RETRY_MS 1000
#define SLOW_S 2
#define WAIT_MAX_MS 60000
#define SITES_SHOWN 200 /* with their stacks they are much to send every two seconds */

static const struct {
	const char *method;
	const char *items;
} questions[QUESTIONS] = {
	[ASK_PS] = {METHOD_PS, "processes"},
	[ASK_SITES] = {METHOD_SITES, "sites"},
	[ASK_STATUS] = {METHOD_STATUS, NULL},
};

/* The daemon chooses the sites that are sent, so it has to know the order that they are shown in.
 * It has none by name; that one is by bytes, and sorted here.
 */
static json_t *parameters_of_sites(const struct top *top)
{
	static const char *const sorts[SORT_MAX] = {
		[SORT_GROWTH] = "growth", [SORT_COUNT] = "count", [SORT_AGE] = "age"};
	enum rows_sort sort = top->lists[COLUMNS_SITES].sort;
	const char *name = sort == SORT_GROWTH && top->no_growth_sort ? NULL : sorts[sort];

	return json_pack("{s:I, s:i, s:b, s:s}", "pid", (json_int_t)top->process.row.pid, "limit",
			 SITES_SHOWN, "history", 1, "sort", name ? name : "bytes");
}

static json_t *parameters_of(const struct top *top, enum question question)
{
	switch (question) {
	case ASK_SITES:
		return parameters_of_sites(top);
	case ASK_PS:
		return json_pack("{s:b}", "history", 1);
	default:
		return json_object();
	}
}

static void end_round(struct top *top, const char *failure)
{
	int64_t after = (int64_t)(top->delay_s * 1000);

	fetch_cancel(&top->fetch);
	top->asking = QUESTIONS;
	snprintf(top->failure, sizeof(top->failure), "%s", failure ? failure : "");
	top->next_round_ms = failure ? fetch_now_ms() + RETRY_MS : top->round_began_ms + after;
	top->dirty = true;
}

/* Asks the next question that matters to what is looked at. */
static void ask(struct top *top, enum question question)
{
	json_t *parameters;
	int err;

	if (question == ASK_SITES && (top->view == VIEW_PROCESSES || top->process.gone))
		question++;
	top->asking = question;
	if (question == QUESTIONS) {
		end_round(top, NULL);
		return;
	}
	parameters = parameters_of(top, question);
	err = parameters ? fetch_start(&top->fetch, top->socket, questions[question].method,
				       questions[question].items, parameters)
			 : -ENOMEM;
	if (err)
		end_round(top, fetch_words(&top->fetch, err, true));
}

void refresh_if_due(struct top *top)
{
	int64_t now = fetch_now_ms();

	if (top->asking != QUESTIONS || now < top->next_round_ms ||
	    (top->paused && top->next_round_ms != AT_ONCE))
		return;
	top->round_began_ms = now;
	ask(top, ASK_PS);
}

void refresh_now(struct top *top)
{
	fetch_cancel(&top->fetch);
	top->asking = QUESTIONS;
	top->next_round_ms = AT_ONCE;
}

void refresh_forget_sites(struct top *top)
{
	json_decref(top->answers[ASK_SITES]);
	top->answers[ASK_SITES] = NULL;
	refresh_now(top);
}

/* Takes `answer` over. Rows borrow from the answer before it, which goes when they are new. */
static void take(struct top *top, enum question question, json_t *answer)
{
	_cleanup_(json_cleanup) json_t *before = top->answers[question];
	struct timeval now;

	top->answers[question] = answer;
	if (question == ASK_STATUS)
		return;
	if (question == ASK_PS) {
		gettimeofday(&now, NULL);
		top->answered_at = (double)now.tv_sec + (double)now.tv_usec / 1e6;
		top->answered_ms = fetch_now_ms();
	}
	rows_clear(&top->lists[question == ASK_PS ? COLUMNS_PROCESSES : COLUMNS_SITES].rows);
	top_rebuild(top, question == ASK_PS ? COLUMNS_PROCESSES : COLUMNS_SITES);
	top_follow(top, question);
}

/* Failures that are part of life: a process that has just ended, and a daemon that cannot order by
 * growth.
 */
static void take_error(struct top *top, int error)
{
	const struct fetch *fetch = &top->fetch;
	enum question question = top->asking;

	if (error == -EREMOTEIO && strcmp(fetch->error, ERROR_NO_SUCH_PROCESS) == 0) {
		ask(top, question + 1);
	} else if (error == -EREMOTEIO && strcmp(fetch->error, ERROR_INVALID_PARAMETER) == 0 &&
		   strcmp(fetch->parameter, "sort") == 0 && !top->no_growth_sort) {
		top->no_growth_sort = true;
		ask(top, question);
	} else {
		end_round(top, fetch_words(fetch, error, false));
	}
}

void refresh_step(struct top *top)
{
	enum question question = top->asking;
	json_t *answer;
	int r;

	if (question == QUESTIONS)
		return;
	r = fetch_step(&top->fetch, &answer);
	if (r == 0)
		return;
	if (r < 0) {
		take_error(top, r);
		return;
	}
	take(top, question, answer);
	ask(top, question + 1);
}

int64_t refresh_slow_s(const struct top *top)
{
	int64_t waited = top->asking == QUESTIONS
				 ? 0
				 : (fetch_now_ms() - top->fetch.begin_ms) / INT64_C(1000);

	return waited >= SLOW_S ? waited : 0;
}

/* While something is amiss the screen counts its seconds. */
int refresh_wait_ms(const struct top *top)
{
	int64_t left = top->next_round_ms - fetch_now_ms();

	if (top->asking != QUESTIONS)
		return top->fetch.pending ? 0 : 1000;
	if (top->paused && top->next_round_ms != AT_ONCE)
		return WAIT_MAX_MS;
	return (int)MIN(MAX(left, 0), WAIT_MAX_MS);
}
