/* SPDX-License-Identifier: Apache-2.0 */
/* Uses every way to allocate that CUDA has, on command.
 *
 * usage: program RUNTIME           path of a libcudart
 *        program --owner RUNTIME   own memory that another process opens
 *
 * Reads commands from stdin, one a line (steps.h); tells what it does on stdout, and at last
 * {"done":COMMAND,"result":N}.
 */
#include <string.h>

#include "macro.h"
#include "steps.h"
#include "things.h"

static const struct {
	const char *name;
	int (*run)(const char *runtime);
} commands[] = {
	{"context", step_context}, {"calls", step_calls}, {"keep", step_keep},
	{"drop", step_drop},       {"pairs", step_pairs},
};

static int run(const char *command, const char *runtime)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, command) == 0)
			return commands[i].run(runtime);
	return -1;
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc == 3 && strcmp(argv[1], "--owner") == 0)
		return owner_main(argv[2]);
	if (argc != 2) {
		fputs("usage: program [--owner] RUNTIME\n", stderr);
		return 2;
	}
	while (fgets(line, sizeof(line), stdin)) {
		int r;

		line[strcspn(line, "\n")] = '\0';
		r = run(line, argv[1]);
		printf("{\"done\":\"%s\",\"result\":%d}\n", line, r);
		fflush(stdout);
	}
	return 0;
}
