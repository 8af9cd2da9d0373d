/* SPDX-License-Identifier: GPL-2.0 */
/* Call stacks: collected in the thread's own room, then interned.
 *
 * They are taken when the call returns: the frames above it are then what they were when it began,
 * and the daemon has had the time of the call (a process's first one initialises the driver, 100 ms
 * and more) to find the interpreter. A thread inside an allocating call stands still, so its
 * frames, Python's too, cannot change while they are read. Reads never fault a page in: what is not
 * resident ends the stack early, and says so.
 */
#ifndef SRTLEAK_STACK_H
#define SRTLEAK_STACK_H

static __always_inline __u64 read_user_u64(__u64 addr)
{
	__u64 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (const void *)addr);
	return value;
}

#if defined(__TARGET_ARCH_x86)
/* glibc keeps the first 32 thread-specific values inside struct pthread, which fsbase points to:
 * 16 bytes each, the value in the second half.
 */
#define PTHREAD_SPECIFIC 0x310
#define PTHREAD_KEYS 32

static __always_inline __u64 thread_specific(struct task_struct *task, __u32 key)
{
	if (key >= PTHREAD_KEYS)
		return 0;
	return read_user_u64(task->thread.fsbase + PTHREAD_SPECIFIC + key * 16ULL + 8);
}
#endif

/* The thread's PyThreadState from CPython's gilstate slot, which stays set while the GIL is
 * released, as it is in most calls of cudaMalloc. The result is the innermost frame, 0: none.
 */
static __always_inline __u64 python_top_frame(struct task_struct *task,
					      const struct python_target *target,
					      const struct python_layout *layout)
{
	__u32 key = ~0U;
	__u64 tstate, frame;

	if (bpf_probe_read_user(&key, sizeof(key),
				(const void *)(target->runtime + layout->runtime_tss_key)))
		return 0;
	tstate = thread_specific(task, key);
	if (!tstate)
		return 0;
	frame = read_user_u64(tstate + layout->tstate_frame);
	if (frame && layout->cframe_frame != PYTHON_ABSENT)
		frame = read_user_u64(frame + layout->cframe_frame);
	return frame;
}

static __always_inline void python_push(struct thread *th, __u64 code, __u64 instr)
{
	__u32 at = th->python;

	if (at >= PYTHON_FRAMES_MAX) /* never: told to the verifier */
		return;
	th->words[1 + 2 * at] = code;
	th->words[2 + 2 * at] = instr;
	th->hash = stack_mix(stack_mix(th->hash, code), instr);
	th->python = at + 1;
}

static __always_inline const struct python_target *python_of(struct task_struct *task)
{
	__u32 tgid = task->tgid;
	const struct python_target *target = bpf_map_lookup_elem(&python, &tgid);

	if (!target)
		target = bpf_map_lookup_elem(&forked, &tgid);
	if (!target || target->layout >= PYTHON_LAYOUTS ||
	    target->start_ticks != task->group_leader->start_boottime / NS_PER_TICK)
		return NULL;
	return target;
}

/* A call's frames lie behind its caller's in one block of memory, if they are no generator's, so a
 * piece of it is read at once, which stays inside the page that the frame begins in: what else is
 * there may not be mapped. It stands at the end of the words, where no stack comes before it is
 * complete. NULL where the frame is not readable.
 */
#define PYTHON_WINDOW 1280U
#define PYTHON_WINDOW_AT (STACK_WORDS - PYTHON_WINDOW / 8 - 8) /* and room for wrong offsets */
_Static_assert(PYTHON_WINDOW_AT > 2 + 2 * PYTHON_FRAMES_MAX, "pairs and the window fit");
#define PAGE_BYTES 4096ULL

static __always_inline const __u8 *python_frame(struct thread *th, __u64 frame)
{
	__u8 *bytes = (__u8 *)&th->words[PYTHON_WINDOW_AT];
	__u64 at = frame - th->window;

	if (at > PYTHON_WINDOW || at + PYTHON_FRAME_READ > th->window_bytes) {
		__u64 start = frame + PYTHON_FRAME_READ - PYTHON_WINDOW;
		__u64 page = frame & ~(PAGE_BYTES - 1);

		if (start < page)
			start = page;
		at = frame - start;
		th->window = start;
		th->window_bytes = at + PYTHON_FRAME_READ;
		asm volatile("" : "+r"(at));
		if (at > PYTHON_WINDOW - PYTHON_FRAME_READ ||
		    bpf_probe_read_user(bytes, at + PYTHON_FRAME_READ, (const void *)start))
			return NULL;
	}
	asm volatile("" : "+r"(at)); /* lest the check be made of something else */
	return at > PYTHON_WINDOW - PYTHON_FRAME_READ ? NULL : bytes + at;
}

