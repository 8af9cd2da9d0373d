/* SPDX-License-Identifier: Apache-2.0 */
#define NCURSES_WIDECHAR 1
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include <ncurses.h>
#include <term.h>
#undef columns /* and not a field of a canvas */

#include "terminal.h"

#define ESCAPE_DELAY_MS 25

static SCREEN *screen;
static int signal_fd = -1;
static sigset_t mask_before;
static bool ascii; /* the terminal shows nothing else */

/* What gives the terminal back without curses, whose functions a handler must not call. */
static struct termios modes_before;
static char restore[256];
static size_t restore_length;

static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static const int other_signals[] = {SIGTSTP, SIGCONT, SIGWINCH};
static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

static void on_crash(int number)
{
	ssize_t ignored = write(STDOUT_FILENO, restore, restore_length);

	(void)ignored;
	tcsetattr(STDIN_FILENO, TCSANOW, &modes_before);
	raise(number); /* by now its own action is back */
}

static int collect(int c)
{
	if (restore_length < sizeof(restore))
		restore[restore_length++] = (char)c;
	return c;
}

static void prepare_restore(void)
{
	const char *const codes[] = {exit_attribute_mode, keypad_local, cursor_normal,
				     exit_ca_mode};
	struct sigaction action = {.sa_handler = on_crash,
				   .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};

	restore_length = 0;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i])
			tputs(codes[i], 1, collect);
	for (size_t i = 0; i < ARRAY_SIZE(crash_signals); i++)
		sigaction(crash_signals[i], &action, NULL);
}

static int take_signals(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	for (size_t i = 0; i < ARRAY_SIZE(ending_signals); i++)
		sigaddset(&mask, ending_signals[i]);
	for (size_t i = 0; i < ARRAY_SIZE(other_signals); i++)
		sigaddset(&mask, other_signals[i]);
	if (sigprocmask(SIG_BLOCK, &mask, &mask_before) < 0)
		return -errno;
	signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return signal_fd < 0 ? -errno : 0;
}

/* The user's words about the terminal, whether or not that locale is installed here. */
static bool locale_is_utf8(void)
{
	static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
	}
	return false;
}

static void set_modes(bool colors)
{
	static const short numbers[] = {COLOR_GREEN, COLOR_YELLOW, COLOR_RED};

	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(ESCAPE_DELAY_MS);
	curs_set(0);
	if (!colors || !has_colors())
		return;
	start_color();
	use_default_colors();
	for (short i = 0; i < (short)ARRAY_SIZE(numbers); i++)
		init_pair((short)(STYLE_GREEN + i), numbers[i], -1);
}

int terminal_check(void)
{
	const char *type = getenv("TERM");
	bool able;
	int detail;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return -ENOTTY;
	if (!type || setupterm(type, STDOUT_FILENO, &detail) != OK)
		return -ENOTSUP;
	able = cursor_address != NULL;
	del_curterm(cur_term);
	return able ? 0 : -ENOTSUP;
}

int terminal_start(bool colors)
{
	int err;

	if (tcgetattr(STDIN_FILENO, &modes_before) < 0)
		return -errno;
	ascii = !locale_is_utf8();
	err = take_signals();
	if (err)
		return err;
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		terminal_stop();
		return -ENOTSUP;
	}
	signal(SIGTSTP, SIG_DFL); /* curses' own handler would work behind our back */
	set_modes(colors);
	prepare_restore();
	return 0;
}

void terminal_stop(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(crash_signals) && screen; i++)
		signal(crash_signals[i], SIG_DFL);
	if (screen) {
		endwin();
		delscreen(screen);
		screen = NULL;
	}
	if (signal_fd >= 0)
		close(signal_fd);
	signal_fd = -1;
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
}

int terminal_signal_fd(void)
{
	return signal_fd;
}

static void fit_size(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
		resizeterm(size.ws_row, size.ws_col);
}

/* Stops as any program does; goes on when it is continued. */
static void stop_here(void)
{
	sigset_t mask;

	endwin();
	sigemptyset(&mask);
	sigaddset(&mask, SIGTSTP);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &mask, NULL);
	sigprocmask(SIG_BLOCK, &mask, NULL);
}

enum terminal_event terminal_signal(void)
{
	struct signalfd_siginfo info;

	if (read(signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return TERMINAL_NOTHING;
	for (size_t i = 0; i < ARRAY_SIZE(ending_signals); i++)
		if ((int)info.ssi_signo == ending_signals[i])
			return TERMINAL_END;
	if (info.ssi_signo == SIGTSTP)
		stop_here();
	/* Whoever had the terminal meanwhile may have left it in any state. */
	if (info.ssi_signo == SIGCONT)
		reset_prog_mode();
	fit_size();
	clearok(curscr, TRUE);
	return TERMINAL_REDRAW;
}

int terminal_key(void)
{
	wint_t c;

	switch (get_wch(&c)) {
	case OK:
		return (int)c;
	case KEY_CODE_YES:
		return TERMINAL_FUNCTION((int)c);
	default:
		return TERMINAL_NO_KEY;
	}
}

/* Stand-ins for what an ASCII terminal lacks: the blocks of charts, the marks of shortened text and
 * of figures that may be too low.
 */
static char stand_in(wchar_t c)
{
	static const char blocks[] = "..::++##";

	if (c < 0x80)
		return (char)c;
	if (c >= 0x2581 && c <= 0x2588)
		return blocks[c - 0x2581];
	if (c == 0x2265)
		return '>';
	return c == 0x2026 ? '~' : '?';
}

/* Replaces text by ASCII of as many columns. */
static void to_ascii(char *text)
{
	mbstate_t state = {0};
	char *out = text;

	for (size_t n; *text; text += n) {
		wchar_t c = L'?';
		int width;

		n = mbrtowc(&c, text, strlen(text), &state);
		if (n == 0 || n > strlen(text)) { /* not UTF-8, which safe text is */
			n = 1;
			state = (mbstate_t){0};
		}
		width = c < 0x80 ? 1 : wcwidth(c);
		for (int i = 0; i < width; i++)
			*out++ = stand_in(c);
	}
	*out = '\0';
}

static attr_t attributes(enum style style)
{
	switch (style) {
	case STYLE_BOLD:
		return A_BOLD;
	case STYLE_DIM:
		return A_DIM;
	case STYLE_RED:
		return A_BOLD | COLOR_PAIR(STYLE_RED);
	case STYLE_GREEN:
	case STYLE_YELLOW:
		return COLOR_PAIR(style);
	default:
		return A_NORMAL;
	}
}

static void put(int y, int x, enum style style, const char *text)
{
	_cleanup_free_ char *copy = ascii ? strdup(text) : NULL;

	if (ascii && !copy)
		return;
	if (ascii)
		to_ascii(copy);
	attrset(attributes(style));
	mvaddstr(y, x, ascii ? copy : text);
	attrset(A_NORMAL);
}

void terminal_begin(struct canvas *ret)
{
	erase();
	*ret = (struct canvas){
		.rows = getmaxy(stdscr),
		.columns = getmaxx(stdscr),
		.charts = true,
		.put = put,
	};
}

void terminal_select(int y)
{
	mvchgat(y, 0, -1, A_REVERSE, 0, NULL);
}

void terminal_end(void)
{
	refresh();
}
