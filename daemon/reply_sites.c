/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "names.h"
#include "protocol.h"
#include "reply.h"

#define SITES_STANDARD 20

/* Orders: what is largest comes first; the oldest is the largest age. */
enum order { ORDER_BYTES, ORDER_COUNT, ORDER_GROWTH, ORDER_AGE };

static const struct {
	const char *name;
	enum order order;
} orders[] = {
	{"bytes", ORDER_BYTES},
	{"count", ORDER_COUNT},
	{"growth", ORDER_GROWTH},
	{"age", ORDER_AGE},
};

/* When the oldest allocation of each site was made. */
struct oldest {
	uint64_t site;
	uint64_t time_ns;
};

static int find_oldest(const struct process *p, struct table *ret)
{
	table_init(ret, sizeof(struct oldest));
	table_foreach (&p->allocs, struct alloc, alloc) {
		struct oldest *oldest;
		int r = table_add(ret, process_site(p, alloc)->id, (void **)&oldest);

		if (r < 0)
			return r;
		if (r > 0 || alloc_time_ns(alloc) < oldest->time_ns)
			oldest->time_ns = alloc_time_ns(alloc);
	}
	return 0;
}

static int compare_items(const void *a, const void *b)
{
	const struct reply_item *x = a, *y = b;

	if (x->order != y->order)
		return x->order < y->order ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id);
}

/* Those that shrink behind those of which nothing is known behind those that grow. */
static uint64_t rank_growth(const struct site *site)
{
	const int64_t limit = INT64_C(1) << 62;
	double growth = 0;

	(void)history_growth(&site->history, &growth);
	growth = MAX(MIN(growth, (double)limit), -(double)limit);
	return (uint64_t)(limit + (int64_t)growth);
}

static uint64_t rank(const struct site *site, enum order order, const struct table *oldest)
{
	const struct oldest *first = table_find(oldest, site->id);

	switch (order) {
	case ORDER_COUNT:
		return site->count;
	case ORDER_GROWTH:
		return rank_growth(site);
	case ORDER_AGE:
		return first ? UINT64_MAX - first->time_ns : 0;
	default:
		return site->bytes;
	}
}

/* Chooses and sorts; kind -1: every kind. */
static int choose(struct reply *reply, const struct process *p, int kind, enum order order)
{
	_cleanup_(table_clear) struct table oldest;
	int r = find_oldest(p, &oldest);

	if (r < 0)
		return r;
	reply->items = calloc(p->sites.count + 1, sizeof(*reply->items));
	if (!reply->items)
		return -ENOMEM;
	table_foreach (&p->sites, struct site_ref, ref) {
		if (ref->site->count == 0 || (kind >= 0 && (int)ref->site->kind != kind))
			continue;
		reply->items[reply->n_items++] = (struct reply_item){
			.id = ref->site->id,
			.order = rank(ref->site, order, &oldest),
		};
	}
	qsort(reply->items, reply->n_items, sizeof(*reply->items), compare_items);
	reply->n_items = MIN(reply->n_items, reply->limit);
	/* The order has served; what is told of each is its age. */
	for (size_t i = 0; i < reply->n_items; i++) {
		const struct oldest *first = table_find(&oldest, reply->items[i].id);

		reply->items[i].order = first ? first->time_ns : 0;
	}
	return 0;
}

