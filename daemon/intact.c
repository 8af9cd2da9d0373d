/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "intact.h"
#include "macro.h"
#include "remote.h"

#define BREAKPOINT 0xcc

/* Functions whose code is fetched at once. */
struct batch {
	const struct probe_point *points[REMOTE_PIECES_MAX];
	struct remote_piece pieces[REMOTE_PIECES_MAX];
	uint8_t code[REMOTE_PIECES_MAX][PROBE_CODE_MAX];
	size_t n;
};

/* A short function's neighbours have breakpoints of their own. */
static bool is_same(const struct probe_point *point, const uint8_t *code, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (code[i] != point->code[i] && code[i] != BREAKPOINT)
			return false;
	return true;
}

static enum intact compare(pid_t pid, struct batch *batch)
{
	size_t n = batch->n;

	batch->n = 0;
	if (remote_read_pieces(pid, batch->pieces, n) < 0)
		return INTACT_UNKNOWN;
	for (size_t i = 0; i < n; i++)
		if (!is_same(batch->points[i], batch->code[i], batch->pieces[i].size))
			return INTACT_NO;
	return INTACT_YES;
}

enum intact intact_look(pid_t pid, const struct procfs_mapping *mapping,
			const struct probe_point points[API_MAX])
{
	uint64_t size = mapping->end - mapping->start;
	enum intact found = INTACT_YES;
	struct batch batch;

	batch.n = 0;
	for (int api = 0; api < API_MAX && found == INTACT_YES; api++) {
		uint64_t at = points[api].start - mapping->offset;

		if (!probe_is_wanted(&points[api]) || at >= size)
			continue;
		batch.points[batch.n] = &points[api];
		batch.pieces[batch.n] = (struct remote_piece){
			.addr = mapping->start + at,
			.buf = batch.code[batch.n],
			.size = MIN((uint64_t)PROBE_CODE_MAX, size - at),
		};
		if (++batch.n == REMOTE_PIECES_MAX)
			found = compare(pid, &batch);
	}
	if (found == INTACT_YES && batch.n > 0)
		found = compare(pid, &batch);
	return found;
}
