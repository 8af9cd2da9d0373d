/* SPDX-License-Identifier: Apache-2.0 */
/* The live view as a whole: waits for keys, signals and the daemon, and draws. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "../error.h"
#include "draw.h"
#include "keys.h"
#include "macro.h"
#include "protocol.h"
#include "refresh.h"
#include "terminal.h"
#include "top.h"

static void draw(struct top *top)
{
	struct canvas canvas;
	int selected;

	terminal_begin(&canvas);
	selected = draw_screen(top, &canvas);
	if (selected >= 0)
		terminal_select(selected);
	terminal_end();
	top->dirty = false;
}

static void take_keys(struct top *top, short events)
{
	int key;

	if (events & POLLIN)
		while ((key = terminal_key()) != TERMINAL_NO_KEY)
			keys_press(top, key);
	if (events & (POLLHUP | POLLERR | POLLNVAL))
		top->quit = true;
}

static void take_signals(struct top *top)
{
	switch (terminal_signal()) {
	case TERMINAL_END:
		top->quit = true;
		break;
	case TERMINAL_REDRAW:
		top->dirty = true;
		break;
	default:
		break;
	}
}

/* Waits until there is something to do, and does it. */
static void turn(struct top *top)
{
	struct pollfd entries[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = terminal_signal_fd(), .events = POLLIN},
		{.fd = fetch_fd(&top->fetch), .events = POLLIN},
	};

	if (poll(entries, ARRAY_SIZE(entries), refresh_wait_ms(top)) < 0)
		return;
	if (entries[1].revents)
		take_signals(top);
	if (entries[0].revents)
		take_keys(top, entries[0].revents);
	refresh_step(top);
	if (*top->failure || refresh_slow_s(top))
		top->dirty = true;
}

static void top_clear(struct top *top)
{
	fetch_cancel(&top->fetch);
	subject_clear(&top->process);
	subject_clear(&top->site);
	for (size_t i = 0; i < ARRAY_SIZE(top->lists); i++)
		rows_clear(&top->lists[i].rows);
	for (size_t i = 0; i < ARRAY_SIZE(top->answers); i++)
		json_decref(top->answers[i]);
	folds_clear(&top->folds);
}

static int report_terminal(int error)
{
	return error_report(error == -ENOTTY || error == -ENOTSUP ? CLI_USAGE : CLI_FAILURE,
			    "Without one: srtleakctl top --batch", "top", "%s",
			    error == -ENOTTY ? "standard input and output must be a terminal"
			    : error == -ENOTSUP
				    ? "this type of terminal ($TERM) cannot show a full screen"
				    : strerror(-error));
}

int top_run(const struct options *options)
{
	_cleanup_(top_clear) struct top top = {
		.socket = options->socket,
		.delay_s = options->delay > 0 ? options->delay : DELAY_STANDARD_S,
		.asking = QUESTIONS,
	};
	int err = terminal_check();
	int status;

	if (err)
		return report_terminal(err);
	/* What is wrong at the start is told as by any other command. */
	status = top_ask_processes(options, &top.answers[ASK_PS]);
	if (status != CLI_OK)
		return status;
	err = terminal_start(output_colors());
	if (err)
		return report_terminal(err);
	top.answered_at = (double)time(NULL);
	top.answered_ms = fetch_now_ms();
	if (options->sort)
		top.lists[COLUMNS_PROCESSES].sort = (enum rows_sort)rows_sort_named(options->sort);
	top_rebuild(&top, COLUMNS_PROCESSES);
	while (!top.quit) {
		refresh_if_due(&top);
		if (top.dirty)
			draw(&top);
		turn(&top);
	}
	terminal_stop();
	return CLI_OK;
}
