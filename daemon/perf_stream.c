/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "macro.h"
#include "clock.h"
#include "perf_stream.h"

#define RING_PAGES 64       /* per CPU; a power of two. A record is some 150 bytes */
#define TURN_NS 10000000ULL /* then others have theirs */

struct cpu_ring {
	struct perf_stream *stream;
	int fd;
	struct perf_event_mmap_page *header;
	sd_event_source *source;
};

struct perf_stream {
	struct perf_handlers handlers;
	size_t page_size;
	size_t n_rings;
	struct cpu_ring *rings;
	sd_event_source *again;
	_Alignas(8) unsigned char record[65536]; /* one record, unwrapped; its size field has 16
						    bits */
};

/* Records end with what sample_id_all adds: pid, tid and time. */
struct sample_id {
	uint32_t pid, tid;
	uint64_t time_ns;
};

struct mmap2_record {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t start, length, offset;
	uint32_t major, minor;
	uint64_t inode, generation;
	uint32_t protection, flags;
	char path[];
};

struct comm_record {
	struct perf_event_header header;
	uint32_t pid, tid;
};

struct lost_record {
	struct perf_event_header header;
	uint64_t id, lost;
};

static void on_mmap2(const struct perf_stream *s, const struct mmap2_record *record)
{
	size_t size = record->header.size;
	struct sample_id id;
	struct perf_mapping mapping;

	if (size < sizeof(*record) + sizeof(id) + 1)
		return;
	size -= sizeof(id);
	memcpy(&id, (const char *)record + size, sizeof(id));
	if (!memchr(record->path, 0, size - sizeof(*record)))
		return;
	mapping = (struct perf_mapping){
		.pid = (pid_t)record->pid,
		.time_ns = id.time_ns,
		.start = record->start,
		.end = record->start + record->length,
		.offset = record->offset,
		.major = record->major,
		.minor = record->minor,
		.inode = record->inode,
		.path = record->path,
	};
	s->handlers.mapping(&mapping, s->handlers.userdata);
}

static void on_exec(const struct perf_stream *s, const struct comm_record *record)
{
	struct sample_id id;

	if (record->header.size < sizeof(*record) + sizeof(id))
		return;
	memcpy(&id, (const char *)record + record->header.size - sizeof(id), sizeof(id));
	s->handlers.executed((pid_t)record->pid, id.time_ns, s->handlers.userdata);
}

static void dispatch(const struct perf_stream *s)
{
	const struct perf_event_header *header = (const void *)s->record;

	switch (header->type) {
	case PERF_RECORD_MMAP2:
		on_mmap2(s, (const void *)s->record);
		break;
	case PERF_RECORD_COMM:
		if (header->misc & PERF_RECORD_MISC_COMM_EXEC)
			on_exec(s, (const void *)s->record);
		break;
	case PERF_RECORD_LOST:
		if (header->size >= sizeof(struct lost_record))
			s->handlers.lost(((const struct lost_record *)header)->lost,
					 s->handlers.userdata);
		break;
	default:
		break;
	}
}

static void copy_out(const struct perf_stream *s, const struct cpu_ring *ring, uint64_t from,
		     void *to, size_t n)
{
	const unsigned char *data = (const unsigned char *)ring->header + s->page_size;
	size_t size = RING_PAGES * s->page_size, at = from % size, first = MIN(n, size - at);

	memcpy(to, data + at, first);
	memcpy((unsigned char *)to + first, data, n - first);
}

/* Handles what a ring holds, for as long as the turn goes; returns whether there is more. */
static bool drain(struct cpu_ring *ring, uint64_t turn_ends)
{
	struct perf_stream *s = ring->stream;
	uint64_t head = __atomic_load_n(&ring->header->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = ring->header->data_tail;

	while (tail < head && clock_monotonic_ns() < turn_ends) {
		struct perf_event_header header;

		copy_out(s, ring, tail, &header, sizeof(header));
		if (header.size < sizeof(header)) { /* cannot be: skip what there is */
			tail = head;
			break;
		}
		copy_out(s, ring, tail, s->record, header.size);
		tail += header.size;
		/* Free the room first: handling a record can take milliseconds. */
		__atomic_store_n(&ring->header->data_tail, tail, __ATOMIC_RELEASE);
		dispatch(s);
	}
	__atomic_store_n(&ring->header->data_tail, tail, __ATOMIC_RELEASE);
	return tail < head;
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct cpu_ring *ring = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	if (drain(ring, clock_monotonic_ns() + TURN_NS))
		sd_event_source_set_enabled(ring->stream->again, SD_EVENT_ONESHOT);
	return 0;
}

/* A ring is readable once for what has been written: what a turn has left is taken up here. */
static int on_again(sd_event_source *source, void *userdata)
{
	struct perf_stream *s = userdata;
	bool more = false;

	for (size_t i = 0; i < s->n_rings; i++)
		more |= drain(&s->rings[i], clock_monotonic_ns() + TURN_NS / s->n_rings);
	return more ? sd_event_source_set_enabled(source, SD_EVENT_ONESHOT) : 0;
}

/* Mappings and exec, without a counter. */
static long open_event(int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
		.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME,
		.mmap = 1,
		.mmap2 = 1,
		.comm = 1,
		.comm_exec = 1,
		.sample_id_all = 1,
		.watermark = 1,
		.wakeup_watermark = 1, /* at once: the process runs on meanwhile */
		.use_clockid = 1,
		.clockid = CLOCK_BOOTTIME,
	};

	return syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

bool perf_stream_permitted(void)
{
	long fd = open_event(0);

	if (fd >= 0)
		close((int)fd);
	return fd >= 0 || (errno != EACCES && errno != EPERM);
}

static int open_cpu(struct perf_stream *s, sd_event *loop, int cpu)
{
	struct cpu_ring *ring = &s->rings[s->n_rings];
	void *mapped;
	long fd = open_event(cpu);

	if (fd < 0)
		return errno == ENODEV ? 0 : -errno; /* a CPU that is offline maps nothing */
	mapped = mmap(NULL, (RING_PAGES + 1) * s->page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      (int)fd, 0);
	if (mapped == MAP_FAILED) {
		int error = errno;

		close((int)fd);
		return -error;
	}
	ring->stream = s;
	ring->fd = (int)fd;
	ring->header = mapped;
	s->n_rings++;
	return sd_event_add_io(loop, &ring->source, ring->fd, EPOLLIN, on_readable, ring);
}

int perf_stream_open(sd_event *loop, const struct perf_handlers *handlers, struct perf_stream **ret)
{
	int cpus = libbpf_num_possible_cpus(), r = 0;
	struct perf_stream *s;

	if (cpus < 0)
		return cpus;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->handlers = *handlers;
	s->page_size = (size_t)sysconf(_SC_PAGESIZE);
	s->rings = calloc((size_t)cpus, sizeof(*s->rings));
	if (!s->rings)
		r = -ENOMEM;
	if (r >= 0)
		r = sd_event_add_defer(loop, &s->again, on_again, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->again, SD_EVENT_OFF);
	for (int cpu = 0; r >= 0 && cpu < cpus; cpu++)
		r = open_cpu(s, loop, cpu);
	if (r < 0) {
		perf_stream_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct perf_stream *perf_stream_free(struct perf_stream *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; s->rings && i < s->n_rings; i++) {
		sd_event_source_unref(s->rings[i].source);
		munmap(s->rings[i].header, (RING_PAGES + 1) * s->page_size);
		close(s->rings[i].fd);
	}
	sd_event_source_disable_unref(s->again);
	free(s->rings);
	free(s);
	return NULL;
}
