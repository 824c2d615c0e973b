/* A request's way. The table is the diagram; retries lead back from CONNECT, AWAIT and BACKOFF.
 *
 * Both bodies are pumped whatever the state: request bytes as long as a try has a stream, response
 * bytes once its head was taken. Nothing is held but the replay references. */
#include "proxy/exchange_parts.h"

#include <string.h>

#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "proxy/edit.h"
#include "proxy/filter/filter.h"
#include "proxy/mirror.h"
#include "proxy/path.h"
#include "proxy/route.h"

typedef enum exchange_state step_fn(struct exchange *x);

static step_fn on_route, on_park, on_filter, on_connect, on_await, on_backoff, on_relay, on_over;

#define TO(state) BIT(EXCHANGE_##state)

/* clang-format off */
static const struct {
    const char *name;
    step_fn *step;
    unsigned to;
    int64_t limit_ms; /* of `wait`; the route's timeout covers the rest */
} steps[EXCHANGE_STATES] = {
    [EXCHANGE_ROUTE]   = {"route",   on_route,   TO(PARK) | TO(FILTER) | TO(OVER),                  0},
    [EXCHANGE_PARK]    = {"park",    on_park,    TO(ROUTE) | TO(OVER),                              LIMIT_PENDING_MS},
    [EXCHANGE_FILTER]  = {"filter",  on_filter,  TO(CONNECT) | TO(OVER),                            0},
    [EXCHANGE_CONNECT] = {"connect", on_connect, TO(AWAIT) | TO(BACKOFF) | TO(OVER),                0},
    [EXCHANGE_AWAIT]   = {"await",   on_await,   TO(BACKOFF) | TO(RELAY) | TO(OVER),                0},
    [EXCHANGE_BACKOFF] = {"backoff", on_backoff, TO(CONNECT) | TO(OVER),                            0},
    [EXCHANGE_RELAY]   = {"relay",   on_relay,   TO(OVER),                                          0},
    [EXCHANGE_OVER]    = {"over",    on_over,    0,                                                 0},
};
/* clang-format on */

/* Inbound requests have no rules: the application, and a second try where the first never began
 * (fields.md 4.4). */
static const struct route inbound_route = {
    .name = STR_INIT("default"),
    .action = ROUTE_FORWARD,
    .retry = {.attempts = 2, .on = RETRY_RESET_BEFORE_REQUEST, .backoff_base_ms = 25},
};

static enum exchange_state end(struct exchange *x, enum outcome why)
{
    if (x->outcome == OUTCOME_NONE)
        x->outcome = why;
    return EXCHANGE_OVER;
}

/* ---- routing ---- */

static enum exchange_state park(struct exchange *x, struct str service)
{
    x->woken = false;
    worker_park(x->worker, &x->park, &x->task, EXCHANGE_NOTE_PARK, service);
    return EXCHANGE_PARK;
}

/* OUTCOME_NONE: x->route is set. `*pending`: the rules of this service must be asked for first. */
static enum outcome find_route(struct exchange *x, struct str *pending)
{
    const struct vhost *v;

    if (x->conn->kind == LISTENER_INBOUND && !x->listener->http) {
        x->route = &inbound_route;
        return OUTCOME_NONE;
    }
    if (!x->listener->http)
        return OUTCOME_NO_ROUTE;
    v = route_table_find(x->listener->http, x->down->in_head.authority);
    if (!v)
        return OUTCOME_NO_ROUTE;
    switch (route_find(v, &x->down->in_head, &x->route)) {
    case MATCH_NO:
        return OUTCOME_NO_ROUTE;
    case MATCH_FAILED:
        return OUTCOME_ROUTE_FAILED;
    case MATCH_YES:
        break;
    }
    if (x->route->action == ROUTE_PENDING)
        *pending = v->service;
    return OUTCOME_NONE;
}

static struct str choose_cluster(struct exchange *x)
{
    const struct route *r = x->route;

    if (r == &inbound_route)
        return x->listener->cluster;
    x->target =
        route_choose(r->clusters, r->cluster_count, r->weight_total, worker_random(x->worker));
    return x->target ? x->target->cluster : STR_NONE;
}

