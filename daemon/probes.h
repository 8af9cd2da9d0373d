/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF object: loading it, its maps and counters, its events. */
#ifndef SRTLEAK_PROBES_H
#define SRTLEAK_PROBES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "event.h"
#include "grants.h"
#include "object.h"

struct probes;

typedef void (*probes_event_fn)(const struct event *event, void *userdata);

/* Opens the object, and the way of its events to `event`. */
int probes_load(const struct object_options *options, probes_event_fn event, void *userdata,
		struct probes **ret);

/* Lets go of it; what is pinned works on. */
struct probes *probes_free(struct probes *p);

bool probes_adopted(const struct probes *p);
struct pins *probes_pins(const struct probes *p); /* NULL: nothing is pinned */

/* Descriptors of the programs that a link is made to. */
int probes_entry(const struct probes *p);
int probes_return(const struct probes *p);

/* Readable when a probe has forced a wake-up; smaller fills wait for probes_consume(). */
int probes_ring_fd(const struct probes *p);

/* The map that holds the ring of struct mapping_news; -1 without the option tell_news. */
int probes_news_fd(const struct probes *p);

/* Hands over what is in the ring, for some milliseconds at most, because naming a new stack takes
 * long and others wait; returns whether there may be more.
 */
bool probes_consume(struct probes *p);
#define PROBES_TURN_NS 10000000ULL

/* All counters as they were at one moment, as nearly as that can be had; and, in the slot
 * COUNTER_SLOT_LIVE, the number of entries of the live map.
 */
int probes_counters(const struct probes *p, uint64_t ret[COUNTER_SLOTS]);
int probes_image(const struct probes *p, pid_t pid, struct process_image *ret);
uint32_t probes_last_image(const struct probes *p); /* number handed out last */

/* Takes out the image of the process with that start time, so that its next call makes another;
 * -ENOENT where it has none.
 */
int probes_drop_image(const struct probes *p, pid_t pid, uint64_t start_ticks, uint32_t *ret_image);

/* Waits, some ten milliseconds, until the probes that run now are through: they may have found what
 * is gone from the maps by now.
 */
void probes_wait(void);

const struct grants *probes_grants(const struct probes *p);

int probes_policies_fd(const struct probes *p); /* the map, for policy.h */

/* Tells where a process's interpreter is, and that the process of that start time is gone. */
int probes_set_python(const struct probes *p, pid_t pid, const struct python_target *target);

void probes_drop_python(const struct probes *p, pid_t pid, uint64_t start_ticks);

/* What the daemon knows of a process and its successor could not find out again. */
int probes_note(const struct probes *p, pid_t pid, const struct tracked *note);
int probes_noted(const struct probes *p, pid_t pid, struct tracked *ret);
void probes_drop_note(const struct probes *p, pid_t pid, uint64_t start_ticks);

/* How much of an image is recorded; any: whether there are images that are not recorded in full. */
int probes_set_step(const struct probes *p, uint32_t image, enum probe_step step, bool any);
void probes_clear_steps(const struct probes *p); /* all are recorded in full */

/* Removes entries of the live map whose process has ended, and counts those that were there, which
 * it returns.
 */
size_t probes_forget(const struct probes *p, const struct live_key *keys, size_t n);

/* Likewise one of a process that still runs, whose context has ended, if it is still that
 * allocation.
 */
void probes_take(const struct probes *p, pid_t pid, const struct live_key *key, uint64_t id);

/* Of an image that is over, whose allocations and stacks are out of the maps: others may have the
 * room that it held, and that of its handles when they are.
 */
void probes_release(const struct probes *p, uint32_t image);

/* Since when a library's calls are seen, CLOCK_BOOTTIME; 0: no more. */
#define PROBES_ARMING UINT64_MAX /* its probes are being placed */
void probes_arm(const struct probes *p, uint32_t library, uint64_t time_ns);

/* Forgets libraries that are not probed any more, whatever an earlier daemon has noted. */
void probes_disarm_others(const struct probes *p,
			  bool (*is_probed)(uint32_t library, void *userdata), void *userdata);

void probes_forget_handles(const struct probes *p, const struct live_key *keys, size_t n);
void probes_forget_mappings(const struct probes *p, const struct live_key *keys, size_t n);

/* The record of an allocation that lives by references; -ENOENT where there is none. It goes with
 * the allocation.
 */
int probes_referent(const struct probes *p, const struct live_key *key, struct referent *ret);
void probes_forget_referents(const struct probes *p, const struct live_key *keys, size_t n);

/* Walks over what the kernel holds; a result of fn other than 0 ends a walk and is returned. What
 * is added or removed meanwhile may or may not be seen.
 */
typedef int (*probes_live_fn)(const struct live_key *key, const struct live_value *value,
			      void *userdata);
int probes_each_live(const struct probes *p, probes_live_fn fn, void *userdata);
typedef int (*probes_handle_fn)(const struct live_key *key, const struct handle *value,
				void *userdata);
int probes_each_handle(const struct probes *p, probes_handle_fn fn, void *userdata);
typedef int (*probes_mapping_fn)(const struct live_key *key, const struct mapping *value,
				 void *userdata);
int probes_each_mapping(const struct probes *p, probes_mapping_fn fn, void *userdata);
typedef int (*probes_referent_fn)(const struct live_key *key, const struct referent *value,
				  void *userdata);
int probes_each_referent(const struct probes *p, probes_referent_fn fn, void *userdata);
typedef int (*probes_image_fn)(pid_t pid, const struct process_image *image, void *userdata);
/* -EAGAIN: so many came and went that some may not have been reached. */
int probes_each_image(const struct probes *p, probes_image_fn fn, void *userdata);

/* Copies an interned stack, header and words; -ENOENT where it was never stored. */
int probes_stack(const struct probes *p, uint32_t image, uint64_t id, uint64_t ret[STACK_WORDS]);

/* Removes every stack of images that `is_over` says have ended. */
void probes_drop_stacks(const struct probes *p, bool (*is_over)(uint32_t image, void *userdata),
			void *userdata);
/* Returns how many pieces there were. */
size_t probes_forget_stack(const struct probes *p, uint32_t image, uint64_t id);

/* Cost of each program so far. The kernel counts while its statistics are on
 * (kernel.bpf_stats_enabled); 0 programs are returned where it never has.
 */
struct probes_cost {
	const char *program;
	uint64_t runs;
	double seconds;
};
#define PROBES_PROGRAMS 16 /* more than there are */
size_t probes_cost(const struct probes *p, struct probes_cost *ret, size_t n);

/* What the kernel holds for the object's maps, in bytes. */
uint64_t probes_map_memory(const struct probes *p);

static inline void probes_freep(struct probes **p)
{
	probes_free(*p);
}

#endif
