/* SPDX-License-Identifier: Apache-2.0 */
/* The reader as a service: started when it is needed, waited for no longer than READER_PATIENCE_MS,
 * given up and replaced when it does not answer. Whatever it was asked about then is left alone for
 * a while, and so is the user for twenty times as long as was waited (root: four times): nobody can
 * make the daemon wait for more than a small part of its time.
 */
#ifndef SRTLEAK_READER_SERVICE_H
#define SRTLEAK_READER_SERVICE_H

#include <stdint.h>
#include <sys/types.h>

#include "reader_calls.h"

#define READER_PATIENCE_MS 2000
#define READER_STUCK_MAX 8  /* given up, and not ended yet: they wait in the kernel */
#define READER_STUCK_ROOT 5 /* of these over root's processes, … */
#define READER_STUCK_USER 2 /* … and over any other user's */

/* Where the arguments of the next call go, and its results come from; NULL where there is no reader
 * now. Until reader_start() (reader.h) calls are handled in this process.
 */
union reader_page *reader_service_page(void);

/* pid: whose file or memory it is, or 0; subject: tells it from others, not 0. Returns what the
 * handler does. -ETIMEDOUT; -EIO: the reader has ended over it; -EAGAIN: not now.
 */
int reader_service_call(enum reader_call call, pid_t pid, uint64_t subject, int fd, int *ret_fd);

/* Whose memory shows what READER_show has mapped. */
pid_t reader_service_pid(void);

#endif
