#include "proxy/upstream_parts.h"

#include <stdlib.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "pki/creds.h"
#include "proxy/conn.h"
#include "proxy/wire/tls.h"

enum { N_TIMER = 1 << IO_NOTE_BITS, N_CODEC = 2 << IO_NOTE_BITS };

#define RETIRE_POLL_MS 1

typedef enum upstream_state step_fn(struct upstream *u);

static step_fn on_connect, on_handshake, on_ready, on_closed;

#define TO(state) BIT(UPSTREAM_##state)

/* The deadline of the first two is one: the cluster's connect timeout. */
/* clang-format off */
static const struct {
    const char *name;
    step_fn *step;
    unsigned to;
} steps[UPSTREAM_STATES] = {
    [UPSTREAM_CONNECT]   = {"connect",   on_connect,   TO(HANDSHAKE) | TO(READY) | TO(CLOSED)},
    [UPSTREAM_HANDSHAKE] = {"handshake", on_handshake, TO(READY) | TO(CLOSED)},
    [UPSTREAM_READY]     = {"ready",     on_ready,     TO(CLOSED)},
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

static void tell(struct upstream *u, struct upstream *up, enum outcome why, struct str failure)
{
    struct upstream_wait *wait = u->wait;

    if (!wait)
        return;
    if (!up)
        u->wait = NULL; /* else until it is taken: it may still die before that */
    upstream_answer(wait, up, why, failure);
}

void upstream_give(struct upstream *u, struct upstream_wait *wait)
{
    live_add(&u->worker->live.reused, 1);
    wait->reused = true;
    u->wait = wait;
    tell(u, u, OUTCOME_NONE, STR_NONE);
}

void upstream_close(struct upstream *u)
{
    struct worker *w = u->worker;

    u->state = UPSTREAM_CLOSED;
    tell(u, NULL, OUTCOME_UPSTREAM_CLOSED, STR_NONE);
    if (u->pool) {
        pool_leave(u);
        u->pool->count--;
    }
    if (u->has_codec)
        http1_close(&u->http);
    io_close(&u->io);
    timer_stop(&u->timer);
    task_forget(&u->task);
    link_del(&u->link);
    str_free(u->peer_uri);
    live_sub(&w->live.upstreams, 1);
    if (u->view)
        upstream_gone(w, u->view);
    loop_reap(w->loop, &u->reap, free_upstream);
}

static enum upstream_state fail(struct upstream *u, enum outcome why, struct str failure)
{
    tell(u, NULL, why, failure);
    return UPSTREAM_CLOSED;
}

/* ---- the codec's owner ---- */

static void on_idle(void *owner)
{
    struct upstream *u = owner;

    if (u->wait || !link_is_empty(&u->idle_link))
        return;
    if (u->worker->draining || u->http.draining || !pool_is_current(u->worker, u->pool) ||
        u->pool->idle_count >= LIMIT_POOL_IDLE) {
        http1_drain(&u->http);
        return;
    }
    switch (queue_claim(u)) {
    case IDLE_CLOSE:
        http1_drain(&u->http);
        break;
    case IDLE_KEEP:
        pool_put(u);
        break;
    case IDLE_GIVEN:
        break;
    }
}

static void on_end(void *owner)
{
    struct upstream *u = owner;

    pool_leave(u);
    task_note(&u->task, N_CODEC);
}

static void on_stream(void *owner, struct stream *s)
{
    (void)owner; /* only servers hear of new streams */
    (void)s;
}

static const struct http1_owner_ops codec_ops = {
    .on_stream = on_stream, .on_idle = on_idle, .on_end = on_end};

/* ---- states ---- */

static enum upstream_state established(struct upstream *u)
{
    timer_stop(&u->timer);
    if (u->pool && u->age_ms_max > 0)
        timer_in(&u->timer, u->age_ms_max);
    if (!io_local_addr(&u->io, &u->local))
        u->local = (struct addr){0};
    return UPSTREAM_READY;
}

static enum upstream_state on_connect(struct upstream *u)
{
    enum io_step step = io_connected(&u->io);

    if (step == IO_AGAIN)
        return u->timed_out ? fail(u, OUTCOME_CONNECT_TIMEOUT, STR("connecting took too long"))
                            : UPSTREAM_CONNECT;
    if (step != IO_OK)
        return fail(u, OUTCOME_CONNECT_FAILED, io_failure(&u->io));
    return u->is_tls ? UPSTREAM_HANDSHAKE : established(u);
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
        return established(u);
    case IO_EOF:
    case IO_FAILED:
        live_add(&u->worker->live.handshakes_failed, 1);
        return fail(u, OUTCOME_UPSTREAM_TLS, io_failure(&u->io));
    }
    return UPSTREAM_CLOSED;
}