static __always_inline void python_walk(struct task_struct *task, struct thread *th)
{
	const struct python_target *target = python_of(task);
	const struct python_layout *layout;
	__u64 frame;
	__u32 i;

	if (!target || target->layout >= PYTHON_LAYOUTS)
		return;
	layout = &python_layouts[target->layout];
	frame = python_top_frame(task, target, layout);
	th->window_bytes = 0;
	for (i = 0; i < PYTHON_FRAMES_MAX && frame; i++) {
		const __u8 *copy = python_frame(th, frame);
		__u64 code, instr;

		if (!copy) {
			th->flags |= STACK_PYTHON_TRUNCATED;
			return;
		}
		frame = *(__u64 *)(copy + (layout->frame_previous & 0x7f));
		if (copy[layout->frame_owner & 0x7f] >= layout->frame_shim)
			continue;
		code = *(__u64 *)(copy + (layout->frame_code & 0x7f)) &
		       ~(__u64)layout->code_tag_mask;
		instr = *(__u64 *)(copy + (layout->frame_instr & 0x7f));
		python_push(th, code, instr);
	}
	if (frame)
		th->flags |= STACK_PYTHON_TRUNCATED;
}

/* Frames lie near each other, and each read of a process's memory has its price, so where they do a
 * piece of the stack is read at once. It stands behind what a stack without Python can fill of the
 * words.
 */
#define WINDOW_WORDS 256U
#define WINDOW_AT (STACK_WORDS - WINDOW_WORDS)
#define WINDOW_BYTES (WINDOW_WORDS * sizeof(__u64))
_Static_assert(WINDOW_AT > 1 + NATIVE_FRAMES_MAX, "a native stack and the window fit");

/* The two words at an address of the stack; NULL where they are not readable. */
static __always_inline const __u64 *window_pair(struct thread *th, __u64 addr, bool is_near)
{
	__u64 at = addr - th->window;
	__u64 *words = &th->words[WINDOW_AT];

	if (at > WINDOW_BYTES || at + 2 * sizeof(__u64) > th->window_bytes) {
		at = 0;
		th->window = addr;
		th->window_bytes = WINDOW_BYTES;
		/* Near its end the stack is shorter than the window. */
		if (!is_near || bpf_probe_read_user(words, WINDOW_BYTES, (const void *)addr)) {
			th->window_bytes = 2 * sizeof(__u64);
			if (bpf_probe_read_user(words, 2 * sizeof(__u64), (const void *)addr))
				return NULL;
		}
	}
	asm volatile("" : "+r"(at)); /* lest the check be made of something else */
	return at > WINDOW_BYTES - 2 * sizeof(__u64) ? NULL : &words[at / sizeof(__u64)];
}

static __always_inline bool native_push(struct thread *th, __u64 address)
{
	__u32 at = 1 + 2 * th->python + th->native;

	if (at >= STACK_WORDS || th->native >= NATIVE_FRAMES_MAX)
		return false;
	th->words[at] = address;
	th->hash = stack_mix(th->hash, address);
	th->native++;
	return true;
}

/* The caller, which the kernel has put where it was before the probe; then its callers by frame
 * pointers, as long as they make sense. Below a Python stack the rest is the interpreter's own
 * frames, which tell nothing.
 */
static __always_inline void native_walk(struct thread *th, __u64 ip, __u64 sp, __u64 fp)
{
	__u32 i;

	if (!native_push(th, ip) || th->python)
		return;
	th->window_bytes = 0;
	for (i = 0; i < NATIVE_FRAMES_MAX; i++) {
		const __u64 *pair;

		if (fp <= sp || fp & 7)
			return;
		pair = window_pair(th, fp, fp - sp < WINDOW_BYTES / 2);
		if (!pair || !pair[1])
			return;
		sp = fp;
		fp = pair[0];
		if (!native_push(th, pair[1])) {
			th->flags |= STACK_NATIVE_TRUNCATED;
			return;
		}
	}
}

