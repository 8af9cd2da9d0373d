/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

/* Started by systemd, with stderr leading to the journal, which names the program itself. */
static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uint64_t device, inode;
	struct stat st;

	return stream && sscanf(stream, "%" SCNu64 ":%" SCNu64, &device, &inode) == 2 &&
	       fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

/* Bytes of a character that is not for a log: a C1 control, or a mark that turns the direction of
 * text (U+0080 to U+009F, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069); else 0.
 */
static size_t unsafe_length(const unsigned char *s)
{
	if (*s < 0x20 || *s == 0x7f)
		return 1;
	if (s[0] == 0xc2 && s[1] >= 0x80 && s[1] <= 0x9f)
		return 2;
	if (s[0] != 0xe2)
		return 0;
	if (s[1] == 0x80 && (s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xaa && s[2] <= 0xae)))
		return 3;
	return s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9 ? 3 : 0;
}

static void _printf_(2, 0) write_line(enum log_level level, const char *format, va_list args)
{
	char line[1024];

	vsnprintf(line, sizeof(line), format, args);
	for (unsigned char *c = (unsigned char *)line; *c; c++) {
		size_t n = unsafe_length(c);

		if (n > 0) {
			memset(c, '?', n);
			c += n - 1;
		}
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "srtleakd: %s\n", line);
	else
		fprintf(stderr, "<%d>%s%s\n", level,
			is_journal(STDERR_FILENO) ? "" : "srtleakd: ", line);
}

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(level, format, args);
	va_end(args);
}

#define LIMITED_PER_MINUTE 20U
#define MINUTE_NS 60000000000ULL

void log_limited(enum log_level level, const char *format, ...)
{
	static uint64_t began_ns;
	static unsigned int lines, left_out;
	uint64_t now = clock_monotonic_ns();
	va_list args;

	if (now - began_ns > MINUTE_NS) {
		if (left_out > 0)
			log_line(level, "%u more lines like these were left out", left_out);
		began_ns = now;
		lines = left_out = 0;
	}
	if (lines == LIMITED_PER_MINUTE) {
		left_out++;
		return;
	}
	lines++;
	va_start(args, format);
	write_line(level, format, args);
	va_end(args);
}
