/* SPDX-License-Identifier: Apache-2.0 */
/* An empty BPF program on functions of this very program, to learn what the kernel allows and what
 * a probe costs.
 */
#ifndef SRTLEAK_CLI_PROBE_H
#define SRTLEAK_CLI_PROBE_H

enum probe_link { PROBE_MULTI, PROBE_PERF };

struct probe {
	int link;
	int event; /* the perf event below a perf link, else -1 */
};

/* Two functions that do nothing; they differ in the first instruction, which decides how dear a
 * probe is: a push is emulated by the kernel, a subtraction is executed by single-stepping.
 */
void probe_at_push(void);
void probe_at_sub(void);

/* Loads the program for a kind of link. Returns its descriptor or a negative errno. */
int probe_load(enum probe_link kind);

/* Attaches it to a function of this program. Returns 0 or a negative errno. */
int probe_attach(enum probe_link kind, int program, void (*function)(void), struct probe *ret);
void probe_detach(struct probe *probe);

/* Nanoseconds that a call of `function` takes, undisturbed. */
double probe_measure(void (*function)(void));

#endif
