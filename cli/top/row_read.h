/* SPDX-License-Identifier: Apache-2.0 */
/* One row from the JSON of a process or a site. Whatever is absent or of a wrong type is unknown.
 */
#ifndef SRTLEAK_CLI_TOP_ROW_READ_H
#define SRTLEAK_CLI_TOP_ROW_READ_H

#include "rows.h"

/* Return 0 or -ENOMEM; what `ret` owns is given back by row_clear(). */
int row_read_process(const json_t *process, double now, struct row *ret);
int row_read_site(const json_t *site, const json_t *total, struct row *ret);
void row_clear(struct row *row);

/* Whether any of the texts that a person would look for contains `text`, in any case of letters. */
bool row_matches_process(const json_t *process, const char *text);
bool row_matches_site(const struct row *row, const char *text);

#endif
