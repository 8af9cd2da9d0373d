/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <string.h>
#include <wchar.h>

#define NCURSES_WIDECHAR 1
#include <ncurses.h>

#include "keys.h"
#include "refresh.h"
#include "terminal.h"

#define FN(name) TERMINAL_FUNCTION(KEY_##name)
#define ESCAPE 27
#define DELETE 127
#define CTRL(letter) ((letter)&0x1f)

enum {
	IN_PROCESSES = 1 << VIEW_PROCESSES,
	IN_SITES = 1 << VIEW_SITES,
	IN_STACK = 1 << VIEW_STACK,
	IN_LISTS = IN_PROCESSES | IN_SITES,
	IN_ALL = IN_LISTS | IN_STACK,
};

static void act_quit(struct top *top, int key)
{
	(void)key;
	top->quit = true;
}

static void act_help(struct top *top, int key)
{
	(void)key;
	top->help = true;
}

/* Goes to a row, or, in a stack, to a line. */
static void go_to(struct top *top, size_t position)
{
	struct list *list = top_list(top);

	if (top->view == VIEW_STACK) {
		size_t last = top->stack_lines - MIN(top->stack_lines, top->stack_page);

		top->stack_first = MIN(position, last);
	} else if (list->rows.n) {
		list->index = MIN(position, list->rows.n - 1);
		list->selected = list->rows.items[list->index].key;
	}
}

static void move_by(struct top *top, size_t step, bool back)
{
	size_t from = top->view == VIEW_STACK ? top->stack_first : top_list(top)->index;

	go_to(top, back ? from - MIN(from, step) : from + step);
}

static void act_line(struct top *top, int key)
{
	move_by(top, 1, key == FN(UP) || key == 'k');
}

static void act_page(struct top *top, int key)
{
	size_t page = top->view == VIEW_STACK ? top->stack_page : top_list(top)->page;

	move_by(top, MAX(page, 1), key == FN(PPAGE));
}

static void act_end(struct top *top, int key)
{
	go_to(top, key == FN(HOME) || key == 'g' ? 0 : SIZE_MAX / 2);
}

static const struct row *selected(struct top *top)
{
	const struct list *list = top_list(top);

	return list->index < list->rows.n ? &list->rows.items[list->index] : NULL;
}

static void fold(struct top *top, const struct row *row, bool folded)
{
	struct list *list = &top->lists[COLUMNS_PROCESSES];

	if (!row || row->role == ROW_PLAIN || folds_set(&top->folds, row->group, folded) < 0)
		return;
	list->selected = row_key_of_group(row->group);
	top_rebuild(top, COLUMNS_PROCESSES);
}

static void act_fold(struct top *top, int key)
{
	const struct row *row = selected(top);

	fold(top, row, key == '-' || (key == ' ' && row && !row->folded));
}

static void enter_sites(struct top *top, const struct row *row)
{
	struct list *list = &top->lists[COLUMNS_SITES];

	top_choose(top, &top->process, row);
	if (!top->process.json)
		return;
	rows_clear(&list->rows);
	list->selected = 0;
	list->index = list->first = 0;
	list->filter[0] = '\0';
	top->view = VIEW_SITES;
	refresh_forget_sites(top);
}

static void enter_stack(struct top *top, const struct row *row)
{
	top_choose(top, &top->site, row);
	if (!top->site.json)
		return;
	top->stack_first = 0;
	top->view = VIEW_STACK;
}

static void act_enter(struct top *top, int key)
{
	const struct row *row = selected(top);

	(void)key;
	if (!row)
		return;
	if (top->view == VIEW_SITES)
		enter_stack(top, row);
	else if (row->role == ROW_GROUP)
		fold(top, row, !row->folded);
	else
		enter_sites(top, row);
}

/* A filter is taken back first. */
static void act_back(struct top *top, int key)
{
	struct list *list = top_list(top);

	if (key == ESCAPE && top->view != VIEW_STACK && *list->filter) {
		list->filter[0] = '\0';
		top_rebuild(top, top->view == VIEW_SITES ? COLUMNS_SITES : COLUMNS_PROCESSES);
	} else if (top->view == VIEW_STACK) {
		subject_clear(&top->site);
		top->view = VIEW_SITES;
	} else if (top->view == VIEW_SITES) {
		subject_clear(&top->process);
		top->view = VIEW_PROCESSES;
	}
}

/* Sites have no pid to be ordered by. */
static void act_sort(struct top *top, int key)
{
	struct list *list = top_list(top);
	enum rows_sort last = top->view == VIEW_SITES ? SORT_PID : SORT_MAX;

	(void)key;
	list->sort = list->sort + 1 < last ? list->sort + 1 : 0;
	list->reversed = false;
	top_rebuild(top, top->view == VIEW_SITES ? COLUMNS_SITES : COLUMNS_PROCESSES);
	if (top->view == VIEW_SITES)
		refresh_now(top);
}

static void act_reverse(struct top *top, int key)
{
	struct list *list = top_list(top);

	(void)key;
	list->reversed = !list->reversed;
	top_rebuild(top, top->view == VIEW_SITES ? COLUMNS_SITES : COLUMNS_PROCESSES);
}

