/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "macro.h"
#include "procfs.h"
#include "quota.h"
#include "reader.h"
#include "reader_service.h"
#include "send_fd.h"
#include "share.h"
#include "table.h"

#define SHUN_NS (10 * NS_PER_SECOND)      /* what was waited for in vain, … */
#define SHUN_MAX_NS (640 * NS_PER_SECOND) /* … twice as long each time, up to this */
#define SHUN_USER 20                      /* times as long as was waited, */
#define SHUN_ROOT 4                       /* whom most servers belong to */
#define ROOT 1                            /* user_of() one of its processes */
#define SHUNNED_MAX 1024                  /* then it starts over */
#define FD_FROM 10                        /* above the numbers that they get in the reader */
#define ERRNO_MAX 4095
#define LONG_NS 200000000ULL

/* Left alone until then. */
struct shunned {
	uint64_t key; /* a subject, or a user and 1 */
	uint64_t until_ns, pause_ns;
};

static struct reader {
	bool is_started;
	pid_t pid;  /* 0: none */
	int socket; /* to it */
	int memory; /* of the page; -1: none */
	union reader_page *page;
	struct stuck {
		pid_t pid;
		uint64_t subject, user; /* over which and whose */
	} stuck[READER_STUCK_MAX];
	struct table subjects, users; /* struct shunned */
	struct reader_counts counts;
} reader;

void reader_start(void)
{
	reader = (struct reader){.is_started = true, .socket = -1, .memory = -1};
	table_init(&reader.subjects, sizeof(struct shunned));
	table_init(&reader.users, sizeof(struct shunned));
}

static void let_go_of_page(void)
{
	if (reader.page)
		munmap(reader.page, sizeof(*reader.page));
	cleanup_close(&reader.memory);
	reader.page = NULL;
	reader.memory = -1;
}

static void hang_up(void)
{
	cleanup_close(&reader.socket);
	reader.socket = -1;
	reader.pid = 0;
}

void reader_stop(void)
{
	if (!reader.is_started)
		return;
	hang_up(); /* it ends by itself then */
	let_go_of_page();
	table_clear(&reader.subjects);
	table_clear(&reader.users);
	reader.is_started = false;
}

static void reap_stuck(void)
{
	for (size_t i = reader.counts.stuck; i-- > 0;)
		if (waitpid(reader.stuck[i].pid, NULL, WNOHANG) != 0)
			reader.stuck[i] = reader.stuck[--reader.counts.stuck];
}

struct reader_counts reader_counts(void)
{
	reap_stuck();
	return reader.counts;
}

