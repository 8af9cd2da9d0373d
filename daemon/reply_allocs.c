/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "names.h"
#include "protocol.h"
#include "reply.h"

#define ALLOCS_STANDARD 100
#define SORTED_MAX 10000 /* a larger answer is streamed in no order: it would have to be held */

/* Max-heap by time over the chosen ones: the newest is on top, and goes when an older one comes. */
static void sift_down(struct reply_item *heap, size_t n, size_t at)
{
	for (;;) {
		size_t child = 2 * at + 1, larger = at;

		if (child < n && heap[child].order > heap[larger].order)
			larger = child;
		if (child + 1 < n && heap[child + 1].order > heap[larger].order)
			larger = child + 1;
		if (larger == at)
			return;
		struct reply_item swapped = heap[at];
		heap[at] = heap[larger];
		heap[larger] = swapped;
		at = larger;
	}
}

static int compare_items(const void *a, const void *b)
{
	const struct reply_item *x = a, *y = b;

	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static bool is_wanted(const struct reply *reply, const struct process *p, const struct alloc *alloc,
		      uint64_t now)
{
	if (reply->site && process_site(p, alloc)->id != reply->site)
		return false;
	return now - alloc_time_ns(alloc) >= reply->older_than_ns;
}

/* The `limit` oldest of those wanted, oldest first. */
static int choose(struct reply *reply, const struct process *p)
{
	size_t n = MIN(reply->limit, p->allocs.count);
	uint64_t now = clock_boottime_ns();

	reply->items = calloc(n + 1, sizeof(*reply->items));
	if (!reply->items)
		return -ENOMEM;
	table_foreach (&p->allocs, struct alloc, alloc) {
		struct reply_item item = {.id = alloc->id, .order = alloc->time};

		if (!is_wanted(reply, p, alloc, now))
			continue;
		if (reply->n_items < n) {
			reply->items[reply->n_items++] = item;
			if (reply->n_items == n)
				for (size_t i = n; i-- > 0;)
					sift_down(reply->items, n, i);
		} else if (n > 0 && item.order < reply->items[0].order) {
			reply->items[0] = item;
			sift_down(reply->items, n, 0);
		}
	}
	qsort(reply->items, reply->n_items, sizeof(*reply->items), compare_items);
	return 0;
}

struct lowest {
	uint64_t id, addr; /* of the allocation; where it is mapped */
};

struct of_image {
	uint32_t image;
	struct table *lowest;
};

static int note_mapping(const struct live_key *key, const struct mapping *mapping, void *userdata)
{
	const struct of_image *of = userdata;
	struct lowest *lowest;
	int r;

	if (key->image != of->image)
		return 0;
	r = table_add(of->lowest, mapping->id, (void **)&lowest);
	if (r >= 0 && (r > 0 || key->addr < lowest->addr))
		lowest->addr = key->addr;
	return r < 0 ? r : 0;
}

/* Where physical memory is mapped only the kernel's map knows. */
static int find_mappings(struct reply *reply, const struct process *p)
{
	struct of_image of = {.image = p->image, .lowest = &reply->lowest};

	table_init(&reply->lowest, sizeof(struct lowest));
	if (!p->image ||
	    p->usage[KIND_VMM].count + p->usage[KIND_HOST].count + p->usage[KIND_IPC].count == 0)
		return 0;
	return probes_each_mapping(reply->subject->tracker->probes, note_mapping, &of);
}

static bool begin(struct reply *reply, const json_t *parameters)
{
	const json_t *site = json_object_get(parameters, "site");
	const json_t *older_than = json_object_get(parameters, "older_than");
	char *end = NULL;

	if (!reply_begin_process(reply, parameters) ||
	    !reply_begin_limit(reply, parameters, ALLOCS_STANDARD))
		return false;
	if (site) {
		const char *text = json_string_value(site);

		if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
			return reply_invalid(reply, "site");
		reply->site = strtoull(text, &end, 16);
	}
	if (older_than) {
		double seconds = json_number_value(older_than);

		if (!json_is_number(older_than) || !(seconds >= 0) || seconds > 1e9)
			return reply_invalid(reply, "older_than");
		reply->older_than_ns = (uint64_t)(seconds * 1e9);
	}
	if (find_mappings(reply, reply_process(reply)) < 0 ||
	    (reply->limit <= SORTED_MAX && choose(reply, reply_process(reply)) < 0)) {
		reply_error(reply, ERROR_OVERLOADED, "reason", "no memory");
		return false;
	}
	return true;
}

/* The name of physical memory is its handle; it has an address only while it is mapped. */
static void write_address(struct json_writer *out, const struct reply *reply,
			  const struct alloc *alloc, enum address_space space)
{
	const struct lowest *lowest;

	if (space != SPACE_PHYSICAL) {
		jw_hex(out, "ptr", alloc->ptr);
		jw_null(out, "handle");
		return;
	}
	lowest = table_find(&reply->lowest, alloc->id);
	if (lowest)
		jw_hex(out, "ptr", lowest->addr);
	else
		jw_null(out, "ptr");
	jw_hex(out, "handle", alloc->ptr);
}

/* How often it was opened and not closed, or created and retained and not released. */
static void write_references(struct json_writer *out, const struct reply *reply,
			     const struct process *p, const struct alloc *alloc,
			     enum address_space space)
{
	const struct live_key key = {.addr = alloc->id, .image = p->image, .space = SPACE_REFERENT};
	struct referent referent;

	if ((space != SPACE_PHYSICAL && process_site(p, alloc)->kind != KIND_IPC) ||
	    probes_referent(reply->subject->tracker->probes, &key, &referent) < 0) {
		jw_null(out, "references");
		return;
	}
	jw_begin_object(out, "references");
	jw_u64(out, "handles", referent.refs & REFERENCES_MASK);
	jw_u64(out, "mappings", referent.refs >> REFERENCES_BITS & REFERENCES_MASK);
	jw_end_object(out);
}

static void write_alloc(struct json_writer *out, const struct reply *reply, const struct process *p,
			const struct alloc *alloc, uint64_t now)
{
	enum address_space space = (enum address_space)api_rows[alloc->api].space;
	const struct site *site = process_site(p, alloc);

	jw_begin_object(out, NULL);
	write_address(out, reply, alloc, space);
	if (site->kind == KIND_ARRAY && alloc->size == 0) /* of a format that is not known */
		jw_null(out, "size");
	else
		reply_bytes(out, "size", site->kind, alloc->size);
	jw_string(out, "kind", kind_name(site->kind));
	jw_string(out, "api", api_symbol((enum api)alloc->api));
	reply_device(out, p, (int)alloc->device);
	jw_u64(out, "tid", alloc->tid);
	jw_double(out, "age_s", (double)(now - alloc_time_ns(alloc)) / 1e9);
	jw_id(out, "site", site->id);
	write_references(out, reply, p, alloc, space);
	jw_end_object(out);
}

static bool write_sorted(struct reply *reply, const struct process *p, struct json_writer *out)
{
	uint64_t now = clock_boottime_ns();
	size_t items = 0;

	while (reply->next_item < reply->n_items && !reply_message_full(reply, items)) {
		const struct alloc *alloc =
			table_find(&p->allocs, reply->items[reply->next_item++].id);

		if (!alloc)
			continue; /* freed since */
		write_alloc(out, reply, p, alloc, now);
		items++;
	}
	return reply->next_item < reply->n_items;
}

static bool write_stream(struct reply *reply, const struct process *p, struct json_writer *out)
{
	uint64_t now = clock_boottime_ns();
	const struct alloc *alloc;
	size_t items = 0;

	while (reply->limit > 0 && !reply_message_full(reply, items) &&
	       (alloc = table_next(&p->allocs, &reply->cursor))) {
		if (!is_wanted(reply, p, alloc, now))
			continue;
		write_alloc(out, reply, p, alloc, now);
		items++;
		reply->limit -= reply->limit != UINT64_MAX;
	}
	return reply->limit > 0 && !reply->cursor.done && p->allocs.count > 0;
}

static bool write_members(struct reply *reply, struct json_writer *out)
{
	struct process *p = reply_process(reply);
	bool more = false;

	if (p)
		process_find_gpus(p);
	if (reply->first) {
		jw_i64(out, "pid", reply->pid);
		if (p)
			reply_partial(out, p);
	}
	jw_begin_array(out, "allocations");
	if (p)
		more = reply->items ? write_sorted(reply, p, out) : write_stream(reply, p, out);
	jw_end_array(out);
	return more;
}

const struct reply_method reply_allocs = {
	.name = METHOD_ALLOCS, .begin = begin, .write = write_members};
