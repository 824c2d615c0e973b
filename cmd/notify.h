/* What a service manager is told: the protocol of sd_notify(3), one datagram each to $NOTIFY_SOCKET,
 * and its watchdog. Our own, because libsystemd would be one more library in every process for it.
 *
 * Flow:      a program opens it at start, says ready when it serves, status when that changes, and
 *            alive from its loop, every notify_ping_ms, when all its threads moved.
 * Ownership: the caller's struct.
 * Errors:    none. Without a manager, as in a run by hand, every call does nothing. What finds a
 *            full queue, because the manager does not read, is said again: callers say ready and
 *            status at every ping, and only what is new is sent.
 * Threads:   one.
 */
#pragma once

#include "mesh/base/base.h"

#define NOTIFY_STATUS_MAX 256

struct notify {
    int fd; /* -1: nobody listens */
    bool is_ready;
    int64_t watchdog_ms; /* how long silence may last, 0: for ever */
    char status[NOTIFY_STATUS_MAX];
};

/* From $NOTIFY_SOCKET (a path, or @NAME in the abstract name space), $WATCHDOG_USEC, $WATCHDOG_PID;
 * they are taken out of the environment, so that no child speaks for us. */
void notify_open(struct notify *n);
void notify_close(struct notify *n);

/* How often to call: a quarter of the watchdog, NOTIFY_PING_MS at most. */
#define NOTIFY_PING_MS 5000
int64_t notify_ping_ms(const struct notify *n);

void notify_status(struct notify *n, const char *fmt, ...) PRINTF_LIKE(2, 3); /* sent when new */
void notify_ready(struct notify *n); /* sent once, and after notify_reloading */
void notify_reloading(struct notify *n);
void notify_stopping(struct notify *n);
void notify_alive(struct notify *n);
/* Starting takes longer, but it is under way: allow so much more. */
void notify_extend(struct notify *n, int64_t ms);
