/* A request's way. The table is the diagram; retries lead back from CONNECT, AWAIT and BACKOFF.
 *
 * Both bodies are pumped whatever the state: request bytes as long as a try has a stream, response
 * bytes once its head was taken. Nothing is held but the replay references. */
#include "proxy/exchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "proxy/route.h"

typedef enum exchange_state step_fn(struct exchange *x);

static step_fn on_route, on_park, on_connect, on_await, on_backoff, on_relay, on_over;

#define TO(state) BIT(EXCHANGE_##state)

/* clang-format off */
static const struct {
    const char *name;
    step_fn *step;
    unsigned to;
    int64_t limit_ms; /* of `wait`; the route's timeout covers the rest */
} steps[EXCHANGE_STATES] = {
    [EXCHANGE_ROUTE]   = {"route",   on_route,   TO(PARK) | TO(CONNECT) | TO(OVER),                 0},
    [EXCHANGE_PARK]    = {"park",    on_park,    TO(ROUTE) | TO(OVER),                              LIMIT_PENDING_MS},
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

static int64_t now(const struct exchange *x)
{
    return loop_now_ms(x->worker->loop);
}

static enum exchange_state end(struct exchange *x, enum outcome why)
{
    if (x->outcome == OUTCOME_NONE)
        x->outcome = why;
    return EXCHANGE_OVER;
}

/* ---- answers of our own ---- */

static void add_date(const struct exchange *x, struct http_head *h)
{
    time_t seconds = (time_t)(loop_wall_ms(x->worker->loop) / 1000);
    struct tm tm;
    char text[40];

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    http_set(h, STR("date"), str_from(text));
}

static struct str server_name(const struct exchange *x)
{
    return x->conn->kind == LISTENER_OUTBOUND ? STR("envoy") : STR("istio-envoy");
}

static size_t head_bytes(const struct http_head *h)
{
    size_t n = h->is_request ? h->method.n + h->path.n + h->authority.n + 20
                             : 17; /* start line, host, empty line */

    for (size_t i = 0; i < h->count; i++)
        n += h->fields[i].name.n + h->fields[i].value.n + 4;
    return n;
}

#define RESET_PREFIX "upstream connect error or disconnect/reset before headers. "

/* Envoy's texts, with what we know about the reason. */
static void body_format(const struct exchange *x, enum outcome why, struct buf *b)
{
    struct str text = str_from(outcome_body(why));

    if (x->tries > 1 && str_starts(text, STR(RESET_PREFIX))) {
        buf_adds(b, RESET_PREFIX "retried and the latest ");
        text = str_sub(text, sizeof(RESET_PREFIX) - 1, text.n);
    }
    buf_add(b, text);
    if (x->failure[0] && why == OUTCOME_CONNECT_FAILED)
        buf_printf(b, ", transport failure reason: %s", x->failure);
}

static enum exchange_state reply(struct exchange *x, enum outcome why)
{
    struct http_head h;
    struct bytes body;
    struct buf text;

    if (x->outcome == OUTCOME_NONE)
        x->outcome = why;
    x->status = outcome_status(why);
    if (x->down->reset != STREAM_RESET_NONE || x->status == 0 || x->responded)
        return EXCHANGE_OVER;
    bytes_init(&body);
    buf_init(&text, 1024);
    body_format(x, why, &text);
    bytes_append(&body, buf_str(&text));
    http_head_init(&h, &x->arena, false);
    h.status = x->status;
    h.framing = text.n ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    h.content_length = text.n;
    if (text.n)
        http_add(&h, STR("content-type"), STR("text/plain"));
    if (why == OUTCOME_OVERFLOW)
        http_add(&h, STR("x-envoy-overloaded"), STR("true"));
    add_date(x, &h);
    http_add(&h, STR("server"), server_name(x));
    x->responded = true;
    x->response_head_bytes = head_bytes(&h);
    stream_send_head(x->down, &h, body.n == 0);
    if (body.n > 0)
        stream_send_data(x->down, &body, true);
    bytes_done(&body);
    buf_done(&text);
    return EXCHANGE_OVER;
}

/* ---- the request's head, as sent on ---- */

static void new_request_id(struct exchange *x)
{
    static const char digits[] = "0123456789abcdef";
    char text[36];
    uint64_t r[2] = {worker_random(x->worker), worker_random(x->worker)};

    for (size_t i = 0, nibble = 0; i < sizeof(text); i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            text[i] = '-';
            continue;
        }
        text[i] = digits[r[nibble / 16] >> (nibble % 16 * 4) & 15];
        nibble++;
    }
    text[14] = '4'; /* a random UUID, RFC 9562 */
    text[19] = digits[8 + (r[1] >> 60 & 3)];
    http_set(&x->request, STR("x-request-id"), (struct str){text, sizeof(text)});
}

