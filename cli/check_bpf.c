/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "check.h"
#include "probe.h"

#define RING_SIZE 65536U     /* a multiple of any page size */
#define DEAR_PROBE_NS 5000.0 /* ten times what an emulated instruction should cost */

static const char need_bpf[] =
	"Run it as root; in a container add CAP_BPF and CAP_PERFMON and allow bpf(2) in the "
	"seccomp "
	"profile; on a locked-down kernel see /sys/kernel/security/lockdown.";

void check_bpf_load(struct check *check, const struct options *options)
{
	int program = probe_load(PROBE_PERF);

	(void)options;
	if (program < 0) {
		check_set(check, CHECK_FAIL, need_bpf, "no BPF program can be loaded: %s",
			  strerror(-program));
		return;
	}
	close(program);
	check_set(check, CHECK_OK, NULL, "BPF programs can be loaded");
}

static int ignore_record(void *context, void *data, size_t size)
{
	(void)context;
	(void)data;
	(void)size;
	return 0;
}

void check_ring_buffer(struct check *check, const struct options *options)
{
	int map = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "srtleak_doctor", 0, 0, RING_SIZE, NULL);
	struct ring_buffer *ring = NULL;

	(void)options;
	if (map >= 0)
		ring = ring_buffer__new(map, ignore_record, NULL, NULL);
	if (ring)
		check_set(check, CHECK_OK, NULL, "a ring buffer can be created and mapped");
	else
		check_set(check, CHECK_FAIL, need_bpf, "no ring buffer: %s", strerror(errno));
	ring_buffer__free(ring);
	if (map >= 0)
		close(map);
}

static int try_link(enum probe_link kind)
{
	_cleanup_close_ int program = probe_load(kind);
	struct probe probe;
	int err;

	if (program < 0)
		return program;
	err = probe_attach(kind, program, probe_at_push, &probe);
	if (!err)
		probe_detach(&probe);
	return err;
}

void check_uprobe_multi(struct check *check, const struct options *options)
{
	int err = try_link(PROBE_MULTI);

	(void)options;
	if (!err)
		check_set(check, CHECK_OK, NULL, "one link can probe all functions of a library");
	else if (err == -EPERM || err == -EACCES)
		check_set(check, CHECK_WARN, need_bpf, "not permitted: %s", strerror(-err));
	else
		check_set(check, CHECK_WARN,
			  "Nothing needs to be done: perf links are used. Kernel 6.6 or later has "
			  "multi links, which attach faster and need fewer privileges.",
			  "not available: %s", strerror(-err));
}

void check_uprobe_perf(struct check *check, const struct options *options)
{
	int err = try_link(PROBE_PERF);

	(void)options;
	if (!err)
		check_set(check, CHECK_OK, NULL, "functions can be probed one by one");
	else if (try_link(PROBE_MULTI) == 0)
		check_set(check, CHECK_OK, NULL,
			  "not available (%s) and not needed, as multi links work", strerror(-err));
	else
		check_set(
			check, CHECK_FAIL,
			"Without multi links this needs CAP_SYS_ADMIN and a kernel of version 5.15 "
			"or later with CONFIG_UPROBE_EVENTS.",
			"no uprobe can be attached: %s", strerror(-err));
}

/* What a probe adds to a call of `function`, in nanoseconds. Returns 0 or a negative errno. */
static int measure_probe(enum probe_link kind, int program, void (*function)(void), double *ret_ns)
{
	double without = probe_measure(function);
	struct probe probe;
	int err = probe_attach(kind, program, function, &probe);

	if (err)
		return err;
	*ret_ns = probe_measure(function) - without;
	probe_detach(&probe);
	return 0;
}

static int measure_both(enum probe_link kind, double *ret_push_ns, double *ret_sub_ns)
{
	_cleanup_close_ int program = probe_load(kind);
	int err;

	if (program < 0)
		return program;
	err = measure_probe(kind, program, probe_at_push, ret_push_ns);
	return err ? err : measure_probe(kind, program, probe_at_sub, ret_sub_ns);
}

void check_probe_cost(struct check *check, const struct options *options)
{
	const char *kind = "multi";
	double push_ns = 0;
	double sub_ns = 0;
	int err = measure_both(PROBE_MULTI, &push_ns, &sub_ns);

	(void)options;
	if (err) {
		kind = "perf";
		err = measure_both(PROBE_PERF, &push_ns, &sub_ns);
	}
	if (err) {
		check_set(check, CHECK_WARN, "It can be measured once a kind of uprobe link works.",
			  "not measured: %s", strerror(-err));
		return;
	}
	check_set(
		check, push_ns > DEAR_PROBE_NS ? CHECK_WARN : CHECK_OK,
		push_ns > DEAR_PROBE_NS
			? "Traps are dear on this host: is it emulated, or traced by another tool?"
			: NULL,
		"a probe costs %.1f µs on a push, %.1f µs single-stepped (%s link)", push_ns / 1000,
		sub_ns / 1000, kind);
}
