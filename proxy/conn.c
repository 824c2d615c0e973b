#include "proxy/conn.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "pki/creds.h"
#include "proxy/exchange.h"
#include "proxy/grpc_web.h"
#include "proxy/origdst.h"
#include "proxy/tunnel.h"
#include "proxy/wire/proxy_header.h"
#include "proxy/wire/tls.h"

enum {
    N_TIMER = 1 << IO_NOTE_BITS,
    N_WAKE = 2 << IO_NOTE_BITS,
    N_CHILD = 4 << IO_NOTE_BITS, /* the codec or the tunnel is over */
    N_GO = 8 << IO_NOTE_BITS,
};

typedef enum conn_state step_fn(struct conn *c);

static step_fn on_accept, on_header, on_park, on_sniff, on_handshake, on_http, on_tunnel, on_closed;

#define TO(state) BIT(CONN_##state)

/* clang-format off */
static const struct {
    const char *name;
    step_fn *step;
    unsigned to;
    int64_t limit_ms; /* 0: what is inside has its own deadlines */
} steps[CONN_STATES] = {
    [CONN_ACCEPT]    = {"accept",    on_accept,    TO(HEADER) | TO(PARK) | TO(HANDSHAKE) | TO(SNIFF) | TO(HTTP) | TO(TUNNEL) | TO(CLOSED), 0},
    [CONN_HEADER]    = {"header",    on_header,    TO(ACCEPT) | TO(CLOSED),                          LIMIT_SNIFF_MS},
    [CONN_PARK]      = {"park",      on_park,      TO(ACCEPT) | TO(CLOSED),                          LIMIT_PENDING_MS},
    [CONN_SNIFF]     = {"sniff",     on_sniff,     TO(PARK) | TO(HANDSHAKE) | TO(HTTP) | TO(TUNNEL) | TO(CLOSED), LIMIT_SNIFF_MS},
    [CONN_HANDSHAKE] = {"handshake", on_handshake, TO(SNIFF) | TO(HTTP) | TO(TUNNEL) | TO(CLOSED),   LIMIT_HANDSHAKE_MS},
    [CONN_HTTP]      = {"http",      on_http,      TO(CLOSED),                                       0},
    [CONN_TUNNEL]    = {"tunnel",    on_tunnel,    TO(CLOSED),                                       0},
    [CONN_CLOSED]    = {"closed",    on_closed,    0,                                                0},
};
/* clang-format on */

static enum conn_state end(struct conn *c, enum outcome why)
{
    if (c->outcome == OUTCOME_NONE)
        c->outcome = why;
    return CONN_CLOSED;
}

/* ---- where to ---- */

const struct listener *conn_listener(const struct conn *c, const struct snapshot *s)
{
    const struct listener *l;

    switch (c->socket) {
    case SOCKET_OUTBOUND:
        return snapshot_outbound(s, &c->original);
    case SOCKET_INBOUND:
        return snapshot_inbound(s, c->original.port);
    case SOCKET_BOUND:
        l = c->by_name ? snapshot_chain(s, &c->socket_at, str_from(c->sni))
                       : snapshot_bound(s, &c->socket_at);
        if (c->by_name && l && !str_eq(l->name, c->listener ? c->listener->name : l->name))
            return NULL; /* its name belongs to another server now */
        /* A former listener's connection is not judged by the rules of another kind. */
        return l && (!c->listener || l->kind == c->kind) ? l : NULL;
    }
    return NULL;
}

bool conn_is_misdirected(const struct conn *c, const struct listener *l, const struct snapshot *s, struct str host)
{
    const struct listener *other;

    if (!l->is_chain || !l->tls)
        return false;
    other = snapshot_chain_of_host(s, &c->socket_at, host);
    return other && other != l;
}

const struct addr *conn_destination(const struct conn *c)
{
    return c->socket == SOCKET_BOUND ? NULL : &c->original;
}

/* A direct call of a capture port must not be relayed: it would come back to us for ever. */
static bool find_original(struct conn *c)
{
    bool redirected = origdst_get(c->io.watch.fd, &c->original);

    if (c->socket == SOCKET_BOUND || c->worker->proxy->options.trust_local_addr)
        return c->original.family != 0;
    return redirected && (c->original.port != c->socket_at.port || !addr_is_loopback(&c->original));
}

