/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of the daemon and when: a round of questions at every interval, and again and again
 * while it cannot be reached.
 */
#ifndef SRTLEAK_CLI_TOP_REFRESH_H
#define SRTLEAK_CLI_TOP_REFRESH_H

#include "top.h"

/* Begins a round if it is time to. */
void refresh_if_due(struct top *top);

/* Goes on with the round: to be called when fetch_fd() is readable, and when refresh_wait_ms() is
 * over.
 */
void refresh_step(struct top *top);

/* How long poll(2) may wait. */
int refresh_wait_ms(const struct top *top);

/* Begins a round as soon as possible, also while paused. */
void refresh_now(struct top *top);

/* The same after another process was chosen: what is known of sites is another's. */
void refresh_forget_sites(struct top *top);

/* Seconds for which the daemon has kept a question waiting. */
int64_t refresh_slow_s(const struct top *top);

#endif
