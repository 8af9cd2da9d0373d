/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* What the BPF programs and the daemon exchange: events, map keys and values, counters.
 *
 * Nothing here has implicit padding: keys are hashed byte by byte, and what the kernel writes into
 * the ring buffer must hold no stale bytes.
 */
#ifndef SRTLEAK_EVENT_H
#define SRTLEAK_EVENT_H

#include <linux/types.h>
#include "bounds.h"
#include "share.h"

enum event_type {
	EVENT_START = 1,    /* first call of a process image: image, tgid */
	EVENT_ALLOC,        /* an allocation succeeded, or is back because its free failed */
	EVENT_FREE,         /* an allocation is gone; id says which */
	EVENT_FREE_UNKNOWN, /* a free succeeded whose pointer was never seen */
	EVENT_FAIL,         /* an allocating call failed; result is its return value */
	EVENT_EXEC,         /* the image was replaced: all that it held is gone: size entries */
	EVENT_EXIT,         /* the process ended: likewise */
	EVENT_RESET,     /* a context ended, with all that was made in it; or numbers run short */
	EVENT_POOL,      /* a pool is known: addr, kind, device; or, with a result, is no more */
	EVENT_POOL_TRIM, /* it keeps no more than `size` */
	EVENT_POOL_SIZE, /* the driver says that it holds `size` */
};

#define DEVICE_UNKNOWN (-1)

/* One record of the ring buffer. Which fields carry a meaning depends on the type; others are 0. */
struct event {
	__u64 time_ns; /* of the event: CLOCK_BOOTTIME */
	__u64 id;      /* of the allocation; never 0, never reused while the object is loaded */
	__u64 addr;    /* pointer or handle */
	__u64 size;    /* bytes */
	__u64 stack;   /* id of the interned stack, 0: none */
	__u32 image;   /* process image: see struct process_image */
	__u32 tgid;    /* as the initial PID namespace numbers it */
	__u32 tid;
	__s32 result; /* EVENT_FAIL: what the call returned; EVENT_ALLOC: what a free returned, and
		       * the allocation is back; EVENT_FREE: row of the call that freed, API_MAX
		       * where none was seen
		       */
	__u8 api;     /* row of API_TABLE (api.h); of an EVENT_FREE that of the allocation */
	__u8 kind;    /* enum memory_kind */
	__u8 type;    /* enum event_type */
	__s8 device;
	__u16 pool; /* that the memory is from; 0: none */
	__u16 zero;
};
_Static_assert(sizeof(struct event) == 64, "an event is one cache line");

/* One record of the second ring buffer, which stands in for perf_event_open(2) where that is not
 * for us: a process has mapped something executable, or has become another program.
 */
struct mapping_news {
	__u64 time_ns; /* CLOCK_BOOTTIME */
	__u64 start;   /* address; 0: exec */
	__u64 lost;    /* records lost so far */
	__u32 tgid;
	__u32 zero;
};
_Static_assert(sizeof(struct mapping_news) == 32, "no padding in records");

/* The live map: what is outstanding, keyed by what a free names.
 *
 * An image is one program run by one process: (pid, start time) until exit or exec. Its number is
 * handed out by the probes and not used twice, so that no key outlives what it speaks of.
 */
struct live_key {
	__u64 addr;
	__u32 image;
	__u32 space; /* enum address_space (api.h) */
};
_Static_assert(sizeof(struct live_key) == 16, "no padding in keys");

/* Times of a million entries are kept to 17 ms: two years of them fit into 32 bits. */
#define TIME_SHIFT 24

struct live_value {
	__u64 id : 44; /* at a million allocations a second: 200 days */
	__u64 kind : 4;
	__u64 api : 8;
	__s64 device : 8;
	__u64 size : SIZE_BITS;       /* bytes */
	__u64 context : CONTEXT_BITS; /* it ends with; 0: none, or not known */
	__u64 stack;
	__u32 time;             /* of the allocation: CLOCK_BOOTTIME, 1 << TIME_SHIFT nanoseconds */
	__u32 tid : 22;         /* the kernel's PID_MAX_LIMIT */
	__u32 pool : POOL_BITS; /* 0: none, or not known */
};
_Static_assert(sizeof(struct live_value) == 32, "no padding in values");

