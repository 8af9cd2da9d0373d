/* SPDX-License-Identifier: Apache-2.0 */
/* Which container a cgroup belongs to, from its path alone: no runtime is asked.
 *
 * Whoever may make cgroups chooses their names; what is returned is bounded and of harmless
 * characters only.
 */
#ifndef SRTLEAK_CONTAINER_H
#define SRTLEAK_CONTAINER_H

#define CONTAINER_ID_MAX 64 /* hex digits of an id, characters of a name */
#define POD_UID_MAX 36      /* characters */

struct container {
	char id[CONTAINER_ID_MAX + 1]; /* "": none */
	char pod[POD_UID_MAX + 1];     /* "": none */
};

/* The innermost container and the innermost pod on the path, as every runtime with either driver of
 * the kubelet names them: an id of 64 hex digits (Docker, containerd, CRI-O, Podman, nerdctl) or
 * the name of a container of LXC or systemd-nspawn; the pod's uid with dashes, and for a static
 * pod, whose uid is a hash, without.
 */
void container_parse(const char *cgroup, struct container *ret);

#endif