/* Its age is reached: what is under way ends well, nothing new begins. */
static void retire(struct upstream *u)
{
    u->timed_out = false;
    if (u->wait) { /* somebody is just about to begin */
        timer_in(&u->timer, RETIRE_POLL_MS);
        return;
    }
    pool_leave(u);
    http1_drain(&u->http);
}

static enum upstream_state on_ready(struct upstream *u)
{
    if (u->timed_out && u->has_codec)
        retire(u);
    if (u->has_codec && u->http.ended)
        return UPSTREAM_CLOSED;
    return UPSTREAM_READY;
}

static enum upstream_state on_closed(struct upstream *u)
{
    (void)u; /* nothing is left */
    return UPSTREAM_CLOSED;
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
    if (u->pool) {
        u->has_codec = true;
        http1_client_init(&u->http, u->worker->loop, &u->io, &codec_ops, u);
        if (u->idle_ms > 0)
            u->http.idle_ms_max = u->idle_ms;
    }
    tell(u, u, OUTCOME_NONE, STR_NONE);
}

static void run(struct task *t, unsigned notes)
{
    struct upstream *u = CONTAINER(t, struct upstream, task);
    enum upstream_state next;

    u->timed_out |= (notes & N_TIMER) != 0;
    next = steps[u->state].step(u);
    while (next != u->state) {
        enter(u, next);
        if (u->state == UPSTREAM_CLOSED)
            return;
        next = steps[u->state].step(u);
    }
}

/* ---- dialling ---- */

static void dial(struct upstream *u, const struct upstream_target *t)
{
    struct worker *w = u->worker;
    int64_t limit =
        t->cluster->connect_timeout_ms > 0 ? t->cluster->connect_timeout_ms : LIMIT_CONNECT_MS;

    live_add(&w->live.connects, 1);
    if (way_is_local(t)) {
        struct worker_identity *id = worker_identity(w, t->identity);
        struct str who = t->cluster->tls != CLUSTER_TLS_OFF ? t->identity : STR_NONE;

        conn_open_pair(w, &u->io, &u->task, 0, &t->addr, who,
                       id ? creds_fingerprint(id->creds) : STR_NONE, t->is_http);
        if (who.n > 0)
            u->peer_uri = str_copy(t->endpoint->identity);
    } else {
        (void)io_connect(&u->io, &u->task, 0, &t->addr,
                         w->proxy->options.mark); /* asked for in on_connect */
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
    u->wait = wait;
    u->addr = wait->target.addr;
    u->idle_ms = c->http_idle_ms;
    u->age_ms_max = c->age_ms_max;
    u->requests_max = c->requests_per_connection;
    u->view = wait->view;
    task_init(&u->task, w->loop, run);
    timer_init(&u->timer, &u->task, N_TIMER);
    link_init(&u->idle_link);
    link_init(&u->view_link);
    link_push(&w->upstreams, &u->link);
    u->pool = pool;
    if (u->pool)
        u->pool->count++;
    live_add(&w->live.upstreams, 1);
    return u;
}

bool upstream_dial(struct upstream_wait *wait)
{
    struct upstream *u;
    struct way way;

    if (!way_find(wait, &way))
        return false;
    u = upstream_new(wait, way.pool);
    wait->up = u;
    u->is_tls = way.is_tls;
    dial(u, &wait->target);
    if (way.is_tls && !u->io.failed && !way_start_tls(u, &wait->target, &way)) {
        tell(u, NULL, OUTCOME_UPSTREAM_TLS, STR("TLS cannot be set up"));
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
    u = wait->pool && !t->fresh ? pool_take(wait->pool) : NULL;
    if (u)
        upstream_give(u, wait);
    else
        queue_start(wait);
}

void upstream_cancel(struct upstream_wait *wait)
{
    struct upstream *u = wait->up;

    queue_forget(wait);
    wait->up = NULL;
    wait->pending = wait->done = false;
    if (!u)
        return;
    u->wait = NULL;
    if (u->state == UPSTREAM_READY && u->has_codec && http1_is_idle(&u->http))
        on_idle(u);
    else
        upstream_close(u);
}

static void part(struct upstream_wait *wait)
{
    wait->up->wait = NULL;
    wait->up = NULL;
    wait->pending = wait->done = false;
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
    part(wait);
    *stream = http1_open_stream(&u->http, task, note_shift);
    if (!*stream || (u->requests_max > 0 && u->http.requests >= u->requests_max))
        http1_drain(&u->http); /* without a stream it is not idle, whatever it is: nobody may have it */
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

struct cluster_view *upstream_take(struct upstream_wait *wait, struct io *to, struct task *task,
                                   unsigned note_shift)
{
    struct upstream *u = wait->up;
    struct cluster_view *v = u->view;

    part(wait);
    u->view = NULL;
    io_move(to, &u->io, task, note_shift);
    upstream_close(u);
    return v;
}

void upstream_close_all(struct worker *w)
{
    while (!link_is_empty(&w->upstreams))
        upstream_close(CONTAINER(w->upstreams.next, struct upstream, link));
}