static enum conn_state refuse(struct conn *c, enum outcome why)
{
    if (why == OUTCOME_STRICT_PLAINTEXT)
        live_add(&c->worker->live.strict_refused, 1);
    io_reset(&c->io);
    return end(c, why);
}

static bool knows_http(const struct conn *c)
{
    return c->kind == LISTENER_INBOUND || c->listener->http;
}

/* What to do with a stream of bytes whose protocol is not a question of TLS (any more). */
static enum conn_state by_protocol(const struct conn *c, enum conn_state undecided)
{
    if (c->listener->protocol == APP_HTTP && knows_http(c))
        return CONN_HTTP;
    if (c->listener->protocol == APP_TCP || !knows_http(c))
        return CONN_TUNNEL;
    return undecided;
}

static enum conn_state park(struct conn *c, struct str service)
{
    c->woken = false;
    snap_unref(c->snap);
    c->snap = NULL;
    c->listener = NULL;
    worker_park(c->worker, &c->park, &c->task, N_WAKE, service);
    return CONN_PARK;
}

static enum conn_state start_tls(struct conn *c);

/* Once its address is known, the PROXY protocol's where there is one. */
static bool is_let_in(struct conn *c)
{
    c->is_admitted = c->is_admitted || admission_enter(&c->worker->proxy->admission, &c->remote);
    return c->is_admitted;
}

/* Who calls does not count where the workload wants no mutual TLS. */
static void forget_peer(struct conn *c)
{
    c->is_mutual = false;
    str_free(c->client_cert);
    c->client_cert = STR_NONE;
}

static enum conn_state on_accept(struct conn *c)
{
    if (c->original.family == 0 && !find_original(c))
        return refuse(c, OUTCOME_LOOP);
    if (!c->worker->snap)
        return park(c, STR_NONE);
    c->snap = snap_ref(c->worker->snap);
    c->listener = conn_listener(c, c->snap->root);
    if (!c->listener)
        return refuse(c, OUTCOME_NO_LISTENER);
    c->kind = c->listener->kind;
    if (c->listener->takes_proxy_header && !c->has_header)
        return CONN_HEADER;
    if (c->kind == LISTENER_GATEWAY && !is_let_in(c))
        return refuse(c, OUTCOME_SOURCE_FULL);
    if (c->listener->is_pending)
        return park(c, c->listener->service);
    if (c->by_name) /* back from waiting for rules */
        return c->listener->tls ? start_tls(c) : CONN_TUNNEL;
    if (c->is_pair) {
        if (c->listener->mtls == MTLS_DISABLE)
            forget_peer(c);
        if (c->listener->tls || (c->listener->mtls == MTLS_STRICT && !c->is_mutual))
            return refuse(c, OUTCOME_STRICT_PLAINTEXT); /* there is no TLS but the mesh's in a pair */
        return c->pair_http ? CONN_HTTP : CONN_TUNNEL;
    }
    if (c->kind == LISTENER_INBOUND && c->listener->tls)
        return start_tls(c);
    if (c->kind == LISTENER_INBOUND && c->listener->mtls != MTLS_DISABLE)
        return CONN_SNIFF;
    if (c->listener->reads_sni)
        return CONN_SNIFF;
    return by_protocol(c, CONN_SNIFF);
}

/* Who really calls, as the balancer before us says it. */
static enum conn_state on_header(struct conn *c)
{
    uint8_t text[PROXY_HEADER_MAX];
    struct addr to;
    enum proxy_header_verdict v = PROXY_HEADER_MORE;
    size_t n, used = 0;

    snap_unref(c->snap); /* on_accept takes the current one again */
    c->snap = NULL;
    c->listener = NULL;
    while (v == PROXY_HEADER_MORE && c->first.n < sizeof(text)) {
        enum io_step step = io_read(&c->io, &c->first, sizeof(text) - c->first.n, &n);

        if (step == IO_AGAIN)
            return c->timed_out ? refuse(c, OUTCOME_NO_HEADER) : CONN_HEADER;
        if (step != IO_OK)
            return end(c, OUTCOME_SNIFF_EOF);
        v = proxy_header_parse(text, bytes_copy_out(&c->first, 0, text, sizeof(text)), &used, &c->remote, &to);
    }
    if (v != PROXY_HEADER_WHOLE)
        return refuse(c, OUTCOME_NO_HEADER);
    bytes_drop(&c->first, used);
    c->has_header = true;
    return CONN_ACCEPT;
}

