/* SPDX-License-Identifier: Apache-2.0 */
/* A probe on a function of this very program, as the CUDA functions get them, to learn what it does
 * to a child process on this kernel.
 */
#ifndef SRTLEAK_SELF_PROBE_H
#define SRTLEAK_SELF_PROBE_H

#include <stdbool.h>
#include <sys/types.h>

/* What is probed; returns number + 1. */
int self_probed(int number);

struct self_probe_trial {
	/* In the child, once the function is probed at its entry and its return; does not return.
	 */
	void (*child)(void *userdata);
	/* In the parent meanwhile, which reaps the child if this does not. counter: a map of one
	 * uint64_t, the runs of the program so far.
	 */
	int (*parent)(pid_t child, int counter, void *userdata);
	void *userdata;
};

/* Returns what `parent` does, or a negative errno where it did not come to that. */
int self_probe_try(bool multi, const struct self_probe_trial *trial);

#endif
