/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "aside.h"
#include "clock.h"
#include "discovery.h"
#include "legacy.h"
#include "libsearch.h"
#include "log.h"
#include "macro.h"
#include "mapping_stream.h"
#include "names.h"
#include "perf_stream.h"
#include "mappings.h"
#include "procfs.h"
#include "reach.h"
#include "reader.h"
#include "real_files.h"

#define SETTLE_NS 1000000000ULL /* after a library was armed: by then its users were reported */
#define RESCAN_USEC 5000000ULL  /* after records were lost */
#define INSPECTION_REST 100     /* times as long as it took: between two looks for hooks */
#define RESCAN_REST 10          /* times as long as it took: between two */
#define REAP_USEC 5000000ULL    /* between two looks for libraries that nobody uses */
#define REAP_REST 2
#define LONG_NS 500000000ULL     /* to place a library's probes */
#define INSPECT_NS 5000000000ULL /* at the end, for a look at every process */
#define MARK_NS 200000000ULL     /* to look for users of a library */

static struct library *find_library(const struct discovery *d, uint64_t file)
{
	for (size_t i = 0; i < d->n_libraries; i++)
		if (d->libraries[i]->file == file)
			return d->libraries[i];
	return NULL;
}

static void disarm(struct discovery *d, struct library *library)
{
	for (size_t i = 0; i < d->n_libraries; i++)
		if (d->libraries[i] == library)
			d->libraries[i] = d->libraries[--d->n_libraries];
	file_names_forget(&d->files, library);
	review_forget(&d->review, library);
	reaping_spare(&d->reaping, library);
	for (size_t i = 0; i < LIBRARY_NAMES_MAX; i++)
		library->written[i] = sd_event_source_disable_unref(library->written[i]);
	leaving_add(&d->leaving, library);
}

static int names_library(const struct procfs_mapping *mapping, void *userdata)
{
	return library_is_mapped(userdata, mapping);
}

static bool maps_library(pid_t pid, struct library *library)
{
	int r = real_files_each(pid, names_library, library);

	return r != 0 && r != -ESRCH;
}

/* Calls of processes that have the file mapped are not seen any more. Who is not looked at, for
 * lack of time, may be one.
 */
static void mark_users(const struct discovery *d, struct library *library)
{
	uint64_t ends_ns = clock_monotonic_ns() + MARK_NS;

	table_foreach (&d->tracker->processes, struct process_ref, ref)
		if (clock_monotonic_ns() >= ends_ns || maps_library(ref->process->pid, library))
			ref->process->partial |= 1U << PARTIAL_LOST;
}

/* Who writes to an overlay's file mostly gets a copy of it to write to: then the name is not the
 * real file's any more.
 */
static bool is_other_file_now(struct library *library, sd_event_source *source)
{
	for (size_t i = 1; i < LIBRARY_NAMES_MAX; i++)
		if (library->written[i] == source && !library_is_changed(library)) {
			library->written[i] = sd_event_source_disable_unref(source);
			return true;
		}
	return false;
}

static bool is_watched_by(const struct library *library, const sd_event_source *source)
{
	for (size_t i = 0; i < LIBRARY_NAMES_MAX; i++)
		if (library->written[i] == source)
			return true;
	return false;
}

/* Somebody writes into the file: its functions move away from under the probes, which would fall
 * into the middle of instructions. It is looked at anew when it is mapped again.
 */
static int on_written(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	struct discovery *d = userdata;
	bool overflow = event->mask & IN_Q_OVERFLOW;

	/* Too much was written somewhere: everyone is told, and it may be about any file. */
	for (size_t i = d->n_libraries; i-- > 0;) {
		struct library *library = d->libraries[i];

		if (overflow
			    ? !library_is_changed(library)
			    : !is_watched_by(library, source) || is_other_file_now(library, source))
			continue;
		log_limited(LOG_LEVEL_WARNING, "%s: is being overwritten: its probes are taken out",
			    library->path);
		mark_users(d, library);
		disarm(d, library);
		if (!overflow)
			break;
	}
	return 0;
}

