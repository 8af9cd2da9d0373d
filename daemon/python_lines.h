/* SPDX-License-Identifier: Apache-2.0 */
/* Python's tables from bytecode to source lines. Pure functions over buffers. */
#ifndef SRTLEAK_PYTHON_LINES_H
#define SRTLEAK_PYTHON_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "python_layout.h"

/* The source line of the instruction `offset` bytes into the bytecode of a code object, from its
 * line table and first line. An instruction that has no line of its own gets the line of the
 * nearest one before it, else after it, that has one, else the first line.
 *
 * Returns the line; 0 is what Python itself says of the prologue of a module. -ERANGE where the
 * table ends before the instruction, -EBADMSG where it is malformed up to there, -EOPNOTSUPP for a
 * format that is not known.
 */
int python_line(const struct python_layout *layout, const uint8_t *table, size_t size,
		int firstlineno, uint32_t offset);

#endif
