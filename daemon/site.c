/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "fnv.h"
#include "macro.h"
#include "names.h"
#include "site.h"

/* The terminating NUL is hashed too, so that neighbours cannot trade characters. */
static uint64_t hash_string(uint64_t hash, const char *s)
{
	return fnv(hash, s ? s : "", s ? strlen(s) + 1 : 1);
}

static uint64_t hash_number(uint64_t hash, uint64_t number)
{
	unsigned char bytes[8];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(number >> 8 * i);
	return fnv(hash, bytes, sizeof(bytes));
}

uint64_t site_identify(enum memory_kind kind, const struct site_stack *stack)
{
	uint64_t hash = hash_string(FNV_START, kind_name(kind));

	for (size_t i = 0; i < stack->n_python; i++) {
		hash = hash_string(hash, stack->python[i].function);
		hash = hash_string(hash, stack->python[i].file);
		hash = hash_number(hash, (uint64_t)stack->python[i].line);
	}
	hash = hash_string(hash, "native");
	for (size_t i = 0; i < stack->n_native; i++) {
		hash = hash_string(hash, stack->native[i].module);
		hash = hash_string(hash, stack->native[i].symbol);
		if (!stack->native[i].symbol && stack->native[i].module)
			hash = hash_number(hash, stack->native[i].offset);
	}
	return hash ? hash : 1;
}

static size_t stack_strings(const struct site_stack *stack)
{
	size_t n = 0;

	for (size_t i = 0; i < stack->n_python; i++) {
		n += strlen(stack->python[i].function) + 1;
		n += stack->python[i].file ? strlen(stack->python[i].file) + 1 : 0;
	}
	for (size_t i = 0; i < stack->n_native; i++) {
		n += stack->native[i].module ? strlen(stack->native[i].module) + 1 : 0;
		n += stack->native[i].symbol ? strlen(stack->native[i].symbol) + 1 : 0;
	}
	return n;
}

static const char *keep(char **at, const char *s)
{
	char *kept = *at;

	if (!s)
		return NULL;
	*at = stpcpy(kept, s) + 1;
	return kept;
}

static size_t python_bytes(const struct site_stack *stack)
{
	return stack->n_python * sizeof(*stack->python);
}

static size_t native_bytes(const struct site_stack *stack)
{
	return stack->n_native * sizeof(*stack->native);
}

size_t site_size(const struct site_stack *stack)
{
	return sizeof(struct site) + python_bytes(stack) + native_bytes(stack) +
	       stack_strings(stack);
}

/* Site, frames and strings are one block. */
struct site *site_new(uint64_t id, enum memory_kind kind, enum api api,
		      const struct site_stack *stack)
{
	struct site *site = calloc(1, site_size(stack));
	char *strings;

	if (!site)
		return NULL;
	site->id = id;
	site->kind = kind;
	site->api = api;
	site->truncated = stack->truncated;
	site->n_python = stack->n_python;
	site->n_native = stack->n_native;
	site->python = (struct site_python_frame *)(site + 1);
	site->native = (struct site_native_frame *)((char *)site->python + python_bytes(stack));
	strings = (char *)site->native + native_bytes(stack);
	for (size_t i = 0; i < stack->n_python; i++) {
		site->python[i].function = keep(&strings, stack->python[i].function);
		site->python[i].file = keep(&strings, stack->python[i].file);
		site->python[i].line = stack->python[i].line;
	}
	for (size_t i = 0; i < stack->n_native; i++) {
		site->native[i].module = keep(&strings, stack->native[i].module);
		site->native[i].symbol = keep(&strings, stack->native[i].symbol);
		site->native[i].offset = stack->native[i].offset;
	}
	return site;
}

struct site *site_free(struct site *site)
{
	free(site);
	return NULL;
}
