/* SPDX-License-Identifier: Apache-2.0 */
#include "python_reader.h"

#include <stdbool.h>
#include <string.h>

#include "macro.h"
#include "python_code.h"
#include "remote.h"

#define CACHE_BITS 10
#define CACHE_CODES_MAX 16384
#define CACHE_BYTES_MAX (16U << 20)

#define WALK_STEPS_MAX 1024 /* interpreters and threads together, in all attempts */
#define WALK_ATTEMPTS 8
#define TSTATE_READ 192 /* bytes of a thread state that have all its fields, any version */

struct python {
	pid_t pid;
	const struct python_layout *layout;
	uint64_t runtime;
	uint64_t code_type;
	char version[16];

	size_t cached;
	size_t cached_bytes;
	struct python_code *cache[1U << CACHE_BITS];
};

/* What a walk over all threads has seen. */
struct walk {
	unsigned int steps;
	unsigned int threads;
	unsigned int good_frames;
	unsigned int bad_frames;
};

static const struct python_layout *find_layout(uint32_t hex_version)
{
	for (size_t i = 0; i < PYTHON_LAYOUTS; i++)
		if (python_layouts[i].version == hex_version >> 16)
			return &python_layouts[i];
	return NULL;
}

int python_open(pid_t pid, const struct python_binary *bin, uint64_t load_bias, struct python **ret)
{
	const struct python_layout *layout;
	struct python *py;
	uint32_t version;
	int r;

	if (!bin->runtime || !bin->version_symbol || !bin->code_type)
		return -EOPNOTSUPP;
	r = remote_read_u32(pid, load_bias + bin->version_symbol, &version);
	if (r < 0)
		return r;
	layout = find_layout(version);
	if (!layout)
		return -EOPNOTSUPP;

	py = calloc(1, sizeof(*py));
	if (!py)
		return -ENOMEM;
	py->pid = pid;
	py->layout = layout;
	py->runtime = load_bias + bin->runtime;
	py->code_type = load_bias + bin->code_type;
	snprintf(py->version, sizeof(py->version), "%u.%u.%u", version >> 24, version >> 16 & 0xff,
		 version >> 8 & 0xff);
	*ret = py;
	return 0;
}

/* The address of a thread's topmost frame; 0 where it runs no Python. */
static int read_top_frame(const struct python *py, const uint8_t tstate[TSTATE_READ], uint64_t *ret)
{
	uint64_t frame = remote_u64(tstate, py->layout->tstate_frame);

	if (py->layout->cframe_frame != PYTHON_ABSENT)
		return remote_read_u64(py->pid, frame + py->layout->cframe_frame, ret);
	*ret = frame;
	return 0;
}

/* A running thread may move on between these reads, so one bad frame proves nothing. */
static bool top_frame_fits(const struct python *py, uint64_t frame)
{
	const struct python_layout *layout = py->layout;
	uint8_t buf[PYTHON_FRAME_READ];
	uint64_t code, type;

	if (remote_read(py->pid, frame, buf, layout->frame_size) < 0)
		return false;
	if (buf[layout->frame_owner] >= layout->frame_shim)
		return true;
	code = remote_u64(buf, layout->frame_code) & ~(uint64_t)layout->code_tag_mask;
	return remote_read_u64(py->pid, code + PYTHON_OBJECT_TYPE, &type) >= 0 &&
	       type == py->code_type;
}

static void look_at_frame(const struct python *py, const uint8_t tstate[TSTATE_READ],
			  struct walk *walk)
{
	uint64_t frame = 0;

	if (read_top_frame(py, tstate, &frame) == 0 && !frame)
		return; /* runs no Python code */
	if (frame && top_frame_fits(py, frame))
		walk->good_frames++;
	else
		walk->bad_frames++;
}

static int walk_threads(const struct python *py, uint64_t interp, struct walk *walk)
{
	const struct python_layout *layout = py->layout;
	uint8_t tstate[TSTATE_READ];
	uint64_t previous = 0;
	uint64_t thread;
	int r;

	r = remote_read_u64(py->pid, interp + layout->interp_threads, &thread);
	if (r < 0)
		return r;
	while (thread && walk->steps++ < WALK_STEPS_MAX) {
		r = remote_read(py->pid, thread, tstate, sizeof(tstate));
		if (r < 0)
			return r;
		if (remote_u64(tstate, layout->tstate_interp) != interp ||
		    remote_u64(tstate, layout->tstate_prev) != previous)
			return -EBADMSG;
		walk->threads++;
		look_at_frame(py, tstate, walk);
		previous = thread;
		thread = remote_u64(tstate, layout->tstate_next);
	}
	return 0;
}