static void forget_route(struct exchange *x)
{
    snap_unref(x->snap);
    x->snap = NULL;
    x->listener = NULL;
    x->route = NULL;
}

/* Each request is judged by the rules of its moment, whatever they were when its connection began.
 */
static enum exchange_state on_route(struct exchange *x)
{
    struct str pending = STR_NONE;
    enum outcome why;

    x->snap = snap_ref(x->worker->snap);
    x->listener = conn_listener(x->conn, x->snap->root);
    if (!x->listener)
        return exchange_reply(x, OUTCOME_NO_ROUTE);
    if (x->conn->kind == LISTENER_INBOUND && x->listener->mtls == MTLS_STRICT &&
        !x->conn->is_mutual) {
        live_add(&x->worker->live.strict_refused, 1);
        return end(x, OUTCOME_STRICT_PLAINTEXT);
    }
    if (x->down->in_head.authority.n == 0)
        return exchange_reply(x, OUTCOME_NO_HOST);
    if (conn_is_misdirected(x->conn, x->listener, x->snap->root, x->down->in_head.authority))
        return exchange_reply(x, OUTCOME_MISDIRECTED);
    if (!path_normalise(x->snap->root->path_mode, x->down->in_head.path, &x->arena, &x->down->in_head.path))
        return exchange_reply(x, OUTCOME_BAD_PATH);
    exchange_receive(x);
    why = find_route(x, &pending);
    if (x->listener->is_pending)
        pending = x->listener->service;
    if (pending.n > 0) {
        enum exchange_state next = park(x, pending);

        forget_route(x);
        return next;
    }
    if (why != OUTCOME_NONE)
        return exchange_reply(x, why);
    x->retry = &x->route->retry;
    if (x->route->action == ROUTE_FORWARD)
        x->cluster = snapshot_cluster(x->snap->root, choose_cluster(x));
    return EXCHANGE_FILTER;
}

static enum exchange_state on_park(struct exchange *x)
{
    if (x->woken)
        return EXCHANGE_ROUTE;
    if (!x->waited)
        return EXCHANGE_PARK;
    worker_unpark(&x->park);
    return exchange_reply(x, OUTCOME_PENDING_TIMEOUT);
}

/* ---- filters, and what the route does ---- */

static enum exchange_state redirect(struct exchange *x)
{
    struct http_head h;
    struct str where;

    http_head_init(&h, &x->arena, false);
    h.status = x->route->redirect.status;
    where = edit_location(x);
    if (where.n == 0)
        return exchange_reply(x, OUTCOME_ROUTE_FAILED);
    http_add(&h, STR("location"), where);
    return exchange_answer(x, OUTCOME_DIRECT_ANSWER, &h, STR_NONE);
}

static enum exchange_state answer(struct exchange *x)
{
    struct http_head h;

    http_head_init(&h, &x->arena, false);
    h.status = x->route->answer.status;
    return exchange_answer(x, OUTCOME_DIRECT_ANSWER, &h, x->route->answer.body);
}

static enum exchange_state forward(struct exchange *x)
{
    enum outcome why;

    if (!x->cluster)
        return exchange_reply(x, OUTCOME_NO_CLUSTER);
    why = exchange_prepare(x);
    if (why == OUTCOME_NONE)
        why = attempt_open(x, false);
    if (why != OUTCOME_NONE)
        return exchange_reply(x, why);
    mirrors_start(x);
    return EXCHANGE_CONNECT;
}

static enum exchange_state on_filter(struct exchange *x)
{
    struct filter_answer own;

    switch (filters_request(x, &own)) {
    case FILTER_PAUSE:
        return EXCHANGE_FILTER;
    case FILTER_ANSWER:
        return exchange_answer(x, own.why, &own.head, own.body);
    case FILTER_CONTINUE:
        break;
    }
    switch (x->route->action) {
    case ROUTE_REDIRECT:
        return redirect(x);
    case ROUTE_ANSWER:
        return answer(x);
    case ROUTE_FORWARD:
    case ROUTE_PENDING: /* on_route waits for those */
        break;
    }
    return forward(x);
}

