/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>

#include "macro.h"
#include "things.h"

extern char **environ;

int owner_main(const char *runtime)
{
	cudaIpcMemHandle_t handle = {};
	void *ptr = NULL;

	if (cuda_load(runtime) || cuda.cudaMalloc(&ptr, BLOCK_BYTES) ||
	    cuda.cudaIpcGetMemHandle(&handle, ptr))
		return 1;
	if (write(STDOUT_FILENO, &handle, sizeof(handle)) != sizeof(handle))
		return 1;
	while (getchar() != EOF)
		;
	return 0;
}

/* Its stdin is a pipe that nobody writes to, and that ends with this process. */
int owner_start(const char *runtime, cudaIpcMemHandle_t *ret)
{
	char *const arguments[] = {"owner", "--owner", (char *)(uintptr_t)runtime, NULL};
	posix_spawn_file_actions_t actions;
	int in[2], out[2], r;
	ssize_t n = -1;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	r = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	if (r == 0)
		n = read(out[0], ret, sizeof(*ret));
	close(out[0]);
	return r ? -r : n == sizeof(*ret) ? 0 : -EIO;
}