/* The first place is for the file's own name. */
static sd_event_source **place_for_watch(struct library *library, bool is_own_name)
{
	size_t first = is_own_name ? 0 : 1, last = is_own_name ? 0 : LIBRARY_NAMES_MAX - 1;

	for (size_t i = first; i <= last; i++)
		if (!library->written[i])
			return &library->written[i];
	return NULL;
}

static void watch_writes(struct discovery *d, struct library *library,
			 const struct library_file *file)
{
	sd_event_source **source = place_for_watch(library, file->is_own_name);
	char through_fd[64];
	int r = 0;

	snprintf(through_fd, sizeof(through_fd), "/proc/self/fd/%d", file->fd);
	if (source)
		r = sd_event_add_inotify(d->tracker->loop, source, through_fd, IN_MODIFY,
					 on_written, d);
	if (r < 0)
		log_warning("%s: writes to it cannot be watched: %s", library->path, strerror(-r));
}

static void rescan_after(struct discovery *d, uint64_t usec)
{
	if (sd_event_source_set_time_relative(d->rescan, usec) >= 0)
		sd_event_source_set_enabled(d->rescan, SD_EVENT_ONESHOT);
}

/* Somewhere, something was mapped that was not looked at: look everywhere, but not all the time. */
static void request_rescan(struct discovery *d)
{
	/* A walk that is under way has passed over some. */
	d->is_rescan_due = true;
	if (!walk_is_under_way(&d->rescan_walk) &&
	    sd_event_source_get_enabled(d->rescan, NULL) <= 0)
		rescan_after(d, RESCAN_USEC);
}

/* Tells processes apart, also those that had the same pid. */
static uint64_t holder_of(pid_t pid)
{
	uint64_t ticks = 0;

	if (pid == 0)
		return 0;
	(void)procfs_start_ticks(pid, &ticks);
	return ticks << 22 | (uint64_t)pid; /* PID_MAX_LIMIT */
}

static uint64_t libraries_held(const struct discovery *d, uint64_t holder)
{
	uint64_t n = 0;

	for (size_t i = 0; i < d->n_libraries && holder; i++)
		n += d->libraries[i]->holder == holder;
	return n;
}

static void discover(struct discovery *d, pid_t pid, unsigned int partial, bool was_armed,
		     uint64_t mapped_ns)
{
	if (!tracker_discover(d->tracker, pid, partial, was_armed,
			      mapped_ns ? mapped_ns : clock_boottime_ns()) &&
	    tracker_puts_off(d->tracker, pid))
		request_rescan(d);
}

/* A runtime allocates through the driver, whose own probes see what is missed in it. */
static bool is_excused(const struct discovery *d, int family)
{
	if (family != FAMILY_CUDART)
		return false;
	for (size_t i = 0; i < d->n_libraries; i++)
		if (d->libraries[i]->family == FAMILY_CUDA)
			return true;
	return false;
}

/* What an earlier daemon has left of a process whose library was not probed in between may be freed
 * by now, and be false for good.
 */
static void on_reached(pid_t pid, unsigned int partial, void *userdata)
{
	struct discovery *d = userdata;

	if (d->is_adopting && partial & 1U << PARTIAL_LATE_ATTACH)
		admission_forget(&d->tracker->admission, pid);
	discover(d, pid, partial, false, 0);
}

static void on_reached_excused(pid_t pid, unsigned int partial, void *userdata)
{
	discover(userdata, pid, partial & ~(1U << PARTIAL_LATE_ATTACH), false, 0);
}

static bool is_number_used(const struct discovery *d, uint32_t number)
{
	for (size_t i = 0; i < d->n_libraries; i++)
		if (d->libraries[i]->number == number)
			return true;
	return legacy_has_number(d->legacy, number);
}

/* Cookies have 16 bits for it, and 0 is none. One that was used is used again as late as can be, as
 * calls of then may be under way. There are far more than libraries.
 */
static uint32_t next_number(void *userdata)
{
	struct discovery *d = userdata;

	do
		d->last_number = d->last_number % UINT16_MAX + 1;
	while (is_number_used(d, d->last_number));
	return d->last_number;
}

