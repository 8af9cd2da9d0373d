/* SPDX-License-Identifier: Apache-2.0 */
/* srtleakd: start-up in an order in which nothing is missed, the loop, the end. */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <systemd/sd-daemon.h>

#include "aside.h"
#include "capability.h"
#include "clock.h"
#include "config.h"
#include "discovery.h"
#include "http.h"
#include "link.h"
#include "log.h"
#include "macro.h"
#include "options.h"
#include "pins.h"
#include "perf_stream.h"
#include "protocol.h"
#include "reader.h"
#include "real_files.h"
#include "reader_calls.h"
#include "reload.h"
#include "return_safety.h"
#include "server.h"
#include "trap_cost.h"

#define CHARS_ERROR 512
#define MAPPED_FROM (256 << 10) /* bytes */

struct daemon {
	struct options options;
	struct config config;
	sd_event *loop;
	struct server *server;
	struct pins *pins;
	struct probes *probes;
	struct tracker tracker;
	struct discovery discovery;
	struct http *http;
	struct subject subject;
	struct utsname kernel;
	bool multi;
	bool keep; /* what is pinned stays, for the next daemon */
};

#define INITIAL_PID_NAMESPACE 0xeffffffcU /* PROC_PID_INIT_INO, linux/proc_ns.h */

/* Older kernels lack attach cookies, 5.15, and more. */
#define KERNEL_MAJOR 5
#define KERNEL_MINOR 15

static bool kernel_is_too_old(const struct utsname *kernel)
{
	int major = 0, minor = 0;

	if (sscanf(kernel->release, "%d.%d", &major, &minor) != 2)
		return false; /* then loading tells */
	return major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR);
}

static bool in_initial_pid_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) < 0 || st.st_ino == INITIAL_PID_NAMESPACE;
}

/* Perf links take two descriptors a function, and every process one. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Which links this kernel and these privileges allow. Returns a status to exit with, or -1. */
static int choose_links(struct daemon *d)
{
	int supported;

	uname(&d->kernel);
	if (!in_initial_pid_namespace()) {
		log_error(
			"runs in a PID namespace of its own, where the kernel's pids mean others; "
			"in a container, run it with the host's (hostPID, --pid=host)");
		return DAEMON_FAILURE;
	}
	if (kernel_is_too_old(&d->kernel)) {
		log_error("Linux %d.%d or later is needed, this is %s", KERNEL_MAJOR, KERNEL_MINOR,
			  d->kernel.release);
		return DAEMON_KERNEL;
	}
	supported = link_multi_supported();
	if (supported == -EPERM || supported == -EACCES ||
	    (supported >= 0 &&
	     !capability_can_probe(supported && d->config.attach != ATTACH_PERF))) {
		log_error("not permitted to place probes: run as root, or with CAP_BPF, "
			  "CAP_PERFMON and CAP_SYS_PTRACE (perf links, and kernels before 6.6, "
			  "need CAP_SYS_ADMIN)");
		return DAEMON_PRIVILEGE;
	}
	if (supported < 0) {
		log_error("this kernel cannot load BPF programs: %s; `srtleakctl doctor` says more",
			  strerror(-supported));
		return DAEMON_KERNEL;
	}
	if (d->config.attach == ATTACH_MULTI && !supported) {
		log_error("this kernel has no uprobe multi links (6.6 and later have); use "
			  "--attach perf");
		return DAEMON_KERNEL;
	}
	if (!capability_can_read())
		log_warning("without CAP_SYS_PTRACE most processes cannot be read: no names of "
			    "Python functions, no libraries found by their mapping");
	d->multi = supported && d->config.attach != ATTACH_PERF;
	if (supported == LINK_MULTI_FOR_ALL && d->config.attach == ATTACH_AUTO &&
	    capability_can_probe(false)) {
		log_info("multi links of this kernel to one process miss its threads (Linux 6.6 to "
			 "6.9): perf links are used");
		d->multi = false;
	}
	return -1;
}

