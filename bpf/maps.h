/* SPDX-License-Identifier: GPL-2.0 */
/* Every map of the object, and the switches that the daemon sets before it loads it. */
#ifndef SRTLEAK_MAPS_H
#define SRTLEAK_MAPS_H

/* Off, an allocation is recorded without its stack. */
const volatile bool take_stacks = true;

/* Executable mappings and exec are told in `news`. */
const volatile bool tell_news = false;

/* From 6.13 on the kernel gives programs of this type a stack of its CPU, not of the task, trusting
 * that they are not preempted; a uprobe is, and then another thread's run would overwrite ours. A
 * program with a tail call is exempt, even where the verifier removes the call as dead code.
 */
const volatile bool never = false;
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} nowhere SEC(".maps");

static __always_inline void keep_own_stack(void *ctx)
{
	if (never)
		bpf_tail_call(ctx, &nowhere, 0);
}

/* Where an allocation is. */
struct place {
	__u32 pool, context; /* numbers; 0: none, or not known */
	__s8 device;
	__u8 kind;
	__u16 zero;
};

/* A call that changes contexts. One of each family: the runtime's calls the driver's. */
struct context_call {
	__u64 sp; /* stack pointer at the entry; 0: none */
	__u64 ip; /* the function */
	__u32 image;
	__u32 second; /* as in struct thread */
	__u64 pointer;
	__u64 number; /* of the call, where it ends something */
	__u32 cookie;
	__u32 device;
	__u32 ended;    /* number of the context that ends with it; 0: none */
	__u32 taken;    /* it has the handle of what it destroys in hand */
	__u32 leaving;  /* it gives up a reference */
	__u32 retained; /* it takes one */
};

/* What one thread is in the middle of: its outermost call, and room to collect a stack. A uprobe
 * can be preempted, so per-CPU room would be overwritten; a thread's own cannot be.
 */
struct thread {
	__u64 outer_sp; /* stack pointer at the entry of the outermost call; 0: none */
	__u64 done_sp;  /* likewise of the call that was completed last */
	__u64 outer_ip; /* the function of the outermost call */
	__u64 pointer;  /* where the result will be, or the pointer itself */
	__u64 size;     /* bytes, or where the pitch will be */
	__u64 extra;
	__u64 number;            /* of a free; 0: that of what it has taken will do */
	__u64 looked;            /* of one that unmaps: number that it had after it */
	__u64 referent;          /* that it makes or gives up a reference of; 0: none */
	struct live_value taken; /* by a free; id 0: nothing was */
	struct handle stash;     /* likewise, of what is no allocation */
	__u32 image;
	__u32 cookie;       /* of the outermost call: library and api */
	__u32 stashed;      /* the stash is in use */
	__u32 unmapped;     /* spans that the call removes */
	struct place place; /* see place.h */
	/* Its contexts; see context.h. */
	__u32 depth;
	__u64 began_ns;    /* its life, or the program's that it runs; 0: task_struct says */
	__u64 contexts_ns; /* when it was looked whether they are known; 0: not yet */
	__u64 current, bottom, below[CONTEXT_DEPTH];
	__u32 device;   /* that it chose in the runtime */
	__u32 second;   /* cookie of another probe that was met after the call's own; 0: none */
	__u32 runs;     /* of probes, since one was timed */
	__u64 timed_ns; /* when the run that is timed began, CLOCK_MONOTONIC; 0: this one is not */
	/* The stack under collection. The counts live here and not in variables, because the
	 * verifier would follow every combination of them through the walks' loops.
	 */
	__u32 python;
	__u64 hash;
	__u32 native;
	__u32 flags;
	__u32 fresh;  /* the stack is seen for the first time */
	__u32 member; /* the image that this record counts for */
	__u32 zero;
	__u32 window_bytes;
	__u64 window; /* address of what stands in a walk's window, and so many bytes */
	struct context_call calls[FAMILY_MAX];
	union {
		__u64 words[STACK_WORDS];
		struct span {
			__u64 size, referent; /* what is mapped there; 0: not known */
		} spans[UNMAP_MAX];           /* that the call unmaps; it takes no stack */
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, LIVE_MAX);
	__type(key, struct live_key);
	__type(value, struct live_value);
} live SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, HANDLES_MAX);
	__type(key, struct live_key);
	__type(value, struct handle);
} handles SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, HANDLES_MAX);
	__type(key, struct live_key);
	__type(value, struct mapping);
} mappings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, HANDLES_MAX);
	__type(key, struct live_key);
	__type(value, struct referent);
} referents SEC(".maps");

