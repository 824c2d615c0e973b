/* The access log: one line per request or TCP connection, in Envoy's default format.
 *
 * Flow:      exchange.c and tunnel.c fill a struct access_line; access_write formats it into the
 * worker's ring; one writer thread carries the rings to the descriptor every ACCESS_FLUSH_MS or
 * when a ring is half full. Ownership: the log owns its rings and its thread, not the descriptor.
 * Threads:   one producer per ring (its worker), one consumer (the writer). Workers never wait: a
 * line that does not fit is dropped and counted. Limits:    ACCESS_RING_BYTES per worker;
 * ACCESS_LINE_BYTES per line (cut).
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "mesh/base/addr.h"
#include "mesh/base/buf.h"
#include "mesh/base/err.h"

#define ACCESS_RING_BYTES (256u << 10) /* a power of two */
#define ACCESS_LINE_BYTES (16u << 10)
#define ACCESS_FLUSH_MS   250

/* Empty texts, addresses of family 0 and -1 print as "-". */
struct access_line {
    int64_t start_wall_ms;
    struct str method, path, protocol;
    unsigned code, flags;
    const char *details, *termination;
    struct str transport_failure;
    uint64_t bytes_received, bytes_sent;
    int64_t duration_ms, service_time_ms;
    struct str forwarded_for, user_agent, request_id, authority;
    struct addr upstream_host, upstream_local, downstream_local, downstream_remote;
    struct str cluster, server_name, route;
};

struct access_ring {
    atomic_size_t head; /* written by the producer */
    char pad[64 - sizeof(size_t)];
    atomic_size_t tail; /* written by the writer */
    atomic_ullong dropped, lines;
    char *bytes;
    bool woken; /* the producer's: the writer was told of this filling */
};

struct access_log {
    struct access_ring *rings;
    size_t count;
    atomic_int fd; /* -1: lines are thrown away */
    int wake;      /* eventfd */
    atomic_bool stopping;
    bool started;
    pthread_t thread;
};

int access_start(struct access_log *a, size_t rings, int fd, struct err *err) MUST_USE;
void access_stop(struct access_log *a); /* writes what is there */
bool access_is_on(const struct access_log *a);

void access_write(struct access_log *a, size_t ring, const struct access_line *line);
void access_format(const struct access_line *line, struct buf *out); /* with its newline */
uint64_t access_dropped(const struct access_log *a);
