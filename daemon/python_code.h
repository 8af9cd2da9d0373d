/* SPDX-License-Identifier: Apache-2.0 */
/* One code object of a Python process: read from its memory, kept, and checked again later.
 *
 * Code objects die and their addresses are used again, often with the same strings' addresses too,
 * so what is kept is compared with the process by content and not by pointers alone.
 */
#ifndef SRTLEAK_PYTHON_CODE_H
#define SRTLEAK_PYTHON_CODE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "python_layout.h"
#include "python_text.h"

#define PYTHON_FUNCTION_MAX 512         /* characters; longer names end in an ellipsis */
#define PYTHON_FILE_MAX 4096            /* characters */
#define PYTHON_LINETABLE_MAX (1U << 18) /* bytes; lines behind it stay unknown */

/* The objects that a code object points to, in the order of their bytes in `image`. */
enum python_part {
	PYTHON_PART_FUNCTION,
	PYTHON_PART_FILE,
	PYTHON_PART_LINES,
	PYTHON_PARTS,
};

/* What of the code object itself tells it from another; compared by bytes, so it has no holes. */
struct python_code_fields {
	uint64_t type;
	uint64_t units; /* of bytecode, two bytes each */
	uint64_t name;
	uint64_t parts[PYTHON_PARTS];
	int32_t flags;
	int32_t argcount;
	int32_t kwonlyargcount;
	int32_t firstlineno;
};

struct python_code {
	struct python_code *next; /* for the owner's list */
	uint64_t addr;
	struct python_code_fields fields;
	struct python_text parts[PYTHON_PARTS];
	char *function; /* UTF-8 */
	char *file;     /* UTF-8 */
	size_t size;    /* bytes of memory that this object takes, about */
	size_t image_size;
	uint8_t image[];
};

/* Reads the code object at `addr`, whose type object must be at `type`. Negative errno: -EFAULT
 * where it or what it points to is not there, -EBADMSG where it is no code object, -EAGAIN where it
 * changes all the time, -ENOMEM, and those of remote_read().
 */
int python_code_load(pid_t pid, const struct python_layout *layout, uint64_t type, uint64_t addr,
		     struct python_code **ret);

/* Looks with one read whether the process still has the same code object there: 0 or -ESTALE. */
int python_code_check(pid_t pid, const struct python_layout *layout,
		      const struct python_code *code);

/* What the probes would make of it: see stack_code_sum(), event.h. */
uint64_t python_code_sum(const struct python_code *code);

/* The line of the instruction at address `instr`: 0 where the table does not tell, -ESTALE where
 * the instruction is not of this code object.
 */
int python_code_line(const struct python_layout *layout, const struct python_code *code,
		     uint64_t instr);

struct python_code *python_code_free(struct python_code *code);

static inline void python_code_cleanup(struct python_code **code)
{
	python_code_free(*code);
}

#endif