static int place_anew(struct discovery *d, const struct library_file *file, struct library **ret)
{
	_cleanup_(library_freep) struct library *library = NULL;
	int r = library_open(d->probes, d->rules.multi, file, next_number(d), &library);

	if (r < 0)
		return r;
	library->spares_filtered = d->rules.spares_filtered;
	r = reach_place(library, file->pid,
			is_excused(d, file->family) ? on_reached_excused : on_reached, d);
	if (r < 0)
		return r;
	if (r > 0)
		request_rescan(d);
	*ret = TAKE_PTR(library);
	return 0;
}

/* Places the probes, if the file's owner and who maps it have room and time left for it: who owns
 * or maps one can make a thousand of them. -EAGAIN: later.
 */
static int place(struct discovery *d, const struct library_file *file, struct library **ret)
{
	struct quotas *q = &d->tracker->quotas;
	uint64_t began = quota_time(), began_ns = clock_monotonic_ns();
	uint64_t holder = holder_of(file->pid);
	uid_t owner = file->owner;
	int r;

	if (leaving_holds(&d->leaving, file->id))
		return -EAGAIN;
	if (!quota_take(&q->libraries, owner, libraries_held(d, holder), 1)) {
		d->is_crowded = true;
		return -ENOSPC;
	}
	r = legacy_take(d->legacy, d->probes, d->rules.multi, file, ret);
	if (r == -ENOENT && (quota_owes(&q->time, owner) || !quota_has(&q->time, owner, 0, 1))) {
		q->time.refused++;
		request_rescan(d);
		r = -EAGAIN;
	} else if (r == -ENOENT) {
		r = place_anew(d, file, ret);
	}
	if (r < 0)
		quota_give(&q->libraries, owner, 1);
	else
		(*ret)->holder = holder;
	if (!file->pid) /* else whoever has asked for it is charged */
		quota_charge(&q->time, owner, quota_time() - began);
	/* In the kernel it has waited, for perf links seconds. */
	if (clock_monotonic_ns() - began_ns > LONG_NS)
		quota_owe(&q->time, owner, (clock_monotonic_ns() - began_ns) / 1000);
	return r;
}

static void settle_soon(struct discovery *d, struct library *library)
{
	library->settles_ns = clock_monotonic_ns() + SETTLE_NS;
	if (sd_event_source_get_enabled(d->settle, NULL) > 0)
		return; /* then it is set anew */
	(void)sd_event_source_set_time(d->settle, library->settles_ns / 1000 + 1);
	(void)sd_event_source_set_enabled(d->settle, SD_EVENT_ONESHOT);
}

static void say_placed(const struct library *library)
{
	if (library_is_split(library) && !library->spares_filtered)
		log_warning("%s: probed one by one, as a process has written over functions of it",
			    library->path);
	else if (library_is_split(library))
		log_info("probing %s, one process after the other", library->path);
	else
		log_info(library->armed_ns ? "probing %s" : "probing %s, as the earlier daemon did",
			 library->path);
}

static int say_not_probed(const struct library_file *file, int r)
{
	if (r < 0)
		log_limited(LOG_LEVEL_WARNING, "%s: not probed: %s", file->path,
			    r == -ENOSPC
				    ? "its owner or the process has as many libraries as there "
				      "is room for"
			    : r == -EAGAIN ? "there is no time for it now"
			    : r == -EMEDIUMTYPE
				    ? "its file system is a process (FUSE), for which the kernel "
				      "would hold up the whole host"
				    : strerror(-r));
	return r;
}

static int find_real_file(struct library_file *file)
{
	const struct stat named = file->st;
	int r = reader_real_file(file->pid, file->fd, &file->st, &file->id);

	file->mount = named.st_dev;
	file->is_own_name = file->st.st_dev == named.st_dev && file->st.st_ino == named.st_ino;
	return r;
}

/* Probes an open file, once, which the process has mapped (0: none). Returns 0 with a NULL where
 * there is nothing to probe for good, and a negative errno where that may be different the next
 * time.
 */
