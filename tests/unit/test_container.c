/* SPDX-License-Identifier: Apache-2.0 */
/* Containers and pods out of the paths of cgroups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/container.h"
#include "macro.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OUTER "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define UID "8a1b9c7e-0d2f-4c53-9b61-7f2e1d3c4b5a"
#define UID_ "8a1b9c7e_0d2f_4c53_9b61_7f2e1d3c4b5a"
#define HASH "0f1e2d3c4b5a69788796a5b4c3d2e1f0" /* of a static pod */
#define BURSTABLE "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
#define LETTERS "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJ" /* 64 */

static const struct sample {
	const char *cgroup, *id, *pod;
} samples[] = {
	/* Docker: cgroupfs, systemd, below another parent, with folders made inside, rootless */
	{"/docker/" ID, ID, ""},
	{"/system.slice/docker-" ID ".scope", ID, ""},
	{"/system.slice:docker:" ID, ID, ""},
	{"/actions_job/" ID, ID, ""},
	{"/system.slice/docker-" ID ".scope/init.scope", ID, ""},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" ID ".scope", ID, ""},
	{"/ecs/0f1e2d3c4b5a69788796a5b4c3d2e1f0/" ID, ID, ""},
	/* containerd under the kubelet */
	{"/kubepods/besteffort/pod" UID "/" ID, ID, UID},
	{"/kubepods/pod" UID "/" ID, ID, UID},
	{BURSTABLE UID_ ".slice/cri-containerd-" ID ".scope", ID, UID},
	{"/kubepods.slice/kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope", ID, UID},
	{BURSTABLE UID_ ".slice:cri-containerd:" ID, ID, UID},
	{"/system.slice/containerd.service/kubepods-pod" UID_ ".slice:cri-containerd:" ID, ID, UID},
	{BURSTABLE UID_ ".slice/docker-" ID ".scope", ID, UID},
	{BURSTABLE UID_ ".slice", "", UID},
	/* static pods of the kubelet */
	{"/kubepods/burstable/pod" HASH "/" ID, ID, HASH},
	{BURSTABLE HASH ".slice/cri-containerd-" ID ".scope", ID, HASH},
	/* below another root, as seen from a cgroup namespace, and in a node that is a container */
	{"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
	 "kubelet-kubepods-burstable-pod" UID_ ".slice/cri-containerd-" ID ".scope",
	 ID, UID},
	{"/../../pod" UID "/" ID, ID, ""},
	{"/../../kubepods/pod" UID "/" ID, ID, UID},
	{"/docker/" OUTER "/kubelet/kubepods/burstable/pod" UID "/" ID, ID, UID},
	/* CRI-O */
	{"/kubepods.slice/kubepods-pod" UID_ ".slice/crio-" ID ".scope", ID, UID},
	{"/kubepods.slice/kubepods-pod" UID_ ".slice/crio-" ID ".scope/container", ID, UID},
	{"/kubepods/besteffort/pod" UID "/crio-" ID, ID, UID},
	{"/kubepods.slice/kubepods-pod" UID_ ".slice/crio-conmon-" ID ".scope", "", UID},
	/* Podman: systemd, cgroupfs, rootless, in a pod, as a service of its own */
	{"/machine.slice/libpod-" ID ".scope", ID, ""},
	{"/machine.slice/libpod-" ID ".scope/container", ID, ""},
	{"/libpod_parent/libpod-" ID, ID, ""},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope/container",
	 ID, ""},
	{"/machine.slice/machine-libpod_pod_" OUTER ".slice/libpod-" ID ".scope", ID, ""},
	{"/system.slice/llm.service/libpod-payload-" ID, ID, ""},
	{"/machine.slice/libpod-conmon-" ID ".scope", "", ""},
	{"/libpod_parent/conmon", "", ""},
	/* nerdctl */
	{"/system.slice/nerdctl-" ID ".scope", ID, ""},
	{"/default/" ID, ID, ""},
	/* nested: the innermost */
	{"/docker/" OUTER "/docker/" ID, ID, ""},
	{"/system.slice/docker-" OUTER ".scope/system.slice/docker-" ID ".scope", ID, ""},
	{BURSTABLE UID_ ".slice/cri-containerd-" OUTER ".scope/docker/" ID, ID, UID},
	{"/lxc.payload.node-1/system.slice/docker-" ID ".scope", ID, ""},
	/* by name */
	{"/lxc.payload.gpu-box", "gpu-box", ""},
	{"/lxc.payload.gpu-box/system.slice/llm.service", "gpu-box", ""},
	{"/lxc.payload/old", "old", ""},
	{"/lxc/101/ns/system.slice", "101", ""},
	{"/lxc.monitor.gpu-box", "", ""},
	{"/machine.slice/machine-gpu\\x2dbox.scope/payload", "gpu-box", ""},
	{"/machine.slice/systemd-nspawn@gpu-box.service/payload", "gpu-box", ""},
	{"/machine.slice/machine-qemu\\x2d1\\x2dguest.scope", "", ""},
	{"/lxc.payload." LETTERS, LETTERS, ""},
	{"/lxc.payload.x" LETTERS, "", ""},
	{"/lxc.payload.\x1b[2J", "", ""},
	{"/lxc.payload.a\"b", "", ""},
	{"/lxc.payload..hidden", "", ""},
	{"/lxc.payload.", "", ""},
	{"/machine.slice/machine-a\\x1b.scope", "", ""},
	{"/machine.slice/machine-a\\x00.scope", "", ""},
	{"/machine.slice/machine-a\\x2", "", ""},
	/* none */
	{"/user.slice/user-0.slice/session-1.scope", "", ""},
	{"/system.slice/containerd.service", "", ""},
	{"/kubepods.slice/kubepods-burstable.slice", "", ""},
	{"/docker/0" ID, "", ""},
	{"/docker/" ID "0", "", ""},
	{"/docker/0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", "", ""},
	{"/docker/0123456789abcdef", "", ""},
	{"/docker:" ID, "", ""},
	{"/x::" ID, "", ""},
	{"/pod" UID, "", ""},
	{"/kubepods/pod" UID "0", "", ""},
	{"/kubepods/xpod" UID, "", ""},
	{"/kubepods/pod8a1b9c7e-0d2f-4c53-9b61-7f2e1d3c4b5", "", ""},
	{"/kubepods/" UID, "", ""},
	{"/kubepods/pod", "", ""},
	{"/", "", ""},
	{"", "", ""},
	{"////", "", ""},
	{":::", "", ""},
};

static void test_samples(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		struct container found;

		memset(&found, 0xa5, sizeof(found));
		container_parse(samples[i].cgroup, &found);
		if (strcmp(found.id, samples[i].id) != 0 || strcmp(found.pod, samples[i].pod) != 0)
			fail_msg("%s: id '%s', pod '%s'", samples[i].cgroup, found.id, found.pod);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