/* Whoever called proves it by TLS; what the caller writes about itself proves nothing. */
static void set_client_cert(struct exchange *x)
{
    const struct conn *c = x->conn;

    http_remove(&x->request, STR("x-forwarded-client-cert"));
    if (c->kind != LISTENER_INBOUND || !c->is_mutual)
        return;
    http_add(&x->request, STR("x-forwarded-client-cert"),
             arena_printf(&x->arena, "By=%.*s;Hash=%s;Subject=\"\";URI=%.*s",
                          STR_ARG(x->listener->identity), c->peer_hash, STR_ARG(c->peer_uri)));
}

static void prepare_request(struct exchange *x)
{
    const struct route *r = x->route;
    int64_t timeout = r->retry.per_try_timeout_ms > 0 ? r->retry.per_try_timeout_ms : r->timeout_ms;
    struct str value;

    http_head_copy(&x->request, &x->down->in_head, &x->arena);
    http_remove(&x->request, STR("expect")); /* answered here */
    x->request.upgrade = STR_NONE;
    if (!http_get(&x->request, STR("x-request-id"), &value) || value.n == 0)
        new_request_id(x);
    if (!http_get(&x->request, STR("x-forwarded-proto"), &value))
        http_add(&x->request, STR("x-forwarded-proto"), STR("http"));
    set_client_cert(x);
    http_remove(&x->request, STR("x-envoy-expected-rq-timeout-ms"));
    if (timeout > 0)
        http_add(&x->request, STR("x-envoy-expected-rq-timeout-ms"),
                 arena_printf(&x->arena, "%" PRId64, timeout));
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
    v = route_table_find(x->listener->http, http_host_only(x->down->in_head.authority));
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
    return route_cluster(r->clusters, r->cluster_count, r->weight_total, worker_random(x->worker));
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
        return reply(x, OUTCOME_NO_ROUTE);
    if (x->conn->kind == LISTENER_INBOUND && x->listener->mtls == MTLS_STRICT &&
        !x->conn->is_mutual) {
        live_add(&x->worker->live.strict_refused, 1);
        return end(x, OUTCOME_STRICT_PLAINTEXT);
    }
    if (x->down->in_head.authority.n == 0)
        return reply(x, OUTCOME_NO_HOST);
    why = find_route(x, &pending);
    if (x->listener->is_pending)
        pending = x->listener->service;
    if (pending.n > 0) {
        enum exchange_state next = park(x, pending);

        forget_route(x);
        return next;
    }
    if (why != OUTCOME_NONE)
        return reply(x, why);
    x->cluster = snapshot_cluster(x->snap->root, choose_cluster(x));
    if (!x->cluster)
        return reply(x, OUTCOME_NO_CLUSTER);
    prepare_request(x);
    why = attempt_open(x, false);
    return why == OUTCOME_NONE ? EXCHANGE_CONNECT : reply(x, why);
}

static enum exchange_state on_park(struct exchange *x)
{
    if (x->woken)
        return EXCHANGE_ROUTE;
    if (!x->waited)
        return EXCHANGE_PARK;
    worker_unpark(&x->park);
    return reply(x, OUTCOME_PENDING_TIMEOUT);
}

/* ---- bodies ---- */

static bool request_complete(const struct exchange *x)
{
    return x->down->in_ended && x->down->in.n == 0;
}

