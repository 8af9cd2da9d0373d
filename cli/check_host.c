/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <jansson.h>

#include "check.h"
#include "client.h"
#include "output.h"
#include "protocol.h"

#define BTF_FILE "/sys/kernel/btf/vmlinux"
#define BTF_MAGIC 0xeb9f

#define KERNEL(major, minor) ((major)*1000U + (minor))
#define KERNEL_OLDEST KERNEL(5, 15) /* links of perf events, cookies */
#define KERNEL_MULTI KERNEL(6, 6)

void check_kernel(struct check *check, const struct options *options)
{
	struct utsname name;
	unsigned major;
	unsigned minor;

	(void)options;
	if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		check_set(check, CHECK_WARN, NULL, "version of the kernel not recognised");
	else if (KERNEL(major, minor) < KERNEL_OLDEST)
		check_set(check, CHECK_FAIL, "Linux 5.15 or later is needed.", "%s is too old",
			  name.release);
	else
		check_set(check, CHECK_OK, NULL, "%s%s", name.release,
			  KERNEL(major, minor) < KERNEL_MULTI ? ", before multi links (6.6)" : "");
}

void check_btf(struct check *check, const struct options *options)
{
	_cleanup_close_ int fd = open(BTF_FILE, O_RDONLY | O_CLOEXEC);
	uint16_t magic = 0;

	(void)options;
	if (fd >= 0 && read(fd, &magic, sizeof(magic)) == sizeof(magic) && magic == BTF_MAGIC)
		check_set(check, CHECK_OK, NULL, "%s is readable", BTF_FILE);
	else
		check_set(check, CHECK_FAIL,
			  "The kernel must be built with CONFIG_DEBUG_INFO_BTF (all major "
			  "distributions do), and /sys be mounted.",
			  "%s: %s", BTF_FILE, fd < 0 ? strerror(errno) : "holds no BTF");
}

static int read_capabilities(uint64_t *ret)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*ret = data[0].effective | (uint64_t)data[1].effective << 32;
	return 0;
}

void check_privileges(struct check *check, const struct options *options)
{
	/* CAP_SYS_ADMIN includes the first two. */
	static const struct {
		unsigned number;
		const char *name;
		bool in_admin;
	} needed[] = {
		{CAP_BPF, " CAP_BPF", true},
		{CAP_PERFMON, " CAP_PERFMON", true},
		{CAP_SYS_PTRACE, " CAP_SYS_PTRACE", false},
	};
	uint64_t has = 0;
	char missing[64] = "";
	int err = read_capabilities(&has);

	(void)options;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!(has >> needed[i].number & 1) &&
		    !(needed[i].in_admin && (has >> CAP_SYS_ADMIN & 1)))
			strcat(missing, needed[i].name);
	if (err)
		check_set(check, CHECK_WARN, NULL, "capabilities not known: %s", strerror(-err));
	else if (*missing)
		check_set(check, CHECK_FAIL,
			  "Run it as root, as the daemon is: sudo srtleakctl doctor", "missing:%s",
			  missing);
	else
		check_set(check, CHECK_OK, NULL, "all capabilities that the daemon needs");
}

/* Records of new mappings, which tell the daemon that a library comes into use. */
static int try_mmap_records(void)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY,
		.mmap = 1,
		.mmap2 = 1,
		.sample_id_all = 1,
	};
	size_t size = 2 * (size_t)sysconf(_SC_PAGESIZE);
	_cleanup_close_ int fd = (int)syscall(SYS_perf_event_open, &attr, -1, sched_getcpu(), -1,
					      PERF_FLAG_FD_CLOEXEC);
	void *ring;

	if (fd < 0)
		return -errno;
	ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED)
		return -errno;
	munmap(ring, size);
	return 0;
}

void check_perf_mmap2(struct check *check, const struct options *options)
{
	int err = try_mmap_records();

	(void)options;
	if (!err)
		check_set(check, CHECK_OK, NULL, "new mappings of a processor can be watched");
	else
		check_set(check, CHECK_FAIL,
			  "Run it as root or with CAP_PERFMON; in a container allow "
			  "perf_event_open(2) in the seccomp profile.",
			  "new mappings cannot be watched: %s", strerror(-err));
}

/* Asks a daemon for its version. Returns 0 or a negative errno. */
static int ask_version(const char *socket, char *buffer, size_t size)
{
	_cleanup_(client_cleanup) struct client *client = NULL;
	_cleanup_(json_cleanup) json_t *status = NULL;
	const char *version;
	int r = client_open(socket, &client);

	if (r >= 0)
		r = client_send(client, METHOD_STATUS, NULL, false);
	if (r >= 0)
		r = client_next(client, &status);
	if (r < 0)
		return r;
	version = json_string_value(json_object_get(status, "version"));
	snprintf(buffer, size, "%s", version ? version : "unknown");
	return 0;
}

void check_daemon(struct check *check, const struct options *options)
{
	char version[64];
	int err = ask_version(options->socket, version, sizeof(version));

	if (!err)
		check_set(check, CHECK_OK, NULL, "version %s runs", version);
	else if (err == -ENOENT || err == -ECONNREFUSED)
		check_set(check, CHECK_OK, NULL, "not running; start srtleakd as root");
	else if (err == -EACCES || err == -EPERM)
		check_set(check, CHECK_WARN, "Run it as root or as a member of the group srtleak.",
			  "%s: %s", options->socket, strerror(-err));
	else
		check_set(check, CHECK_WARN, "What happened to it: systemctl status srtleakd",
			  "no answer from %s: %s", options->socket, strerror(-err));
}
