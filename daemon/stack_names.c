/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "stack_names.h"

/* While the buffer may still move, a string is known by its place in it plus one; 0 means none. */
static const char *put(struct buffer *strings, const char *s)
{
	size_t at = strings->size;

	if (!s)
		return NULL;
	buffer_append(strings, s, strlen(s) + 1);
	return (const char *)(uintptr_t)(at + 1);
}

static const char *settle(const struct buffer *strings, const char *placed)
{
	return placed ? strings->data + ((uintptr_t)placed - 1) : NULL;
}

static void name_python(struct python *python, const uint64_t frame_words[2], uint64_t sum,
			struct buffer *strings, struct site_python_frame *ret)
{
	struct python_frame frame = {.function = "?"};

	if (python)
		(void)python_frame_name(python, frame_words[0], frame_words[1], sum, &frame);
	ret->function = put(strings, frame.function);
	ret->file = put(strings, frame.file);
	ret->line = frame.line;
}

int stack_names(const uint64_t words[STACK_WORDS], bool verify, struct python *python,
		struct modules *modules, struct buffer *strings, struct site_stack *ret)
{
	size_t n_python = MIN(STACK_PYTHON(words[0]), PYTHON_FRAMES_MAX);
	size_t n_native = MIN(STACK_NATIVE(words[0]), NATIVE_FRAMES_MAX);
	const uint64_t *native = words + 1 + 2 * n_python;

	ret->n_python = n_python;
	ret->n_native = 0;
	ret->truncated = STACK_FLAGS(words[0]) != 0;
	for (size_t i = 0; i < n_python; i++)
		name_python(python, words + 1 + 2 * i, verify ? native[n_native + i] : 0, strings,
			    &ret->python[i]);
	for (size_t i = 0; i < n_native; i++) {
		struct site_native_frame *frame = &ret->native[ret->n_native];
		struct native_name name = {0};

		if (!modules || modules_name(modules, native[i], &name) < 0) {
			ret->truncated = true;
			break;
		}
		frame->module = put(strings, name.module);
		frame->symbol = put(strings, name.symbol);
		frame->offset = name.offset;
		ret->n_native++;
	}
	if (buffer_failed(strings))
		return -ENOMEM;
	for (size_t i = 0; i < n_python; i++) {
		ret->python[i].function = settle(strings, ret->python[i].function);
		ret->python[i].file = settle(strings, ret->python[i].file);
	}
	for (size_t i = 0; i < ret->n_native; i++) {
		ret->native[i].module = settle(strings, ret->native[i].module);
		ret->native[i].symbol = settle(strings, ret->native[i].symbol);
	}
	return 0;
}