/* What calls name besides allocations, keyed as these are: pools, contexts, streams; and addresses
 * that can be freed although their memory is counted elsewhere.
 */
struct handle {
	__u64 counts; /* 1: it can be freed; of a primary context: its references */
	__u64 id;     /* its own; of a primary context, its number's */
	__u32 number; /* pool, context, of a stream its context's: within the image, from 1; 0:
		       * there were too many. Of a number: the next that ends with it
		       */
	__u8 kind;    /* pool: of what comes from it */
	__s8 device;
	__u8 flags;
	__u8 zero;
};
_Static_assert(sizeof(struct handle) == 24, "no padding in values");

#define HANDLE_PRIMARY 1U /* context: a device's primary one */
#define HANDLE_UNSEEN 2U  /* primary context: others may hold it of whom the probes know nothing */
#define HANDLE_GREEN 8U   /* of a part of a device; its memory is in the primary context */
#define HANDLE_ENDED 16U  /* number: what had it is no more */
#define HANDLE_ENDING 32U /* … or a call is about to end it */

/* In the key of what stands for the pool of a device, with the ordinal, in place of a handle. */
#define POOL_OF_DEVICE (1ULL << 63)

/* An allocation that lives while something refers to it, keyed by its id in SPACE_REFERENT. */
struct referent {
	__u64 refs; /* in units of REFERENCE_… */
	__u64 name; /* address or handle, in that space */
	__u32 space;
	__u16 is_joined; /* others' memory: some references are another record's by now */
	__u16 is_short;  /* it has been mapped where there was no room for the record of that */
	struct live_value value;
};
_Static_assert(sizeof(struct referent) == 56, "no padding in values");

#define REFERENCES_BITS 24
#define REFERENCES_MASK ((1ULL << REFERENCES_BITS) - 1)
#define REFERENCE_HANDLE 1ULL /* a handle or an opening */
#define REFERENCE_MAPPING (1ULL << REFERENCES_BITS)
#define REFERENCE_LEAVING (1ULL << 2 * REFERENCES_BITS) /* a call is about to give one up */
#define REFERENCES_ALL (REFERENCE_LEAVING - 1)

/* Where physical memory is mapped, keyed by address in SPACE_MEMORY. */
struct mapping {
	__u64 size;
	__u64 id;   /* of the allocation */
	__u64 made; /* its own number */
};
_Static_assert(sizeof(struct mapping) == 24, "no padding in values");

/* Per process, keyed by tgid; made at the first call, removed at exec and exit. */
struct process_image {
	__u64 start_ns; /* start of the thread group, CLOCK_BOOTTIME */
	__u32 image;
	__u32 live;          /* entries of the live map */
	__u32 granted;       /* how many it may have without asking */
	__u32 over_limit;    /* allocations or stacks not kept because of a limit or a full map */
	__u32 lost_events;   /* allocations and frees whose event found the ring full */
	__u32 lost_returns;  /* calls whose return was never seen */
	__u32 contexts;      /* numbers given out */
	__u32 pools;         /* likewise */
	__u32 frees_unknown; /* frees that succeeded whose pointer was never seen */
	__u32 was_refused;   /* it had called before there was room for it */
	__u32 node_allocs, node_frees; /* memory nodes that joined graphs */
	__u64 node_bytes;
	__u64 unseen_ns; /* until then threads were refused, CLOCK_BOOTTIME; 0: none was */
	__u64 probe_ns, probe_runs; /* time in probes and how often one ran, both estimated */
};
_Static_assert(sizeof(struct process_image) == 88, "no padding in values");

/* Numbers of images come round; of two that are in use the later one is less than half of them
 * ahead. */
static inline int image_is_later(__u32 image, __u32 than)
{
	return (__s32)(image - than) > 0;
}