static enum conn_state on_park(struct conn *c)
{
    if (c->woken)
        return CONN_ACCEPT;
    if (!c->timed_out)
        return CONN_PARK;
    worker_unpark(&c->park);
    return refuse(c, c->worker->snap ? OUTCOME_PENDING_TIMEOUT : OUTCOME_NO_LISTENER);
}

/* ---- first bytes ---- */

static bool is_mesh_hello(const struct sniff_result *r)
{
    return sniff_has_alpn(r, STR("istio-h2")) || sniff_has_alpn(r, STR("istio-http/1.1")) || sniff_has_alpn(r, STR("istio")) ||
           sniff_has_alpn(r, STR("istio-peer-exchange"));
}

/* The mesh's certificate, but for a gateway's server, or a Sidecar's ingress, that has another. */
static bool is_mesh_tls(const struct conn *c)
{
    return !c->listener->tls || c->listener->tls->client == TLS_CLIENT_MESH;
}

static enum conn_state start_tls(struct conn *c)
{
    const struct tls_end *end = c->listener->tls;
    struct str creds = is_mesh_tls(c) ? c->listener->identity : end->material.creds;
    struct worker_identity *id = worker_identity(c->worker, creds);
    struct tls_context *context = id ? worker_server_context(c->worker, id, is_mesh_tls(c) ? NULL : c->listener) : NULL;
    struct err err;
    struct tls *tls = context ? tls_new(context, STR_NONE, STR_NONE, &err) : NULL;

    if (!tls) {
        log_warn("refusing TLS at %.*s: there is no certificate %.*s yet", STR_ARG(c->listener->name),
                 STR_ARG(creds));
        return refuse(c, OUTCOME_HANDSHAKE_FAILED);
    }
    if (end) {
        tls_expect(tls, end->client_names);
        tls_expect_pins(tls, end->client_pins);
    }
    tls_tell(tls, c->kind == LISTENER_GATEWAY ? TLS_TELL_CERT : TLS_TELL_NAMES);
    c->is_tls = true;
    io_start_tls(&c->io, tls, &c->first);
    return CONN_HANDSHAKE;
}

/* The ClientHello names a server of the port; bytes that are no TLS belong to none. */
static enum conn_state by_name(struct conn *c, enum sniff_verdict v)
{
    const struct listener *l =
        v == SNIFF_TLS ? snapshot_chain(c->snap->root, &c->socket_at, str_from(c->sni)) : NULL;

    if (!l)
        return refuse(c, OUTCOME_NO_LISTENER);
    c->listener = l;
    c->by_name = true;
    if (l->is_pending)
        return park(c, l->service);
    return l->tls ? start_tls(c) : CONN_TUNNEL;
}

static enum conn_state sniffed_plain(struct conn *c, enum sniff_verdict v)
{
    if (c->kind == LISTENER_INBOUND && c->listener->mtls == MTLS_STRICT && !c->is_mutual)
        return refuse(c, OUTCOME_STRICT_PLAINTEXT);
    if (v == SNIFF_TLS && c->kind == LISTENER_INBOUND && !c->is_tls)
        return CONN_TUNNEL; /* PERMISSIVE: TLS of others is the application's */
    return by_protocol(c, v == SNIFF_HTTP1 || v == SNIFF_HTTP2_PREFACE ? CONN_HTTP : CONN_TUNNEL);
}

static enum conn_state on_sniff(struct conn *c)
{
    struct sniff_result r;
    enum sniff_verdict v;
    uint8_t text[LIMIT_SNIFF_BYTES];
    size_t n, have;

    while (c->first.n < LIMIT_SNIFF_BYTES) {
        enum io_step step = io_read(&c->io, &c->first, LIMIT_SNIFF_BYTES - c->first.n, &n);

        if (step == IO_FAILED)
            return end(c, OUTCOME_SNIFF_EOF);
        if (step == IO_EOF)
            c->first_eof = true;
        if (step != IO_OK)
            break;
    }
    if (c->first_eof && c->first.n == 0)
        return end(c, OUTCOME_SNIFF_EOF);
    have = bytes_copy_out(&c->first, 0, text, sizeof(text));
    v = sniff(text, have, !c->first_eof && !c->timed_out && have < LIMIT_SNIFF_BYTES, &r);
    if (v == SNIFF_MORE)
        return CONN_SNIFF;
    if (v == SNIFF_TLS && !c->is_tls) {
        memcpy(c->sni, r.sni, r.sni_bytes);
        c->sni[r.sni_bytes] = 0;
        if (c->kind == LISTENER_INBOUND && c->listener->mtls != MTLS_DISABLE &&
            (c->listener->mtls == MTLS_STRICT || is_mesh_hello(&r)))
            return start_tls(c);
    }
    if (c->kind == LISTENER_GATEWAY && c->listener->reads_sni && !c->is_tls)
        return by_name(c, v);
    return sniffed_plain(c, v);
}