static int arm(struct discovery *d, struct library_file *file, struct library **ret)
{
	const struct stat *st = &file->st;
	struct library *library = NULL;
	int r;

	*ret = NULL;
	if (!S_ISREG(st->st_mode))
		return 0;
	r = find_real_file(file);
	if (r == 0)
		*ret = find_library(d, file->id);
	if (*ret)
		watch_writes(d, *ret, file);
	if (*ret || r < 0)
		return say_not_probed(file, r);
	r = place(d, file, &library);
	if (r == -ENOENT || r == -ENOEXEC)
		return 0;
	if (r < 0)
		return say_not_probed(file, r);
	library->used_ns = clock_monotonic_ns();
	d->libraries[d->n_libraries++] = library;
	watch_writes(d, library, file);
	if (library->armed_ns)
		settle_soon(d, library);
	file_names_add(&d->files, file->id, st, library, 0);
	say_placed(library);
	*ret = library;
	return 0;
}

/* Whose the library is, as far as shares go. A user can make any number of files that are root's,
 * by overlays in a user namespace; root's processes can do that to nobody's but root's.
 */
static uid_t who_is_charged(const struct library_file *file)
{
	uid_t uid = 0;
	pid_t inner;

	if (procfs_status(file->pid, &uid, &inner) < 0 || uid == 0)
		return file->st.st_uid;
	return uid;
}

/* The file is open. ret_missing is left alone where nothing is to be said; *ret_is_sure: this can
 * be remembered.
 */
static struct library *look_at_file(struct discovery *d, struct library_file *file,
				    unsigned int *ret_missing, bool *ret_is_sure)
{
	struct library *library = NULL;
	int r;

	file->owner = who_is_charged(file);
	r = arm(d, file, &library);
	*ret_is_sure = !reader_is_to_be_asked_again(r);
	if (!*ret_is_sure) {
		request_rescan(d);
		*ret_missing = is_excused(d, (int)file->family) ? 0 : 1U << PARTIAL_LATE_ATTACH;
		return NULL;
	}
	if (r == -ENOSPC)
		*ret_missing = 1U << PARTIAL_LIMIT;
	else if (r == -EMEDIUMTYPE && !is_excused(d, (int)file->family))
		*ret_missing = 1U << PARTIAL_FILE_SYSTEM;
	return r < 0 ? NULL : library;
}

/* Which file it is, is asked each time: the numbers that a mapping has are not one file's alone. */
static struct library *identify(struct discovery *d, pid_t pid,
				const struct procfs_mapping *mapping, enum api_family family,
				unsigned int *ret_missing)
{
	struct library_file file = {.path = mapping->path, .pid = pid, .family = family};
	const struct file_name *known = NULL;
	struct library *library;
	_cleanup_close_ int fd = -1;
	struct real_file real;
	struct stat found = {0};
	int r = real_files_at(pid, mapping->start, &found, &real);
	bool is_sure;

	if (r == 0)
		known = file_names_find(&d->files, real.id, &found);
	*ret_missing = known ? known->missing : 0;
	if (known)
		return known->library;
	fd = file.fd = reader_open(pid, mapping, &file.st);
	if (fd >= 0) {
		library = look_at_file(d, &file, ret_missing, &is_sure);
		if (r == 0 && is_sure)
			file_names_add(&d->files, real.id, &found, library, *ret_missing);
		return library;
	}
	/* gone, or its process is: no verdict on the file */
	if ((r < 0 || !legacy_keep(d->legacy, real.id)) && !is_excused(d, family))
		*ret_missing = 1U << PARTIAL_LATE_ATTACH;
	if (reader_is_to_be_asked_again(fd))
		request_rescan(d);
	return NULL;
}

static bool has_time(struct discovery *d, pid_t pid, uid_t *ret_uid)
{
	const struct quotas *quotas = &d->tracker->quotas;
	const unsigned int place = (unsigned int)pid % PUT_OFF;
	pid_t inner;

	if (d->put_off[place].pid == pid && d->put_off[place].second == quotas->second)
		return false;
	*ret_uid = (uid_t)-1;
	(void)procfs_status(pid, ret_uid, &inner);
	if (quota_has(&quotas->time, *ret_uid, 0, 1))
		return true;
	d->put_off[place].pid = pid;
	d->put_off[place].second = quotas->second;
	return false;
}

/* ret_missing: what is to be said of the process for its sake (bits by enum process_partial). To
 * look takes time, of which its user's others may have used up what there is.
 */
