/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "mapped_file.h" /* the skeleton needs it */

#include "clock.h"
#include "files.skel.h"
#include "fnv.h"
#include "log.h"
#include "macro.h"
#include "procfs.h"
#include "real_files.h"

#define AT_ONCE 128 /* mappings read */
#define TRIES 4

static struct files_bpf *files;

static int open_iterator(const struct bpf_program *program, pid_t thread, uint64_t address)
{
	union bpf_iter_link_info info = {.task.tid = (uint32_t)thread};
	LIBBPF_OPTS(bpf_link_create_opts, options, .iter_info = &info,
		    .iter_info_len = sizeof(info));
	_cleanup_close_ int link = -1;
	int fd;

	files->bss->wanted = (struct mapped_wanted){
		.address = address,
		.thread = (uint32_t)thread,
	};
	link = bpf_link_create(bpf_program__fd(program), 0, BPF_TRACE_ITER, &options);
	if (link < 0)
		return link;
	fd = bpf_iter_create(link);
	return fd;
}

struct reading {
	int (*fn)(const struct mapped_file *file, void *userdata);
	void *userdata;
	uint64_t last; /* where the last one that was told of begins */
	bool has_any;
};

/* Returns whether there was anything new; ret: what fn returned. */
static bool tell_new(struct reading *reading, const struct mapped_file *found, size_t n, int *ret)
{
	bool is_new = false;

	for (size_t i = 0; i < n && *ret == 0; i++) {
		if (reading->has_any && found[i].start <= reading->last)
			continue;
		is_new = reading->has_any = true;
		reading->last = found[i].start;
		*ret = reading->fn(&found[i], reading->userdata);
	}
	return is_new;
}

/* Calls fn for each; what it returns, if not 0, ends it and is returned. They come in the order of
 * addresses. Linux (seen with 6.18) goes on at the end to tell of the last ones, over and over.
 */
static int each(pid_t thread, int (*fn)(const struct mapped_file *file, void *userdata),
		void *userdata)
{
	_cleanup_close_ int fd = open_iterator(files->progs.files, thread, 0);
	struct reading reading = {.fn = fn, .userdata = userdata};
	struct mapped_file found[AT_ONCE];
	int r = 0;

	if (fd < 0)
		return fd;
	/* It gives no part of a record, and -EAGAIN after a million that were not wanted. */
	for (int tries = 0; tries < TRIES;) {
		ssize_t n = read(fd, found, sizeof(found));

		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0)
			tries++;
		else if (!tell_new(&reading, found, (size_t)n / sizeof(*found), &r) || r != 0)
			return r;
	}
	return -E2BIG;
}

/* Not 0. */
static uint64_t id_of(uint64_t a, uint64_t b)
{
	uint64_t id = fnv(fnv(FNV_START, &a, sizeof(a)), &b, sizeof(b));

	return id ? id : 1;
}

static dev_t device_of(const struct mapped_file *file)
{
	return makedev(file->device >> 20, file->device & ((1U << 20) - 1));
}

struct telling {
	int (*fn)(const struct procfs_mapping *mapping, void *userdata);
	void *userdata;
	size_t told;
};

static int tell(const struct mapped_file *file, void *userdata)
{
	struct telling *telling = userdata;
	const struct procfs_mapping mapping = {
		.start = file->start,
		.end = file->end,
		.offset = file->page * (uint64_t)sysconf(_SC_PAGESIZE),
		.major = major(device_of(file)),
		.minor = minor(device_of(file)),
		.inode = file->inode,
		.file = id_of(file->file, 0),
		.executable = true,
		.path = "",
	};

	if (telling->told++ == MAPPINGS_MAX)
		return -E2BIG;
	return telling->fn(&mapping, telling->userdata);
}

static int tell_numbers(const struct procfs_mapping *mapping, void *userdata)
{
	struct telling *telling = userdata;
	struct procfs_mapping numbered = *mapping;

	numbered.file = id_of(makedev(mapping->major, mapping->minor), mapping->inode);
	return telling->fn(&numbered, telling->userdata);
}

int real_files_each(pid_t pid, int (*fn)(const struct procfs_mapping *mapping, void *userdata),
		    void *userdata)
{
	struct telling telling = {.fn = fn, .userdata = userdata};
	pid_t thread = 0;
	int r;

	if (!files)
		return mappings_each(pid, MAPPINGS_CODE, tell_numbers, &telling);
	r = each(pid, tell, &telling);
	if (telling.told == 0 && (r == 0 || r == -ESRCH))
		thread = procfs_other_thread(pid);
	return thread ? each(thread, tell, &telling) : r;
}

struct finding {
	struct stat *st;
	struct real_file file;
};

static void note_file(const struct mapped_file *file, struct finding *finding)
{
	finding->st->st_dev = device_of(file);
	finding->st->st_ino = file->inode;
	finding->st->st_size = (off_t)file->size;
	finding->file = (struct real_file){.id = id_of(file->file, 0), .magic = file->magic};
	if (file->mtime_ns)
		finding->st->st_mtim = (struct timespec){
			.tv_sec = (time_t)(file->mtime_ns / NS_PER_SECOND),
			.tv_nsec = (long)(file->mtime_ns % NS_PER_SECOND),
		};
}

static int note_mapping(const struct procfs_mapping *mapping, void *userdata)
{
	struct finding *finding = userdata;

	finding->st->st_dev = makedev(mapping->major, mapping->minor);
	finding->st->st_ino = mapping->inode;
	finding->file.id = id_of(finding->st->st_dev, finding->st->st_ino);
	return 1;
}

/* Returns 1, or 0 where there is none. */
static int ask_at(pid_t thread, uint64_t address, struct finding *finding)
{
	_cleanup_close_ int fd = open_iterator(files->progs.file_at, thread, address);
	struct mapped_file found;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, &found, sizeof(found));
	if (n < 0)
		return -errno;
	if (n == sizeof(found))
		note_file(&found, finding);
	else if (files->bss->wanted.result == -EBUSY)
		return -EAGAIN;
	return n == sizeof(found);
}

static int find(pid_t thread, uint64_t address, struct finding *finding)
{
	return files ? ask_at(thread, address, finding)
		     : mappings_from(thread, address, MAPPINGS_FILES, note_mapping, finding);
}

int real_files_at(pid_t pid, uint64_t address, struct stat *st, struct real_file *ret)
{
	struct finding finding = {.st = st};
	int r = find(pid, address, &finding);

	if (r == 0 && files) /* the main thread may have ended */
		r = find(procfs_other_thread(pid), address, &finding);
	if (r == 0)
		return -ENOENT;
	*ret = finding.file;
	return r < 0 ? r : 0;
}

/* Before Linux 6.1 the kernel goes through all threads, whichever is asked for. */
static bool is_of_one_thread(void)
{
	struct stat st;
	struct real_file file;

	return real_files_at(getpid(), (uintptr_t)real_files_at, &st, &file) == 0 &&
	       files->bss->wanted.others == 0;
}

void real_files_start(void)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL); /* older kernels lack what it takes */

	files = files_bpf__open_and_load();
	(void)libbpf_set_print(print);
	if (files && !is_of_one_thread())
		real_files_stop();
	if (!files)
		log_info("this kernel does not tell which file an overlay shows: libraries in "
			 "overlays are probed one for each (Linux 6.1 and later tell)");
}

void real_files_stop(void)
{
	files_bpf__destroy(files);
	files = NULL;
}
