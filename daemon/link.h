/* SPDX-License-Identifier: Apache-2.0 */
/* Links of BPF programs to places in files, of either sort. A link is a descriptor: it can be
 * pinned, and the probe is out when the last descriptor and pin of it are gone.
 */
#ifndef SRTLEAK_LINK_H
#define SRTLEAK_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LINK_EVERY_PROCESS 0

/* What uprobe multi links of this kernel do (enum link_multi_support); a negative errno where even
 * the test program could not be loaded.
 */
enum link_multi_support {
	LINK_MULTI_NONE,    /* there are none, as before 6.6 */
	LINK_MULTI_FOR_ALL, /* those to one process miss its threads, as before 6.10 */
	LINK_MULTI_FULL,
};
int link_multi_supported(void);

/* One uprobe multi link to n places; needs a program loaded for it. pid: only in that process, or
 * LINK_EVERY_PROCESS. Returns the descriptor, or a negative errno. -EOPNOTSUPP: this kernel would
 * not run it on all threads of one process.
 */
int link_multi(int program_fd, const char *path, bool at_return, const unsigned long *offsets,
	       const uint64_t *cookies, uint32_t n, pid_t pid);

/* One perf link to one place; needs CAP_SYS_ADMIN. Likewise. */
int link_perf(int program_fd, const char *path, bool at_return, uint64_t offset, uint64_t cookie,
	      pid_t pid);

#endif