static void keep_peer(struct conn *c)
{
    struct str uri = tls_peer_uri(c->io.tls), sni = tls_sni(c->io.tls);

    if (is_mesh_tls(c)) { /* what other authorities sign is no identity of the mesh */
        c->peer_uri = str_copy(uri);
        c->is_mutual = uri.n > 0;
    }
    c->client_cert = tls_take_peer(c->io.tls);
    if (!c->by_name && sni.n < sizeof(c->sni)) {
        memcpy(c->sni, sni.p, sni.n);
        c->sni[sni.n] = 0;
    }
    live_add(tls_is_resumed(c->io.tls) ? &c->worker->live.handshakes_resumed
                                       : &c->worker->live.handshakes_full,
             1);
}

/* The client's protocol decides between HTTP and TCP, except where it names none. */
static enum conn_state on_handshake(struct conn *c)
{
    struct str alpn;

    switch (io_handshake(&c->io)) {
    case IO_AGAIN:
        if (!c->timed_out)
            return CONN_HANDSHAKE;
        return end(c, OUTCOME_HANDSHAKE_TIMEOUT);
    case IO_OK:
        break;
    case IO_EOF:
    case IO_FAILED:
        live_add(&c->worker->live.handshakes_failed, 1);
        log_debug("TLS with a client failed: %.*s", STR_ARG(io_failure(&c->io)));
        return end(c, OUTCOME_HANDSHAKE_FAILED);
    }
    keep_peer(c);
    alpn = tls_alpn(c->io.tls);
    if (c->by_name)
        return c->listener->http ? CONN_HTTP : CONN_TUNNEL;
    if (str_eq(alpn, STR("istio-h2")) || str_eq(alpn, STR("istio-http/1.1")) ||
        str_eq(alpn, STR("h2")) || str_eq(alpn, STR("http/1.1")))
        return CONN_HTTP;
    if (str_eq(alpn, STR("istio-peer-exchange")))
        return CONN_TUNNEL;
    return by_protocol(c, CONN_SNIFF);
}

/* ---- at work ---- */

static void on_stream(void *owner, struct stream *s)
{
    struct conn *c = owner;

    exchange_open(c, c->listener->is_grpc_web ? grpc_web_wrap(s) : s);
}

static void on_idle(void *owner)
{
    struct conn *c = owner;

    if (c->worker->draining)
        codec_drain(c->codec);
}

static void on_http2(void *owner)
{
    struct conn *c = owner;

    c->speaks_http2 = true;
    task_note(&c->task, N_GO);
}

static void on_end(void *owner)
{
    task_note(&((struct conn *)owner)->task, N_CHILD);
}

static const struct codec_owner_ops codec_ops = {
    .on_stream = on_stream, .on_idle = on_idle, .on_end = on_end, .on_http2 = on_http2};
static const struct codec_owner_ops http1_only_ops = {.on_stream = on_stream, .on_idle = on_idle, .on_end = on_end};

static void codec_begin(struct conn *c, struct codec *codec)
{
    c->codec = codec;
    codec->tunnels = codec->connects = true;
    codec->refuses_slow = c->kind == LISTENER_GATEWAY;
    codec->server_name = c->kind == LISTENER_OUTBOUND ? STR("envoy") : STR("istio-envoy");
    if (c->worker->draining)
        codec_drain(codec);
}

