#include "proxy/attempt.h"

#include "mesh/base/mem.h"
#include "proxy/balance_hash.h"
#include "proxy/exchange.h"
#include "proxy/pick.h"

static void free_attempt(struct reap *r)
{
    mem_free(CONTAINER(r, struct attempt, reap));
}

/* Asked for once: all tries of a request go by the same key. */
static const uint64_t *key_hash(struct exchange *x)
{
    if (!x->hash_asked) {
        x->hash_asked = true;
        x->has_hash = balance_hash_request(x->cluster, &x->request, &x->conn->remote, &x->conn->original, &x->hash,
                                           &x->set_cookie);
    }
    return x->has_hash ? &x->hash : NULL;
}

static bool avoids_previous(const struct exchange *x)
{
    bool unless_hashed = x->retry->avoid_previous == AVOID_UNLESS_HASHED && x->cluster->balance != BALANCE_HASH;

    return unless_hashed || x->retry->avoid_previous == AVOID_ALWAYS;
}

enum outcome attempt_open(struct exchange *x, bool fresh)
{
    struct attempt *a = MEM_NEW(struct attempt);
    struct upstream_target target = {
        .cluster = x->cluster, .protocol = exchange_protocol(x, x->cluster), .fresh = fresh};
    const struct listener *l = x->listener;
    struct picked to;

    a->exchange = x;
    a->worker = x->worker;
    a->started_ms = loop_now_ms(x->worker->loop);
    x->tried.may_repeat = !avoids_previous(x);
    x->tried.goes_remote = x->retry->goes_remote;
    if (!pick_endpoint(x->worker, x->cluster, conn_destination(x->conn), &x->tried, key_hash(x), &to)) {
        mem_free(a);
        return OUTCOME_NO_ENDPOINT;
    }
    a->endpoint = to.endpoint;
    a->host = to.addr;
    a->block = to.block;
    x->attempt = a;
    x->tries++;
    balance_tried_add(&x->tried, &a->host);
    endpoint_block_begin(a->block);
    live_add(&a->worker->live.attempts, 1);
    timer_init(&a->timer, &x->task, EXCHANGE_NOTE_TRY_TIMER);
    target.endpoint = a->endpoint;
    target.addr = a->host;
    target.host = http_host_name(x->request.authority);
    target.source = x->conn->remote;
    target.destination = x->conn->original;
    target.identity = l->identity.n ? l->identity : x->snap->root->default_identity;
    upstream_get(a->worker, &a->wait, &x->task, EXCHANGE_NOTE_UPSTREAM, &target);
    return OUTCOME_NONE;
}

enum outcome attempt_connect(struct attempt *a)
{
    struct exchange *x = a->exchange;
    struct upstream *u = a->wait.up;

    a->reused = a->wait.reused;
    a->local = u->local;
    a->peer_uri = arena_str(&x->arena, u->peer_uri);
    return upstream_open(&a->wait, &x->task, EXCHANGE_UP_SHIFT, &a->stream, &a->counted);
}

static void count_end(const struct attempt *a, enum outcome why)
{
    bool connecting = why == OUTCOME_CONNECT_FAILED || why == OUTCOME_CONNECT_TIMEOUT ||
                      why == OUTCOME_UPSTREAM_TLS;
    bool bad_answer = why == OUTCOME_ANSWERED && a->exchange->status >= 500;

    if (connecting)
        atomic_fetch_add_explicit(&a->block->connect_failures, 1, memory_order_relaxed);
    if (bad_answer || (outcome_is_error(why) && why != OUTCOME_NONE))
        atomic_fetch_add_explicit(&a->block->errors, 1, memory_order_relaxed);
}

/* A gRPC answer without a body tells its end in the head. */
static unsigned answered_status(const struct attempt *a)
{
    const struct http_head *h = &a->stream->in_head;
    int grpc = a->exchange->is_grpc ? grpc_status(h->fields, h->count) : -1;

    return grpc < 0 ? h->status : grpc_http_status(grpc);
}

/* What the try says of its endpoint. */
static void report(struct attempt *a, enum outlier_result result, unsigned status)
{
    const struct cluster *c = a->exchange->cluster;

    if (c->outlier.is_on && a->endpoint)
        outlier_report(worker_view(a->worker, c), c, a->block, result, status, loop_now_ms(a->worker->loop));
}

void attempt_answered(struct attempt *a)
{
    report(a, OUTLIER_CONNECTED, 0);
    report(a, OUTLIER_ANSWER, answered_status(a));
}

/* Without an answer, or in the middle of one. A client that left, or a limit of ours, says nothing. */
static void report_end(struct attempt *a, enum outcome why)
{
    static const bool broke[OUTCOMES] = {
        [OUTCOME_CONNECT_FAILED] = true,    [OUTCOME_CONNECT_TIMEOUT] = true,  [OUTCOME_UPSTREAM_TLS] = true,
        [OUTCOME_UPSTREAM_CLOSED] = true,   [OUTCOME_UPSTREAM_REFUSED] = true, [OUTCOME_UPSTREAM_RESET] = true,
        [OUTCOME_UPSTREAM_PROTOCOL] = true, [OUTCOME_UPSTREAM_CUT] = true,
    };
    bool answered = a->stream && a->stream->in_has_head;
    bool late = why == OUTCOME_REQUEST_TIMEOUT || why == OUTCOME_TRY_TIMEOUT;

    if (a->stream && !answered)
        report(a, OUTLIER_CONNECTED, 0);
    if (broke[why] || (late && !answered))
        report(a, OUTLIER_LOCAL, 0);
}

void attempt_close(struct attempt *a, enum outcome why)
{
    count_end(a, why);
    report_end(a, why);
    a->exchange->attempt = NULL;
    if (a->stream)
        stream_release(a->stream);
    else
        upstream_cancel(&a->wait);
    upstream_request_end(&a->counted);
    timer_stop(&a->timer);
    endpoint_block_end(a->block);
    endpoint_block_unref(a->block);
    live_sub(&a->worker->live.attempts, 1);
    loop_reap(a->worker->loop, &a->reap, free_attempt);
}
