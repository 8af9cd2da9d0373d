/* SPDX-License-Identifier: Apache-2.0 */
/* What several commands say about memory in the same words: kinds and partial figures. */
#ifndef SRTLEAK_CLI_MEMORY_H
#define SRTLEAK_CLI_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "output.h"

struct memory_kind_info {
	const char *name;
	bool summed; /* part of a process's CUDA memory */
};

extern const struct memory_kind_info memory_kinds[];
extern const size_t n_memory_kinds;

/* Member `field` ("bytes", "count") of one kind in {KIND:{"bytes","count"}}; NULL if it is not
 * there. */
const json_t *memory_figure(const json_t *kinds, const char *kind, const char *field);

/* The sum of a field over the kinds that add up. */
double memory_sum(const json_t *kinds, const char *field);

/* What is to stand before a figure: where figures may be too low, nothing seen is not nothing. */
const char *memory_mark(double figure, bool may_be_more);

/* A number of bytes for people, with its mark: "≥0 B". Written to `buffer`, which is also returned.
 */
const char *memory_text(char buffer[HUMAN_MAX], double bytes, bool may_be_more);

/* Prints a line in plain words for each reason in a "partial" list. */
void memory_print_partial(const json_t *partial);

#endif
