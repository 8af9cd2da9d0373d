/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to the daemon: one request, and its replies one by one (protocol.h). */
#ifndef SRTLEAK_CLI_CLIENT_H
#define SRTLEAK_CLI_CLIENT_H

#include <stdbool.h>

#include <jansson.h>

struct client;

/* Connects to the socket at `path`. Returns 0, -ENAMETOOLONG, -ETIMEDOUT or what connect(2) says.
 */
int client_open(const char *path, struct client **ret);

/* The same without ever waiting: -EAGAIN where the daemon has no room for a connection right now.
 */
int client_open_nowait(const char *path, struct client **ret);

/* Always returns NULL. */
struct client *client_free(struct client *client);
void client_cleanup(struct client **client);

/* Says that replies go on without end: behind the first one, the next may take as long as it likes.
 * client_next() returns -ECANCELED as soon as `stop_fd` is readable or nobody reads standard output
 * any more.
 */
void client_follow(struct client *client, int stop_fd);

/* Sends a request; `parameters` may be NULL. With `more` the daemon may answer in several replies.
 */
int client_send(struct client *client, const char *method, json_t *parameters, bool more);

/* Reads the next reply. Returns 1 and its parameters, which are an object and the caller's; 0 after
 * the last reply; or
 *   -EREMOTEIO   the daemon answered with an error: see client_error()
 *   -ECONNRESET  it closed the connection before it had said all
 *   -ETIMEDOUT   a reply took longer than ten seconds
 *   -EMSGSIZE    a reply is longer than PROTOCOL_REPLY_MAX
 *   -EPROTO      a reply is not what protocol.h says
 *   -ECANCELED   see client_follow()
 */
int client_next(struct client *client, json_t **ret);

/* The same without ever waiting: -EAGAIN where the reply is not there yet, and then poll(2) tells
 * of client_fd() when to ask again.
 */
int client_try_next(struct client *client, json_t **ret);
int client_fd(const struct client *client);

/* Name and parameters of the error after -EREMOTEIO; the client's. Parameters may be NULL. */
const char *client_error(const struct client *client, const json_t **ret_parameters);

#endif
