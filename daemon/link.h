/* SPDX-License-Identifier: Apache-2.0 */
/* Links of BPF programs to places in files, of either sort. A link is a descriptor: it can be
 * pinned, and the probe is out when the last descriptor and pin of it are gone.
 */
#ifndef SRTLEAK_LINK_H
#define SRTLEAK_LINK_H

#include <stdbool.h>
#include <stdint.h>

/* One uprobe multi link to n places; needs a program loaded for it (Linux 6.6). Returns the
 * descriptor, or a negative errno.
 */
int link_multi(int program_fd, const char *path, bool at_return, const unsigned long *offsets,
	       const uint64_t *cookies, uint32_t n);

/* One perf link to one place, in every process; needs CAP_SYS_ADMIN. Likewise. */
int link_perf(int program_fd, const char *path, bool at_return, uint64_t offset, uint64_t cookie);

#endif
