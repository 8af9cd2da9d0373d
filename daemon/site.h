/* SPDX-License-Identifier: Apache-2.0 */
/* A call site: kind of memory and call stack by names, with the sums of what it holds. */
#ifndef SRTLEAK_SITE_H
#define SRTLEAK_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api.h"
#include "bounds.h"
#include "history.h"

struct site_python_frame {
	const char *function; /* "?" where it could not be read */
	const char *file;     /* NULL likewise */
	int line;             /* 0: unknown */
};

struct site_native_frame {
	const char *module; /* base name of the file, NULL: in no file */
	const char *symbol; /* demangled, NULL: none */
	uint64_t offset;    /* from the symbol, else from the start of the file */
};

/* A stack by names, innermost frame first. The strings belong to whoever built it. */
struct site_stack {
	struct site_python_frame python[PYTHON_FRAMES_MAX];
	struct site_native_frame native[NATIVE_FRAMES_MAX];
	size_t n_python, n_native;
	bool truncated;
};

struct site {
	uint64_t id;
	uint16_t index; /* in its process's list */
	enum memory_kind kind;
	enum api api;          /* of its first allocation */
	uint64_t bytes, count; /* outstanding */
	uint64_t allocs_total, frees_total;
	uint64_t listed_until_ns; /* in the metrics, CLOCK_BOOTTIME */
	struct history history;   /* outstanding bytes */
	int16_t device;           /* DEVICE_UNKNOWN: not one, or not known */
	bool truncated;
	size_t n_python, n_native;
	struct site_python_frame *python;
	struct site_native_frame *native;
};

/* A hash over kind and frames by name, never over addresses: equal after a restart of the daemon or
 * of the server, and on all ranks of a server. Native offsets count only where there is no symbol.
 */
uint64_t site_identify(enum memory_kind kind, const struct site_stack *stack);

/* A site of its own, strings included; NULL: no memory. */
struct site *site_new(uint64_t id, enum memory_kind kind, enum api api,
		      const struct site_stack *stack);
/* Bytes that it takes, about. */
size_t site_size(const struct site_stack *stack);
struct site *site_free(struct site *site);

#endif
