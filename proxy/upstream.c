#include "proxy/upstream_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "pki/creds.h"
#include "proxy/conn.h"
#include "proxy/wire/tls.h"

#define RETIRE_POLL_MS 1
#define PAIR_TOLD_MAX  (64u << 10)

typedef enum upstream_state step_fn(struct upstream *u);

static step_fn on_connect, on_handshake, on_ask, on_ready, on_carry, on_closed;

#define TO(state) BIT(UPSTREAM_##state)

/* The deadline of the first three is one: the cluster's connect timeout. */
/* clang-format off */
static const struct {
    const char *name;
    step_fn *step;
    unsigned to;
} steps[UPSTREAM_STATES] = {
    [UPSTREAM_CONNECT]   = {"connect",   on_connect,   TO(HANDSHAKE) | TO(ASK) | TO(READY) | TO(CLOSED)},
    [UPSTREAM_HANDSHAKE] = {"handshake", on_handshake, TO(ASK) | TO(READY) | TO(CLOSED)},
    [UPSTREAM_ASK]       = {"ask",       on_ask,       TO(READY) | TO(CLOSED)},
    [UPSTREAM_READY]     = {"ready",     on_ready,     TO(CARRY) | TO(CLOSED)},
    [UPSTREAM_CARRY]     = {"carry",     on_carry,     TO(CLOSED)},
    [UPSTREAM_CLOSED]    = {"closed",    on_closed,    0},
};
/* clang-format on */

/* ---- closing and waiting ---- */

static void free_upstream(struct reap *r)
{
    mem_free(CONTAINER(r, struct upstream, reap));
}

void upstream_answer(struct upstream_wait *wait, struct upstream *up, enum outcome why,
                     struct str failure)
{
    queue_forget(wait);
    wait->pending = false;
    wait->done = true;
    wait->up = up;
    wait->outcome = why;
    str_fit(wait->failure, sizeof(wait->failure), failure);
    task_note(wait->task, wait->note);
}

static void expect(struct upstream *u, struct upstream_wait *wait)
{
    wait->up = u;
    link_push(&u->waits, &wait->link);
    u->waiting++;
}

static void part(struct upstream *u, struct upstream_wait *wait)
{
    link_del(&wait->link);
    wait->up = NULL;
    u->waiting--;
}

/* It is ready. Waiters stay in the list until they begin: it may still die before that. */
static void tell_ready(struct upstream *u)
{
    for (struct link *at = u->waits.next; at != &u->waits; at = at->next)
        upstream_answer(CONTAINER(at, struct upstream_wait, link), u, OUTCOME_NONE, STR_NONE);
}

static void tell_failed(struct upstream *u, enum outcome why, struct str failure)
{
    while (!link_is_empty(&u->waits)) {
        struct upstream_wait *wait = CONTAINER(u->waits.next, struct upstream_wait, link);

        part(u, wait);
        upstream_answer(wait, NULL, why, failure);
    }
}

void upstream_give(struct upstream *u, struct upstream_wait *wait)
{
    expect(u, wait);
    pool_settle(u);
    if (u->state != UPSTREAM_READY)
        return; /* answered with the one who dials */
    live_add(&u->worker->live.reused, 1);
    wait->reused = true;
    upstream_answer(wait, u, OUTCOME_NONE, STR_NONE);
}

void upstream_close(struct upstream *u)
{
    struct worker *w = u->worker;

    u->state = UPSTREAM_CLOSED;
    tell_failed(u, OUTCOME_UPSTREAM_CLOSED, STR_NONE);
    if (u->pool) {
        pool_leave(u);
        u->pool->count--;
    }
    post_end(u);
    if (u->codec)
        codec_close(u->codec);
    io_close(&u->io);
    timer_stop(&u->timer);
    task_forget(&u->task);
    link_del(&u->link);
    str_free(u->peer_uri);
    str_free(u->asks);
    bytes_done(&u->early);
    live_sub(&w->live.upstreams, 1);
    if (u->view)
        upstream_gone(w, u->view);
    loop_reap(w->loop, &u->reap, free_upstream);
}

static enum upstream_state fail(struct upstream *u, enum outcome why, struct str failure)
{
    tell_failed(u, why, failure);
    return UPSTREAM_CLOSED;
}

/* ---- the codec's owner ---- */

/* How many may wait for a connection that is being dialled: of HTTP/2 as many as it will carry, as far as we know. */
static size_t room_ahead(const struct upstream *u)
{
    if (u->protocol != UPSTREAM_HTTP2)
        return 1;
    return u->streams_max > 0 ? MIN(u->streams_max, LIMIT_H2_STREAMS) : LIMIT_H2_STREAMS;
}

