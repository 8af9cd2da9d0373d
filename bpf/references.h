/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers of references, in one word so that it changes at once: how many there are of each sort,
 * and how many calls are about to give one up.
 */
#ifndef SRTLEAK_REFERENCES_H
#define SRTLEAK_REFERENCES_H

static __always_inline __u64 references_of(__u64 refs)
{
	return (refs & REFERENCES_MASK) + (refs >> REFERENCES_BITS & REFERENCES_MASK);
}

/* Whether one of the references is in no call's hands. */
static __always_inline bool is_held(__u64 refs)
{
	return references_of(refs) > refs / REFERENCE_LEAVING;
}

/* take: units of `refs`, each once at most, or REFERENCES_ALL. */
static __always_inline __u64 references_after(__u64 refs, __u64 add, __u64 take)
{
	__u64 unit = take & REFERENCES_ALL;
	__u64 of_this_sort = unit == REFERENCE_HANDLE ? refs : refs >> REFERENCES_BITS;

	refs += add - (take & ~REFERENCES_ALL);
	if (unit == REFERENCES_ALL)
		return refs & ~REFERENCES_ALL;
	return of_this_sort & REFERENCES_MASK ? refs - unit : refs;
}

#endif
