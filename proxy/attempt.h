/* One try of an exchange at one endpoint.
 *
 * Flow:      exchange.c opens it; it chooses an endpoint, gets a connection (upstream.c) and then a
 * stream on it. Its notes go to the exchange's task. Ownership: the exchange's; attempt_close
 * releases everything and frees later. Limits:    the route's per-try timeout.
 */
#pragma once

#include "proxy/balance.h"
#include "proxy/upstream.h"

struct exchange;

struct attempt {
    struct reap reap;
    struct exchange *exchange;
    struct worker *worker;
    struct upstream_wait wait;
    struct timer timer; /* per try */
    const struct endpoint
        *endpoint; /* within the exchange's snapshot; NULL: an address without one */
    struct endpoint_block *block;
    struct addr host, local;
    struct stream *stream; /* NULL until connected */
    struct breaker *counted; /* for upstream_request_end */
    struct str peer_uri;   /* in the exchange's arena */
    bool head_sent, reused, timed_out;
    int64_t started_ms;
};

/* OUTCOME_NONE: under way, else why it cannot begin. `fresh`: not on a pooled connection. */
enum outcome attempt_open(struct exchange *x, bool fresh);
/* The connection is there: open a stream. Not OUTCOME_NONE: it is gone again, or the cluster has too many requests. */
enum outcome attempt_connect(struct attempt *a);
/* The head of its answer is there: that says how the endpoint is, however long the rest takes. */
void attempt_answered(struct attempt *a);
void attempt_close(struct attempt *a, enum outcome why);