/* What was agreed on by ALPN is spoken (RFC 7301). Where nothing was, the preface tells an HTTP/2 client. */
static void start_http(struct conn *c)
{
    struct str alpn = c->io.tls ? tls_alpn(c->io.tls) : STR_NONE;
    bool is_http1 = str_eq(alpn, STR("http/1.1")) || str_eq(alpn, STR("istio-http/1.1"));

    if (str_eq(alpn, STR("h2")) || str_eq(alpn, STR("istio-h2"))) {
        c->http2 = http2_server_new(c->worker->loop, &c->io, &c->first, NULL, &codec_ops, c);
        codec_begin(c, http2_codec(c->http2));
        return;
    }
    http1_server_init(&c->http1, c->worker->loop, &c->io, &c->first, is_http1 ? &http1_only_ops : &codec_ops, c);
    c->http1.takes_h2c = c->listener->is_http2;
    codec_begin(c, &c->http1.codec);
}

static void change_to_http2(struct conn *c)
{
    struct stream *asked = c->http1.h2c_request;

    c->speaks_http2 = false;
    if (asked && !http1_upgrade(&c->http1, asked, STR("h2c")))
        asked = NULL; /* the io has failed, which the next owner finds */
    http1_take_io(&c->http1, &c->io, &c->task, 0, &c->first);
    c->http2 = http2_server_new(c->worker->loop, &c->io, &c->first, asked ? &asked->in_head : NULL, &codec_ops, c);
    http1_close(&c->http1);
    codec_begin(c, http2_codec(c->http2));
}

enum outcome conn_broken_protocol(const struct conn *c)
{
    return c->http2 ? OUTCOME_CLIENT_PROTOCOL2 : OUTCOME_CLIENT_PROTOCOL;
}

static enum conn_state on_http(struct conn *c)
{
    if (c->speaks_http2)
        change_to_http2(c);
    if (!c->child_done)
        return CONN_HTTP;
    return end(c, c->codec->failure ? conn_broken_protocol(c) : OUTCOME_TUNNEL_DONE);
}

static enum conn_state on_tunnel(struct conn *c)
{
    return c->child_done ? end(c, OUTCOME_TUNNEL_DONE) : CONN_TUNNEL;
}

static enum conn_state on_closed(struct conn *c)
{
    (void)c; /* enter() did everything */
    return CONN_CLOSED;
}

/* ---- the one close path ---- */

static void free_conn(struct reap *r)
{
    mem_free(CONTAINER(r, struct conn, reap));
}

/* A connection that never came to an exchange or a tunnel leaves its one line here. */
static void log_refusal(struct conn *c)
{
    struct access_line line = {.start_wall_ms = c->started_wall_ms, .service_time_ms = -1};

    line.flags = outcome_flag(c->outcome);
    line.code = c->codec ? c->codec->failure_status : 0;
    line.details = outcome_details(c->outcome);
    line.duration_ms = loop_now_ms(c->worker->loop) - c->started_ms;
    line.downstream_local = c->original;
    line.downstream_remote = c->remote;
    line.server_name = str_from(c->sni);
    access_write(&c->worker->proxy->access, c->worker->index, &line);
}

static void close_conn(struct conn *c)
{
    struct worker *w = c->worker;

    log_debug("connection ended in %s: %s", steps[c->state].name, outcome_text(c->outcome));
    worker_unpark(&c->park);
    if (c->codec)
        codec_close(c->codec);
    while (!link_is_empty(&c->exchanges))
        exchange_abort(CONTAINER(c->exchanges.next, struct exchange, link),
                       c->outcome == OUTCOME_STRICT_PLAINTEXT ? c->outcome : OUTCOME_CLIENT_GONE);
    if (c->tunnel)
        tunnel_close(c->tunnel);
    else if (outcome_is_error(c->outcome))
        log_refusal(c);
    if (outcome_is_error(c->outcome))
        live_add(&w->live.refused, 1);
    io_close(&c->io);
    bytes_done(&c->first);
    timer_stop(&c->timer);
    task_forget(&c->task);
    link_del(&c->link);
    snap_unref(c->snap);
    str_free(c->peer_uri);
    str_free(c->client_cert);
    if (c->is_admitted)
        admission_leave(&w->proxy->admission, &c->remote);
    live_sub(&w->live.conns, 1);
    atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
    loop_reap(w->loop, &c->reap, free_conn);
}

/* 0: no end. Nobody at the edge of the mesh may be silent for as long as he likes. */
static int64_t limit_of(const struct conn *c, enum conn_state s)
{
    return s == CONN_SNIFF && c->kind != LISTENER_GATEWAY ? c->snap->root->detection_ms : steps[s].limit_ms;
}