/* Collects the stack of a call that returns with these registers. Global, so that the verifier
 * looks once at the loops: after all that leads here it would do so dozens of times.
 */
__noinline int stack_walk(__u64 ip, __u64 sp, __u64 fp)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);

	if (!th)
		return 0;
	th->python = th->native = th->flags = 0;
	python_walk(task, th);
	native_walk(th, ip, sp, fp);
	th->words[0] = STACK_HEADER(th->python, th->native, th->flags);
	return 0;
}

/* Takes back the pieces behind the one that found no room: nobody would find them. */
static __always_inline void stack_unstore(struct stack_key *key)
{
	__u32 i;

	for (i = 0; i < STACK_CHUNKS; i++) {
		key->chunk++;
		if (bpf_map_delete_elem(&stacks, key))
			return;
	}
}

/* Adds the sums of the code objects, which a stack needs only the first time. */
static __always_inline void python_sums(struct task_struct *task, struct thread *th)
{
	const struct python_target *target = python_of(task);
	__u32 first = 1 + 2 * th->python + th->native, i;
	const struct python_layout *layout;
	__u64 strings[4];

	if (!target || target->layout >= PYTHON_LAYOUTS)
		return;
	layout = &python_layouts[target->layout];
	for (i = 0; i < PYTHON_FRAMES_MAX; i++) {
		__u32 at = first + i;

		asm volatile("" : "+r"(at)); /* lest the check be made of something else */
		if (i >= th->python || at >= STACK_WORDS)
			return;
		th->words[at] = 0;
		if (!bpf_probe_read_user(strings, sizeof(strings),
					 (void *)(th->words[1 + 2 * i] + layout->code_filename)))
			th->words[at] = stack_code_sum(strings);
	}
}

/* Stores the collected words; the first piece last: where it is, all are. */
static __always_inline bool stack_store(struct process_image *p, struct thread *th,
					struct stack_key *key, __u32 used)
{
	__u32 chunks = (used + STACK_CHUNK_WORDS - 1) / STACK_CHUNK_WORDS;
	int chunk;

	if (!grant_take(p->image, SHARED_CHUNKS, chunks))
		return false;
	for (chunk = STACK_CHUNKS - 1; chunk >= 0; chunk--) {
		if (chunk * STACK_CHUNK_WORDS >= used)
			continue;
		key->chunk = chunk;
		if (bpf_map_update_elem(&stacks, key, &th->words[chunk * STACK_CHUNK_WORDS],
					BPF_ANY)) {
			stack_unstore(key);
			grant_return(p->image, SHARED_CHUNKS, chunks);
			return false;
		}
	}
	return true;
}

/* Keeps a stack that is seen for the first time. Global, so that the verifier looks at it once. */
__noinline int stack_keep(__u64 id)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = bpf_task_storage_get(&threads, task, NULL, 0);
	struct process_image *p = process_find(task);
	struct stack_key key = {.id = id};

	if (!th || !p)
		return 0;
	key.image = p->image;
	python_sums(task, th);
	th->fresh = stack_store(p, th, &key, 1 + 3 * th->python + th->native);
	if (th->fresh)
		return 0;
	count_dropped(p, COUNTER_LOST_STACK);
	return 0;
}

/* The id of the current call stack, 0 where it could not be stored. Says in th->fresh whether it is
 * seen for the first time.
 */
static __always_inline __u64 stack_capture(struct pt_regs *ctx, struct process_image *p,
					   struct thread *th)
{
	struct stack_key key = {.image = p->image};

	th->fresh = 0;
	if (!take_stacks || step_of(p) >= STEP_NO_STACKS)
		return 0;
	th->hash = p->image;
	stack_walk(PT_REGS_IP(ctx), PT_REGS_SP(ctx), PT_REGS_FP(ctx));
	key.id = stack_mix(th->hash, th->words[0]) | 1; /* never 0 */
	if (bpf_map_lookup_elem(&stacks, &key))
		return key.id;
	stack_keep(key.id);
	return th->fresh ? key.id : 0;
}

#endif
