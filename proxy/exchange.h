/* One request and its response.
 *
 * Flow:      conn.c opens it when a request head is complete. It routes in the current snapshot,
 * tries endpoints (attempt.c), streams both bodies with back-pressure, and ends with one outcome,
 * one access line and one count. Ownership: belongs to its connection; frees itself through
 * loop_reap. One arena for heads, the first 2 KiB inside. Replay:    what was sent of the request
 * body is kept by reference up to LIMIT_REPLAY_BYTES, so that a try can be repeated. Limits:
 * LIMIT_PENDING_MS for rules that are not there yet; the route's timeout, per-try timeout and retry
 * policy.
 */
#pragma once

#include "mesh/base/limits.h"
#include "proxy/attempt.h"
#include "proxy/conn.h"
#include "proxy/filter/filter.h"
#include "proxy/grpc.h"

enum exchange_state {
    EXCHANGE_ROUTE,
    EXCHANGE_PARK,
    EXCHANGE_FILTER,
    EXCHANGE_CONNECT,
    EXCHANGE_AWAIT, /* sending, no response head yet */
    EXCHANGE_BACKOFF,
    EXCHANGE_RELAY, /* the response streams back */
    EXCHANGE_OVER,
    EXCHANGE_STATES
};

/* Notes to the exchange's task; streams use the lower ones. */
enum {
    EXCHANGE_DOWN_SHIFT = 0,
    EXCHANGE_UP_SHIFT = STREAM_NOTE_BITS,
    EXCHANGE_NOTE_TIMER = 1 << (2 * STREAM_NOTE_BITS),
    EXCHANGE_NOTE_WAIT = 2 << (2 * STREAM_NOTE_BITS),
    EXCHANGE_NOTE_TRY_TIMER = 4 << (2 * STREAM_NOTE_BITS),
    EXCHANGE_NOTE_UPSTREAM = 8 << (2 * STREAM_NOTE_BITS),
    EXCHANGE_NOTE_PARK = 16 << (2 * STREAM_NOTE_BITS),
    EXCHANGE_NOTE_GO = 32 << (2 * STREAM_NOTE_BITS),
    EXCHANGE_NOTE_REPORT = 64 << (2 * STREAM_NOTE_BITS),
};

struct exchange {
    struct task task;
    struct timer timer; /* timeout_ms */
    struct timer wait;  /* parked, or backing off */
    struct reap reap;
    struct link link; /* in conn->exchanges */
    struct park park;
    struct conn *conn;
    struct worker *worker;
    enum exchange_state state;
    enum outcome outcome; /* the first wins */
    unsigned flags;       /* response flags beyond the outcome's */
    struct stream *down;
    struct snap *snap;
    const struct listener *listener; /* within snap, as what follows */
    const struct route *route;
    const struct retry_policy *retry;      /* the route's, or one of the request's own in its arena */
    const struct weighted_cluster *target; /* of the route; NULL: it has none */
    const struct cluster *cluster;
    struct filter_notes filter;
    struct link mirrors; /* that are still fed */
    struct attempt *attempt;
    struct balance_tried tried;
    uint64_t hash;         /* of the caller's key, if it has one */
    struct str set_cookie; /* the key that we made for it: told with the answer; or empty */
    struct str retry_names; /* of headers of an answer that ask for another try; in the arena */
    unsigned tries, retries;
    struct breaker *retry_breaker; /* this request counts in its retries; referenced */
    bool timed_out, waited, woken, armed, free_retry_used, want_fresh, hash_asked, has_hash, responded, replay_off,
        rest_awaited, cut_seen, received, continued;
    uint64_t rest_bytes;      /* of the request body when we last looked, after an early answer */
    struct http_head request; /* as sent on; lives in the arena */
    struct bytes replay;      /* of the request body: what was sent already */
    int64_t timeout_ms;       /* the route's or, of a gRPC call, its deadline; 0: none */
    bool is_grpc;
    int grpc_status;          /* that the caller was told; -1: none yet */
    struct grpc_frames up_messages, down_messages; /* of a gRPC call: the caller's, the endpoint's */
    uint64_t up_reported, down_reported;           /* how many of them are in the metrics */
    struct timer report;                           /* of the messages of a long call */
    unsigned status;          /* what the client got */
    int64_t started_ms, started_wall_ms, upstream_sent_ms, service_time_ms;
    /* of the last try, for the log */
    const struct endpoint *endpoint;
    struct addr upstream_host, upstream_local;
    struct str peer_uri;
    char failure[160];
    uint64_t request_head_bytes, response_head_bytes; /* as the client sent it, as it got it */
    struct arena arena;
    _Alignas(max_align_t) char first[LIMIT_HEAD_ARENA];
};

void exchange_open(struct conn *c, struct stream *s);
/* Why it ended, in Envoy's words for response code details; while it goes on: that the endpoint answers. Of a connection that
 * failed with the reason, in the exchange's arena. */
const char *exchange_details(struct exchange *x);
/* How the request is sent on to a cluster. */
enum upstream_protocol exchange_protocol(const struct exchange *x, const struct cluster *c);
/* Its connection goes away: end at once. */
void exchange_abort(struct exchange *x, enum outcome why);
