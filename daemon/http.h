/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP: /metrics and /healthz, GET and HEAD, for anybody on the host. */
#ifndef SRTLEAK_HTTP_H
#define SRTLEAK_HTTP_H

#include <systemd/sd-event.h>

#include "reply.h"

struct http;

/* listen is ADDR:PORT, with brackets around an IPv6 address.
 * -EADDRINUSE and the like where the address cannot be had.
 */
int http_start(sd_event *loop, const char *listen, size_t max_series, const struct subject *subject,
	       struct http **ret);
struct http *http_free(struct http *http);

/* From the next scrape on. */
void http_set_max_series(struct http *http, size_t max_series);

static inline void http_freep(struct http **http)
{
	http_free(*http);
}

#endif