/* At the application's agent a gRPC deadline bounds the whole call (fields.md 4.4). */
static bool is_bounded(const struct exchange *x)
{
    return x->conn->kind == LISTENER_INBOUND && x->is_grpc;
}

static enum outcome timeout_of(const struct exchange *x)
{
    return is_bounded(x) ? OUTCOME_DEADLINE : OUTCOME_REQUEST_TIMEOUT;
}

/* The route's clock runs from the end of the request, as Envoy's does. */
static void arm_timers(struct exchange *x)
{
    const struct retry_policy *retry = x->retry;

    if (!x->down->in_ended && !exchange_is_tunnel(x) && !is_bounded(x))
        return;
    if (!x->armed && x->timeout_ms > 0)
        timer_in(&x->timer, x->timeout_ms);
    x->armed = true;
    if (x->attempt && retry->per_try_timeout_ms > 0 && x->attempt->timer.at_ms == 0)
        timer_in(&x->attempt->timer, retry->per_try_timeout_ms);
}

/* ---- tries ---- */

static void remember_try(struct exchange *x)
{
    struct attempt *a = x->attempt;

    x->endpoint = a->endpoint;
    x->upstream_host = a->host;
    x->upstream_local = a->local;
    x->peer_uri = a->peer_uri;
    str_fit(x->failure, sizeof(x->failure), str_from(a->wait.failure));
}

static void close_try(struct exchange *x, enum outcome why)
{
    if (!x->attempt)
        return;
    remember_try(x);
    attempt_close(x->attempt, why);
}

static bool can_repeat(const struct exchange *x)
{
    return !x->responded && !x->replay_off && x->down->reset == STREAM_RESET_NONE;
}

/* A pooled connection that died before it answered: the request may go again at once, once, where
 * it cannot have been carried out or may be carried out twice. */
static bool is_stale(const struct exchange *x, enum outcome why)
{
    const struct attempt *a = x->attempt;

    if (x->free_retry_used || !a->reused)
        return false;
    return why == OUTCOME_UPSTREAM_REFUSED ||
           (why == OUTCOME_UPSTREAM_CLOSED && http_is_idempotent(x->request.method));
}

static void end_retry(struct exchange *x)
{
    if (!x->retry_breaker)
        return;
    breaker_leave(x->retry_breaker, BREAKER_RETRIES);
    breaker_unref(x->retry_breaker);
    x->retry_breaker = NULL;
}

/* Has the cluster room for one more retry? It counts until the next one, or the end. */
static bool begin_retry(struct exchange *x)
{
    const struct cluster_limits *l = &x->cluster->limits;
    struct breaker *b;

    end_retry(x);
    if (!breaker_counts(l, BREAKER_RETRIES))
        return true;
    b = worker_view(x->worker, x->cluster)->breaker;
    if (!breaker_take(b, BREAKER_RETRIES, l)) {
        x->flags |= RF_UO;
        return false;
    }
    x->retry_breaker = breaker_ref(b);
    return true;
}

static enum exchange_state retry(struct exchange *x, enum outcome why)
{
    close_try(x, why);
    x->retries++;
    live_add(&x->worker->live.retries, 1);
    timer_in(&x->wait, route_backoff_ms(x->retry, x->retries, worker_random(x->worker)));
    return EXCHANGE_BACKOFF;
}

/* The try is over, without an answer that we hand on: again, or tell the client. */
static enum exchange_state try_failed(struct exchange *x, enum outcome why,
                                      const struct http_head *head)
{
    const struct retry_policy *policy = x->retry;
    bool sent = x->attempt->head_sent, stale = is_stale(x, why);
    bool wanted = route_retry_wanted(policy, why, head, x->retry_names, sent);

    if (can_repeat(x) && stale) {
        x->free_retry_used = true;
        x->want_fresh = x->attempt->wait.target.protocol == UPSTREAM_HTTP1; /* the others of the pool may be as dead */
        close_try(x, OUTCOME_NONE);
        timer_in(&x->wait, 0);
        return EXCHANGE_BACKOFF;
    }
    if (wanted && can_repeat(x) && x->retries < policy->attempts) {
        if (begin_retry(x))
            return retry(x, why);
    } else if (wanted && policy->attempts > 0) {
        x->flags |= RF_URX;
    }
    if (head) /* the last answer is the answer */
        return EXCHANGE_RELAY;
    close_try(x, why);
    return exchange_reply(x, why);
}