bool upstream_has_room(const struct upstream *u)
{
    size_t room = u->codec ? codec_capacity(u->codec) : 0;

    if (u->state != UPSTREAM_READY)
        room = room_ahead(u);
    if (u->requests_max > 0)
        room = MIN(room, u->requests_max - MIN(u->codec ? u->codec->requests : 0, u->requests_max));
    return room > u->waiting;
}

bool upstream_is_quiet(const struct upstream *u)
{
    return u->codec && u->codec->streams == 0 && u->waiting == 0;
}

/* What is under way ends well, nothing new begins. */
static void retire(struct upstream *u)
{
    u->timed_out = false;
    if (u->waiting > 0) { /* somebody is just about to begin */
        timer_in(&u->timer, RETIRE_POLL_MS);
        return;
    }
    pool_leave(u);
    codec_drain(u->codec);
}

static void on_idle(void *owner)
{
    struct upstream *u = owner;

    if (!upstream_has_room(u)) {
        pool_settle(u);
        return;
    }
    if (u->worker->draining || !pool_is_current(u->worker, u->pool) ||
        (link_is_empty(&u->idle_link) && u->pool->idle_count >= LIMIT_POOL_IDLE)) {
        retire(u);
        return;
    }
    if (queue_claim(u))
        pool_settle(u);
    else
        retire(u);
}

static void on_end(void *owner)
{
    struct upstream *u = owner;

    pool_leave(u);
    task_note(&u->task, UPSTREAM_NOTE_CODEC);
}

static void on_stream(void *owner, struct stream *s)
{
    (void)owner; /* only servers hear of new streams */
    (void)s;
}

static const struct codec_owner_ops codec_ops = {
    .on_stream = on_stream, .on_idle = on_idle, .on_end = on_end};

/* ---- states ---- */

static enum upstream_state established(struct upstream *u)
{
    timer_stop(&u->timer);
    if (u->pool && u->age_ms_max > 0)
        timer_in(&u->timer, u->age_ms_max);
    if (!io_local_addr(u->codec ? &u->codec->io : &u->io, &u->local))
        u->local = (struct addr){0};
    return UPSTREAM_READY;
}

static enum upstream_state secured(struct upstream *u)
{
    if (u->asks.n == 0)
        return established(u);
    (u->asks_by_post ? post_ask : prelude_ask)(u, u->asks);
    return UPSTREAM_ASK;
}

static enum upstream_state on_ask(struct upstream *u)
{
    char why[100];

    switch ((u->carry ? post_answered : prelude_answered)(u, why, sizeof(why))) {
    case IO_AGAIN:
        return u->timed_out ? fail(u, OUTCOME_CONNECT_TIMEOUT, STR("the forward proxy does not answer"))
                            : UPSTREAM_ASK;
    case IO_OK:
        return established(u);
    case IO_EOF:
    case IO_FAILED:
        break;
    }
    return fail(u, OUTCOME_CONNECT_FAILED, str_from(why));
}

static enum upstream_state on_connect(struct upstream *u)
{
    enum io_step step = io_connected(&u->io);

    if (step == IO_AGAIN)
        return u->timed_out ? fail(u, OUTCOME_CONNECT_TIMEOUT, STR("connecting took too long"))
                            : UPSTREAM_CONNECT;
    if (step != IO_OK) {
        char why[100];

        snprintf(why, sizeof(why), "delayed connect error: %.*s", STR_ARG(io_failure(&u->io))); /* as Envoy says it */
        return fail(u, OUTCOME_CONNECT_FAILED, str_from(why));
    }
    return u->is_tls ? UPSTREAM_HANDSHAKE : secured(u);
}

static enum upstream_state on_handshake(struct upstream *u)
{
    switch (io_handshake(&u->io)) {
    case IO_AGAIN:
        return u->timed_out
                   ? fail(u, OUTCOME_CONNECT_TIMEOUT, STR("the TLS handshake took too long"))
                   : UPSTREAM_HANDSHAKE;
    case IO_OK:
        u->peer_uri = str_copy(tls_peer_uri(u->io.tls));
        live_add(tls_is_resumed(u->io.tls) ? &u->worker->live.handshakes_resumed
                                           : &u->worker->live.handshakes_full,
                 1);
        return secured(u);
    case IO_EOF:
    case IO_FAILED:
        live_add(&u->worker->live.handshakes_failed, 1);
        return fail(u, OUTCOME_UPSTREAM_TLS, io_failure(&u->io));
    }
    return UPSTREAM_CLOSED;
}