/* How much is recorded of a process: less where probes cost it more than they may (budget.h). */
enum probe_step {
	STEP_FULL,
	STEP_NO_STACKS, /* everything, without its call stack */
	STEP_SAMPLED,   /* nor all allocations */
};
#define SAMPLE_ALL_ABOVE                                                         \
	(2ULL << 20) /* of these all; they are what a caching allocator asks for \
		      */

/* What an image holds of each pool (share.h), its own part included, keyed by image. The daemon
 * gives it back when all that the image held is out of the maps.
 */
struct grant {
	__u32 slot; /* of the user, in the sums */
	__u32 tgid;
	__u32 used[SHARED_MAX];
};
_Static_assert(sizeof(struct grant) == 8 + 4 * SHARED_MAX, "no padding in values");

/* Where the interpreter of a process is, keyed by tgid; written by the daemon, copied at fork. */
struct python_target {
	__u64 start_ticks; /* of the process, in USER_HZ: tells a successor with the same pid */
	__u64 runtime;     /* address of _PyRuntime */
	__u32 layout;      /* row of python_layouts */
	__u32 zero;
};
_Static_assert(sizeof(struct python_target) == 24, "no padding in values");
#define NS_PER_TICK 10000000ULL /* USER_HZ is 100 on every architecture of interest */

/* What a daemon leaves to its successor of a process, and what the probes cannot know themselves,
 * keyed by tgid; they remove it with the process.
 */
struct tracked {
	__u64 start_ticks; /* tells a successor with the same pid */
	__u64 attached_at; /* Unix time, microseconds; 0: it was not tracked */
	__u64 unseen_ns;   /* until then calls may have gone unseen, CLOCK_BOOTTIME; 0: none has */
	__u32 partial;     /* bits, as the daemon numbers them */
	__u32 whole;       /* none has, though it may be older than the probes */
};
_Static_assert(sizeof(struct tracked) == 32, "no padding in values");

/* Whether the calls of a process are recorded, keyed by tgid; read when it has no image. Written by
 * the daemon; goes at exit, and at exec where it is not fixed: what runs then is another program.
 */
enum verdict {
	VERDICT_TRACK = 1,
	VERDICT_IGNORE,
};
#define POLICY_OTHERS \
	0U /* the key that speaks of all without an entry, of whom none has this pid */

enum policy_word {
	WORD_PERSON = 1, /* good until the process ends */
	WORD_OPTION,     /* of the daemon's command line: good as long as that daemon */
	WORD_BUDGET,     /* of the daemon: the process is left alone for a while (budget.h) */
};

struct policy {
	__u64 start_ticks; /* of the process, in USER_HZ: tells a successor with the same pid */
	__u32 verdict;     /* enum verdict */
	__u32 fixed;       /* enum policy_word; 0: a rule's, which others may overrule */
};
_Static_assert(sizeof(struct policy) == 16, "no padding in values");

/* An interned stack is an array of words, stored in pieces so that short stacks stay small:
 * a header, then `python` pairs (code object, instruction pointer), then `native` return
 * addresses, then `python` sums of what the code objects held when the stack was first seen;
 * innermost first in all.
 */
#define STACK_CHUNK_WORDS 54UL /* with key and kernel overhead just below 512 bytes */
#define STACK_CHUNKS 8U
#define STACK_WORDS (STACK_CHUNK_WORDS * STACK_CHUNKS)
_Static_assert(1 + 3 * PYTHON_FRAMES_MAX + NATIVE_FRAMES_MAX <= STACK_WORDS, "a stack fits");

static inline __u64 stack_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

/* Code objects die, and others come to lie at their addresses, before the daemon has read them: the
 * addresses of file name, name, qualified name and line table tell one from the other.
 */
static inline __u64 stack_code_sum(const __u64 strings[4])
{
	return stack_mix(stack_mix(stack_mix(stack_mix(1, strings[0]), strings[1]), strings[2]),
			 strings[3]);
}

