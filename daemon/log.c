/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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

static void _printf_(2, 0) write_line(enum log_level level, const char *format, va_list args)
{
	char line[1024];

	vsnprintf(line, sizeof(line), format, args);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
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
