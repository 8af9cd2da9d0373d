/* SPDX-License-Identifier: Apache-2.0 */
/* What tests ask of the simulated libcuda.so.1 beyond CUDA itself.
 *
 * Environment, read by cuInit():
 *   SIMCUDA_DEVICES        number of devices (default 2, at most 16)
 *   CUDA_VISIBLE_DEVICES   which of them the process has, by index (default all); looked at only
 *                          where SIMCUDA_DEVICES is set
 *   SIMCUDA_DEVICE_BYTES   memory of each device (default 80 GiB)
 *   SIMCUDA_INIT_MS        how long cuInit() takes (default 100)
 *   SIMCUDA_FAIL_PERMILLE  share of allocating and freeing calls that fail (default 0)
 *   SIMCUDA_SEED           which ones (default 1)
 */
#ifndef SIMCUDA_SIMCUDA_H
#define SIMCUDA_SIMCUDA_H

#include <stdint.h>

enum simcuda_calls { SIMCUDA_ALLOC, SIMCUDA_FREE };

#pragma GCC visibility push(default)

/* The next `n` allocating or freeing calls of the driver do nothing and return `error`. */
void simcuda_fail_next(unsigned int n, int error);

/* Likewise of those that make, choose, change or end contexts and pools. */
void simcuda_fail_next_place(unsigned int n, int error);

/* The next of those takes so long, while others go on, and then fails. */
void simcuda_fail_late(unsigned int ms, int error);

/* The calling thread's next call of the driver returns so much later than it is done. Returns 0. */
int simcuda_return_late(unsigned int ms);

/* Whoever is late, or was told to be, is so no longer. Returns 0. */
int simcuda_go_on(void);

/* The calling thread's next call of the driver allocates and frees through the driver's own exports
 * before it does anything else. Returns 0.
 */
int simcuda_nest_next(void);

/* Names the API call that the calling thread is in, from outside the driver; NULL: none. The text
 * must live as long as the library. The ledger shows it in place of the driver's own function. */
void simcuda_outer(const char *api);

/* Where the calling thread's next allocating call of the driver is left before it does anything,
 * and its next freeing call, if it succeeds, when it is done: by `way`, which does not return.
 * NULL: nowhere.
 */
void simcuda_leave(void (*way)(void));

/* Likewise its next call that makes, chooses, changes or ends a context or pool, when it is done.
 */
void simcuda_leave_place(void (*way)(void));

/* Whether the calling thread's current context is one of the application's own, not a device's. */
int simcuda_in_own_context(void);

/* What is outstanding, one JSON object a line:
 *   {"ptr":"0x…","size":N,"kind":K,"api":NAME,"device":N,"tid":N}
 * Physical memory (kind vmm) has "handle" too, and its lowest mapped address, or null, as "ptr".
 * Host memory has "device":null. Returns 0 or a negative errno. */
int simcuda_ledger_write(const char *path);
uint64_t simcuda_ledger_count(void);
uint64_t simcuda_ledger_bytes(void);

/* How many allocating (SIMCUDA_ALLOC) or freeing (SIMCUDA_FREE) driver calls succeeded, failed. */
uint64_t simcuda_calls_ok(int what);
uint64_t simcuda_calls_failed(int what);

#pragma GCC visibility pop

#endif
