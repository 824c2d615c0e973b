/* Connections to endpoints: dial, handshake, pool.
 *
 * Flow:      attempt.c and tunnel.c describe a target and wait: upstream_get gives an idle pooled
 * connection at once, or starts one and notes when it is ready or has failed. Where the cluster's limits
 * leave no room, an HTTP request waits for a connection and anything else fails (OUTCOME_OVERFLOW). HTTP connections go
 * back to their pool by themselves when the message pair is over; a bare one (TCP) gives its io
 * away. Ownership: the worker's; closed ones free themselves through loop_reap. A waiter is
 * embedded in its owner, who cancels it before it goes away. Keys:      a pool is (cluster, own
 * identity and generation, expected peers, endpoint, SNI, protocol, TLS or not), which is also the
 * name of the TLS resumption slot. Limits:    the cluster's connect timeout covers TCP and TLS;
 * LIMIT_POOL_IDLE idle connections per pool.
 */
#pragma once

#include "proxy/outcome.h"
#include "proxy/wire/http1.h"
#include "proxy/wire/http2.h"
#include "proxy/worker.h"

enum upstream_state {
    UPSTREAM_CONNECT,
    UPSTREAM_HANDSHAKE,
    UPSTREAM_ASK, /* a forward proxy, for a way to the target */
    UPSTREAM_READY,
    UPSTREAM_CARRY, /* bytes between who took it and the forward proxy, by POST */
    UPSTREAM_CLOSED,
    UPSTREAM_STATES
};

enum upstream_protocol { UPSTREAM_TCP, UPSTREAM_HTTP1, UPSTREAM_HTTP2, UPSTREAM_PROTOCOLS };

struct upstream_target {
    const struct cluster *cluster;
    const struct endpoint *endpoint; /* NULL: only an address */
    struct addr addr;
    struct str identity; /* whose certificate we show */
    struct addr source, destination; /* of the client's connection, where the cluster is told them */
    struct str host;     /* of the request, as it may be asked for in TLS; empty: none */
    enum upstream_protocol protocol;
    bool fresh; /* not from the pool */
};

struct upstream;

struct upstream_wait {
    struct task *task;
    unsigned note;
    struct worker *worker;
    struct upstream_target target;
    struct upstream *up; /* when done: NULL if it failed */
    bool pending, done, reused;
    /* upstream_queue.c's */
    bool is_queued, is_counted;
    struct link link; /* in view->queue, or in up->waits */
    struct pool *pool;
    struct cluster_view *view; /* NULL: it does not wait for room or for a new connection */
    enum outcome outcome;
    char failure[160]; /* a sentence, or empty */
};

struct upstream {
    struct task task;
    struct timer timer;
    struct reap reap;
    struct link link;      /* in worker->upstreams */
    struct link idle_link; /* in its pool's list */
    struct link view_link; /* in view->idle, at the same times */
    struct worker *worker;
    struct cluster_view *view; /* where it counts; NULL: it was taken */
    struct pool *pool; /* NULL: bare */
    struct link waits; /* who will have it: for what is being dialled, or is about to begin */
    unsigned waiting;
    enum upstream_state state;
    enum upstream_protocol protocol;
    struct io io;
    struct codec *codec; /* of the two below; NULL before it is ready, or bare */
    struct http1 http1;
    struct http2 *http2;
    bool timed_out, is_tls;
    uint32_t requests_max, streams_max; /* 0: no limit */
    int64_t probe_every_ms, probe_within_ms; /* HTTP/2; 0: none */
    int64_t age_ms_max;    /* 0: no limit */
    struct addr addr, local;
    int64_t idle_ms;     /* in the pool */
    struct str peer_uri; /* owned */
    struct str asks;     /* owned: whom the forward proxy shall connect us with; empty: there is none */
    bool asks_by_post;
    struct carry *carry; /* upstream_post.c's, once it has asked; else NULL */
    struct bytes early;  /* what came behind its answer */
};

void upstream_get(struct worker *w, struct upstream_wait *wait, struct task *task, unsigned note,
                  const struct upstream_target *target);
void upstream_cancel(struct upstream_wait *wait); /* harmless when there is nothing to cancel */
/* The waiter is done, with `up`: begin a request on it. Not OUTCOME_NONE: the connection is gone again, or the cluster
 * has too many requests under way. `*counted`: to be given to upstream_request_end, once. */
enum outcome upstream_open(struct upstream_wait *wait, struct task *task, unsigned note_shift,
                           struct stream **stream, struct breaker **counted);
void upstream_request_end(struct breaker **counted); /* NULL in it is fine */
/* The waiter is done, with a bare `up`: its io moves to the caller, and to `early` what was read from it already. The
 * connection goes on counting until upstream_gone is told of the view that is returned. */
struct cluster_view *upstream_take(struct upstream_wait *wait, struct io *to, struct bytes *early,
                                   struct task *task, unsigned note_shift);
void upstream_gone(struct worker *w, struct cluster_view *v);

/* Requests wait for a connection, and there may be room now. */
void upstream_serve(struct worker *w);

/* After a swap: close idle connections to endpoints that are gone, or under an identity that was
 * renewed. */
void upstream_trim(struct worker *w, const struct snapshot *s);
void upstream_drain(struct worker *w); /* close all idle ones */
void upstream_close_all(struct worker *w);
void upstream_pools_done(struct worker *w);