static int on_ring(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *d = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	tracker_tick(&d->tracker);
	return 0;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct daemon *d = userdata;
	bool more;

	more = tracker_tick(&d->tracker);
	sd_event_source_set_time(source, more ? usec : usec + TRACKER_TICK_USEC);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Whether processes with a seccomp filter must be left alone. */
static bool spares_filtered(const struct daemon *d)
{
	int r = return_safety_test(d->multi);

	if (r == 1 || r == -ENOSYS) /* without filters there is nothing to be safe from */
		return false;
	if (r < 0)
		log_warning("whether processes with a seccomp filter can be probed was not to be "
			    "found out (%s): they are left alone",
			    strerror(-r));
	else
		log_warning("this kernel ends processes with a seccomp filter at return probes: "
			    "they are left alone; a kernel with \"seccomp: passthrough "
			    "uretprobe systemcall without filtering\" (6.14) does not");
	return true;
}

/* What is to be done where the directory of the pins is no good. */
static const char *pins_advice(int error)
{
	switch (error) {
	case -ENOTSUP:
		return "it is not on a BPF file system (mount -t bpf bpf /sys/fs/bpf)";
	case -EPERM:
		return "it must belong to this daemon's user alone, with mode 0700";
	default:
		return strerror(-error);
	}
}

/* Returns a status to exit with, or -1. Tracking without pins is better than none. */
static int claim_pins(struct daemon *d)
{
	int r = d->config.pin_dir ? pins_open(d->config.pin_dir, &d->pins) : 0;

	if (r == -EBUSY) {
		log_error("%s: another daemon uses it; stop it, or choose another --pin-dir",
			  d->config.pin_dir);
		return DAEMON_ALREADY_RUNS;
	}
	if (r < 0)
		log_warning("%s: %s: nothing is pinned, so tracking ends with this daemon",
			    d->config.pin_dir, pins_advice(r));
	return -1;
}

static int reset(struct daemon *d)
{
	bool stays;
	int r;

	if (!d->config.pin_dir)
		return DAEMON_STOPPED;
	r = pins_open_to_remove(d->config.pin_dir, &d->pins);
	if (r == -EBUSY) {
		log_error("%s: a daemon uses it; stop it first", d->config.pin_dir);
		return DAEMON_ALREADY_RUNS;
	}
	if (r == -ENOTSUP || r == -ENOENT)
		return DAEMON_STOPPED; /* nothing can be pinned there */
	if (r < 0) {
		log_error("%s: %s", d->config.pin_dir, pins_advice(r));
		return r == -EACCES || r == -EPERM ? DAEMON_PRIVILEGE : DAEMON_FAILURE;
	}
	stays = aside_discard(d->pins) > 0;
	r = pins_remove_all(d->pins);
	if (stays)
		log_warning("%s: probes stay in files that processes map which have written over "
			    "functions of them; reset again when these have ended",
			    d->config.pin_dir);
	else if (r < 0)
		log_warning("%s: no pins of srtleak are left, but the directory stays: %s",
			    d->config.pin_dir, strerror(-r));
	return DAEMON_STOPPED;
}

/* Applies --pid. */
static int narrow(struct daemon *d)
{
	int r = admission_start(&d->tracker.admission, d->config.n_pids > 0);

	for (size_t i = 0; i < d->config.n_pids && r >= 0; i++) {
		r = admission_decree(&d->tracker.admission, d->config.pids[i], VERDICT_TRACK,
				     WORD_OPTION);
		if (r == -ESRCH) {
			log_warning("--pid %d: there is no such process", d->config.pids[i]);
			r = 0;
		}
	}
	if (r >= 0)
		return -1;
	log_error("--pid: %s", strerror(-r));
	return DAEMON_FAILURE;
}

static void begin_restraint(struct daemon *d)
{
	struct restraint *restraint = &d->tracker.restraint;
	int r = trap_cost_measure(d->multi, &restraint->trap_ns);

	if (r < 0)
		log_warning(
			"what a probed call costs could not be measured (%s): it is taken to be "
			"%llu ns",
			strerror(-r), RESTRAINT_TRAP_NS);
	restraint->limit = d->config.probe_budget;
}

static int load_probes(struct daemon *d)
{
	struct object_options options = {
		.multi = d->multi,
		.tell_news = !perf_stream_permitted(),
		.pins = d->pins,
	};
	int r;

	if (options.tell_news)
		log_info("perf_event_open(2) is refused (kernel.perf_event_paranoid is above 2?): "
			 "a BPF program reports mappings in its place");
	r = probes_load(&options, tracker_event, &d->tracker, &d->probes);
	if (r < 0) {
		log_error("loading the BPF programs: %s; `srtleakctl doctor` says what is missing",
			  strerror(-r));
		return r == -EPERM || r == -EACCES ? DAEMON_PRIVILEGE : DAEMON_KERNEL;
	}
	d->keep = probes_adopted(d->probes); /* should the start fail, things are as before */
	tracker_init(&d->tracker, d->loop, d->probes, &d->config.scope);
	d->tracker.notices.log_above = d->config.log_above;
	begin_restraint(d);
	return narrow(d);
}

static int start_sources(struct daemon *d)
{
	uint64_t now;
	int r;

	sd_event_now(d->loop, CLOCK_MONOTONIC, &now);
	r = sd_event_add_io(d->loop, NULL, probes_ring_fd(d->probes), EPOLLIN, on_ring, d);
	if (r >= 0)
		r = sd_event_add_time(d->loop, NULL, CLOCK_MONOTONIC, now + TRACKER_TICK_USEC, 0,
				      on_tick, d);
	return r;
}

static int start_serving(struct daemon *d)
{
	int r;

	d->subject = (struct subject){
		.tracker = &d->tracker,
		.discovery = &d->discovery,
		.kernel = d->kernel.release,
		.started_at = (double)clock_boottime_ns() / 1e9,
		.started_at_unix = clock_unix(),
	};
	r = server_start(d->server, d->loop, &d->subject);
	if (r < 0) {
		log_error("%s: cannot listen: %s", d->config.socket, strerror(-r));
		return DAEMON_FAILURE;
	}
	if (!d->config.listen)
		return -1;
	r = http_start(d->loop, d->config.listen, d->config.max_series, &d->subject, &d->http);
	if (r < 0) {
		log_error("%s: cannot listen for HTTP: %s; choose another with --listen, or none",
			  d->config.listen, strerror(-r));
		return DAEMON_FAILURE;
	}
	return -1;
}

/* Everything up to the loop. Returns a status to exit with, or -1. */
static int start(struct daemon *d)
{
	int status = choose_links(d), r;
	struct discovery_rules rules;

	if (status >= 0)
		return status;
	raise_descriptor_limit();
	reader_start();
	real_files_start();
	r = server_claim(d->config.socket, &d->server);
	if (r == -EADDRINUSE) {
		log_error("%s: another daemon runs there; stop it, or choose another --socket",
			  d->config.socket);
		return DAEMON_ALREADY_RUNS;
	}
	if (r == -EEXIST) {
		log_error("%s: exists and is no socket; choose another --socket", d->config.socket);
		return DAEMON_FAILURE;
	}
	if (r < 0) {
		log_error("%s: %s", d->config.socket, strerror(-r));
		return r == -EACCES || r == -EPERM ? DAEMON_PRIVILEGE : DAEMON_FAILURE;
	}
	r = sd_event_default(&d->loop);
	if (r < 0) {
		log_error("event loop: %s", strerror(-r));
		return DAEMON_FAILURE;
	}
	status = claim_pins(d);
	if (status < 0)
		status = load_probes(d);
	if (status >= 0)
		return status;
	rules = (struct discovery_rules){
		.multi = d->multi,
		.spares_filtered = spares_filtered(d),
	};
	r = discovery_start(&d->discovery, &d->tracker, &rules,
			    (const char *const *)d->config.libraries, d->config.n_libraries);
	if (r >= 0)
		r = start_sources(d);
	if (r < 0) {
		log_error("start: %s", strerror(-r));
		return r == -EACCES || r == -EPERM ? DAEMON_PRIVILEGE : DAEMON_FAILURE;
	}
	if (probes_adopted(d->probes)) {
		tracker_recover(&d->tracker);
		log_notice("adopted what the earlier daemon has left: %zu processes, %" PRIu64
			   " allocations",
			   d->tracker.processes.count, d->tracker.allocations);
	}
	tracker_started(&d->tracker);
	return start_serving(d);
}

static void stop(struct daemon *d)
{
	d->http = http_free(d->http);
	discovery_stop(&d->discovery, d->keep);
	if (d->probes)
		tracker_done(&d->tracker);
	if (d->probes && d->pins && !d->keep)
		pins_remove_all(d->pins);
	d->probes = probes_free(d->probes);
	d->pins = pins_free(d->pins);
	real_files_stop();
	reader_stop();
	/* Last, for it holds the lock: a successor starts when nothing of us is left. */
	d->server = server_free(d->server);
	sd_event_unref(d->loop);
	config_free(&d->config);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct daemon *d = userdata;
	const struct reload reload = {
		.options = &d->options,
		.config = &d->config,
		.tracker = &d->tracker,
		.discovery = &d->discovery,
		.http = d->http,
	};

	(void)source;
	(void)info;
	reload_configuration(&reload);
	return 0;
}

static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct daemon *d = userdata;

	d->keep = d->pins && (info->ssi_signo == SIGUSR1 || d->config.keep_on_exit);
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

/* Returns a status to exit with. */
static int serve(struct daemon *d)
{
	static const int ends[] = {SIGTERM, SIGINT, SIGUSR1};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		sd_event_add_signal(d->loop, NULL, ends[i], on_end, d);
	sd_event_add_signal(d->loop, NULL, SIGHUP, on_hangup, d);
	sd_event_set_watchdog(d->loop, true);
	log_info("tracking with %s links; %zu libraries probed, %zu processes",
		 d->multi ? "multi" : "perf", d->discovery.n_libraries, d->tracker.processes.count);
	sd_notify(0, "READY=1");
	r = sd_event_loop(d->loop);
	sd_notify(0, "STOPPING=1");
	return r < 0 ? DAEMON_FAILURE : DAEMON_STOPPED;
}

static int read_configuration(struct daemon *d)
{
	char error[CHARS_ERROR];

	if (options_load(&d->options, &d->config, error, sizeof(error)) == 0)
		return -1;
	log_error("%s", error);
	return DAEMON_USAGE;
}

int main(int argc, char **argv)
{
	static struct daemon d;
	sigset_t signals;
	int status;

	if (argc > 0 && strcmp(argv[0], READER_NAME) == 0)
		return reader_main();
	/* Left alone, the limit grows with what is freed, and tables that were outgrown stay in
	 * the heap; mapped, they go back to the system at once.
	 */
	mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	status = options_parse(&d.options, argc, argv);
	if (status < 0)
		status = read_configuration(&d);
	if (status < 0)
		status = d.options.reset ? reset(&d) : start(&d);
	if (status < 0)
		status = serve(&d);
	stop(&d);
	return status;
}
