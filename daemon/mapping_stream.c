/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "clock.h"
#include "mapping_stream.h"
#include "mappings.h"

struct mapping_stream {
	struct perf_handlers handlers;
	struct ring_buffer *ring;
	sd_event_source *source;
	uint64_t lost;
	uint64_t turn_ends; /* CLOCK_MONOTONIC */
};

struct search {
	const struct mapping_stream *stream;
	const struct mapping_news *news;
};

/* The record names an address only; by now the mapping may have grown together with another. */
static int on_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	const struct search *search = userdata;
	const struct perf_handlers *handlers = &search->stream->handlers;
	const struct perf_mapping found = {
		.pid = (pid_t)search->news->tgid,
		.time_ns = search->news->time_ns,
		.start = mapping->start,
		.end = mapping->end,
		.offset = mapping->offset,
		.major = mapping->major,
		.minor = mapping->minor,
		.inode = mapping->inode,
		.path = mapping->path,
	};

	if (search->news->start >= mapping->start)
		handlers->mapping(&found, handlers->userdata);
	return 1;
}

static int on_news(void *userdata, void *data, size_t size)
{
	struct mapping_stream *s = userdata;
	const struct mapping_news *news = data;
	struct search search = {.stream = s, .news = news};

	if (size < sizeof(*news))
		return 0;
	if (news->lost > s->lost) {
		s->handlers.lost(news->lost - s->lost, s->handlers.userdata);
		s->lost = news->lost;
	}
	if (news->start)
		(void)mappings_from((pid_t)news->tgid, news->start, MAPPINGS_CODE, on_mapping,
				    &search);
	else
		s->handlers.executed((pid_t)news->tgid, news->time_ns, s->handlers.userdata);
	/* A failure ends the walk behind this record; the ring stays readable. */
	return clock_monotonic_ns() < s->turn_ends ? 0 : -EAGAIN;
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct mapping_stream *s = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	s->turn_ends = clock_monotonic_ns() + PROBES_TURN_NS;
	(void)ring_buffer__consume(s->ring);
	return 0;
}

int mapping_stream_open(sd_event *loop, const struct probes *probes,
			const struct perf_handlers *handlers, struct mapping_stream **ret)
{
	struct mapping_stream *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	s->handlers = *handlers;
	s->ring = ring_buffer__new(probes_news_fd(probes), on_news, s, NULL);
	if (!s->ring)
		r = -errno;
	if (r == 0)
		r = sd_event_add_io(loop, &s->source, ring_buffer__epoll_fd(s->ring), EPOLLIN,
				    on_readable, s);
	if (r < 0) {
		mapping_stream_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct mapping_stream *mapping_stream_free(struct mapping_stream *s)
{
	if (!s)
		return NULL;
	sd_event_source_unref(s->source);
	ring_buffer__free(s->ring);
	free(s);
	return NULL;
}
