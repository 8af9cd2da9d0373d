/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that there was no room or time for: they are not looked at again at once, however much
 * news of them comes in.
 */
#ifndef SRTLEAK_PUT_OFF_H
#define SRTLEAK_PUT_OFF_H

#include <stdbool.h>
#include <sys/types.h>

#include "table.h"

#define PUT_OFF_MAX 4096 /* then it starts over */
#define PUT_OFF_NS 1000000000ULL

struct put_off {
	struct table table;
};

void put_off_init(struct put_off *put_off);
void put_off_clear(struct put_off *put_off);

void put_off_note(struct put_off *put_off, pid_t pid);
bool put_off_holds(const struct put_off *put_off, pid_t pid);

#endif
