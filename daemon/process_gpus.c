/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "clock.h"
#include "process.h"

/* A look takes a millisecond, mostly for the environment. */
#define LOOK_AGAIN_NS 60000000000ULL

void process_find_gpus(struct process *p)
{
	uint64_t now = clock_monotonic_ns();

	if (!p->image || (p->gpus && (visible_devices_complete(p->gpus) ||
				      now - p->gpus_looked_ns < LOOK_AGAIN_NS)))
		return;
	if (!p->gpus)
		p->gpus = calloc(1, sizeof(*p->gpus));
	if (!p->gpus)
		return;
	p->gpus_looked_ns = now;
	if (p->gpu_setting || visible_setting_read(p->pid, &p->gpu_setting) == 0)
		visible_devices_read(p->pid, p->gpu_setting, p->gpus);
}
