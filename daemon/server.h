/* SPDX-License-Identifier: Apache-2.0 */
/* The Unix socket: who may connect, requests in, replies out. A slow or silent client costs bounded
 * memory and delays nobody.
 */
#ifndef SRTLEAK_SERVER_H
#define SRTLEAK_SERVER_H

#include <systemd/sd-event.h>

#include "reply.h"

struct server;

/* Takes the path, which a daemon that still runs defends: -EADDRINUSE. One that was killed and is
 * still being taken apart is waited for. -EEXIST: something stands there that is no socket. Done
 * before anything is put into the kernel, so that two daemons cannot fight. Clients can connect
 * from server_start() on.
 */
int server_claim(const char *path, struct server **ret);
int server_start(struct server *server, sd_event *loop, const struct subject *subject);
struct server *server_free(struct server *server);

#endif
