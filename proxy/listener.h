/* Listening sockets of one worker: accept, choose a worker, hand over.
 *
 * Flow:      the control thread binds (SO_REUSEPORT, one socket per worker) and gives the
 * descriptor to the worker; accepted descriptors move to the less loaded of two workers before any
 * byte is read. Ownership: a listener_socket belongs to its worker; it is freed when its port
 * leaves the snapshot or at the end. Limits:    LIMIT_CONNECTIONS per worker and EMFILE: accepting
 * pauses for 100 ms.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/snapshot.h"
#include "proxy/worker.h"

struct listener_socket {
    struct task task;
    struct watch watch;
    struct timer pause;
    struct reap reap;
    struct link link; /* in worker->listeners */
    struct worker *worker;
    enum socket_kind kind;
    struct addr at;
};

/* Control thread: a bound, listening, non-blocking socket, or -1. */
int listener_bind(const struct addr *at, struct err *err) MUST_USE;
/* Worker's thread, or before it runs: takes the descriptor. */
void listener_open(struct worker *w, int fd, enum socket_kind kind, const struct addr *at);
void listener_close(struct listener_socket *l);
/* Close bound sockets that the snapshot no longer names. */
void listener_trim(struct worker *w, const struct snapshot *s);
