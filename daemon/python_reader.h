/* SPDX-License-Identifier: Apache-2.0 */
/* A Python interpreter in another process, seen from outside: does a known layout fit it, and what
 * are the names and lines behind the frames that the probes recorded.
 *
 * The process is never stopped and nothing in it is trusted. A `struct python` belongs to one
 * process; its owner frees it when that process ends or executes another program, before the pid
 * can mean another one.
 */
#ifndef SRTLEAK_PYTHON_READER_H
#define SRTLEAK_PYTHON_READER_H

#include <stdint.h>
#include <sys/types.h>

#include "python_layout.h"

struct python;

/* Values of symbols of the file that holds the interpreter (.dynsym, st_value), 0 for those that it
 * lacks.
 */
struct python_binary {
	uint64_t runtime;        /* _PyRuntime */
	uint64_t version_symbol; /* Py_Version; from 3.11 on */
	uint64_t code_type;      /* PyCode_Type */
};

struct python_frame {
	const char *function; /* qualified name, UTF-8, at most PYTHON_FUNCTION_MAX characters */
	const char *file;     /* as the code object has it, UTF-8, at most PYTHON_FILE_MAX */
	int line;             /* 0: unknown, or the prologue of a module */
};

/* Reads the version and finds its layout; the process needs no initialised interpreter for that.
 * `load_bias` is what to add to the symbols' values in this process. -EOPNOTSUPP where a symbol is
 * missing or the version is not known; errors of remote_read() else; -ENOMEM.
 */
int python_open(pid_t pid, const struct python_binary *bin, uint64_t load_bias,
		struct python **ret);

/* Looks whether the layout fits the live process: interpreters, their threads and these threads'
 * topmost frames. 0: it does. -EAGAIN: the interpreter is not initialised yet, so nothing can be
 * said. -EBADMSG: it does not, and frames of this process must not be read with it. Else an error
 * of remote_read().
 */
int python_validate(struct python *py);

/* Resolves one frame: the code object's address and that of the instruction, as frames have them;
 * and the sum of the code object that is meant (stack_code_sum(), 0: whichever is there).
 * The strings stay valid until the next call with the same `py`. Negative errno: -EFAULT where the
 * code object is not readable, -EBADMSG where none is there, -ESTALE where another code object
 * is there now, -EAGAIN where it changes all the time, -ESRCH, -EPERM,
 * -ENOMEM.
 */
int python_frame_name(struct python *py, uint64_t code, uint64_t instr, uint64_t sum,
		      struct python_frame *ret);

/* "3.11.7"; valid as long as `py`. */
const char *python_version(const struct python *py);

/* The row of python_layouts that belongs to the process. Every file has a table of its own: tell
 * rows by their version, not by their address.
 */
const struct python_layout *python_layout(const struct python *py);

/* Bytes that it takes, about; 0 for NULL. */
size_t python_memory(const struct python *py);

/* Forgets what it has read, which it reads again when that is wanted. NULL is allowed. */
void python_forget(struct python *py);

struct python *python_free(struct python *py);

static inline void python_cleanup(struct python **py)
{
	python_free(*py);
}

#endif
