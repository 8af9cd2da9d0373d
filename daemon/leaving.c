/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"
#include "leaving.h"

#define TURN_NS 50000000ULL
#define PAUSE_USEC 1000 /* an event source that is always ready would leave the others no turn */

/* Returns whether the probes of the last one are out; it is gone then. */
static bool take_out(struct leaving *l, uint64_t until_ns)
{
	struct library *library = l->libraries[l->n - 1];
	uint64_t began = clock_monotonic_ns();
	bool is_out = library_take_out(library, until_ns);
	uid_t owner = library->owner;

	if (is_out) {
		library_free(library);
		quota_give(&l->quotas->libraries, owner, 1);
		l->n--;
	}
	quota_owe(&l->quotas->time, owner, (clock_monotonic_ns() - began) / 1000);
	return is_out;
}

static void go_on_soon(struct leaving *l)
{
	(void)sd_event_source_set_time_relative(l->source, PAUSE_USEC);
	(void)sd_event_source_set_enabled(l->source, SD_EVENT_ONESHOT);
}

static int on_turn(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct leaving *l = userdata;
	uint64_t until_ns = clock_monotonic_ns() + TURN_NS;

	(void)source;
	(void)usec;
	while (l->n > 0 && take_out(l, until_ns))
		continue;
	if (l->n > 0)
		go_on_soon(l);
	return 0;
}

int leaving_start(struct leaving *l, sd_event *loop, struct quotas *quotas)
{
	int r;

	*l = (struct leaving){.quotas = quotas};
	r = sd_event_add_time(loop, &l->source, CLOCK_MONOTONIC, 0, 0, on_turn, l);
	return r < 0 ? r : sd_event_source_set_enabled(l->source, SD_EVENT_OFF);
}

void leaving_add(struct leaving *l, struct library *library)
{
	l->libraries[l->n++] = library; /* there is room: it was counted as one of so many */
	go_on_soon(l);
}

bool leaving_holds(const struct leaving *l, uint64_t file)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->libraries[i]->file == file)
			return true;
	return false;
}

void leaving_end(struct leaving *l)
{
	while (l->n > 0)
		(void)take_out(l, UINT64_MAX);
	l->source = sd_event_source_disable_unref(l->source);
}
