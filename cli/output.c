/* SPDX-License-Identifier: Apache-2.0 */
#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "macro.h"
#include "output.h"

#define ELLIPSIS "\xe2\x80\xa6"
#define ESCAPE_MAX 10 /* bytes of \u{10ffff} */

static bool colors;

static const char *const style_codes[] = {
	[STYLE_NONE] = "",          [STYLE_BOLD] = "\033[1m",    [STYLE_DIM] = "\033[2m",
	[STYLE_GREEN] = "\033[32m", [STYLE_YELLOW] = "\033[33m", [STYLE_RED] = "\033[1;31m",
};

/* Characters with a width (or none) that hide, reorder or break text. */
static const struct {
	uint32_t first;
	uint32_t last;
} deceptive[] = {
	{0x00ad, 0x00ad},   /* soft hyphen */
	{0x061c, 0x061c},   /* Arabic letter mark */
	{0x115f, 0x1160},   /* Hangul fillers */
	{0x180e, 0x180e},   /* Mongolian vowel separator */
	{0x200b, 0x200f},   /* zero-width space and joiners, direction marks */
	{0x2028, 0x202e},   /* line separators, direction overrides */
	{0x2060, 0x206f},   /* invisible operators, direction isolates */
	{0xfeff, 0xfeff},   /* byte order mark */
	{0xfff9, 0xfffb},   /* annotation marks */
	{0xe0000, 0xe007f}, /* tags */
};

void output_init(bool no_color)
{
	const char *environment = getenv("NO_COLOR");

	/* Widths of characters come from the locale; the text is UTF-8 whatever the user's is. */
	setlocale(LC_CTYPE, "C.UTF-8");
	colors = !no_color && !(environment && *environment) && isatty(STDOUT_FILENO);
}

bool output_colors(void)
{
	return colors;
}

size_t output_columns(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		return 0;
	return size.ws_col;
}

void output_styled(enum style style, const char *text)
{
	bool styled = colors && style != STYLE_NONE;

	if (styled)
		fputs(style_codes[style], stdout);
	fputs(text, stdout);
	if (styled)
		fputs("\033[0m", stdout);
}

/* Decodes one character. Returns its length in bytes, or 0 where `s` does not begin with one. */
static size_t decode(const unsigned char *s, uint32_t *ret)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? s[0] : n ? s[0] & (0x7fU >> n) : 0;

	if (n == 0 || s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return n;
}

static bool is_plain(uint32_t c)
{
	for (size_t i = 0; i < ARRAY_SIZE(deceptive); i++)
		if (c >= deceptive[i].first && c <= deceptive[i].last)
			return false;
	return wcwidth((wchar_t)c) >= 0;
}

char *output_escape(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	char *escaped = malloc(strlen(text) * ESCAPE_MAX + sizeof(ELLIPSIS));
	char *out = escaped;

	if (!escaped)
		return NULL;
	while (*s) {
		uint32_t c = 0;
		size_t n = decode(s, &c);

		if (n == 0 || (n == 1 && !is_plain(c))) {
			out += sprintf(out, "\\x%02x", *s);
			n = 1;
		} else if (!is_plain(c)) {
			out += sprintf(out, "\\u{%x}", c);
		} else {
			out = mempcpy(out, s, n);
		}
		s += n;
	}
	*out = '\0';
	return escaped;
}

static size_t char_width(const unsigned char *s, size_t *ret_bytes)
{
	uint32_t c = 0;
	size_t n = decode(s, &c);
	int width = n ? wcwidth((wchar_t)c) : 1;

	*ret_bytes = n ? n : 1;
	return width > 0 ? (size_t)width : 0;
}

size_t output_width(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t width = 0;
	size_t n;

	for (; *s; s += n)
		width += char_width(s, &n);
	return width;
}

/* Bytes of the start of `text` whose columns number at most `width`. */
static size_t fitting(const char *text, size_t width)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t used = 0;
	size_t n;

	while (*s) {
		used += char_width(s, &n);
		if (used > width)
			break;
		s += n;
	}
	return (size_t)(s - (const unsigned char *)text);
}

void output_shorten(char *text, size_t width, bool keep_end)
{
	size_t has = output_width(text);
	size_t skipped = 0;
	char *tail = text;
	size_t n;

	if (has <= width || width == 0)
		return;
	if (!keep_end) {
		strcpy(text + fitting(text, width - 1), ELLIPSIS);
		return;
	}
	for (; *tail && skipped + width <= has; tail += n)
		skipped += char_width((unsigned char *)tail, &n);
	memmove(text + strlen(ELLIPSIS), tail, strlen(tail) + 1);
	memcpy(text, ELLIPSIS, sizeof(ELLIPSIS) - 1);
}

const char *human_bytes(char buffer[HUMAN_MAX], double bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	size_t unit = 0;

	/* 1023.95 would be printed as 1024.0. */
	while (unit + 1 < ARRAY_SIZE(units) && MAX(bytes, -bytes) >= (unit ? 1023.95 : 1024.0)) {
		bytes /= 1024;
		unit++;
	}
	snprintf(buffer, HUMAN_MAX, "%.*f %s", unit ? 1 : 0, MIN(MAX(bytes, -1e6), 1e6),
		 units[unit]);
	return buffer;
}

const char *human_duration(char buffer[HUMAN_MAX], double seconds)
{
	const char *sign = seconds <= -1 ? "-" : "";
	uint64_t s = (uint64_t)MIN(MAX(seconds, -seconds), 1e12);

	if (s < 60)
		snprintf(buffer, HUMAN_MAX, "%s%us", sign, (unsigned)s);
	else if (s < 3600)
		snprintf(buffer, HUMAN_MAX, "%s%um%02us", sign, (unsigned)(s / 60),
			 (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(buffer, HUMAN_MAX, "%s%uh%02um", sign, (unsigned)(s / 3600),
			 (unsigned)(s / 60 % 60));
	else
		snprintf(buffer, HUMAN_MAX, "%s%ud%02uh", sign, (unsigned)(s / 86400),
			 (unsigned)(s / 3600 % 24));
	return buffer;
}

void json_cleanup(json_t **json)
{
	json_decref(*json);
}
