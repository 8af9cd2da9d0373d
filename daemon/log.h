/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines on stderr: with systemd's priority prefix, or without it on a terminal. Control
 * characters are replaced, for names in a message come from strangers.
 */
#ifndef SRTLEAK_LOG_H
#define SRTLEAK_LOG_H

#include "macro.h"

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_INFO };

void log_line(enum log_level level, const char *format, ...) _printf_(2, 3);

/* Of what other processes can bring about as often as they like: some lines a minute, and how many
 * were left out.
 */
void log_limited(enum log_level level, const char *format, ...) _printf_(2, 3);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)

#endif
