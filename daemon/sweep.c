/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "api.h"
#include "sweep.h"

#define BATCH 1024

/* Keys of what is to be removed; they are, as soon as there are enough of them. */
struct batch {
	struct sweep *sweep;
	void (*forget)(const struct probes *p, const struct live_key *keys, size_t n);
	struct live_key keys[BATCH];
	size_t n;
};

void sweep_init(struct sweep *sweep, const struct probes *probes)
{
	*sweep = (struct sweep){.probes = probes};
	table_init(&sweep->ended, sizeof(struct ended));
}

void sweep_done(struct sweep *sweep)
{
	table_clear(&sweep->ended);
}

/* The image, whether it is a pool's, the number. */
static uint64_t ended_key(uint32_t image, uint32_t space, uint64_t number)
{
	return (uint64_t)image << (CONTEXT_BITS + 1) |
	       (uint64_t)(space == SPACE_POOL_NUMBER) << CONTEXT_BITS |
	       (number & ((1U << CONTEXT_BITS) - 1));
}

static struct live_key number_of(uint64_t ended)
{
	return (struct live_key){
		.addr = ended & ((1U << CONTEXT_BITS) - 1),
		.image = (uint32_t)(ended >> (CONTEXT_BITS + 1)),
		.space = ended >> CONTEXT_BITS & 1 ? SPACE_POOL_NUMBER : SPACE_CONTEXT_NUMBER,
	};
}

bool sweep_has_ended(const struct sweep *sweep, uint32_t image, uint32_t context)
{
	return context &&
	       table_find(&sweep->ended, ended_key(image, SPACE_CONTEXT_NUMBER, context));
}

/* Its context had ended when the maps were gone through before. */
static bool is_left_over(struct sweep *sweep, const struct live_key *key,
			 const struct handle *handle)
{
	return sweep->before && key->space == SPACE_STREAM && handle->number &&
	       table_find(sweep->before,
			  ended_key(key->image, SPACE_CONTEXT_NUMBER, handle->number));
}

static void flush(struct batch *batch)
{
	batch->forget(batch->sweep->probes, batch->keys, batch->n);
	batch->n = 0;
}

static void remove_later(struct batch *batch, const struct live_key *key)
{
	batch->keys[batch->n++] = *key;
	if (batch->n == BATCH)
		flush(batch);
}

static bool remove_if_over(struct batch *batch, const struct live_key *key)
{
	if (!batch->sweep->is_over(key->image, batch->sweep->userdata))
		return false;
	remove_later(batch, key);
	return true;
}

static int sweep_handle(const struct live_key *key, const struct handle *handle, void *userdata)
{
	struct batch *batch = userdata;
	struct sweep *sweep = batch->sweep;
	void *entry;

	if (remove_if_over(batch, key))
		return 0;
	if (is_left_over(sweep, key, handle)) {
		remove_later(batch, key);
		return 0;
	}
	if (key->space == SPACE_POOL && sweep->pool)
		sweep->pool(key->image, key->addr, handle, sweep->userdata);
	if (!(handle->flags & HANDLE_ENDED))
		return 0;
	return table_add(&sweep->ended, ended_key(key->image, key->space, key->addr), &entry) < 0
		       ? -ENOMEM
		       : 0;
}

static int sweep_mapping(const struct live_key *key, const struct mapping *mapping, void *userdata)
{
	(void)mapping;
	(void)remove_if_over(userdata, key);
	return 0;
}

static int sweep_referent(const struct live_key *key, const struct referent *referent,
			  void *userdata)
{
	(void)referent;
	(void)remove_if_over(userdata, key);
	return 0;
}

int sweep_run(struct sweep *sweep)
{
	struct batch handles = {.sweep = sweep, .forget = probes_forget_handles};
	struct batch mappings = {.sweep = sweep, .forget = probes_forget_mappings};
	struct batch referents = {.sweep = sweep, .forget = probes_forget_referents};
	int r = probes_each_handle(sweep->probes, sweep_handle, &handles);

	flush(&handles);
	if (r == 0)
		r = probes_each_mapping(sweep->probes, sweep_mapping, &mappings);
	flush(&mappings);
	if (r == 0)
		r = probes_each_referent(sweep->probes, sweep_referent, &referents);
	flush(&referents);
	return r;
}

bool sweep_give_back(struct sweep *sweep,
		     bool (*is_named)(const struct live_key *number, void *userdata))
{
	struct batch batch = {.sweep = sweep, .forget = probes_forget_handles};
	struct table_cursor cursor = {0};
	struct ended *ended;
	bool more = false;

	table_hold(&sweep->ended);
	while ((ended = table_next(&sweep->ended, &cursor))) {
		struct live_key key = number_of(ended->key);

		if (!table_find(sweep->before, ended->key)) {
			more = true;
			continue;
		}
		if (is_named(&key, sweep->userdata))
			continue;
		/* Whoever gets the number next ends anew. */
		table_remove(&sweep->ended, ended->key);
		remove_later(&batch, &key);
	}
	flush(&batch);
	table_release(&sweep->ended);
	table_clear(sweep->before);
	*sweep->before = sweep->ended;
	table_init(&sweep->ended, sizeof(struct ended));
	return more;
}