static enum upstream_state on_ready(struct upstream *u)
{
    if (u->timed_out && u->codec)
        retire(u); /* its age is reached */
    if (u->codec && u->codec->ended)
        return UPSTREAM_CLOSED;
    return UPSTREAM_READY;
}

static enum upstream_state on_carry(struct upstream *u)
{
    return post_carry(u);
}

static enum upstream_state on_closed(struct upstream *u)
{
    (void)u; /* nothing is left */
    return UPSTREAM_CLOSED;
}

static void speak(struct upstream *u)
{
    if (u->protocol == UPSTREAM_HTTP2) {
        u->http2 = http2_client_new(u->worker->loop, &u->io, u->streams_max, &codec_ops, u);
        u->codec = http2_codec(u->http2);
        if (u->probe_every_ms > 0)
            http2_probe(u->http2, u->probe_every_ms, u->probe_within_ms);
    } else {
        http1_client_init(&u->http1, u->worker->loop, &u->io, &codec_ops, u);
        u->codec = &u->http1.codec;
    }
    u->codec->tunnels = true;
    if (u->idle_ms > 0)
        u->codec->idle_ms_max = u->idle_ms;
}

static void enter(struct upstream *u, enum upstream_state next)
{
    if (!(steps[u->state].to & BIT(next))) {
        log_error("internal: an upstream may not go from %s to %s", steps[u->state].name,
                  steps[next].name);
        next = UPSTREAM_CLOSED;
    }
    if (next == UPSTREAM_CLOSED) {
        upstream_close(u);
        return;
    }
    u->state = next;
    if (next != UPSTREAM_READY)
        return;
    if (u->pool)
        speak(u);
    tell_ready(u);
}

static void run(struct task *t, unsigned notes)
{
    struct upstream *u = CONTAINER(t, struct upstream, task);
    enum upstream_state next;

    u->timed_out |= (notes & UPSTREAM_NOTE_TIMER) != 0;
    next = steps[u->state].step(u);
    while (next != u->state) {
        enter(u, next);
        if (u->state == UPSTREAM_CLOSED)
            return;
        next = steps[u->state].step(u);
    }
}

/* ---- dialling ---- */

/* As if the two had met over TLS. */
static void open_pair(struct upstream *u, const struct upstream_target *t)
{
    struct worker_identity *id = worker_identity(u->worker, t->identity);
    struct str who = t->cluster->tls != CLUSTER_TLS_OFF ? t->identity : STR_NONE;
    struct buf told;

    buf_init(&told, PAIR_TOLD_MAX);
    if (who.n > 0)
        buf_printf(&told, "By=%.*s;", STR_ARG(t->endpoint->identity));
    if (who.n > 0 && id)
        creds_tell(id->creds, &told);
    else if (who.n > 0)
        buf_printf(&told, "URI=%.*s", STR_ARG(who)); /* its certificate has not come yet */
    conn_open_pair(u->worker, &u->io, &u->task, 0, &t->addr, who, buf_str(&told), t->protocol != UPSTREAM_TCP);
    buf_done(&told);
    if (who.n > 0)
        u->peer_uri = str_copy(t->endpoint->identity);
}

static void dial(struct upstream *u, const struct upstream_target *t)
{
    struct worker *w = u->worker;
    int64_t limit =
        t->cluster->connect_timeout_ms > 0 ? t->cluster->connect_timeout_ms : LIMIT_CONNECT_MS;

    live_add(&w->live.connects, 1);
    if (way_is_local(t)) {
        open_pair(u, t);
    } else {
        char text[PRELUDE_MAX];

        (void)io_connect(&u->io, &u->task, 0, &t->addr,
                         w->proxy->options.mark); /* asked for in on_connect */
        if (t->cluster->proxy_header != CLUSTER_HEADER_NONE)
            (void)io_write_str(&u->io, prelude_proxy_header(t, text)); /* before TLS; likewise */
        if (t->cluster->probes.is_on)
            io_probe(&u->io, (int)t->cluster->probes.after_s, (int)t->cluster->probes.every_s,
                     (int)t->cluster->probes.count);
    }
    timer_in(&u->timer, limit);
    task_note(&u->task, IO_NOTE_WRITE);
}

static struct upstream *upstream_new(struct upstream_wait *wait, struct pool *pool)
{
    struct upstream *u = MEM_NEW(struct upstream);
    const struct cluster *c = wait->target.cluster;
    struct worker *w = wait->worker;