static struct library *library_of(struct discovery *d, pid_t pid,
				  const struct procfs_mapping *mapping, enum api_family family,
				  unsigned int *ret_missing)
{
	uint64_t began = quota_time();
	struct library *library;
	uid_t uid;

	if (!has_time(d, pid, &uid)) {
		d->tracker->quotas.time.refused++;
		request_rescan(d);
		*ret_missing = is_excused(d, (int)family) ? 0 : 1U << PARTIAL_LATE_ATTACH;
		return NULL;
	}
	library = identify(d, pid, mapping, family, ret_missing);
	quota_charge(&d->tracker->quotas.time, uid, quota_time() - began);
	return library;
}

/* To a library that is split. Looking at a process takes time, of which its user's others may have
 * used up what there is.
 */
static unsigned int add(struct discovery *d, struct library *library, pid_t pid)
{
	struct quota *time = &d->tracker->quotas.time;
	uint64_t began = quota_time();
	uid_t uid = (uid_t)-1;
	unsigned int partial;
	pid_t inner;

	if (library_reaches(library, pid))
		return 0;
	(void)procfs_status(pid, &uid, &inner);
	if (!quota_has(time, uid, 0, 1)) {
		time->refused++;
		library->may_join = false; /* who knows what this one does */
		request_rescan(d);
		return 1U << PARTIAL_LATE_ATTACH;
	}
	partial = reach_add(library, pid);
	quota_charge(time, uid, quota_time() - began);
	return partial;
}

/* A process that maps something, or all that it maps. */
struct sighting {
	struct discovery *d;
	pid_t pid;
	uint64_t mapped_ns; /* since then, CLOCK_BOOTTIME */
	bool is_reported;   /* at that time; else it was found just now */
	bool was_ignored;   /* until now: it has made calls that nobody recorded */
	uint64_t since_ns;  /* of libraries that were armed earlier all is known already */
	bool found;         /* a library that is probed */
};

/* It maps something called like a CUDA library. */
static void mapped(const struct procfs_mapping *mapping, enum api_family family, void *userdata)
{
	struct sighting *sighting = userdata;
	struct discovery *d = sighting->d;
	uint64_t news_ns = sighting->is_reported ? sighting->mapped_ns : 0, armed_ns;
	unsigned int missing;
	struct library *library = library_of(d, sighting->pid, mapping, family, &missing);
	bool late, is_missed;

	if (missing)
		discover(d, sighting->pid, missing, false, news_ns);
	if (!library)
		return;
	sighting->found = true;
	reaping_spare(&d->reaping, library);
	if (library->armed_ns < sighting->since_ns)
		return;
	if (library_is_split(library))
		missing = add(d, library, sighting->pid);
	armed_ns = library->armed_ns;
	late = armed_ns > sighting->mapped_ns || library_is_split(library);
	if (armed_ns > sighting->mapped_ns && sighting->is_reported)
		d->latencies[d->late++ % LATENCIES] =
			(double)(armed_ns - sighting->mapped_ns) / 1e9;
	is_missed = sighting->was_ignored || (late && !is_excused(d, family));
	missing |= is_missed ? 1U << PARTIAL_LATE_ATTACH : 0;
	discover(d, sighting->pid, missing, !late, news_ns);
}

static void on_perf_mapping(const struct perf_mapping *record, void *userdata)
{
	struct discovery *d = userdata;
	struct procfs_mapping mapping = {
		.start = record->start,
		.end = record->end,
		.offset = record->offset,
		.major = record->major,
		.minor = record->minor,
		.inode = record->inode,
		.executable = true,
		.path = record->path,
	};

	struct sighting sighting = {
		.d = d,
		.pid = record->pid,
		.mapped_ns = record->time_ns,
		.is_reported = true,
	};

	int family = libsearch_family(record->path);

	tracker_mapped(d->tracker, record->pid);
	if (family >= 0)
		mapped(&mapping, (enum api_family)family, &sighting);
}

static void on_perf_executed(pid_t pid, uint64_t time_ns, void *userdata)
{
	struct discovery *d = userdata;

	tracker_executed(d->tracker, pid, time_ns);
}

