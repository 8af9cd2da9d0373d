/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "mask.h"

#define MASK "***"

/* Short words must be a part on their own (monkey, tokenizer); longer ones may end one
 * (PGPASSWORD).
 */
static const struct secret_word {
	const char *word;
	bool as_ending;
} secret_words[] = {
	{"key", false},     {"keys", false},     {"token", false},     {"apikey", true},
	{"password", true}, {"passwords", true}, {"passwd", true},     {"passphrase", true},
	{"secret", true},   {"secrets", true},   {"credential", true}, {"credentials", true},
};

/* One argument on its way through. */
struct scan {
	struct buffer *out;
	const char *begin;
	const char *p;
	const char *end;
	bool script; /* a blank came before: a value ends with its word */
	bool query;  /* a '?' came before in this word: a value ends at '&' */
};

/* Not <ctype.h>: command lines mean the same in every locale. */
static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_separator(char c)
{
	return c == '-' || c == '_' || c == '.';
}

static bool is_name(char c)
{
	return is_upper(c) || is_lower(c) || (c >= '0' && c <= '9') || is_separator(c);
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_quote(char c)
{
	return c == '"' || c == '\'';
}

static bool is_secret_part(const char *part, size_t n, bool whole)
{
	for (size_t i = 0; i < ARRAY_SIZE(secret_words); i++) {
		const struct secret_word *w = &secret_words[i];
		size_t length = strlen(w->word);

		if (n < length || (n > length && !(whole && w->as_ending)))
			continue;
		if (strncasecmp(part + n - length, w->word, length) == 0)
			return true;
	}
	return false;
}

static bool is_secret_name(const char *name, const char *end)
{
	const char *part = name, *hump = name;

	for (const char *p = name; p <= end; p++) {
		bool part_ends = p == end || is_separator(*p);
		bool hump_ends = part_ends || (p > hump && is_upper(*p) && !is_upper(p[-1]));

		if (hump_ends) {
			if (is_secret_part(hump, (size_t)(p - hump), false))
				return true;
			hump = part_ends ? p + 1 : p;
		}
		if (part_ends) {
			if (is_secret_part(part, (size_t)(p - part), true))
				return true;
			part = p + 1;
		}
	}
	return false;
}

static void emit_to(struct scan *s, const char *to)
{
	buffer_append(s->out, s->p, (size_t)(to - s->p));
	s->p = to;
}

static void emit_blanks(struct scan *s)
{
	const char *p = s->p;

	while (p < s->end && is_blank(*p))
		p++;
	emit_to(s, p);
}

static void mask_to(struct scan *s, const char *to)
{
	buffer_string(s->out, MASK);
	s->p = to;
}

/* Behind the quote that closes the one at p, or the end. */
static const char *quoted_end(const char *p, const char *end)
{
	char quote = *p++;

	while (p < end && *p != quote)
		p += *p == '\\' && end - p > 1 ? 2 : 1;
	return p < end ? p + 1 : end;
}

/* Words as a shell splits them: blanks within quotes do not end one. */
static const char *word_end(const char *p, const char *end, bool query)
{
	while (p < end && !is_blank(*p) && !(query && (*p == '&' || is_quote(*p))))
		p = is_quote(*p) ? quoted_end(p, end) : p + 1;
	return p;
}

static const char *find_or_end(const char *p, const char *end, char c)
{
	const char *found = memchr(p, c, (size_t)(end - p));

	return found ? found : end;
}

/* The value behind `name=`, `name:`. */
static void mask_assigned(struct scan *s, bool name_quoted)
{
	if (name_quoted && s->p < s->end && is_quote(*s->p))
		mask_to(s, quoted_end(s->p, s->end));
	else if (name_quoted)
		mask_to(s, find_or_end(s->p, s->end, '}'));
	else if (s->script)
		mask_to(s, word_end(s->p, s->end, s->query));
	else
		mask_to(s, s->query ? find_or_end(s->p, s->end, '&') : s->end);
}

/* The words behind `--name` in a script, up to the next option or operator. */
static void mask_words(struct scan *s)
{
	for (;;) {
		emit_blanks(s);
		s->script = true;
		s->query = false;
		if (s->p == s->end || strchr("-&|;<>", *s->p))
			return;
		mask_to(s, word_end(s->p, s->end, false));
	}
}

static void scan_name(struct scan *s)
{
	const char *name = s->p, *end = name;
	bool quoted = name > s->begin && is_quote(name[-1]);

	while (end < s->end && is_name(*end))
		end++;
	emit_to(s, end);
	if (!is_secret_name(name, end) || end == s->end)
		return;
	quoted = quoted && *end == name[-1];
	if (quoted) {
		emit_to(s, end + 1);
		emit_blanks(s);
	}
	if (s->p == s->end)
		return;
	if (*s->p == ':' || *s->p == '=') {
		bool colon = *s->p == ':';

		emit_to(s, s->p + 1);
		if (colon || quoted)
			emit_blanks(s);
		mask_assigned(s, quoted);
	} else if (*name == '-' && is_blank(*s->p)) {
		mask_words(s);
	}
}

/* At "://". The last '@' counts: passwords hold unescaped ones. */
static void scan_authority(struct scan *s)
{
	const char *at = NULL, *p = s->p + 3;

	emit_to(s, p);
	for (; p < s->end && *p != '/' && *p != '?' && *p != '#'; p++) {
		if (is_blank(*p) || is_quote(*p))
			break;
		if (*p == '@')
			at = p;
	}
	if (at)
		mask_to(s, at);
}

static void scan_byte(struct scan *s)
{
	if (is_blank(*s->p)) {
		s->script = true;
		s->query = false;
	} else if (*s->p == '?') {
		s->query = true;
	}
	emit_to(s, s->p + 1);
}

/* Returns whether the argument is an option whose value is the next argument. */
static bool mask_argument(struct buffer *out, const char *arg, size_t size)
{
	struct scan s = {.out = out, .begin = arg, .p = arg, .end = arg + size};
	const char *name_end = arg;

	while (s.p < s.end) {
		if (is_name(*s.p))
			scan_name(&s);
		else if (s.end - s.p >= 3 && memcmp(s.p, "://", 3) == 0)
			scan_authority(&s);
		else
			scan_byte(&s);
	}
	if (size == 0 || *arg != '-')
		return false;
	while (name_end < s.end && is_name(*name_end))
		name_end++;
	return name_end == s.end && is_secret_name(arg, s.end);
}

void mask_arguments(struct buffer *out, const char *args, size_t size)
{
	const char *end = args + size;
	bool secret = false;

	for (const char *arg = args; arg < end;) {
		const char *arg_end = find_or_end(arg, end, '\0');

		if (arg > args)
			buffer_string(out, " ");
		if (secret && *arg != '-')
			buffer_string(out, MASK);
		else
			secret = mask_argument(out, arg, (size_t)(arg_end - arg));
		arg = arg_end + 1;
	}
}