static enum exchange_state on_backoff(struct exchange *x)
{
    enum outcome why;

    if (x->timed_out)
        return exchange_reply(x, timeout_of(x));
    if (!x->waited)
        return EXCHANGE_BACKOFF;
    why = attempt_open(x, x->want_fresh);
    x->want_fresh = false;
    return why == OUTCOME_NONE ? EXCHANGE_CONNECT : exchange_reply(x, why);
}

static void send_continue(struct exchange *x)
{
    struct http_head h;

    if (!x->down->in_head.expect_continue || x->down->in_ended || x->down->in.n > 0 || x->continued)
        return;
    x->continued = true;
    http_head_init(&h, &x->arena, false);
    h.status = 100;
    stream_send_head(x->down, &h, false);
}

static enum exchange_state on_connect(struct exchange *x)
{
    struct attempt *a = x->attempt;
    enum outcome why;

    arm_timers(x);
    if (x->timed_out || a->timed_out) {
        why = x->timed_out ? timeout_of(x) : OUTCOME_TRY_TIMEOUT;
        return try_failed(x, why, NULL);
    }
    if (!a->wait.done)
        return EXCHANGE_CONNECT;
    if (!a->wait.up)
        return try_failed(x, a->wait.outcome, NULL);
    why = attempt_connect(a);
    if (why != OUTCOME_NONE)
        return try_failed(x, why, NULL);
    send_continue(x);
    exchange_send_request(x);
    return EXCHANGE_AWAIT;
}

static enum outcome outcome_of_reset(enum stream_reset r)
{
    switch (r) {
    case STREAM_RESET_REFUSED:
        return OUTCOME_UPSTREAM_REFUSED;
    case STREAM_RESET_PROTOCOL:
        return OUTCOME_UPSTREAM_PROTOCOL;
    case STREAM_RESET_PEER:
        return OUTCOME_UPSTREAM_RESET;
    case STREAM_RESET_NONE:
    case STREAM_RESET_CLOSED:
    case STREAM_RESET_TIMEOUT:
    case STREAM_RESET_LOCAL:
        break;
    }
    return OUTCOME_UPSTREAM_CLOSED;
}

static enum exchange_state on_await(struct exchange *x)
{
    struct attempt *a = x->attempt;
    struct stream *up = a->stream;

    arm_timers(x);
    exchange_pass_informational(x);
    if (up->in_has_head) {
        x->service_time_ms = exchange_now(x) - x->upstream_sent_ms;
        attempt_answered(a);
        if (route_retry_wanted(x->retry, OUTCOME_ANSWERED, &up->in_head, x->retry_names, true)) {
            x->status = up->in_head.status;
            return try_failed(x, OUTCOME_ANSWERED, &up->in_head);
        }
        return EXCHANGE_RELAY;
    }
    if (up->reset != STREAM_RESET_NONE)
        return try_failed(x, outcome_of_reset(up->reset), NULL);
    if (x->timed_out)
        return try_failed(x, timeout_of(x), NULL);
    if (a->timed_out)
        return try_failed(x, OUTCOME_TRY_TIMEOUT, NULL);
    exchange_pump_request(x);
    return EXCHANGE_AWAIT;
}

/* ---- the response ---- */

static enum outcome outcome_of_cut(enum stream_reset r)
{
    switch (r) {
    case STREAM_RESET_PEER:
        return OUTCOME_UPSTREAM_CUT_RESET;
    case STREAM_RESET_PROTOCOL:
        return OUTCOME_UPSTREAM_CUT_WRONG;
    case STREAM_RESET_NONE:
    case STREAM_RESET_REFUSED:
    case STREAM_RESET_CLOSED:
    case STREAM_RESET_TIMEOUT:
    case STREAM_RESET_LOCAL:
        break;
    }
    return OUTCOME_UPSTREAM_CUT;
}