static void keep_for_replay(struct exchange *x, size_t n)
{
    if (x->replay_off)
        return;
    if (x->replay.n + n > LIMIT_REPLAY_BYTES) {
        x->replay_off = true;
        bytes_done(&x->replay);
        return;
    }
    bytes_share(&x->replay, &x->down->in, 0, n);
}

static void end_request(struct exchange *x, struct stream *up)
{
    struct bytes none;

    bytes_init(&none);
    if (x->down->in_trailer_count > 0)
        stream_send_trailers(up, x->down->in_trailers, x->down->in_trailer_count);
    else
        stream_send_data(up, &none, true);
}

static void pump_request(struct exchange *x)
{
    struct stream *up = x->attempt->stream;

    while (x->down->in.n > 0 && up->reset == STREAM_RESET_NONE) {
        size_t n = MIN(x->down->in.n, stream_room(up));
        struct bytes some;

        if (n == 0)
            return;
        bytes_init(&some);
        keep_for_replay(x, n);
        bytes_move(&some, &x->down->in, n);
        stream_send_data(up, &some, false);
        bytes_done(&some);
        stream_consumed(x->down);
    }
    if (request_complete(x) && !up->out_ended && up->reset == STREAM_RESET_NONE)
        end_request(x, up);
}

static void pump_response(struct exchange *x)
{
    struct stream *up = x->attempt->stream, *down = x->down;
    struct bytes some;

    bytes_init(&some);
    while (up->in.n > 0 && down->reset == STREAM_RESET_NONE) {
        size_t n = MIN(up->in.n, stream_room(down));

        if (n == 0)
            return;
        bytes_move(&some, &up->in, n);
        stream_send_data(down, &some, false);
        bytes_done(&some);
        stream_consumed(up);
    }
    if (!up->in_ended || up->in.n > 0 || down->out_ended)
        return;
    if (up->in_trailer_count > 0)
        stream_send_trailers(down, up->in_trailers, up->in_trailer_count);
    else
        stream_send_data(down, &some, true);
}

