/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "macro.h"
#include "stop.h"

static int stop_fd = -1;

static void on_signal(int signo)
{
	int saved = errno;
	uint64_t one = 1;

	(void)signo;
	(void)!write(stop_fd, &one, sizeof(one));
	errno = saved;
}

int stop_on_signals(void)
{
	/* A line that is being written is finished: the write is taken up again. */
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_RESETHAND};
	static const int signals[] = {SIGINT, SIGTERM};

	stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (stop_fd < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], &action, NULL) < 0)
			return -errno;
	return stop_fd;
}
