/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "log.h"

void log_line(enum log_level level, const char *format, ...)
{
	char line[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "srtleakd: %s\n", line);
	else
		fprintf(stderr, "<%d>srtleakd: %s\n", level, line);
}
