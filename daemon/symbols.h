/* SPDX-License-Identifier: Apache-2.0 */
/* Names for native code addresses: module and symbol. */
#ifndef SRTLEAK_SYMBOLS_H
#define SRTLEAK_SYMBOLS_H

#include <stdint.h>
#include <sys/types.h>

struct modules; /* the executable mappings of one process */

struct native_name {
	const char *module; /* base name of the file; NULL: in no file */
	const char *symbol; /* demangled; NULL: none covers the address */
	uint64_t offset;    /* from the symbol, else from the start of the file */
};

struct modules *modules_new(pid_t pid);
struct modules *modules_free(struct modules *modules);

/* Something was mapped: what is known is looked at anew. NULL is fine. */
/* Bytes that it takes, about; 0 for NULL. */
size_t modules_memory(const struct modules *m);

void modules_changed(struct modules *modules);

/* Names a return address; the call before it is meant, so the symbol is that of address - 1. The
 * mappings are read anew where the address lies in none of those known. Strings are good until the
 * next call. -ENOENT: in no executable mapping, so no return address at all.
 */
int modules_name(struct modules *modules, uint64_t address, struct native_name *ret);

#endif
