/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of include/ as user space wants them: names for people, and rows of the API table. */
#ifndef SRTLEAK_NAMES_H
#define SRTLEAK_NAMES_H

#include <stdbool.h>

#include "api.h"
#include "event.h"

extern const struct api_row api_rows[API_MAX];

const char *api_symbol(enum api api);
const char *family_name(enum api_family family);

const char *kind_name(enum memory_kind kind);
bool kind_has_size(enum memory_kind kind); /* graphs and others' memory have none that is known */
bool kind_is_summed(enum memory_kind kind);
bool kind_is_tracked(enum memory_kind kind); /* some probed function allocates it */

const char *counter_name(enum counter counter);
bool counter_is_loss(enum counter counter);

#endif