/* The answer came before the request was whole (RFC 9112 9.3): its rest is still passed on, so that
 * the endpoint gets what it was sent and the connection stays usable, as long as the client goes on
 * sending. */
static bool awaits_rest(struct exchange *x)
{
    const struct stream *up = x->attempt->stream;

    if (exchange_is_tunnel(x)) /* each way ends by itself */
        return !x->down->in_ended && up->reset == STREAM_RESET_NONE &&
               x->down->reset == STREAM_RESET_NONE;
    if (exchange_request_complete(x) || up->reset != STREAM_RESET_NONE ||
        x->down->reset != STREAM_RESET_NONE || x->timed_out)
        return false;
    if (x->rest_bytes != x->down->in_body_bytes || !x->rest_awaited)
        timer_in(&x->timer, LIMIT_LINGER_MS);
    x->rest_awaited = true;
    x->rest_bytes = x->down->in_body_bytes;
    return true;
}

/* What came before it goes out first: at the end of this turn. */
static enum exchange_state cut(struct exchange *x)
{
    if (x->waited)
        return end(x, outcome_of_cut(x->attempt->stream->reset));
    if (!x->cut_seen)
        timer_in(&x->wait, 0);
    x->cut_seen = true;
    return EXCHANGE_RELAY;
}

static void arm_tunnel(struct exchange *x)
{
    int64_t idle = x->cluster->tcp_idle_ms > 0 ? x->cluster->tcp_idle_ms : x->listener->tcp_idle_ms;

    timer_in(&x->timer, idle > 0 ? idle : LIMIT_IDLE_MS);
}

static enum exchange_state on_relay(struct exchange *x)
{
    struct stream *up = x->attempt->stream;

    if (exchange_is_tunnel(x) && up->in_head.framing == HTTP_BODY_TUNNEL) {
        if (x->timed_out && x->responded)
            return end(x, OUTCOME_IDLE_TIMEOUT);
        arm_tunnel(x);
    } else {
        arm_timers(x);
    }
    if (!x->responded)
        exchange_start_response(x);
    if (!up->out_ended)
        exchange_pump_request(x);
    if (!x->down->out_ended)
        exchange_pump_response(x);
    if (x->down->out_ended && !awaits_rest(x))
        return end(x, OUTCOME_ANSWERED);
    if (up->reset != STREAM_RESET_NONE && up->in.n == 0 && !up->in_ended)
        return cut(x);
    if (x->timed_out && !x->down->out_ended)
        return end(x, timeout_of(x));
    return EXCHANGE_RELAY;
}

static enum exchange_state on_over(struct exchange *x)
{
    (void)x; /* enter() did everything */
    return EXCHANGE_OVER;
}

/* ---- the end: one close path, one line, one count ---- */

static void free_exchange(struct reap *r)
{
    mem_free(CONTAINER(r, struct exchange, reap));
}

static void close_exchange(struct exchange *x)
{
    int64_t duration_ms = MAX(exchange_now(x) - x->started_ms, 0);
    struct worker *w = x->worker;

    if (x->outcome == OUTCOME_CLIENT_GONE && !x->responded)
        x->status = 0;
    close_try(x, x->outcome);
    end_retry(x);
    log_debug("request ended in %s: %s", steps[x->state].name, outcome_text(x->outcome));
    exchange_count_messages(x);
    exchange_count(x, duration_ms);
    exchange_log(x, duration_ms);
    worker_unpark(&x->park);
    mirrors_abandon(x);
    if (x->outcome == OUTCOME_STRICT_PLAINTEXT)
        stream_reset(x->down);
    stream_release(x->down); /* cuts what is not complete */
    bytes_done(&x->replay);
    timer_stop(&x->timer);
    timer_stop(&x->wait);
    timer_stop(&x->report);
    task_forget(&x->task);
    link_del(&x->link);
    snap_unref(x->snap);
    arena_done(&x->arena);
    live_sub(&w->live.exchanges, 1);
    loop_reap(w->loop, &x->reap, free_exchange);
}

