/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "macro.h"

#define HEX "0123456789abcdef"
#define HASH_SIZE 32 /* hex digits of a static pod's uid */

/* One component of a path. */
struct part {
	const char *text;
	size_t size;
};

static bool take_prefix(struct part *part, const char *prefix)
{
	size_t n = strlen(prefix);

	if (part->size < n || memcmp(part->text, prefix, n) != 0)
		return false;
	part->text += n;
	part->size -= n;
	return true;
}

static bool take_suffix(struct part *part, const char *suffix)
{
	size_t n = strlen(suffix);

	if (part->size < n || memcmp(part->text + part->size - n, suffix, n) != 0)
		return false;
	part->size -= n;
	return true;
}

static bool equals(struct part part, const char *text)
{
	return part.size == strlen(text) && memcmp(part.text, text, part.size) == 0;
}

/* Splits off what stands behind the last colon. */
static bool take_behind_colon(struct part *part, struct part *ret)
{
	const char *colon = memrchr(part->text, ':', part->size);

	if (!colon)
		return false;
	ret->text = colon + 1;
	ret->size = part->size - (size_t)(colon + 1 - part->text);
	part->size = (size_t)(colon - part->text);
	return true;
}

/* What a runtime that is asked for a systemd scope makes of it where it uses cgroupfs:
 * "SLICE:RUNTIME:ID" as one name.
 */
static bool split_scope(struct part *slice, struct part *ret_id)
{
	struct part runtime;

	return take_behind_colon(slice, ret_id) && take_behind_colon(slice, &runtime) &&
	       runtime.size > 0;
}

/* What stands before the id; behind it stands systemd's ".scope" or, with cgroupfs, nothing. The
 * monitors of CRI-O and Podman ("crio-conmon-", "libpod-conmon-") are no containers.
 */
static const char *const id_prefixes[] = {
	"", "docker-", "cri-containerd-", "crio-", "libpod-", "libpod-payload-", "nerdctl-",
};

static bool is_id(struct part part)
{
	return part.size == CONTAINER_ID_MAX && strspn(part.text, HEX) >= CONTAINER_ID_MAX;
}

static bool find_id(struct part part, char ret[CONTAINER_ID_MAX + 1])
{
	struct part id, slice = part;
	bool found = split_scope(&slice, &id) && is_id(id);

	take_suffix(&part, ".scope");
	for (size_t i = 0; i < ARRAY_SIZE(id_prefixes) && !found; i++) {
		id = part;
		found = take_prefix(&id, id_prefixes[i]) && is_id(id);
	}
	if (!found)
		return false;
	memcpy(ret, id.text, CONTAINER_ID_MAX);
	ret[CONTAINER_ID_MAX] = '\0';
	return true;
}

/* Containers that have a name instead: of the parent too, where that is not NULL. */
static const struct name_form {
	const char *parent, *prefix, *suffix;
} name_forms[] = {
	{NULL, "lxc.payload.", ""},            /* LXC, Incus */
	{"lxc.payload", "", ""},               /* before LXC 4 */
	{"lxc", "", ""},                       /* the same, and Proxmox VE */
	{NULL, "machine-", ".scope"},          /* systemd-nspawn */
	{NULL, "systemd-nspawn@", ".service"}, /* the same, as a service */
};

/* systemd writes other characters than these as \xHH. */
static bool unescape_name(struct part part, char ret[CONTAINER_ID_MAX + 1])
{
	char name[CONTAINER_ID_MAX + 1];
	size_t n = 0;

	while (part.size > 0 && n < CONTAINER_ID_MAX) {
		char c = *part.text;
		size_t used = 1;

		if (part.size >= 4 && strncmp(part.text, "\\x", 2) == 0 &&
		    strspn(part.text + 2, HEX) >= 2) {
			const char digits[] = {part.text[2], part.text[3], '\0'};

			c = (char)strtoul(digits, NULL, 16);
			used = 4;
		}
		if (!isalnum((unsigned char)c) && (n == 0 || c == '\0' || !strchr("._-", c)))
			return false;
		name[n++] = c;
		part.text += used;
		part.size -= used;
	}
	if (n == 0 || part.size > 0)
		return false;
	name[n] = '\0';
	memcpy(ret, name, n + 1);
	return true;
}

static bool find_name(struct part parent, struct part part, char ret[CONTAINER_ID_MAX + 1])
{
	for (size_t i = 0; i < ARRAY_SIZE(name_forms); i++) {
		const struct name_form *form = &name_forms[i];
		struct part name = part;

		if (form->parent && !equals(parent, form->parent))
			continue;
		/* a virtual machine is no container, though systemd keeps both as machines */
		if (take_prefix(&name, form->prefix) && take_suffix(&name, form->suffix) &&
		    !(name.size > 8 && strncmp(name.text, "qemu\\x2d", 8) == 0))
			return unescape_name(name, ret);
	}
	return false;
}

/* 8-4-4-4-12 hex digits, in a slice's name with underscores, as a dash there means a parent. */
static bool is_uuid(struct part part)
{
	for (size_t i = 0; i < part.size; i++) {
		bool separator = i == 8 || i == 13 || i == 18 || i == 23;

		if (!(separator ? strchr("-_", part.text[i]) : strchr(HEX, part.text[i])))
			return false;
	}
	return part.size == POD_UID_MAX;
}

static bool is_hash(struct part part)
{
	return part.size == HASH_SIZE && strspn(part.text, HEX) >= HASH_SIZE;
}

/* "podUID", or as a slice "kubepods-burstable-podUID.slice". */
static bool find_pod(struct part part, char ret[POD_UID_MAX + 1])
{
	static const size_t sizes[] = {POD_UID_MAX, HASH_SIZE};
	struct part id;

	split_scope(&part, &id);
	take_suffix(&part, ".slice");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct part uid = {.size = sizes[i]}, kind = part;

		if (part.size < sizes[i])
			continue;
		kind.size -= sizes[i];
		uid.text = kind.text + kind.size;
		if (!(is_uuid(uid) || is_hash(uid)) || !take_suffix(&kind, "pod") ||
		    (kind.size > 0 && !take_suffix(&kind, "-")))
			continue;
		memcpy(ret, uid.text, uid.size);
		ret[uid.size] = '\0';
		for (char *c = ret; *c; c++)
			if (*c == '_')
				*c = '-';
		return true;
	}
	return false;
}

void container_parse(const char *cgroup, struct container *ret)
{
	bool kubernetes = strstr(cgroup, "kubepods"); /* the kubelet's root, whatever it lies in */
	struct part parent = {"", 0};

	*ret = (struct container){0};
	while (*cgroup) {
		struct part part = {cgroup, strcspn(cgroup, "/")};

		if (!find_id(part, ret->id))
			find_name(parent, part, ret->id);
		if (kubernetes)
			find_pod(part, ret->pod);
		parent = part;
		cgroup += part.size;
		cgroup += *cgroup == '/';
	}
}