static void on_perf_lost(uint64_t records, void *userdata)
{
	struct discovery *d = userdata;

	d->records_lost += records;
	request_rescan(d);
}

/* What was not reported may be from the process's beginning on, if nothing is known of it so far.
 */
static uint64_t unreported_since(const struct discovery *d, pid_t pid)
{
	uint64_t ticks;

	if (tracker_find(d->tracker, pid) || procfs_start_ticks(pid, &ticks) < 0)
		return clock_boottime_ns();
	return ticks * NS_PER_TICK;
}

/* Who is put off is looked at in a later walk. */
static int rescan_process(pid_t pid, void *userdata)
{
	struct discovery *d = userdata;
	struct sighting all = {.d = d, .pid = pid, .mapped_ns = unreported_since(d, pid)};

	d->is_rescan_due |= scan_process(&d->rescan_scan, pid, mapped, &all) == -EBUSY;
	return 0;
}

/* Those whose time has come by then; each has its own, as new ones may come all the time. */
static void settle(struct discovery *d, uint64_t until_ns)
{
	uint64_t next_ns = UINT64_MAX;

	for (size_t i = 0; i < d->n_libraries; i++) {
		struct library *library = d->libraries[i];

		if (library->settles_ns <= until_ns)
			library_settle(library);
		else
			next_ns = MIN(next_ns, library->settles_ns);
	}
	if (next_ns == UINT64_MAX)
		return;
	(void)sd_event_source_set_time(d->settle, next_ns / 1000 + 1);
	(void)sd_event_source_set_enabled(d->settle, SD_EVENT_ONESHOT);
}

static int on_settle(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	settle(userdata, clock_monotonic_ns());
	return 0;
}

/* In slices, and with pauses: between two of these, and longer ones between two walks. */
static int on_rescan(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct discovery *d = userdata;
	uint64_t began = clock_monotonic_ns();

	(void)source;
	(void)usec;
	if (!walk_is_under_way(&d->rescan_walk)) {
		if (!pace_is_due(&d->rescans)) {
			request_rescan(d);
			return 0;
		}
		d->rescan_took_ns = 0;
		d->is_rescan_due = false;
		scan_init(&d->rescan_scan);
	}
	if (!walk_slice(&d->rescan_walk, rescan_process, d)) {
		d->rescan_took_ns += clock_monotonic_ns() - began;
		rescan_after(d, REAP_REST * WALK_SLICE_NS / 1000);
		return 0;
	}
	scan_done(&d->rescan_scan);
	d->rescan_took_ns += clock_monotonic_ns() - began;
	pace_ran(&d->rescans, clock_monotonic_ns() - d->rescan_took_ns, RESCAN_REST, 0, UINT64_MAX);
	if (d->is_rescan_due)
		request_rescan(d);
	return 0;
}

/* Returns whether there may be more. */
static bool reap(struct discovery *d)
{
	struct library *unused;
	size_t n = 0;

	if (reaping_is_idle(&d->reaping))
		reaping_begin(&d->reaping, d->libraries, d->n_libraries, d->is_crowded);
	if (!reaping_go_on(&d->reaping))
		return true;
	while ((unused = reaping_next(&d->reaping))) {
		log_limited(LOG_LEVEL_INFO, "%s: nobody uses it any more: its probes are taken out",
			    unused->path);
		disarm(d, unused);
		n++;
	}
	if (n > 0 && d->is_crowded)
		request_rescan(d);
	d->is_crowded = !reaping_is_idle(&d->reaping) && d->is_crowded;
	return !reaping_is_idle(&d->reaping);
}

static size_t split_libraries(const struct discovery *d, struct library *ret[LIBRARIES_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_libraries; i++)
		if (library_is_split(d->libraries[i]))
			ret[n++] = d->libraries[i];
	return n;
}