/* Notes that matter while a call lasts: numbers of the last frees that found nothing to free, and
 * succeeded (stray.h); with LAST_NAMED in the key, what had the name last (referent.h).
 */
#define LAST_NAMED 0x80000000U /* in a key's space */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, STRAYS_MAX);
	__type(key, struct live_key);
	__type(value, __u64);
} strays SEC(".maps");

/* Since when a library's calls are seen, by its number: CLOCK_BOOTTIME. Written by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16); /* numbers */
	__type(key, __u32);
	__type(value, __u64);
} armed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, struct process_image);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, struct python_target);
} python SEC(".maps");

/* Children that have not called, with their parents' interpreters: many that never will must not
 * take the room of those in `python`.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, struct python_target);
} forked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GRANTS_MAX);
	__type(key, __u32);
	__type(value, struct grant);
} grants SEC(".maps");

/* The sums of what is granted. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARE_SLOTS);
	__type(key, __u32);
	__type(value, struct share);
} shares SEC(".maps");

/* Processes that got no image, by tgid: when they started, in ticks. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, __u64);
} refused SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, POLICIES_MAX);
	__type(key, __u32);
	__type(value, struct policy);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, struct tracked);
} tracked SEC(".maps");

/* What is recorded of an image; those without an entry are recorded in full. Written by the daemon,
 * as is whether there are any, for a look at each call.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, enum probe_step);
} steps SEC(".maps");
__u32 some_stepped_down SEC(".data.steps") = 0;

/* The newest unseen_ns of all in `tracked`, for a look at each call. Written by the daemon. */
__u64 newest_unseen_ns SEC(".data.unseen") = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STACK_CHUNKS_MAX);
	__type(key, struct stack_key);
	__type(value, struct stack_chunk);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} events SEC(".maps");

/* Without programs that write to it (mapping.h) it is made as small as can be. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, NEWS_BYTES);
} news SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct forget);
} forgets SEC(".maps");

/* Numbers handed out so far: to allocations, to what else has an end, and to the calls that end
 * something; to images.
 */
__u64 last_id = 0;
__u32 last_image = 0;

static __always_inline __u64 next_id(void)
{
	return __sync_fetch_and_add(&last_id, 1) + 1;
}

/* 0, which stands for none, comes round once in four billion: who gets it asks again. */
static __always_inline __u32 next_image(void)
{
	return __sync_fetch_and_add(&last_image, 1) + 1;
}

/* Others see what was written before it, or it sees what they have written before theirs: writing
 * to a map alone does not ensure that. What is read is used, as an addition without a use orders
 * nothing.
 */
static __always_inline void fence(void)
{
	__u64 id = __sync_fetch_and_add(&last_id, 0);

	asm volatile("" : : "r"(id));
}

static __always_inline void count_by(__u32 counter, __s64 n)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	/* Atomic: a program that is preempted here shares the CPU's slot with its successor. */
	if (value)
		__sync_fetch_and_add(value, n);
}

static __always_inline void count(__u32 counter)
{
	count_by(counter, 1);
}

/* Of something that was not kept, for lack of room; the process is marked. */
static __always_inline void count_dropped(struct process_image *p, __u32 counter)
{
	count(counter);
	__sync_fetch_and_add(&p->over_limit, 1);
}

#endif
