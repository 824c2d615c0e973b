/* The request on its way to the endpoint: its head, as rules judge it and as it is sent on, and its body with what is
 * kept for another try. */
#include <inttypes.h>
#include <string.h>

#include "proxy/edit.h"
#include "proxy/exchange_parts.h"
#include "proxy/mirror.h"
#include "proxy/orders.h"

/* ---- as rules judge it ---- */

static void new_request_id(struct exchange *x, struct http_head *h)
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
    http_set(h, STR("x-request-id"), (struct str){text, sizeof(text)});
}

#define CLIENT_CERT "x-forwarded-client-cert"

/* Whoever called proves it by TLS; what a caller writes about itself proves nothing. Of whom a peer of the mesh was called
 * is kept, for its own proxy has cleaned that; the peer comes last. */
static void set_client_cert(struct exchange *x, struct http_head *h)
{
    const struct conn *c = x->conn;
    struct str value = c->client_cert, before = STR_NONE;

    if (c->kind == LISTENER_INBOUND && c->is_mutual)
        before = http_list(h, STR(CLIENT_CERT), false, &x->arena);
    http_remove(h, STR(CLIENT_CERT));
    if (before.n > 0)
        value = arena_printf(&x->arena, "%.*s,%.*s", STR_ARG(before), STR_ARG(value));
    if (value.n > 0)
        http_add(h, STR(CLIENT_CERT), value);
}

/* A scheme that was told to an application is told on by it: HTTP/1 has no other place for it. */
static void take_scheme(struct http_head *h)
{
    struct str told;

    if (h->version < 20 && http_get(h, STR("x-forwarded-proto"), &told) &&
        (str_eq(told, STR("http")) || str_eq(told, STR("https"))))
        h->scheme = told;
}

/* At the edge what a client says of itself is not believed: the scheme is ours, and its address comes last. */
static void set_forwarded(struct exchange *x, struct http_head *h)
{
    const struct conn *c = x->conn;
    bool at_edge = c->kind == LISTENER_GATEWAY;
    bool is_https = c->is_tls && (at_edge || x->listener->tls);
    char ip[ADDR_TEXT_MAX];
    struct str value;

    if (at_edge || !http_get(h, STR("x-forwarded-proto"), &value))
        http_set(h, STR("x-forwarded-proto"), is_https ? STR("https") : STR("http"));
    if (c->kind == LISTENER_OUTBOUND)
        take_scheme(h);
    if (!at_edge)
        return;
    addr_format_ip(&c->remote, ip);
    value = http_list(h, STR("x-forwarded-for"), false, &x->arena);
    value = value.n > 0 ? arena_printf(&x->arena, "%.*s,%s", STR_ARG(value), ip) : str_from(ip);
    http_set(h, STR("x-forwarded-for"), value);
}

void exchange_receive(struct exchange *x)
{
    struct http_head *h = &x->down->in_head;
    struct str value;

    if (x->received)
        return;
    x->received = true;
    orders_drop(x, h);
    if (!http_get(h, STR("x-request-id"), &value) || value.n == 0)
        new_request_id(x, h);
    set_forwarded(x, h);
    set_client_cert(x, h);
}

/* ---- as it is sent on ---- */

/* A gRPC call has the deadline that its caller gave it, within the route's timeout, and the endpoint is told what is left
 * of it: that of a try. */
static void set_timeout(struct exchange *x)
{
    const struct route *r = x->route;
    int64_t timeout;

    x->timeout_ms = x->is_grpc ? grpc_deadline_ms(&x->request, r->timeout_ms) : r->timeout_ms;
    orders_take_timeouts(x);
    timeout = x->retry->per_try_timeout_ms;
    if (timeout == 0 || (x->timeout_ms > 0 && timeout > x->timeout_ms))
        timeout = x->timeout_ms;
    if (x->is_grpc && timeout > 0)
        grpc_set_deadline(&x->request, timeout);
    http_remove(&x->request, STR("x-envoy-expected-rq-timeout-ms"));
    if (timeout > 0)
        http_add(&x->request, STR("x-envoy-expected-rq-timeout-ms"),
                 arena_printf(&x->arena, "%" PRId64, timeout));
}

enum outcome exchange_prepare(struct exchange *x)
{
    enum outcome why;

    http_head_copy(&x->request, &x->down->in_head, &x->arena);
    http_remove(&x->request, STR("expect")); /* answered here */
    if (!exchange_is_tunnel(x))
        x->request.upgrade = STR_NONE;
    set_timeout(x);
    why = edit_request(x);
    orders_take_retries(x);
    return why;
}

enum upstream_protocol exchange_protocol(const struct exchange *x, const struct cluster *c)
{
    switch (c->http) {
    case CLUSTER_HTTP2:
        return UPSTREAM_HTTP2;
    case CLUSTER_HTTP_SAME:
        return x->down->in_head.version == 20 ? UPSTREAM_HTTP2 : UPSTREAM_HTTP1;
    case CLUSTER_HTTP1:
        break;
    }
    return UPSTREAM_HTTP1;
}

/* ---- sending ---- */

bool exchange_request_complete(const struct exchange *x)
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
    mirrors_finish(x);
    if (x->down->in_trailer_count > 0)
        stream_send_trailers(up, x->down->in_trailers, x->down->in_trailer_count);
    else
        stream_send_data(up, &none, true);
}

void exchange_pump_request(struct exchange *x)
{
    struct stream *up = x->attempt->stream;

    while (x->down->in.n > 0 && up->reset == STREAM_RESET_NONE) {
        size_t n = MIN(x->down->in.n, stream_room(up));
        struct bytes some;

        if (n == 0)
            return;
        bytes_init(&some);
        keep_for_replay(x, n);
        mirrors_feed(x, n);
        bytes_move(&some, &x->down->in, n);
        if (x->is_grpc)
            grpc_frames_feed(&x->up_messages, &some);
        stream_send_data(up, &some, false);
        bytes_done(&some);
        stream_consumed(x->down);
    }
    exchange_watch_messages(x);
    if (exchange_request_complete(x) && !up->out_ended && up->reset == STREAM_RESET_NONE)
        end_request(x, up);
}

void exchange_send_request(struct exchange *x)
{
    struct attempt *a = x->attempt;
    char tries[STR_UINT_MAX];
    bool body = x->replay.n > 0 || !exchange_request_complete(x) || x->down->in_trailer_count > 0;

    if (x->conn->kind != LISTENER_INBOUND) /* the application is told of the caller's tries, as in Istio */
        http_set(&x->request, STR("x-envoy-attempt-count"), str_of_uint(x->tries, tries));
    stream_send_head(a->stream, &x->request, !body);
    a->head_sent = true;
    x->upstream_sent_ms = exchange_now(x);
    if (x->replay.n > 0) {
        struct bytes again;

        bytes_init(&again);
        bytes_share(&again, &x->replay, 0, x->replay.n);
        stream_send_data(a->stream, &again, false);
        bytes_done(&again);
    }
    if (body)
        exchange_pump_request(x);
    else
        mirrors_finish(x);
}