/* Of libraries that are split. */
static void rejoin(struct discovery *d)
{
	struct library *split[LIBRARIES_MAX];
	size_t n = split_libraries(d, split);
	uint64_t began = clock_monotonic_ns();

	if (n == 0 || !pace_is_due(&d->rejoins))
		return;
	for (size_t i = 0; i < n; i++)
		library_drop_ended(split[i]);
	if (!d->review.is_under_way && review_begin(&d->review, split, n) < 0)
		return;
	if (review_go_on(&d->review, on_reached, d) && review_join(&d->review, next_number, d) > 0)
		for (size_t i = 0; i < n; i++)
			if (!library_is_split(split[i]))
				settle_soon(d, split[i]);
	pace_ran(&d->rejoins, began, RESCAN_REST, 0, UINT64_MAX);
}

/* A look at all processes for who has written over functions. */
struct inspection {
	struct discovery *d;
	struct looks looks;
};

static int look_for_hooks(pid_t pid, void *userdata)
{
	struct inspection *inspection = userdata;
	struct tracker *tracker = inspection->d->tracker;
	struct process *process = tracker_find(tracker, pid);

	if (!process || process->partial & 1U << PARTIAL_PATCHED ||
	    !reach_inspect(&inspection->looks, pid))
		return 0;
	process->partial |= 1U << PARTIAL_PATCHED;
	notices_partial(&tracker->notices, process);
	return 0;
}

/* Hooks may be set at any time. */
static void inspect_some(struct discovery *d)
{
	struct inspection inspection = {.d = d};
	uint64_t began = clock_monotonic_ns();

	if (!pace_is_due(&d->inspections) ||
	    looks_init(&inspection.looks, d->libraries, d->n_libraries) < 0)
		return;
	(void)walk_slice(&d->inspection_walk, look_for_hooks, &inspection);
	looks_done(&inspection.looks);
	pace_ran(&d->inspections, began, INSPECTION_REST, 0, UINT64_MAX);
}

