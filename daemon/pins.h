/* SPDX-License-Identifier: Apache-2.0 */
/* What outlives the daemon: maps, programs and links pinned in a directory of bpffs that is ours
 * alone. A set of pins belongs to one build of the BPF object, so that a daemon never adopts what
 * another version has left.
 *
 *   DIRECTORY/           0700, the daemon's, locked by the daemon that uses it
 *     object_new/        a set that was never completed
 *     object_HASH/       the set of one BPF object
 *       map_NAME, program_NAME, life_NAME
 *       library_…/       the links of one probed file (library.c)
 *     aside/library_…/   those that cannot be taken out yet (aside.h)
 */
#ifndef SRTLEAK_PINS_H
#define SRTLEAK_PINS_H

#include <stdbool.h>
#include <stdint.h>

#define PINS_DIRECTORY "/sys/fs/bpf/srtleak"
#define PINS_FOLDER_MAX 96 /* with the final NUL */
#define PINS_NAME_MAX 160  /* likewise */

struct pins;

/* Claims the directory, and makes it where it is missing. -EBUSY: another daemon uses it; -EPERM:
 * it is not ours alone; -ENOTSUP: not on bpffs; else what opening and making it says.
 */
int pins_open(const char *directory, struct pins **ret);

/* Likewise for who only means to remove what is there: whose the directory is, is no matter then,
 * as root resets what the service's user has pinned. -ENOENT where there is none.
 */
int pins_open_to_remove(const char *directory, struct pins **ret);

/* Chooses the set of an object. Returns 1 where there is one to adopt, else 0; it is begun then,
 * and counts only after pins_complete(). What other objects and a daemon that did not come so far
 * have left is removed first; ret_removed says whether there was any.
 */
int pins_choose(struct pins *pins, uint64_t object, bool *ret_removed);
int pins_complete(struct pins *pins);

/* Ends the use of the directory. What is pinned stays. */
struct pins *pins_free(struct pins *pins);

const char *pins_path(const struct pins *pins); /* NULL for NULL */

/* Pins a descriptor, opens what is pinned. Names are relative to the set, may hold one folder, and
 * have no dots, which bpffs refuses. NULL pins are fine: nothing is pinned.
 */
int pins_put(struct pins *pins, int fd, const char *name);
int pins_get(const struct pins *pins, const char *name);

/* Folders of the set. */
int pins_make_folder(struct pins *pins, const char *name);
int pins_rename(struct pins *pins, const char *from, const char *to);
int pins_each_folder(const struct pins *pins, void (*fn)(const char *name, void *userdata),
		     void *userdata);

/* Moves a folder out of the set, which it outlives, to a name of its own. */
int pins_set_aside(struct pins *pins, const char *name, const char *to);
int pins_each_aside(const struct pins *pins, void (*fn)(const char *name, void *userdata),
		    void *userdata);
void pins_remove_aside(struct pins *pins, const char *name);

/* Removes a pin, or a folder with all that is in it. */
void pins_remove(struct pins *pins, const char *name);

/* Every set, and not the directory. */
void pins_remove_sets(struct pins *pins);

/* Removes every set, then the directory; what else is in it is left alone. Returns 0 or what
 * removing the directory says: -ENOTEMPTY, -EBUSY for a mount point, …
 */
int pins_remove_all(struct pins *pins);

static inline void pins_freep(struct pins **pins)
{
	pins_free(*pins);
}

#endif
