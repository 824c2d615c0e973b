/* Connections to endpoints: dial, handshake, pool.
 *
 * Flow:      attempt.c and tunnel.c describe a target and wait: upstream_get gives an idle pooled
 * connection at once, or starts one and notes when it is ready or has failed. HTTP connections go
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
#include "proxy/worker.h"

enum upstream_state {
    UPSTREAM_CONNECT,
    UPSTREAM_HANDSHAKE,
    UPSTREAM_READY,
    UPSTREAM_CLOSED,
    UPSTREAM_STATES
};

struct upstream_target {
    const struct cluster *cluster;
    const struct endpoint *endpoint; /* NULL: only an address */
    struct addr addr;
    struct str identity; /* whose certificate we show */
    bool is_http;
    bool fresh; /* not from the pool */
};

struct upstream;

struct upstream_wait {
    struct task *task;
    unsigned note;
    struct upstream *up; /* when done: NULL if it failed */
    bool pending, done, reused;
    enum outcome outcome;
    char failure[160]; /* a sentence, or empty */
};

struct upstream {
    struct task task;
    struct timer timer;
    struct reap reap;
    struct link link;      /* in worker->upstreams */
    struct link idle_link; /* in its pool's list */
    struct worker *worker;
    struct pool *pool; /* NULL: bare */
    struct upstream_wait *wait;
    enum upstream_state state;
    struct io io;
    struct http1 http;
    bool has_codec, timed_out, is_tls;
    struct addr addr, local;
    int64_t idle_ms;     /* in the pool */
    struct str peer_uri; /* owned */
};

void upstream_get(struct worker *w, struct upstream_wait *wait, struct task *task, unsigned note,
                  const struct upstream_target *target);
void upstream_cancel(struct upstream_wait *wait); /* harmless when there is nothing to cancel */
/* The waiter has seen `up` and made use of it (opened a stream, took the io): the two part. */
void upstream_taken(struct upstream_wait *wait);
/* A ready bare connection: its io moves to the caller and the rest is freed. */
void upstream_take(struct upstream *u, struct io *to, struct task *task, unsigned note_shift);

/* After a swap: close idle connections to endpoints that are gone, or under an identity that was
 * renewed. */
void upstream_trim(struct worker *w, const struct snapshot *s);
void upstream_drain(struct worker *w); /* close all idle ones */
void upstream_close_all(struct worker *w);
void upstream_pools_done(struct worker *w);
