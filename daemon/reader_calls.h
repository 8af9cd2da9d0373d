/* SPDX-License-Identifier: Apache-2.0 */
/* What the reader (reader.h) is asked to do: arguments and results, in memory that both share. The
 * reader handles what strangers wrote, so the daemon trusts no result further than it has to.
 */
#ifndef SRTLEAK_READER_CALLS_H
#define SRTLEAK_READER_CALLS_H

#include <limits.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "elf_file.h"
#include "gpu_boards.h"
#include "mappings.h"
#include "remote.h"
#include "survey.h"

#define READER_NAMES_MAX 4
#define READER_NAME_MAX 32
#define READER_BYTES_MAX REMOTE_READ_MAX

/* A mapping, with what its path points to: that is another address to either side. */
struct reader_mapping {
	struct procfs_mapping line;
	char path[PATH_MAX];
};

/* Ranges of a process's memory, one after the other. */
struct reader_memory {
	uint32_t n;
	struct {
		uint64_t addr, size;
	} pieces[REMOTE_PIECES_MAX];
	unsigned char bytes[READER_BYTES_MAX];
};

/* A mapped file: its descriptor, and what it is. */
struct reader_open {
	struct reader_mapping mapping;
	struct stat st;
};

/* The file whose descriptor goes with the call is mapped into the reader, until the next such call,
 * which may be without one. One on FUSE is not.
 */
struct reader_show {
	uint64_t address; /* 0: it is not mapped */
	uint32_t magic;   /* of its file system, linux/magic.h */
};

/* What a library exports, of the file whose descriptor goes with the call. */
struct reader_survey {
	enum api_family family;
	struct probe_point points[API_MAX];
};

/* The function in a mapped file that covers an offset in it. */
struct reader_symbol {
	struct reader_mapping mapping;
	uint64_t offset;
	uint64_t distance; /* of the offset from the function's beginning */
	char name[ELF_NAME_MAX];
};

/* Values of exported symbols of a mapped file, 0 for those that it lacks. */
struct reader_exports {
	struct reader_mapping mapping;
	uint32_t n;
	char names[READER_NAMES_MAX][READER_NAME_MAX];
	uint64_t values[READER_NAMES_MAX];
	uint64_t linked; /* the address that the file has for the mapping's beginning */
};

/* A file below /proc/PID whose text lies in the process's own memory. */
struct reader_text {
	char name[READER_NAME_MAX];
	uint32_t size; /* wanted, then read */
	char bytes[READER_BYTES_MAX];
};

/* The boards that a process can see. */
struct reader_boards {
	struct gpu_boards boards;
};

/* X(name): a structure above, a handler in reader_process.c. */
#define READER_CALLS(X) \
	X(memory)       \
	X(open)         \
	X(show)         \
	X(survey)       \
	X(symbol)       \
	X(exports)      \
	X(text)         \
	X(boards)

enum reader_call {
#define X(name) READER_##name,
	READER_CALLS(X)
#undef X
		READER_CALLS_N
};

union reader_page {
#define X(name) struct reader_##name name;
	READER_CALLS(X)
#undef X
};

struct reader_request {
	uint32_t call; /* enum reader_call */
	int32_t pid;
};

struct reader_reply {
	int32_t result;  /* 0, or a negative errno */
	uint32_t cpu_us; /* processor time that it took */
};

/* Does it here and now. fd: what goes with the call, or -1; ret_fd: what comes back, or left alone.
 */
int reader_handle(enum reader_call call, pid_t pid, int fd, union reader_page *page, int *ret_fd);

/* The reader's main(), for a program that was started as READER_NAME with these descriptors open.
 */
#define READER_NAME "srtleakd-reader"
#define READER_SOCKET 3
#define READER_PAGE 4
int reader_main(void);

#endif