#define STACK_PYTHON_TRUNCATED 1U /* deeper than PYTHON_FRAMES_MAX, or a frame was unreadable */
#define STACK_NATIVE_TRUNCATED 2U
#define STACK_HEADER(python, native, flags) \
	((__u64)(python) | (__u64)(native) << 16 | (__u64)(flags) << 32)
#define STACK_PYTHON(header) ((__u32)((header)&0xffff))
#define STACK_NATIVE(header) ((__u32)((header) >> 16 & 0xffff))
#define STACK_FLAGS(header) ((__u32)((header) >> 32))

struct stack_key {
	__u64 id; /* hash over image and words */
	__u32 image;
	__u32 chunk;
};
_Static_assert(sizeof(struct stack_key) == 16, "no padding in keys");

struct stack_chunk {
	__u64 words[STACK_CHUNK_WORDS];
};

/* Counters of the probes, one array entry each: X(name, JSON name, is_loss).
 *
 * allocs_seen = frees_matched + superseded + process_limit + live_full + unreadable + sampled +
 * ended + live, but for the calls that are under way.
 */
#define SRTLEAK_COUNTERS(X)                                                                        \
	X(ALLOCS_SEEN, "allocs_seen", 0)       /* allocating calls that succeeded */               \
	X(FREES_MATCHED, "frees_matched", 0)   /* entries taken out for good */                    \
	X(FREES_UNKNOWN, "frees_unknown", 0)   /* pointer never seen */                            \
	X(FAILED_ALLOCS, "failed_allocs", 0)   /* allocating calls that failed */                  \
	X(FAILED_FREES, "failed_frees", 0)     /* freeing calls that failed: put back */           \
	X(SUPERSEDED, "superseded", 0)         /* address handed out again, its free never seen */ \
	X(ENDED, "ended", 0)                   /* removed with their process or context */         \
	X(DROPPED_LIMIT, "process_limit", 1)   /* more than its share of LIVE_MAX */               \
	X(DROPPED_LIVE_FULL, "live_full", 1)   /* the live map refused an entry */                 \
	X(DROPPED_PROCESSES, "processes", 1)   /* processes beyond PROCESSES_MAX */                \
	X(DROPPED_UNREADABLE, "unreadable", 1) /* result pointer not readable */                   \
	X(DROPPED_SAMPLED, "sampled", 1)       /* not one of those that are recorded */            \
	X(LOST_RING, "ring_full", 1)           /* event lost; the live map is still right */       \
	X(LOST_RETURN, "lost_return", 1)       /* outer frame gone without a return */             \
	X(RETURN_ALONE, "return_without_entry", 1)                                                 \
	X(LOST_THREAD, "thread_storage", 1) /* no memory or share for a thread's record */         \
	X(LOST_HANDLE, "handles", 1)        /* no room or share for one */                         \
	X(LOST_STACK, "stack_full", 1)      /* allocation kept, its stack was not */

enum counter {
#define X(name, json, loss) COUNTER_##name,
	SRTLEAK_COUNTERS(X)
#undef X
		COUNTER_MAX
};

/* Behind the counters, and no sum of events: entries of the live map. */
#define COUNTER_SLOT_LIVE COUNTER_MAX
#define COUNTER_SLOTS (COUNTER_MAX + 1)

/* What the daemon asks the program `forget` to take out of the maps. */
enum forget_what {
	FORGET_ALLOCATIONS,
	FORGET_HANDLES,
	FORGET_MAPPINGS,
	FORGET_REFERENTS,
	FORGET_GRANTS, /* of images */
};

#define FORGET_MAX 128U
struct forget {
	__u32 what;
	__u32 n;
	__u32 tgid; /* of the process, where it still runs; else 0 */
	__u32 zero;
	struct {
		struct live_key key;
		__u64 id; /* of the allocation; 0: whichever is there */
	} keys[FORGET_MAX];
};
_Static_assert(sizeof(struct forget) == 16 + FORGET_MAX * 24, "no padding in values");

#endif
