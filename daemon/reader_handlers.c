/* SPDX-License-Identifier: Apache-2.0 */
/* What the reader does. Each of these may wait for a file system that does not answer, or read what
 * was made to take long or to break the reading.
 */
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "elf_file.h"
#include "macro.h"
#include "mappings.h"
#include "procfs.h"
#include "reader_calls.h"

static int open_mapped(pid_t pid, struct reader_mapping *m)
{
	struct procfs_mapping mapping = m->line;
	int fd;

	m->path[sizeof(m->path) - 1] = '\0';
	mapping.path = m->path;
	fd = mappings_open(pid, &mapping);
	if (fd < 0 && (pid = procfs_other_thread(pid)) > 0)
		fd = mappings_open(pid, &mapping);
	return fd;
}

static int read_ranges(pid_t pid, const struct iovec *local, const struct iovec *remote, size_t n)
{
	ssize_t got = process_vm_readv(pid, local, 1, remote, n, 0);

	if (got < 0)
		return -errno;
	return (size_t)got == local->iov_len ? 0 : -EFAULT;
}

static int do_memory(pid_t pid, int fd, union reader_page *page, int *ret_fd)
{
	struct reader_memory *m = &page->memory;
	struct iovec remote[REMOTE_PIECES_MAX];
	struct iovec local = {.iov_base = m->bytes};
	size_t n = MIN(m->n, (size_t)REMOTE_PIECES_MAX);
	int r;

	(void)fd;
	(void)ret_fd;
	for (size_t i = 0; i < n; i++) {
		if (m->pieces[i].size > sizeof(m->bytes) - local.iov_len)
			return -EINVAL;
		remote[i].iov_base = (void *)(uintptr_t)m->pieces[i].addr;
		remote[i].iov_len = m->pieces[i].size;
		local.iov_len += m->pieces[i].size;
	}
	r = read_ranges(pid, &local, remote, n);
	if (r == -ESRCH && (pid = procfs_other_thread(pid)) > 0)
		r = read_ranges(pid, &local, remote, n);
	return r;
}

static int do_open(pid_t pid, int fd, union reader_page *page, int *ret_fd)
{
	_cleanup_close_ int opened = open_mapped(pid, &page->open.mapping);

	(void)fd;
	if (opened < 0)
		return opened;
	if (fstat(opened, &page->open.st) < 0)
		return -errno;
	*ret_fd = TAKE_FD(opened);
	return 0;
}

/* Nothing of it is ever read through the mapping, which the next call takes away. */
static int do_show(pid_t pid, int fd, union reader_page *page, int *ret_fd)
{
	static void *shown = MAP_FAILED;
	struct statfs fs;

	(void)pid;
	(void)ret_fd;
	if (shown != MAP_FAILED)
		munmap(shown, 1);
	shown = MAP_FAILED;
	page->show = (struct reader_show){0};
	if (fd < 0)
		return 0;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	page->show.magic = (uint32_t)fs.f_type;
	if (fs.f_type == FUSE_SUPER_MAGIC)
		return 0;
	shown = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0);
	if (shown == MAP_FAILED)
		return -errno;
	page->show.address = (uintptr_t)shown;
	return 0;
}

static int do_survey(pid_t pid, int fd, union reader_page *page, int *ret_fd)
{
	(void)pid;
	(void)ret_fd;
	return survey_library(fd, page->survey.family, page->survey.points);
}

struct nearest {
	uint64_t address; /* looked for, as linked */
	uint64_t found;
	char *name;
};

static int on_function(const struct elf_symbol *symbol, void *userdata)
{
	struct nearest *n = userdata;

	if (symbol->address > n->address || symbol->address <= n->found ||
	    n->address - symbol->address >= MAX(symbol->size, 1))
		return 0;
	n->found = symbol->address;
	strcpy(n->name, symbol->name);
	return 0;
}

static int do_symbol(pid_t pid, int fd, union reader_page *page, int *ret_fd)
{
	struct reader_symbol *s = &page->symbol;
	struct nearest nearest = {.name = s->name};
	_cleanup_(elf_file_freep) struct elf_file *elf = NULL;
	_cleanup_close_ int opened = open_mapped(pid, &s->mapping);
	int r = opened < 0 ? opened : elf_file_open(opened, &elf);

	(void)fd;
	(void)ret_fd;
	if (r == 0)
		r = elf_file_address(elf, s->offset, &nearest.address);
	if (r == 0)
		r = elf_file_functions(elf, on_function, &nearest);
	if (r == 0 && !nearest.found)
		r = -ENOENT;
	s->distance = nearest.address - nearest.found;
	return r;
}

static int on_export(const struct elf_symbol *symbol, void *userdata)
{
	struct reader_exports *e = userdata;

	for (size_t i = 0; i < e->n; i++)
		if (strncmp(symbol->name, e->names[i], READER_NAME_MAX) == 0)
			e->values[i] = symbol->address;
	return 0;
}

static int do_exports(pid_t pid, int fd, union reader_page *page, int *ret_fd)
{
	struct reader_exports *e = &page->exports;
	_cleanup_(elf_file_freep) struct elf_file *elf = NULL;
	_cleanup_close_ int opened = open_mapped(pid, &e->mapping);
	int r = opened < 0 ? opened : elf_file_open(opened, &elf);

	(void)fd;
	(void)ret_fd;
	e->n = MIN(e->n, (uint32_t)READER_NAMES_MAX);
	memset(e->values, 0, sizeof(e->values));
	if (r == 0)
		r = elf_file_exports(elf, on_export, e);
	if (r == 0)
		r = elf_file_address(elf, e->mapping.line.offset, &e->linked);
	return r;
}

static int do_text(pid_t pid, int fd, union reader_page *page, int *ret_fd)
{
	struct reader_text *t = &page->text;
	ssize_t n;

	(void)fd;
	(void)ret_fd;
	t->name[sizeof(t->name) - 1] = '\0';
	n = procfs_read(pid, t->name, t->bytes, MIN((size_t)t->size, sizeof(t->bytes)));
	t->size = n < 0 ? 0 : (uint32_t)n;
	return n < 0 ? (int)n : 0;
}

static int do_boards(pid_t pid, int fd, union reader_page *page, int *ret_fd)
{
	(void)fd;
	(void)ret_fd;
	gpu_boards_read(pid, &page->boards.boards);
	return 0;
}

int reader_handle(enum reader_call call, pid_t pid, int fd, union reader_page *page, int *ret_fd)
{
	static int (*const handlers[READER_CALLS_N])(pid_t pid, int fd, union reader_page *page,
						     int *ret_fd) = {
#define X(name) do_##name,
		READER_CALLS(X)
#undef X
	};

	return call < READER_CALLS_N ? handlers[call](pid, fd, page, ret_fd) : -EINVAL;
}