static void enter(struct conn *c, enum conn_state next)
{
    int64_t limit_ms;


    if (!(steps[c->state].to & BIT(next))) {
        log_error("internal: a connection may not go from %s to %s", steps[c->state].name,
                  steps[next].name);
        next = end(c, OUTCOME_INTERNAL);
    }
    if (next == CONN_CLOSED) {
        close_conn(c);
        c->state = next;
        return;
    }
    c->state = next;
    c->timed_out = false;
    timer_stop(&c->timer);
    limit_ms = limit_of(c, next);
    if (limit_ms > 0)
        timer_in(&c->timer, limit_ms);
    if (next == CONN_HTTP)
        start_http(c);
    else if (next == CONN_TUNNEL)
        c->tunnel = tunnel_open(c, &c->io, &c->first, c->first_eof, N_CHILD);
}

static void run(struct task *t, unsigned notes)
{
    struct conn *c = CONTAINER(t, struct conn, task);
    enum conn_state next;

    c->timed_out |= (notes & N_TIMER) != 0;
    c->woken |= (notes & N_WAKE) != 0;
    c->child_done |= (notes & N_CHILD) != 0;
    next = c->aborted ? CONN_CLOSED : steps[c->state].step(c);
    while (next != c->state) {
        enter(c, next);
        if (c->state == CONN_CLOSED)
            return;
        next = steps[c->state].step(c);
    }
}

static struct conn *conn_new(struct worker *w, enum socket_kind socket)
{
    struct conn *c = MEM_NEW(struct conn);

    c->worker = w;
    c->socket = socket;
    c->started_ms = loop_now_ms(w->loop);
    c->started_wall_ms = loop_wall_ms(w->loop);
    task_init(&c->task, w->loop, run);
    timer_init(&c->timer, &c->task, N_TIMER);
    bytes_init(&c->first);
    link_init(&c->exchanges);
    link_init(&c->park.link);
    link_push(&w->conns, &c->link);
    live_add(&w->live.conns, 1);
    task_note(&c->task, N_GO);
    return c;
}

void conn_open(struct worker *w, int fd, enum socket_kind socket, const struct addr *socket_at)
{
    struct conn *c;

    if (w->stopping || w->draining) {
        close(fd);
        atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
        return;
    }
    c = conn_new(w, socket);
    c->socket_at = *socket_at;
    io_init(&c->io, &c->task, 0, fd);
    io_keepalive(&c->io, 300, 60, 5);
    if (!io_peer_addr(&c->io, &c->remote))
        c->aborted = true; /* it has gone already */
}

void conn_open_pair(struct worker *w, struct io *io, struct task *task, unsigned note_shift,
                    const struct addr *to, struct str identity, struct str client_cert,
                    bool is_http)
{
    struct conn *c = conn_new(w, SOCKET_INBOUND);

    atomic_fetch_add_explicit(&w->load, 1, memory_order_relaxed);
    io_pair(io, task, note_shift, &c->io, &c->task, 0);
    c->is_pair = true;
    c->pair_http = is_http;
    c->original = c->remote = *to;
    c->remote.port = 0;
    c->is_mutual = identity.n > 0;
    c->peer_uri = (struct str){str_dup(identity), identity.n};
    c->client_cert = str_copy(client_cert);
}

void conn_abort(struct conn *c, enum outcome why)
{
    if (c->outcome == OUTCOME_NONE)
        c->outcome = why;
    if (why == OUTCOME_STRICT_PLAINTEXT)
        live_add(&c->worker->live.strict_refused, 1);
    c->aborted = true;
    task_note(&c->task, N_GO);
}

static bool is_idle(const struct conn *c)
{
    return c->state == CONN_HTTP && !c->aborted && !c->is_pair && c->codec->streams == 0;
}

#define EVICTED_AT_ONCE 64u

unsigned conn_evict(struct worker *w)
{
    unsigned count = 0;

    for (struct link *at = w->conns.next; at != &w->conns && count < EVICTED_AT_ONCE; at = at->next) {
        struct conn *c = CONTAINER(at, struct conn, link);

        if (!is_idle(c))
            continue;
        conn_abort(c, OUTCOME_EVICTED);
        count++;
    }
    if (count > 0)
        log_debug("no room: closing %u idle connections", count);
    return count;
}

void conn_drain(struct conn *c)
{
    if (c->state == CONN_HTTP)
        codec_drain(c->codec);
}
