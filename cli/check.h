/* SPDX-License-Identifier: Apache-2.0 */
/* One check of `doctor`: what it found and what to do about it. */
#ifndef SRTLEAK_CLI_CHECK_H
#define SRTLEAK_CLI_CHECK_H

#include <stdbool.h>

#include "command.h"
#include "macro.h"

enum check_result { CHECK_OK, CHECK_WARN, CHECK_FAIL };

struct check {
	enum check_result result;
	char detail[256];
	const char *hint; /* NULL where there is nothing to do */
};

void check_set(struct check *check, enum check_result result, const char *hint, const char *format,
	       ...) _printf_(4, 5);

/* Each fills in all of `check`. They change nothing on the host, and take what they attach away. */
typedef void (*check_fn)(struct check *check, const struct options *options);

/* check_host.c: what can be seen without the bpf(2) system call */
void check_kernel(struct check *check, const struct options *options);
void check_btf(struct check *check, const struct options *options);
void check_privileges(struct check *check, const struct options *options);
void check_perf_mmap2(struct check *check, const struct options *options);
void check_cuda_libraries(struct check *check, const struct options *options);
void check_daemon(struct check *check, const struct options *options);

/* check_bpf.c: what is found out by trying */
void check_bpf_load(struct check *check, const struct options *options);
void check_ring_buffer(struct check *check, const struct options *options);
void check_uprobe_multi(struct check *check, const struct options *options);
void check_uprobe_perf(struct check *check, const struct options *options);
void check_probe_cost(struct check *check, const struct options *options);

#endif