static int on_reap(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct discovery *d = userdata;
	uint64_t began = clock_monotonic_ns(), took;
	bool more = reap(d);

	(void)usec;
	rejoin(d);
	inspect_some(d);
	took = (clock_monotonic_ns() - began) / 1000;
	(void)sd_event_source_set_time_relative(source, more ? REAP_REST * took
							     : MAX(REAP_USEC, REAP_REST * took));
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

bool discovery_look(struct discovery *d, pid_t pid, bool late)
{
	/* What this very look arms was not armed when it was mapped. */
	struct sighting all = {
		.d = d,
		.pid = pid,
		.mapped_ns = clock_boottime_ns(),
		.was_ignored = late,
	};
	struct scan scan;

	scan_init(&scan);
	(void)scan_process(&scan, pid, mapped, &all);
	scan_done(&scan);
	return all.found;
}

static int on_disk(const char *path, enum api_family family, void *userdata)
{
	/* Neither a FIFO nor a terminal may hold us up. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct library_file file = {.fd = fd, .path = path, .family = family};
	struct library *library;

	if (fd < 0 || fstat(fd, &file.st) < 0)
		return 0;
	file.owner = file.st.st_uid;
	(void)arm(userdata, &file, &library);
	return 0;
}

struct search {
	struct sighting all;
	struct scan scan;
};

static int search_process(pid_t pid, void *userdata)
{
	struct search *search = userdata;

	search->all.pid = pid;
	if (scan_process(&search->scan, pid, mapped, &search->all) == -EBUSY)
		request_rescan(search->all.d);
	return 0;
}

static int search(struct discovery *d, const char *const *globs, size_t n_globs, uint64_t since_ns)
{
	/* Mapped before there was anything to arm. */
	struct search search = {.all = {.d = d, .mapped_ns = 0, .since_ns = since_ns}};
	int r = libsearch_host(globs, n_globs, on_disk, d);

	if (r < 0)
		log_warning("looking for libraries on disk: %s", strerror(-r));
	scan_init(&search.scan);
	r = procfs_each_pid(search_process, &search);
	scan_done(&search.scan);
	return r;
}

int discovery_search(struct discovery *d, const char *const *globs, size_t n_globs)
{
	return search(d, globs, n_globs, clock_boottime_ns());
}

/* Mappings and exec are told by perf, or by the BPF programs where these were told to do so. */
static int watch_mappings(struct discovery *d)
{
	struct perf_handlers handlers = {
		.mapping = on_perf_mapping,
		.executed = on_perf_executed,
		.lost = on_perf_lost,
		.userdata = d,
	};
	sd_event *loop = d->tracker->loop;

	if (probes_news_fd(d->probes) >= 0)
		return mapping_stream_open(loop, d->probes, &handlers, &d->bpf_stream);
	return perf_stream_open(loop, &handlers, &d->stream);
}

static bool is_legacy(uint32_t library, void *userdata)
{
	return legacy_has_number(userdata, library);
}

int discovery_start(struct discovery *d, struct tracker *tracker,
		    const struct discovery_rules *rules, const char *const *globs, size_t n_globs)
{
	int r = 0;

	*d = (struct discovery){
		.tracker = tracker,
		.probes = tracker->probes,
		.rules = *rules,
	};
	file_names_init(&d->files);
	scan_init(&d->rescan_scan);
	if (probes_adopted(d->probes))
		r = legacy_new(probes_pins(d->probes), &d->legacy);
	if (r == 0)
		probes_disarm_others(d->probes, is_legacy, d->legacy);
	d->last_number = legacy_last_number(d->legacy);
	if (r < 0)
		return r;
	r = sd_event_add_time(tracker->loop, &d->rescan, CLOCK_MONOTONIC, 0, 0, on_rescan, d);
	if (r >= 0)
		r = sd_event_source_set_enabled(d->rescan, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(tracker->loop, &d->settle, CLOCK_MONOTONIC, 0, 0, on_settle,
				      d);
	if (r >= 0)
		r = sd_event_source_set_enabled(d->settle, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(tracker->loop, &d->reap, CLOCK_MONOTONIC, REAP_USEC,
					       0, on_reap, d);
	if (r >= 0)
		r = leaving_start(&d->leaving, tracker->loop, &tracker->quotas);
	if (r >= 0)
		r = watch_mappings(d);
	if (r < 0) {
		log_error("watching mappings: %s", strerror(-r));
		return r;
	}
	(void)aside_discard(probes_pins(d->probes));
	d->is_adopting = probes_adopted(d->probes);
	r = search(d, globs, n_globs, 0);
	legacy_drop(d->legacy, d->probes);
	settle(d, UINT64_MAX);
	d->is_adopting = false;
	return r;
}

static int inspect(pid_t pid, void *userdata)
{
	(void)reach_inspect(userdata, pid);
	return 0;
}

/* A mark from before may be of a process that has ended. Where there is no time for all processes,
 * any library may be patched.
 */
static void inspect_all(struct discovery *d)
{
	struct looks looks;
	bool is_sure = looks_init(&looks, d->libraries, d->n_libraries) == 0;

	for (size_t i = 0; i < d->n_libraries; i++)
		d->libraries[i]->is_patched = false;
	if (is_sure)
		is_sure = walk_within(INSPECT_NS, inspect, &looks) == 0;
	looks_done(&looks);
	for (size_t i = 0; i < d->n_libraries; i++)
		d->libraries[i]->is_patched |= !is_sure;
}

void discovery_stop(struct discovery *d, bool keep)
{
	if (!keep)
		inspect_all(d);
	d->legacy = legacy_free(d->legacy);
	d->rescan = sd_event_source_disable_unref(d->rescan);
	d->settle = sd_event_source_disable_unref(d->settle);
	d->reap = sd_event_source_disable_unref(d->reap);
	d->stream = perf_stream_free(d->stream);
	d->bpf_stream = mapping_stream_free(d->bpf_stream);
	leaving_end(&d->leaving);
	review_end(&d->review);
	while (d->n_libraries > 0) {
		struct library *library = d->libraries[--d->n_libraries];

		if (keep)
			library_leave(library);
		else if (library->is_patched)
			aside_leave(library);
		else
			library_free(library);
	}
	scan_done(&d->rescan_scan);
	file_names_done(&d->files);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

bool discovery_latency(const struct discovery *d, double *ret_median, double *ret_max)
{
	double sorted[LATENCIES];
	size_t n = MIN(d->late, LATENCIES);

	if (n == 0)
		return false;
	memcpy(sorted, d->latencies, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), compare_doubles);
	*ret_median = sorted[n / 2] * 1e3;
	*ret_max = sorted[n - 1] * 1e3;
	return true;
}
