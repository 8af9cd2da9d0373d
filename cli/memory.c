/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "macro.h"
#include "memory.h"
#include "output.h"

const struct memory_kind_info memory_kinds[] = {
#define X(name, json, summed) {json, summed},
	SRTLEAK_KINDS(X)
#undef X
};
const size_t n_memory_kinds = ARRAY_SIZE(memory_kinds);

static const struct {
	const char *reason;
	const char *words;
} partial_words[] = {
	{"late_attach", "calls before the probes were armed are missing"},
	{"patched", "the process changed the code of probed functions, which are left alone"},
	{"seccomp", "its seccomp filter and this kernel forbid to probe it"},
	{"file_system", "a library is on a file system that is a process (FUSE): not probed"},
	{"limit", "it has more allocations than are tracked, see: srtleakctl status"},
	{"budget", "probes took too much of its time, so less is recorded, see: srtleakctl status"},
	{"lost", "events were lost, see: srtleakctl status"},
};

const json_t *memory_figure(const json_t *kinds, const char *kind, const char *field)
{
	return json_object_get(json_object_get(kinds, kind), field);
}

double memory_sum(const json_t *kinds, const char *field)
{
	double sum = 0;

	for (size_t i = 0; i < n_memory_kinds; i++)
		if (memory_kinds[i].summed)
			sum += json_number_value(memory_figure(kinds, memory_kinds[i].name, field));
	return sum;
}

const char *memory_mark(double figure, bool may_be_more)
{
	return figure == 0 && may_be_more ? "≥" : "";
}

const char *memory_text(char buffer[HUMAN_MAX], double bytes, bool may_be_more)
{
	char figure[HUMAN_MAX];

	snprintf(buffer, HUMAN_MAX, "%s%s", memory_mark(bytes, may_be_more),
		 human_bytes(figure, bytes));
	return buffer;
}

static const char *words_for(const char *reason)
{
	for (size_t i = 0; i < ARRAY_SIZE(partial_words); i++)
		if (strcmp(partial_words[i].reason, reason) == 0)
			return partial_words[i].words;
	return "";
}

void memory_print_partial(const json_t *partial)
{
	for (size_t i = 0; i < json_array_size(partial); i++) {
		const char *reason = json_string_value(json_array_get(partial, i));
		_cleanup_free_ char *safe = reason ? output_escape(reason) : NULL;
		const char *words = safe ? words_for(safe) : "";

		if (!safe)
			continue;
		output_styled(STYLE_YELLOW, "figures may be too low: ");
		printf("%s%s%s%s\n", words, *words ? " (" : "", safe, *words ? ")" : "");
	}
}