static int make_page(void)
{
	int fd = memfd_create(READER_NAME, MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	reader.memory = fcntl(fd, F_DUPFD_CLOEXEC, FD_FROM);
	close(fd);
	if (reader.memory < 0 || ftruncate(reader.memory, sizeof(*reader.page)) < 0)
		return -errno;
	reader.page = mmap(NULL, sizeof(*reader.page), PROT_READ | PROT_WRITE, MAP_SHARED,
			   reader.memory, 0);
	if (reader.page != MAP_FAILED)
		return 0;
	reader.page = NULL;
	return -errno;
}

static int spawn_with(int socket)
{
	char *const arguments[] = {READER_NAME, NULL};
	posix_spawn_file_actions_t actions;
	int r;

	posix_spawn_file_actions_init(&actions);
	r = posix_spawn_file_actions_adddup2(&actions, socket, READER_SOCKET);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, reader.memory, READER_PAGE);
	if (r == 0)
		r = posix_spawn(&reader.pid, "/proc/self/exe", &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int start_process(void)
{
	_cleanup_close_ int theirs = -1;
	int pair[2], r = 0;

	reap_stuck();
	if (reader.counts.stuck == READER_STUCK_MAX)
		return -EAGAIN;
	if (reader.memory < 0)
		r = make_page();
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	reader.socket = pair[0];
	theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, FD_FROM);
	close(pair[1]);
	r = theirs < 0 ? -errno : spawn_with(theirs);
	if (r < 0)
		hang_up();
	return r;
}

union reader_page *reader_service_page(void)
{
	static union reader_page here;
	int r;

	if (!reader.is_started)
		return &here;
	r = reader.pid ? 0 : start_process();
	if (r == 0)
		return reader.page;
	let_go_of_page();
	reader.counts.refused++;
	log_limited(LOG_LEVEL_WARNING, "files and memory of processes are not read: %s",
		    r == -EAGAIN ? "too many readers wait for file systems that do not answer"
				 : strerror(-r));
	return NULL;
}

pid_t reader_service_pid(void)
{
	return reader.is_started ? reader.pid : getpid();
}

static void shun(struct table *t, uint64_t key, uint64_t pause_ns)
{
	uint64_t now = clock_monotonic_ns();
	struct shunned *entry;

	if (t->count >= SHUNNED_MAX)
		table_clear(t);
	if (table_add(t, key, (void **)&entry) < 0)
		return;
	/* What went well for as long as it was left alone begins anew. */
	if (now - entry->until_ns > entry->pause_ns)
		entry->pause_ns = 0;
	entry->pause_ns = MIN(MAX(pause_ns, 2 * entry->pause_ns), SHUN_MAX_NS);
	entry->until_ns = now + entry->pause_ns;
}

static bool is_shunned(struct table *t, uint64_t key)
{
	const struct shunned *entry = table_find(t, key);

	return entry && clock_monotonic_ns() < entry->until_ns;
}

/* 0: nobody's. */
static uint64_t user_of(pid_t pid)
{
	pid_t inner;
	uid_t uid;

	return pid && procfs_status(pid, &uid, &inner) == 0 ? (uint64_t)share_user(uid) + 1 : 0;
}

/* One reader that waits for a subject is enough, and nobody's may be all that there can be. */
static bool is_waited_for(uint64_t subject, uint64_t user)
{
	size_t users = 0;

	for (size_t i = 0; i < reader.counts.stuck; i++) {
		if (reader.stuck[i].subject == subject)
			return true;
		users += reader.stuck[i].user == user;
	}
	return users >= (user == ROOT ? READER_STUCK_ROOT : READER_STUCK_USER);
}

static bool is_left_alone(pid_t pid, uint64_t subject)
{
	uint64_t user;

	if (is_shunned(&reader.subjects, subject))
		return true;
	reap_stuck();
	if (reader.users.count == 0 && reader.counts.stuck == 0)
		return false;
	user = user_of(pid);
	return is_shunned(&reader.users, user) || is_waited_for(subject, user);
}

/* It is not waited for: it may wait itself, in the kernel. */
static void retire(uint64_t subject, uint64_t user)
{
	kill(reader.pid, SIGKILL);
	reader.stuck[reader.counts.stuck++] = (struct stuck){reader.pid, subject, user};
	hang_up();
	let_go_of_page(); /* it may yet write to it */
}

static void give_up(pid_t pid, uint64_t subject, uint64_t waited_ns)
{
	uint64_t user = user_of(pid);

	retire(subject, user);
	reader.counts.timeouts++;
	shun(&reader.subjects, subject, SHUN_NS);
	if (user) {
		table_remove(&reader.users, user); /* not twice as long each time */
		shun(&reader.users, user, (user == ROOT ? SHUN_ROOT : SHUN_USER) * waited_ns);
	}
	log_limited(LOG_LEVEL_WARNING,
		    "process %d: reading its memory, or a file that it maps, took more than %d ms: "
		    "left alone for a while",
		    pid, READER_PATIENCE_MS);
}

/* What was read has broken it. */
static void bury(pid_t pid, uint64_t subject)
{
	retire(subject, user_of(pid));
	reader.counts.crashes++;
	shun(&reader.subjects, subject, SHUN_NS);
	log_limited(LOG_LEVEL_WARNING,
		    "process %d: reading its memory, or a file that it maps, has ended the reader: "
		    "left alone for a while",
		    pid);
}

/* Returns 1, or 0 where it took too long. */
static int wait_for_reply(void)
{
	const uint64_t ends_ns = clock_monotonic_ns() + READER_PATIENCE_MS * 1000000ULL;
	struct pollfd reply = {.fd = reader.socket, .events = POLLIN};
	uint64_t now;
	int r = 0;

	while (r <= 0 && (now = clock_monotonic_ns()) < ends_ns) {
		r = poll(&reply, 1, (int)((ends_ns - now) / 1000000) + 1);
		if (r < 0 && errno != EINTR)
			return -errno;
	}
	return r > 0;
}

/* -EAGAIN: the reader had ended before. */
static int ask(const struct reader_request *request, int fd, struct reader_reply *reply,
	       int *ret_fd)
{
	int r = send_with_fd(reader.socket, request, sizeof(*request), fd);

	if (r < 0)
		return -EAGAIN;
	r = wait_for_reply();
	if (r == 0)
		return -ETIMEDOUT;
	if (r > 0)
		r = receive_with_fd(reader.socket, reply, sizeof(*reply), ret_fd);
	return r < 0 || reply->result > 0 || reply->result < -ERRNO_MAX ? -EIO : 0;
}

/* What is charged to the user: what it took. That it waited for a processor on a busy host is
 * nobody's fault, but long waits are for the file system.
 */
static uint64_t cost_ns(const struct reader_reply *reply, uint64_t waited_ns)
{
	return waited_ns > LONG_NS ? waited_ns : MIN(reply->cpu_us * 1000ULL, waited_ns);
}

int reader_service_call(enum reader_call call, pid_t pid, uint64_t subject, int fd, int *ret_fd)
{
	const struct reader_request request = {.call = call, .pid = pid};
	_cleanup_close_ int received = -1;
	uint64_t began = clock_monotonic_ns(), waited;
	struct reader_reply reply = {0};
	int r;

	if (!reader.is_started)
		return reader_handle(call, pid, fd, reader_service_page(), ret_fd);
	if (is_left_alone(pid, subject)) {
		reader.counts.refused++;
		return -EAGAIN;
	}
	r = ask(&request, fd, &reply, &received);
	waited = clock_monotonic_ns() - began;
	quota_note_waiting(cost_ns(&reply, waited));
	if (r == -ETIMEDOUT)
		give_up(pid, subject, waited);
	else if (r == -EIO)
		bury(pid, subject);
	else if (r < 0)
		retire(subject, user_of(pid));
	if (r < 0 || reply.result < 0)
		return r < 0 ? r : reply.result;
	if (received >= 0)
		*ret_fd = TAKE_FD(received);
	return 0;
}