    u->worker = w;
    u->protocol = wait->target.protocol;
    u->addr = wait->target.addr;
    u->idle_ms = c->http_idle_ms;
    u->age_ms_max = c->age_ms_max;
    u->requests_max = c->requests_per_connection;
    u->streams_max = c->streams_per_connection;
    u->probe_every_ms = c->http2_probe_every_ms;
    u->probe_within_ms = c->http2_probe_within_ms;
    u->view = wait->view;
    if (u->protocol == UPSTREAM_TCP)
        u->asks = str_copy(c->forward_to);
    u->asks_by_post = c->forwards_by_post;
    bytes_init(&u->early);
    task_init(&u->task, w->loop, run);
    timer_init(&u->timer, &u->task, UPSTREAM_NOTE_TIMER);
    link_init(&u->waits);
    link_init(&u->idle_link);
    link_init(&u->view_link);
    link_push(&w->upstreams, &u->link);
    u->pool = pool;
    if (u->pool)
        u->pool->count++;
    live_add(&w->live.upstreams, 1);
    expect(u, wait);
    if (u->pool)
        pool_settle(u);
    return u;
}

bool upstream_dial(struct upstream_wait *wait)
{
    struct upstream *u;
    struct way way;

    if (!way_find(wait, &way))
        return false;
    u = upstream_new(wait, way.pool);
    u->is_tls = way.is_tls;
    dial(u, &wait->target);
    if (way.is_tls && !u->io.failed && !way_start_tls(u, &wait->target, &way)) {
        tell_failed(u, OUTCOME_UPSTREAM_TLS, STR("TLS cannot be set up"));
        upstream_close(u);
    }
    return true;
}

void upstream_get(struct worker *w, struct upstream_wait *wait, struct task *task, unsigned note,
                  const struct upstream_target *t)
{
    struct upstream *u;
    struct way way;

    *wait = (struct upstream_wait){.task = task, .note = note, .worker = w, .target = *t};
    link_init(&wait->link);
    wait->pending = true;
    if (!way_find(wait, &way))
        return;
    wait->pool = way.pool;
    u = wait->pool && !t->fresh ? pool_take(wait->pool, true) : NULL;
    if (u)
        upstream_give(u, wait);
    else
        queue_start(wait);
}

void upstream_cancel(struct upstream_wait *wait)
{
    struct upstream *u = wait->up;

    queue_forget(wait);
    wait->pending = wait->done = false;
    if (!u)
        return;
    part(u, wait);
    if (u->state == UPSTREAM_READY && u->codec && upstream_has_room(u))
        on_idle(u);
    else if (u->waiting == 0 && (!u->codec || u->carry || u->codec->streams == 0))
        upstream_close(u);
}

enum outcome upstream_open(struct upstream_wait *wait, struct task *task, unsigned note_shift,
                           struct stream **stream, struct breaker **counted)
{
    const struct cluster *c = wait->target.cluster;
    struct upstream *u = wait->up;
    struct breaker *b = u->view->breaker;

    *stream = NULL;
    *counted = NULL;
    if (breaker_counts(&c->limits, BREAKER_REQUESTS)) {
        if (!breaker_take(b, BREAKER_REQUESTS, &c->limits)) {
            upstream_cancel(wait);
            return OUTCOME_OVERFLOW;
        }
        *counted = breaker_ref(b);
    }
    part(u, wait);
    wait->pending = wait->done = false;
    *stream = codec_open(u->codec, task, note_shift);
    if (!*stream || (u->requests_max > 0 && u->codec->requests >= u->requests_max))
        retire(u); /* without a stream it is not idle, whatever it is: nobody may have it */
    else
        pool_settle(u);
    return *stream ? OUTCOME_NONE : OUTCOME_UPSTREAM_REFUSED;
}

void upstream_request_end(struct breaker **counted)
{
    if (!*counted)
        return;
    breaker_leave(*counted, BREAKER_REQUESTS);
    breaker_unref(*counted);
    *counted = NULL;
}

struct cluster_view *upstream_take(struct upstream_wait *wait, struct io *to, struct bytes *early,
                                   struct task *task, unsigned note_shift)
{
    struct upstream *u = wait->up;
    struct cluster_view *v = u->view;

    part(u, wait);
    wait->pending = wait->done = false;
    u->view = NULL;
    if (u->carry) {
        post_take(u, to, task, note_shift);
        enter(u, UPSTREAM_CARRY);
        return v;
    }
    io_move(to, &u->io, task, note_shift);
    bytes_move(early, &u->early, u->early.n);
    upstream_close(u);
    return v;
}

void upstream_close_all(struct worker *w)
{
    while (!link_is_empty(&w->upstreams))
        upstream_close(CONTAINER(w->upstreams.next, struct upstream, link));
}