static int walk_interpreters(const struct python *py, unsigned int *steps)
{
	const struct python_layout *layout = py->layout;
	struct walk walk = {.steps = *steps};
	uint64_t interp;
	int r;

	r = remote_read_u64(py->pid, py->runtime + layout->runtime_interpreters, &interp);
	if (r < 0)
		return r;
	while (interp && walk.steps++ < WALK_STEPS_MAX) {
		r = walk_threads(py, interp, &walk);
		*steps = walk.steps;
		if (r < 0)
			return r;
		r = remote_read_u64(py->pid, interp + layout->interp_next, &interp);
		if (r < 0)
			return r;
	}
	if (walk.threads == 0)
		return -EAGAIN;
	return walk.bad_frames > 0 && walk.good_frames == 0 ? -EBADMSG : 0;
}

int python_validate(struct python *py)
{
	unsigned int steps = 0;
	int r = -EBADMSG;

	/* threads that come and go meanwhile look like a layout that does not fit: try again */
	for (int i = 0; i < WALK_ATTEMPTS && steps < WALK_STEPS_MAX; i++) {
		r = walk_interpreters(py, &steps);
		if (r != -EBADMSG && r != -EFAULT)
			return r;
	}
	return -EBADMSG;
}

static struct python_code **cache_slot(struct python *py, uint64_t addr)
{
	size_t bucket = (addr >> 4) * 0x9e3779b97f4a7c15ULL >> (64 - CACHE_BITS);
	struct python_code **slot = &py->cache[bucket];

	while (*slot && (*slot)->addr != addr)
		slot = &(*slot)->next;
	return slot;
}

static void cache_remove(struct python *py, struct python_code **slot)
{
	struct python_code *code = *slot;

	*slot = code->next;
	py->cached--;
	py->cached_bytes -= code->size;
	python_code_free(code);
}

static void cache_clear(struct python *py)
{
	for (size_t i = 0; i < ARRAY_SIZE(py->cache); i++)
		while (py->cache[i])
			cache_remove(py, &py->cache[i]);
}

static void cache_add(struct python *py, struct python_code *code)
{
	struct python_code **slot;

	if (py->cached >= CACHE_CODES_MAX || py->cached_bytes + code->size > CACHE_BYTES_MAX)
		cache_clear(py);
	slot = cache_slot(py, code->addr);
	code->next = *slot;
	*slot = code;
	py->cached++;
	py->cached_bytes += code->size;
}

static int find_code(struct python *py, uint64_t addr, const struct python_code **ret)
{
	struct python_code **slot = cache_slot(py, addr);
	struct python_code *code;
	int r;

	if (*slot) {
		r = python_code_check(py->pid, py->layout, *slot);
		if (r >= 0) {
			*ret = *slot;
			return 0;
		}
		cache_remove(py, slot);
	}
	r = python_code_load(py->pid, py->layout, py->code_type, addr, &code);
	if (r < 0)
		return r;
	cache_add(py, code);
	*ret = code;
	return 0;
}

int python_frame_name(struct python *py, uint64_t code_addr, uint64_t instr, uint64_t sum,
		      struct python_frame *ret)
{
	const struct python_code *code;
	int r;

	r = find_code(py, code_addr & ~(uint64_t)py->layout->code_tag_mask, &code);
	if (r < 0)
		return r;
	if (sum && sum != python_code_sum(code))
		return -ESTALE;
	r = python_code_line(py->layout, code, instr);
	if (r < 0)
		return r;
	*ret = (struct python_frame){.function = code->function, .file = code->file, .line = r};
	return 0;
}

const char *python_version(const struct python *py)
{
	return py->version;
}

const struct python_layout *python_layout(const struct python *py)
{
	return py->layout;
}

size_t python_memory(const struct python *py)
{
	return py ? sizeof(*py) + py->cached_bytes : 0;
}

void python_forget(struct python *py)
{
	if (py)
		cache_clear(py);
}

struct python *python_free(struct python *py)
{
	if (!py)
		return NULL;
	cache_clear(py);
	free(py);
	return NULL;
}
