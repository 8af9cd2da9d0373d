/* SPDX-License-Identifier: Apache-2.0 */
/* Ctrl-C for commands that go on until it comes. */
#ifndef SRTLEAK_CLI_STOP_H
#define SRTLEAK_CLI_STOP_H

/* From here on the first SIGINT or SIGTERM does not end the program but makes the returned
 * descriptor readable; the second one ends it. The descriptor stays open for good. Returns a
 * negative errno on failure.
 */
int stop_on_signals(void);

#endif
