/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "macro.h"
#include "reader.h"
#include "reader_service.h"
#include "real_files.h"

static uint64_t subject_of_file(uint64_t device, uint64_t inode)
{
	return (device << 40 ^ inode) * 2 + 1; /* odd: a file */
}

static uint64_t subject_of_process(pid_t pid)
{
	return (uint64_t)pid * 2;
}

static int call_for_mapping(enum reader_call call, pid_t pid, const struct procfs_mapping *mapping,
			    struct reader_mapping *to, int *ret_fd)
{
	uint64_t device = makedev(mapping->major, mapping->minor);

	if (strlen(mapping->path) >= sizeof(to->path))
		return -ENAMETOOLONG;
	to->line = *mapping;
	strcpy(to->path, mapping->path);
	return reader_service_call(call, pid, subject_of_file(device, mapping->inode), -1, ret_fd);
}

int reader_memory(pid_t pid, const struct remote_piece *pieces, size_t n)
{
	union reader_page *page = reader_service_page();
	struct reader_memory *m;
	size_t total = 0;
	int r, none;

	if (!page)
		return -EAGAIN;
	m = &page->memory;
	m->n = 0;
	for (size_t i = 0; i < n; i++) {
		if (pieces[i].size == 0)
			continue;
		if (m->n == REMOTE_PIECES_MAX || pieces[i].size > sizeof(m->bytes) - total)
			return -EINVAL;
		m->pieces[m->n].addr = pieces[i].addr;
		m->pieces[m->n++].size = pieces[i].size;
		total += pieces[i].size;
	}
	if (m->n == 0)
		return 0;
	r = reader_service_call(READER_memory, pid, subject_of_process(pid), -1, &none);
	if (r < 0)
		return r;
	total = 0;
	for (size_t i = 0; i < n; i++) {
		memcpy(pieces[i].buf, m->bytes + total, pieces[i].size);
		total += pieces[i].size;
	}
	return 0;
}

int reader_open(pid_t pid, const struct procfs_mapping *mapping, struct stat *ret)
{
	union reader_page *page = reader_service_page();
	_cleanup_close_ int fd = -1;
	int r = page ? call_for_mapping(READER_open, pid, mapping, &page->open.mapping, &fd)
		     : -EAGAIN;

	if (r < 0)
		return r;
	if (fd < 0)
		return -EBADMSG;
	*ret = page->open.st;
	return TAKE_FD(fd);
}

int reader_real_file(pid_t pid, int fd, struct stat *st, uint64_t *ret_id)
{
	union reader_page *page = reader_service_page();
	const uint64_t subject = subject_of_file(st->st_dev, st->st_ino);
	struct real_file file = {0};
	bool is_fuse;
	int none, r;

	if (!page)
		return -EAGAIN;
	r = reader_service_call(READER_show, pid, subject, fd, &none);
	if (r < 0)
		return r;
	is_fuse = page->show.magic == FUSE_SUPER_MAGIC;
	if (!is_fuse)
		r = real_files_at(reader_service_pid(), page->show.address, st, &file);
	if (page->show.address) /* a mapping would keep a file system busy */
		(void)reader_service_call(READER_show, pid, subject, -1, &none);
	if (r < 0)
		return r;
	*ret_id = file.id;
	return is_fuse || file.magic == FUSE_SUPER_MAGIC ? -EMEDIUMTYPE : 0;
}

/* An index that the reader tells is not used unseen. */
static bool is_sane(const struct probe_point *point)
{
	return (unsigned int)point->state <= PROBE_FAILED &&
	       (point->state != PROBE_ALIAS || (point->alias_of >= 0 && point->alias_of < API_MAX));
}

int reader_survey(pid_t pid, int fd, const struct stat *st, enum api_family family,
		  struct probe_point ret[API_MAX])
{
	union reader_page *page = reader_service_page();
	int none, r;

	if (!page)
		return -EAGAIN;
	page->survey.family = family;
	r = reader_service_call(READER_survey, pid, subject_of_file(st->st_dev, st->st_ino), fd,
				&none);
	if (r < 0)
		return r;
	memcpy(ret, page->survey.points, sizeof(page->survey.points));
	for (int api = 0; api < API_MAX; api++)
		if (!is_sane(&ret[api]))
			return -EBADMSG;
	return 0;
}

int reader_symbol(pid_t pid, const struct procfs_mapping *mapping, uint64_t offset,
		  char ret_name[ELF_NAME_MAX], uint64_t *ret_distance)
{
	union reader_page *page = reader_service_page();
	struct reader_symbol *s;
	int none, r;

	if (!page)
		return -EAGAIN;
	s = &page->symbol;
	s->offset = offset;
	r = call_for_mapping(READER_symbol, pid, mapping, &s->mapping, &none);
	if (r < 0)
		return r;
	memcpy(ret_name, s->name, sizeof(s->name));
	ret_name[sizeof(s->name) - 1] = '\0';
	*ret_distance = s->distance;
	return 0;
}

int reader_exports(pid_t pid, const struct procfs_mapping *mapping, const char *const *names,
		   size_t n, uint64_t *ret_values, uint64_t *ret_linked)
{
	union reader_page *page = reader_service_page();
	struct reader_exports *e;
	int none, r;

	if (!page)
		return -EAGAIN;
	e = &page->exports;
	e->n = (uint32_t)MIN(n, (size_t)READER_NAMES_MAX);
	for (size_t i = 0; i < e->n; i++)
		snprintf(e->names[i], sizeof(e->names[i]), "%s", names[i]);
	r = call_for_mapping(READER_exports, pid, mapping, &e->mapping, &none);
	if (r < 0)
		return r;
	memcpy(ret_values, e->values, MIN(n, (size_t)READER_NAMES_MAX) * sizeof(*ret_values));
	*ret_linked = e->linked;
	return 0;
}

ssize_t reader_text(pid_t pid, const char *name, char *ret, size_t size)
{
	union reader_page *page = reader_service_page();
	struct reader_text *t;
	uint32_t got;
	int none, r;

	if (!page)
		return -EAGAIN;
	t = &page->text;
	if (size > sizeof(t->bytes))
		return -EINVAL;
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->size = (uint32_t)size;
	r = reader_service_call(READER_text, pid, subject_of_process(pid), -1, &none);
	if (r < 0) /* the page may be gone */
		return r;
	got = t->size; /* once: it may be changed between two looks */
	if (got > size)
		return -EBADMSG;
	memcpy(ret, t->bytes, got);
	return (ssize_t)got;
}

int reader_boards(pid_t pid, struct gpu_boards *ret)
{
	union reader_page *page = reader_service_page();
	int none, r = -EAGAIN;

	if (page)
		r = reader_service_call(READER_boards, pid, subject_of_process(pid), -1, &none);
	if (r < 0)
		return r;
	*ret = page->boards.boards;
	ret->n = MIN(ret->n, (size_t)GPUS_MAX);
	for (size_t i = 0; i < ret->n; i++) {
		ret->items[i].uuid[GPU_UUID_SIZE - 1] = '\0';
		ret->items[i].model[GPU_MODEL_SIZE - 1] = '\0';
	}
	return 0;
}
