/* SPDX-License-Identifier: Apache-2.0 */
/* What daemon and CLI say to each other over the Unix socket.
 *
 * The wire format is Varlink's: one JSON object a message, ended by a NUL byte. A request is
 * {"method":…,"parameters":{…},"more":true}; a reply is {"parameters":{…},"continues":true}, or
 * {"error":…,"parameters":{…}}. A method that lists things sends as many replies as it takes when
 * the request says "more": the first one carries the scalar fields and the first items of the
 * array, each further one carries items of the array alone. Put together they are the JSON object
 * of interface.md. Without "more" the one reply holds at most PROTOCOL_BATCH items.
 */
#ifndef SRTLEAK_PROTOCOL_H
#define SRTLEAK_PROTOCOL_H

#define PROTOCOL_SOCKET "/run/srtleak/srtleak.sock"
#define PROTOCOL_SOCKET_ENV "SRTLEAK_SOCKET"
#define PROTOCOL_REQUEST_MAX (1U << 20) /* bytes of one request */
#define PROTOCOL_REPLY_MAX (1U << 22)   /* bytes of one reply */
#define PROTOCOL_BATCH 256              /* items in one reply */

/* {["history"]}                                  → {"processes":[…]} */
#define METHOD_PS "io.srtleak.Ps"
/* {"pid",["kind"],["sort"],["limit"],["history"]}→ {"pid","total","partial","sites":[…]}
 * With history true each process and site has "history":{"interval_s","bytes":[oldest, …]} too. */
#define METHOD_SITES "io.srtleak.Sites"
/* {"pid",["site"],["older_than"] (s),["limit"]}  → {"pid","partial","allocations":[…]} */
#define METHOD_ALLOCS "io.srtleak.Allocs"
/* {}                                             → the object of `status` */
#define METHOD_STATUS "io.srtleak.Status"
/* {["pid"]}, with "more"                         → {"events":[…]} again and again
 *
 * The first reply comes at once, further ones when something has happened, until the client hangs
 * up; with "pid" the stream ends when the process has ended or is not tracked any more, and not at
 * an exec. Without "more" it is an error of the parameter "more". An event is an object of `watch`;
 * beside that it has the innermost "frame" of its site (as in `sites`, or null) and the "result" of
 * a call that failed (else null). An object
 * {"time","event":"dropped","count"} stands where so many events are missing, because the client
 * did not keep up or because they were lost on their way to the daemon.
 */
#define METHOD_WATCH "io.srtleak.Watch"

/* {"pid"}  → {"pid","tracked","mapped","partial"}; mapped: it has a probed library already */
#define METHOD_TRACK "io.srtleak.Track"
/* {"pid"}                                        → {"pid","tracked"} */
#define METHOD_UNTRACK "io.srtleak.Untrack"

#define GROUP_USERS "srtleak"        /* may see everything */
#define GROUP_ADMINS "srtleak-admin" /* of these, who may change things */

#define ERROR_NO_SUCH_PROCESS "io.srtleak.NoSuchProcess"               /* {"pid"} */
#define ERROR_PERMISSION_DENIED "io.srtleak.PermissionDenied"          /* {"reason"} */
#define ERROR_OVERLOADED "io.srtleak.Overloaded"                       /* {"reason"} */
#define ERROR_METHOD_NOT_FOUND "org.varlink.service.MethodNotFound"    /* {"method"} */
#define ERROR_INVALID_PARAMETER "org.varlink.service.InvalidParameter" /* {"parameter"} */

/* Exit status of srtleakctl. */
enum cli_status {
	CLI_OK = 0,
	CLI_FAILURE = 1,
	CLI_USAGE = 2,
	CLI_UNREACHABLE = 3,
	CLI_PERMISSION = 4,
	CLI_NO_PROCESS = 5,
};

/* Exit status of srtleakd. */
enum daemon_status {
	DAEMON_STOPPED = 0,
	DAEMON_FAILURE = 1,
	DAEMON_USAGE = 2,
	DAEMON_PRIVILEGE = 4,
	DAEMON_KERNEL = 6,
	DAEMON_ALREADY_RUNS = 7,
};

#endif