static bool begin(struct reply *reply, const json_t *parameters)
{
	const json_t *kind_value = json_object_get(parameters, "kind");
	const json_t *sort_value = json_object_get(parameters, "sort");
	const char *kind_text = json_string_value(kind_value);
	const char *sort_text = json_string_value(sort_value);
	enum order order = ORDER_BYTES;
	size_t i;
	int kind = -1;

	if (!reply_begin_process(reply, parameters) ||
	    !reply_begin_limit(reply, parameters, SITES_STANDARD) ||
	    !reply_begin_history(reply, parameters))
		return false;
	if (kind_value) {
		for (kind = 0; kind < KIND_MAX; kind++)
			if (kind_text && strcmp(kind_text, kind_name((enum memory_kind)kind)) == 0)
				break;
		if (kind == KIND_MAX || !kind_is_tracked((enum memory_kind)kind))
			return reply_invalid(reply, "kind");
	}
	if (sort_value) {
		for (i = 0; i < ARRAY_SIZE(orders); i++)
			if (sort_text && strcmp(sort_text, orders[i].name) == 0)
				break;
		if (i == ARRAY_SIZE(orders))
			return reply_invalid(reply, "sort");
		order = orders[i].order;
	}
	if (choose(reply, reply_process(reply), kind, order) < 0) {
		reply_error(reply, ERROR_OVERLOADED, "reason", "no memory");
		return false;
	}
	return true;
}

static void write_frames(struct json_writer *out, const struct site *site)
{
	jw_begin_array(out, "python");
	for (size_t i = 0; i < site->n_python; i++)
		reply_python_frame(out, NULL, &site->python[i]);
	jw_end_array(out);
	jw_begin_array(out, "native");
	for (size_t i = 0; i < site->n_native; i++)
		reply_native_frame(out, NULL, &site->native[i]);
	jw_end_array(out);
}

static void write_site(struct json_writer *out, const struct reply *reply, const struct process *p,
		       const struct site *site, uint64_t oldest_ns)
{
	uint64_t now = clock_boottime_ns();

	jw_begin_object(out, NULL);
	jw_id(out, "id", site->id);
	jw_string(out, "kind", kind_name(site->kind));
	jw_string(out, "api", api_symbol(site->api));
	reply_device(out, p, site->device);
	reply_bytes(out, "bytes", site->kind, site->bytes);
	jw_u64(out, "count", site->count);
	if (oldest_ns && now > oldest_ns)
		jw_double(out, "oldest_age_s", (double)(now - oldest_ns) / 1e9);
	else
		jw_null(out, "oldest_age_s");
	jw_u64(out, "allocs_total", site->allocs_total);
	jw_u64(out, "frees_total", site->frees_total);
	jw_null(out, "verdict");
	reply_history(out, reply, &site->history);
	if (site->n_native > 0) {
		jw_begin_object(out, "caller");
		jw_string(out, "module", site->native[0].module);
		jw_string(out, "symbol", site->native[0].symbol);
		jw_end_object(out);
	} else {
		jw_null(out, "caller");
	}
	jw_null(out, "owner");
	write_frames(out, site);
	jw_bool(out, "truncated", site->truncated);
	jw_end_object(out);
}

static void write_total(struct json_writer *out, const struct process *p)
{
	jw_begin_object(out, "total");
	for (int kind = 0; kind < KIND_MAX; kind++) {
		if (p->usage[kind].count == 0)
			continue;
		jw_begin_object(out, kind_name((enum memory_kind)kind));
		reply_bytes(out, "bytes", (enum memory_kind)kind, p->usage[kind].bytes);
		jw_u64(out, "count", p->usage[kind].count);
		jw_end_object(out);
	}
	jw_end_object(out);
}

static bool write_members(struct reply *reply, struct json_writer *out)
{
	struct process *p = reply_process(reply);
	size_t items = 0;

	if (p)
		process_find_gpus(p);
	if (reply->first) {
		jw_i64(out, "pid", reply->pid);
		if (p) {
			write_total(out, p);
			reply_partial(out, p);
		}
	}
	jw_begin_array(out, "sites");
	while (p && reply->next_item < reply->n_items && !reply_message_full(reply, items)) {
		const struct reply_item *item = &reply->items[reply->next_item++];
		const struct site_ref *ref = table_find(&p->sites, item->id);

		if (ref && ref->site->count > 0) {
			write_site(out, reply, p, ref->site, item->order);
			items++;
		}
	}
	jw_end_array(out);
	return p && reply->next_item < reply->n_items;
}

const struct reply_method reply_sites = {
	.name = METHOD_SITES, .begin = begin, .write = write_members};
