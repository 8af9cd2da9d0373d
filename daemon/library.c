/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "library.h"
#include "log.h"
#include "macro.h"
#include "names.h"
#include "uapi.h"

static bool wanted(const struct probe_point *point)
{
	return point->state == PROBE_ATTACHED || point->state == PROBE_SLOW;
}

size_t library_count(const struct library *library, enum api_family family, enum probe_state state)
{
	size_t n = 0;

	for (int api = 0; api < API_MAX && library->family == family; api++)
		n += api_rows[api].family == family && library->points[api].state == state;
	return n;
}

size_t library_attached(const struct library *library)
{
	size_t n = 0;

	for (int api = 0; api < API_MAX; api++)
		n += wanted(&library->points[api]);
	return n;
}

static int link_multi(const struct bpf_program *program, const char *path, bool at_return,
		      const unsigned long *offsets, const uint64_t *cookies, uint32_t n)
{
	struct uapi_uprobe_multi_attr attr = {
		.prog_fd = (uint32_t)bpf_program__fd(program),
		.attach_type = UAPI_BPF_TRACE_UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)offsets,
		.cookies = (uintptr_t)cookies,
		.cnt = n,
		.multi_flags = at_return ? UAPI_BPF_F_UPROBE_MULTI_RETURN : 0,
	};
	long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	return fd < 0 ? -errno : (int)fd;
}

static int attach_multi(struct library *library, const struct probes *probes, const char *path)
{
	unsigned long offsets[API_MAX];
	uint64_t cookies[API_MAX];
	uint32_t n = 0;

	for (int api = 0; api < API_MAX; api++)
		if (wanted(&library->points[api])) {
			offsets[n] = library->points[api].offset;
			cookies[n++] = COOKIE(library->number, (uint64_t)api);
		}
	if (n == 0)
		return -ENOENT;
	/* Returns first: an entry without its return would look like a call that never ends. */
	for (int entry = 0; entry < 2; entry++) {
		int fd = link_multi(entry ? probes_entry(probes) : probes_return(probes), path,
				    !entry, offsets, cookies, n);

		if (fd < 0)
			return fd;
		library->multi_links[entry] = fd;
	}
	return 0;
}

static int attach_perf_one(struct library *library, const struct bpf_program *program,
			   const char *path, bool at_return, int api)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .retprobe = at_return,
		    .bpf_cookie = COOKIE(library->number, (uint64_t)api));
	struct bpf_link *link = bpf_program__attach_uprobe_opts(
		program, -1, path, library->points[api].offset, &options);

	if (!link)
		return -errno;
	library->links[library->n_links++] = link;
	return 0;
}

static int attach_perf(struct library *library, const struct probes *probes, const char *path)
{
	size_t attached = 0;
	int last = -ENOENT;

	for (int api = 0; api < API_MAX; api++) {
		int r;

		if (!wanted(&library->points[api]))
			continue;
		r = attach_perf_one(library, probes_return(probes), path, true, api);
		if (r == 0) {
			r = attach_perf_one(library, probes_entry(probes), path, false, api);
			if (r < 0) /* alone, every return would look like one without a call */
				bpf_link__destroy(library->links[--library->n_links]);
		}
		if (r < 0) {
			library->points[api].state = PROBE_FAILED;
			library->points[api].error = last = r;
		} else {
			attached++;
		}
	}
	return attached > 0 ? 0 : last;
}

int library_attach(const struct probes *probes, bool multi, int fd, const char *path,
		   enum api_family family, uint32_t number, struct library **ret)
{
	_cleanup_(library_freep) struct library *library = calloc(1, sizeof(*library));
	/* What was opened and read is what is probed, whatever the path leads to by now. */
	char through_fd[64];
	struct stat st;
	int r;

	if (!library)
		return -ENOMEM;
	library->multi_links[0] = library->multi_links[1] = -1;
	if (fstat(fd, &st) < 0)
		return -errno;
	library->device = st.st_dev;
	library->inode = st.st_ino;
	library->number = number;
	library->family = family;
	library->path = strdup(path);
	if (!library->path)
		return -ENOMEM;
	r = survey_library(fd, family, library->points);
	if (r < 0)
		return r;
	snprintf(through_fd, sizeof(through_fd), "/proc/self/fd/%d", fd);
	r = multi ? attach_multi(library, probes, through_fd)
		  : attach_perf(library, probes, through_fd);
	if (r < 0)
		return r;
	library->armed_ns = clock_boottime_ns();
	*ret = TAKE_PTR(library);
	return 0;
}

struct library *library_free(struct library *library)
{
	if (!library)
		return NULL;
	/* Entries first, so that no call begins that would miss its return; perf links stand in the
	 * order return, entry.
	 */
	for (int entry = 1; entry >= 0; entry--)
		if (library->multi_links[entry] >= 0)
			close(library->multi_links[entry]);
	for (size_t i = library->n_links; i-- > 0;)
		bpf_link__destroy(library->links[i]);
	sd_event_source_disable_unref(library->written);
	free(library->path);
	free(library);
	return NULL;
}