/* The client has gone, or never spoke HTTP to its end. */
static enum exchange_state down_reset(struct exchange *x)
{
    if (x->down->reset == STREAM_RESET_PROTOCOL && !x->responded) {
        x->status = x->conn->codec->failure_status; /* the codec answered */
        return end(x, conn_broken_protocol(x->conn));
    }
    if (x->down->reset == STREAM_RESET_TIMEOUT && !x->responded && x->conn->codec->failure_status == 408) {
        x->status = 408; /* likewise */
        return end(x, OUTCOME_SLOW_BODY);
    }
    return end(x, OUTCOME_CLIENT_GONE);
}

static void enter(struct exchange *x, enum exchange_state next)
{
    if (!(steps[x->state].to & BIT(next))) {
        log_error("internal: an exchange may not go from %s to %s", steps[x->state].name,
                  steps[next].name);
        next = end(x, OUTCOME_INTERNAL);
    }
    if (next == EXCHANGE_OVER) {
        close_exchange(x);
        x->state = next;
        return;
    }
    x->waited = false;
    if (next != EXCHANGE_BACKOFF)
        timer_stop(&x->wait);
    if (steps[next].limit_ms > 0)
        timer_in(&x->wait, steps[next].limit_ms);
    x->state = next;
}

/* A call that goes on: its messages are counted with the labels that they will have at its end. */
static void report(struct exchange *x)
{
    if (x->attempt && x->attempt->stream)
        remember_try(x);
    exchange_count_messages(x);
}

static void run(struct task *t, unsigned notes)
{
    struct exchange *x = CONTAINER(t, struct exchange, task);
    enum exchange_state next;

    x->timed_out |= (notes & EXCHANGE_NOTE_TIMER) != 0;
    x->waited |= (notes & EXCHANGE_NOTE_WAIT) != 0;
    x->woken |= (notes & EXCHANGE_NOTE_PARK) != 0;
    if (notes & EXCHANGE_NOTE_REPORT)
        report(x);
    if (x->attempt && (notes & EXCHANGE_NOTE_TRY_TIMER))
        x->attempt->timed_out = true;
    next = x->down->reset != STREAM_RESET_NONE ? down_reset(x) : steps[x->state].step(x);
    while (next != x->state) {
        enter(x, next);
        if (x->state == EXCHANGE_OVER)
            return;
        next = steps[x->state].step(x);
    }
}

void exchange_open(struct conn *c, struct stream *s)
{
    struct exchange *x = mem_alloc(sizeof(*x));

    memset(x, 0, offsetof(struct exchange, first));
    x->conn = c;
    x->worker = c->worker;
    x->down = s;
    x->started_ms = s->started_ms ? s->started_ms : loop_now_ms(c->worker->loop);
    x->started_wall_ms =
        loop_wall_ms(c->worker->loop) - (loop_now_ms(c->worker->loop) - x->started_ms);
    arena_init_with(&x->arena, x->first, sizeof(x->first));
    bytes_init(&x->replay);
    link_init(&x->park.link);
    link_init(&x->mirrors);
    link_push(&c->exchanges, &x->link);
    task_init(&x->task, c->worker->loop, run);
    timer_init(&x->timer, &x->task, EXCHANGE_NOTE_TIMER);
    timer_init(&x->wait, &x->task, EXCHANGE_NOTE_WAIT);
    timer_init(&x->report, &x->task, EXCHANGE_NOTE_REPORT);
    live_add(&c->worker->live.exchanges, 1);
    x->is_grpc = grpc_is(&s->in_head);
    x->grpc_status = -1;
    x->request_head_bytes = exchange_head_bytes(&s->in_head);
    stream_own(s, &x->task, EXCHANGE_DOWN_SHIFT);
    task_note(&x->task, EXCHANGE_NOTE_GO); /* even if nothing was noted yet */
}

void exchange_abort(struct exchange *x, enum outcome why)
{
    if (x->outcome == OUTCOME_NONE)
        x->outcome = why;
    close_exchange(x);
    x->state = EXCHANGE_OVER;
}