/* The route's clock runs from the end of the request, as Envoy's does. */
static void arm_timers(struct exchange *x)
{
    const struct retry_policy *retry = &x->route->retry;

    if (!x->down->in_ended)
        return;
    if (!x->armed && x->route->timeout_ms > 0)
        timer_in(&x->timer, x->route->timeout_ms);
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
    snprintf(x->failure, sizeof(x->failure), "%s", a->wait.failure);
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

/* The try is over, without an answer that we hand on: again, or tell the client. */
static enum exchange_state try_failed(struct exchange *x, enum outcome why,
                                      const struct http_head *head)
{
    const struct retry_policy *retry = &x->route->retry;
    bool sent = x->attempt->head_sent, stale = is_stale(x, why);
    bool wanted = route_retry_wanted(retry, why, head, sent);

    if (can_repeat(x) && stale) {
        x->free_retry_used = x->want_fresh = true;
        close_try(x, OUTCOME_NONE);
        timer_in(&x->wait, 0);
        return EXCHANGE_BACKOFF;
    }
    if (wanted && can_repeat(x) && x->retries < retry->attempts) {
        close_try(x, why);
        x->retries++;
        live_add(&x->worker->live.retries, 1);
        timer_in(&x->wait, route_backoff_ms(retry, x->retries, worker_random(x->worker)));
        return EXCHANGE_BACKOFF;
    }
    if (wanted && retry->attempts > 0)
        x->flags |= RF_URX;
    if (head) /* the last answer is the answer */
        return EXCHANGE_RELAY;
    close_try(x, why);
    return reply(x, why);
}

static enum exchange_state on_backoff(struct exchange *x)
{
    enum outcome why;

    if (x->timed_out)
        return reply(x, OUTCOME_REQUEST_TIMEOUT);
    if (!x->waited)
        return EXCHANGE_BACKOFF;
    why = attempt_open(x, x->want_fresh);
    x->want_fresh = false;
    return why == OUTCOME_NONE ? EXCHANGE_CONNECT : reply(x, why);
}

static void send_request(struct exchange *x)
{
    struct attempt *a = x->attempt;
    bool body = x->replay.n > 0 || !request_complete(x) || x->down->in_trailer_count > 0;

    http_set(&x->request, STR("x-envoy-attempt-count"), arena_printf(&x->arena, "%u", x->tries));
    stream_send_head(a->stream, &x->request, !body);
    a->head_sent = true;
    x->upstream_sent_ms = now(x);
    if (x->replay.n > 0) {
        struct bytes again;

        bytes_init(&again);
        bytes_share(&again, &x->replay, 0, x->replay.n);
        stream_send_data(a->stream, &again, false);
        bytes_done(&again);
    }
    if (body)
        pump_request(x);
}

static void send_continue(struct exchange *x)
{
    struct http_head h;

    if (!x->down->in_head.expect_continue || x->down->in_ended || x->down->in.n > 0 || x->tries > 1)
        return;
    http_head_init(&h, &x->arena, false);
    h.status = 100;
    stream_send_head(x->down, &h, false);
}

static enum exchange_state on_connect(struct exchange *x)
{
    struct attempt *a = x->attempt;

    arm_timers(x);
    if (x->timed_out || a->timed_out) {
        enum outcome why = x->timed_out ? OUTCOME_REQUEST_TIMEOUT : OUTCOME_TRY_TIMEOUT;

        return try_failed(x, why, NULL);
    }
    if (!a->wait.done)
        return EXCHANGE_CONNECT;
    if (!a->wait.up)
        return try_failed(x, a->wait.outcome, NULL);
    if (!attempt_connect(a))
        return try_failed(x, OUTCOME_UPSTREAM_REFUSED, NULL);
    send_continue(x);
    send_request(x);
    return EXCHANGE_AWAIT;
}

static enum outcome outcome_of_reset(enum stream_reset r)
{
    switch (r) {
    case STREAM_RESET_REFUSED:
        return OUTCOME_UPSTREAM_REFUSED;
    case STREAM_RESET_PROTOCOL:
        return OUTCOME_UPSTREAM_PROTOCOL;
    case STREAM_RESET_NONE:
    case STREAM_RESET_CLOSED:
    case STREAM_RESET_TIMEOUT:
    case STREAM_RESET_LOCAL:
        break;
    }
    return OUTCOME_UPSTREAM_CLOSED;
}

static void pass_informational(struct exchange *x)
{
    struct stream *up = x->attempt->stream;

    if (!up->in_has_informational)
        return;
    up->in_has_informational = false;
    if (up->in_informational.status != 100) /* that one was ours to send */
        stream_send_head(x->down, &up->in_informational, false);
}

static enum exchange_state on_await(struct exchange *x)
{
    struct attempt *a = x->attempt;
    struct stream *up = a->stream;

    arm_timers(x);
    pass_informational(x);
    if (up->in_has_head) {
        x->service_time_ms = now(x) - x->upstream_sent_ms;
        if (route_retry_wanted(&x->route->retry, OUTCOME_ANSWERED, &up->in_head, true)) {
            x->status = up->in_head.status;
            return try_failed(x, OUTCOME_ANSWERED, &up->in_head);
        }
        return EXCHANGE_RELAY;
    }
    if (up->reset != STREAM_RESET_NONE)
        return try_failed(x, outcome_of_reset(up->reset), NULL);
    if (x->timed_out)
        return try_failed(x, OUTCOME_REQUEST_TIMEOUT, NULL);
    if (a->timed_out)
        return try_failed(x, OUTCOME_TRY_TIMEOUT, NULL);
    pump_request(x);
    return EXCHANGE_AWAIT;
}

/* ---- the response ---- */

static void start_response(struct exchange *x)
{
    struct stream *up = x->attempt->stream;
    struct http_head h;
    bool end_now = up->in_ended && up->in.n == 0 && up->in_trailer_count == 0;
    char ms[24];

    http_head_copy(&h, &up->in_head, &x->arena);
    http_set(&h, STR("server"), server_name(x));
    snprintf(ms, sizeof(ms), "%" PRId64, x->service_time_ms);
    http_set(&h, STR("x-envoy-upstream-service-time"), str_from(ms));
    x->status = h.status;
    x->responded = true;
    x->response_head_bytes = head_bytes(&h);
    timer_stop(&x->attempt->timer);
    bytes_done(&x->replay);
    x->replay_off = true;
    stream_send_head(x->down, &h, end_now);
}

/* The answer came before the request was whole (RFC 9112 9.3): its rest is still passed on, so that
 * the endpoint gets what it was sent and the connection stays usable, as long as the client goes on
 * sending. */
static bool awaits_rest(struct exchange *x)
{
    const struct stream *up = x->attempt->stream;

    if (request_complete(x) || up->reset != STREAM_RESET_NONE ||
        x->down->reset != STREAM_RESET_NONE || x->timed_out)
        return false;
    if (x->rest_bytes != x->down->in_body_bytes || !x->rest_awaited)
        timer_in(&x->timer, LIMIT_LINGER_MS);
    x->rest_awaited = true;
    x->rest_bytes = x->down->in_body_bytes;
    return true;
}

static enum exchange_state on_relay(struct exchange *x)
{
    struct stream *up = x->attempt->stream;

    arm_timers(x);
    if (!x->responded)
        start_response(x);
    if (!up->out_ended)
        pump_request(x);
    if (!x->down->out_ended)
        pump_response(x);
    if (x->down->out_ended && !awaits_rest(x))
        return end(x, OUTCOME_ANSWERED);
    if (up->reset != STREAM_RESET_NONE && up->in.n == 0 && !up->in_ended)
        return end(x, OUTCOME_UPSTREAM_CUT);
    if (x->timed_out && !x->down->out_ended)
        return end(x, OUTCOME_REQUEST_TIMEOUT);
    return EXCHANGE_RELAY;
}

static enum exchange_state on_over(struct exchange *x)
{
    (void)x; /* enter() did everything */
    return EXCHANGE_OVER;
}

/* ---- the end: one close path, one line, one count ---- */

static struct metric_peer self_of(const struct listener *l)
{
    return (struct metric_peer){l->workload, l->workload_ns,       l->identity,          l->app,
                                l->version,  l->canonical_service, l->canonical_revision};
}

static void labels_of(const struct exchange *x, struct metric_labels *out)
{
    const struct listener *l = x->listener ? x->listener : x->conn->listener;
    const struct endpoint *ep = x->endpoint;
    struct str type;

    *out = (struct metric_labels){.is_source = x->conn->kind != LISTENER_INBOUND,
                                  .protocol = STR("http")};
    out->code = x->status;
    out->flags = outcome_flag(x->outcome) | x->flags;
    if (http_get(&x->down->in_head, STR("content-type"), &type) &&
        str_starts(type, STR("application/grpc")))
        out->protocol = STR("grpc");
    if (!out->is_source) {
        out->source = metrics_peer_of(x->conn->is_mutual ? x->conn->peer_uri : STR_NONE);
        out->destination = self_of(l);
        out->is_mutual = x->conn->is_mutual;
        if (!out->is_mutual)
            out->destination.principal = STR_NONE;
        out->service = l->service_fqdn;
        out->service_name = l->service_name;
        out->service_ns = l->service_ns;
        return;
    }
    out->source = self_of(l);
    if (x->peer_uri.n == 0)
        out->source.principal = STR_NONE;
    if (ep)
        out->destination = (struct metric_peer){
            ep->workload, ep->workload_ns,       x->peer_uri,           ep->app,
            ep->version,  ep->canonical_service, ep->canonical_revision};
    if (!x->cluster)
        return;
    out->service = x->cluster->service_fqdn;
    out->service_name = x->cluster->service_name;
    out->service_ns = x->cluster->service_ns;
}

static void count_request(struct exchange *x, int64_t duration_ms)
{
    struct metric_labels labels;
    struct metric_key key = {
        .listener = x->listener, .cluster = x->cluster, .endpoint = x->endpoint};
    bool cached = x->snap && x->snap == x->worker->snap && x->listener;
    struct series *s;

    labels_of(x, &labels);
    key.peer =
        str_hash(labels.is_source ? x->peer_uri : labels.source.principal) + labels.protocol.n;
    key.code = labels.code;
    key.flags = labels.flags;
    s = metrics_series(&x->worker->metrics, cached ? &key : NULL, &labels);
    metrics_request(s, (uint64_t)duration_ms,
                    head_bytes(&x->down->in_head) + x->down->in_body_bytes,
                    x->response_head_bytes + x->down->out_body_bytes);
}

static void log_request(struct exchange *x, int64_t duration_ms)
{
    const struct http_head *h = &x->down->in_head;
    struct access_line line = {.start_wall_ms = x->started_wall_ms, .duration_ms = duration_ms};

    if (!access_is_on(&x->worker->proxy->access))
        return;
    line.method = h->method;
    line.path = h->path;
    line.protocol = h->version == 10 ? STR("HTTP/1.0") : STR("HTTP/1.1");
    line.code = x->status;
    line.flags = outcome_flag(x->outcome) | x->flags;
    line.details = outcome_details(x->outcome);
    line.transport_failure = str_from(x->failure);
    line.bytes_received = x->down->in_body_bytes;
    line.bytes_sent = x->down->out_body_bytes;
    line.service_time_ms = x->outcome == OUTCOME_ANSWERED ? x->service_time_ms : -1;
    line.authority = h->authority;
    (void)http_get(h, STR("x-forwarded-for"), &line.forwarded_for); /* absent prints as "-" */
    (void)http_get(h, STR("user-agent"), &line.user_agent);
    (void)http_get(x->request.arena ? &x->request : h, STR("x-request-id"), &line.request_id);
    line.upstream_host = x->upstream_host;
    line.upstream_local = x->upstream_local;
    line.downstream_local = x->conn->original;
    line.downstream_remote = x->conn->remote;
    line.cluster = x->cluster ? x->cluster->name : STR_NONE;
    line.server_name = str_from(x->conn->sni);
    line.route = x->route ? x->route->name : STR_NONE;
    access_write(&x->worker->proxy->access, x->worker->index, &line);
}

static void free_exchange(struct reap *r)
{
    mem_free(CONTAINER(r, struct exchange, reap));
}

static void close_exchange(struct exchange *x)
{
    int64_t duration_ms = MAX(now(x) - x->started_ms, 0);
    struct worker *w = x->worker;

    if (x->outcome == OUTCOME_CLIENT_GONE && !x->responded)
        x->status = 0;
    close_try(x, x->outcome);
    log_debug("request ended in %s: %s", steps[x->state].name, outcome_text(x->outcome));
    count_request(x, duration_ms);
    log_request(x, duration_ms);
    worker_unpark(&x->park);
    if (x->outcome == OUTCOME_STRICT_PLAINTEXT)
        stream_reset(x->down);
    stream_release(x->down); /* cuts what is not complete */
    bytes_done(&x->replay);
    timer_stop(&x->timer);
    timer_stop(&x->wait);
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
        x->status = x->conn->http.failure_status; /* the codec answered */
        return end(x, OUTCOME_CLIENT_PROTOCOL);
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

static void run(struct task *t, unsigned notes)
{
    struct exchange *x = CONTAINER(t, struct exchange, task);
    enum exchange_state next;

    x->timed_out |= (notes & EXCHANGE_NOTE_TIMER) != 0;
    x->waited |= (notes & EXCHANGE_NOTE_WAIT) != 0;
    x->woken |= (notes & EXCHANGE_NOTE_PARK) != 0;
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
    link_push(&c->exchanges, &x->link);
    task_init(&x->task, c->worker->loop, run);
    timer_init(&x->timer, &x->task, EXCHANGE_NOTE_TIMER);
    timer_init(&x->wait, &x->task, EXCHANGE_NOTE_WAIT);
    live_add(&c->worker->live.exchanges, 1);
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