static void act_filter(struct top *top, int key)
{
	(void)key;
	top->typing = true;
}

static void act_pause(struct top *top, int key)
{
	(void)key;
	top->paused = !top->paused;
	if (!top->paused)
		refresh_now(top);
}

static void act_refresh(struct top *top, int key)
{
	(void)key;
	refresh_now(top);
}

/* To the next longer or shorter of these. */
static void act_interval(struct top *top, int key)
{
	static const double steps[] = {0.5, 1, 2, 5, 10, 30, 60};
	double before = top->delay_s;

	if (key == 'i') {
		for (size_t i = 0; i < ARRAY_SIZE(steps) && top->delay_s <= before; i++)
			top->delay_s = MAX(steps[i], before);
	} else {
		for (size_t i = ARRAY_SIZE(steps); i > 0 && top->delay_s >= before; i--)
			top->delay_s = MIN(steps[i - 1], before);
	}
	refresh_now(top);
}

const struct key_binding key_bindings[] = {
	{{'\r', '\n', FN(ENTER), FN(RIGHT)},
	 IN_LISTS,
	 "Enter, Right",
	 "look into it: a process, then a call site; fold a server",
	 "Enter open",
	 act_enter},
	{{ESCAPE, FN(BACKSPACE), FN(LEFT), DELETE},
	 IN_SITES | IN_STACK,
	 "Esc, Left",
	 "go back; Esc takes a filter off first",
	 "Esc back",
	 act_back},
	{{ESCAPE}, IN_PROCESSES, "Esc", "take the filter off", NULL, act_back},
	{{FN(UP), FN(DOWN), 'k', 'j'}, IN_ALL, "Up, Down, k, j", "one line", NULL, act_line},
	{{FN(PPAGE), FN(NPAGE)}, IN_ALL, "PgUp, PgDn", "one page", NULL, act_page},
	{{FN(HOME), FN(END), 'g', 'G'},
	 IN_ALL,
	 "Home, End, g, G",
	 "first or last line",
	 NULL,
	 act_end},
	{{' ', '+', '-'},
	 IN_PROCESSES,
	 "Space, +, -",
	 "show or hide the processes of a server",
	 "Space fold",
	 act_fold},
	{{'s'}, IN_LISTS, "s", "order by the next column", "s sort", act_sort},
	{{'r'}, IN_LISTS, "r", "the other way round", "r reverse", act_reverse},
	{{'/'},
	 IN_LISTS,
	 "/",
	 "show only what contains a text, also in frames and commands",
	 "/ filter",
	 act_filter},
	{{'p'}, IN_ALL, "p", "pause, and go on", "p pause", act_pause},
	{{'i', 'I'}, IN_ALL, "i, I", "longer or shorter interval", NULL, act_interval},
	{{CTRL('l'), FN(REFRESH)}, IN_ALL, "Ctrl-L", "ask the daemon now", NULL, act_refresh},
	{{'?', 'h', FN(F(1))}, IN_ALL, "?, h, F1", "this help", "? help", act_help},
	{{'q', 'Q'}, IN_ALL, "q, Ctrl-C", "quit", "q quit", act_quit},
};
const size_t n_key_bindings = ARRAY_SIZE(key_bindings);

/* Takes the last character off. */
static void rub_out(char *text)
{
	size_t n = strlen(text);

	while (n > 0 && ((unsigned char)text[--n] & 0xc0) == 0x80)
		;
	text[n] = '\0';
}

static void type_in(char *text, int key)
{
	size_t used = strlen(text);
	char bytes[MB_LEN_MAX];
	mbstate_t state = {0};
	size_t n = key >= ' ' && key < TERMINAL_FUNCTION(0) && key != DELETE
			   ? wcrtomb(bytes, (wchar_t)key, &state)
			   : (size_t)-1;

	if (n == (size_t)-1 || used + n >= FILTER_MAX)
		return;
	memcpy(text + used, bytes, n);
	text[used + n] = '\0';
}

static void type_filter(struct top *top, int key)
{
	char *filter = top_list(top)->filter;

	if (key == '\r' || key == '\n' || key == FN(ENTER) || key == ESCAPE)
		top->typing = false;
	if (key == ESCAPE || key == CTRL('u'))
		*filter = '\0';
	else if (key == FN(BACKSPACE) || key == DELETE || key == CTRL('h'))
		rub_out(filter);
	else
		type_in(filter, key);
	top_rebuild(top, top->view == VIEW_SITES ? COLUMNS_SITES : COLUMNS_PROCESSES);
}

static const struct key_binding *find(int key, enum view view)
{
	for (size_t i = 0; i < n_key_bindings; i++)
		for (size_t j = 0; j < ARRAY_SIZE(key_bindings[i].keys); j++)
			if (key > 0 && key_bindings[i].keys[j] == key &&
			    key_bindings[i].views & (1U << view))
				return &key_bindings[i];
	return NULL;
}

void keys_press(struct top *top, int key)
{
	const struct key_binding *binding = find(key, top->view);

	top->dirty = true;
	if (top->typing)
		type_filter(top, key);
	else if (top->help)
		top->help = false;
	else if (binding)
		binding->act(top, key);
}
