#include "proxy/upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "pki/creds.h"
#include "proxy/conn.h"
#include "proxy/wire/tls.h"

enum { N_TIMER = 1 << IO_NOTE_BITS, N_CODEC = 2 << IO_NOTE_BITS };

#define KEY_MAX 4096

struct pool {
    struct str key;               /* owned */
    struct str cluster, identity; /* owned */
    uint64_t generation;          /* of the credentials; 0: plaintext */
    struct addr addr;
    bool has_endpoint; /* its address comes from an endpoint set */
    struct link idle;
    size_t idle_count, count;
};

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

/* ---- pools ---- */

static bool wants_tls(const struct upstream_target *t)
{
    if (t->cluster->kind != CLUSTER_ENDPOINTS || t->cluster->tls == CLUSTER_TLS_OFF)
        return false;
    return t->cluster->tls == CLUSTER_TLS_MUTUAL || (t->endpoint && t->endpoint->is_mesh);
}

static bool is_local(const struct upstream_target *t)
{
    return t->endpoint && t->endpoint->is_local;
}

/* Everything that decides who is at the other end, and as whom we speak to it. */
static struct str pool_key(const struct upstream_target *t, uint64_t generation, struct str expect,
                           char *text)
{
    char addr[ADDR_TEXT_MAX];
    bool off = t->cluster->tls == CLUSTER_TLS_OFF;
    int n =
        snprintf(text, KEY_MAX, "%.*s|%.*s|%llu|%.*s|%s|%.*s|%s|%s", STR_ARG(t->cluster->name),
                 STR_ARG(t->identity), (unsigned long long)generation, STR_ARG(expect),
                 addr_format(&t->addr, addr), STR_ARG(t->cluster->sni), t->is_http ? "http" : "tcp",
                 is_local(t)  ? (off ? "pair-plain" : "pair")
                 : generation ? "mtls"
                              : "plain");

    if (n < 0 || n >= KEY_MAX) /* two long names must not meet in one pool */
        return STR_NONE;
    return (struct str){text, (size_t)n};
}

static struct str own(struct str s)
{
    return (struct str){str_dup(s), s.n};
}

static void disown(struct str s)
{
    free((void *)(uintptr_t)s.p);
}

static struct pool *pool_get(struct worker *w, struct str key, const struct upstream_target *t,
                             uint64_t generation)
{
    struct pool *p = map_get(&w->pools, key);

    if (p)
        return p;
    p = MEM_NEW(struct pool);
    p->key = own(key);
    p->cluster = own(t->cluster->name);
    p->identity = own(t->identity);
    p->generation = generation;
    p->addr = t->addr;
    p->has_endpoint = t->endpoint != NULL;
    link_init(&p->idle);
    map_put(&w->pools, key, p);
    return p;
}

static void pool_free(struct pool *p)
{
    disown(p->key);
    disown(p->cluster);
    disown(p->identity);
    mem_free(p);
}

static bool is_current(struct worker *w, const struct pool *p)
{
    struct worker_identity *id = p->generation ? worker_identity(w, p->identity) : NULL;

    return p->generation == 0 || (id && creds_generation(id->creds) == p->generation);
}

static void leave_idle(struct upstream *u)
{
    if (link_is_empty(&u->idle_link))
        return;
    link_del(&u->idle_link);
    u->pool->idle_count--;
}

/* ---- closing and waiting ---- */

static void free_upstream(struct reap *r)
{
    mem_free(CONTAINER(r, struct upstream, reap));
}

static void tell(struct upstream *u, struct upstream *up, enum outcome why, struct str failure)
{
    struct upstream_wait *wait = u->wait;

    if (!wait)
        return;
    if (!up)
        u->wait = NULL; /* else until it is taken: it may still die before that */
    wait->pending = false;
    wait->done = true;
    wait->up = up;
    wait->outcome = why;
    snprintf(wait->failure, sizeof(wait->failure), "%.*s", STR_ARG(failure));
    task_note(wait->task, wait->note);
}

/* The one close path. */
static void close_upstream(struct upstream *u)
{
    struct worker *w = u->worker;

    u->state = UPSTREAM_CLOSED;
    tell(u, NULL, OUTCOME_UPSTREAM_CLOSED, STR_NONE);
    leave_idle(u);
    if (u->has_codec)
        http1_close(&u->http);
    io_close(&u->io);
    timer_stop(&u->timer);
    task_forget(&u->task);
    link_del(&u->link);
    if (u->pool)
        u->pool->count--;
    disown(u->peer_uri);
    live_sub(&w->live.upstreams, 1);
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
    if (u->worker->draining || !is_current(u->worker, u->pool) ||
        u->pool->idle_count >= LIMIT_POOL_IDLE) {
        http1_drain(&u->http);
        return;
    }
    link_push(&u->pool->idle, &u->idle_link);
    u->pool->idle_count++;
}

static void on_end(void *owner)
{
    struct upstream *u = owner;

    leave_idle(u);
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
        u->peer_uri = own(tls_peer_uri(u->io.tls));
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

static enum upstream_state on_ready(struct upstream *u)
{
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
        close_upstream(u);
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

static bool start_tls(struct upstream *u, const struct upstream_target *t,
                      struct worker_identity *id, struct str expect, struct str key)
{
    struct tls_context *context = worker_client_context(u->worker, id, t->is_http);
    struct err err;
    struct tls *tls = context ? tls_new(context, t->cluster->sni, key, &err) : NULL;

    if (!tls)
        return false;
    tls_expect(tls, expect);
    io_start_tls(&u->io, tls, NULL);
    return true;
}

static void dial(struct upstream *u, const struct upstream_target *t)
{
    struct worker *w = u->worker;
    int64_t limit =
        t->cluster->connect_timeout_ms > 0 ? t->cluster->connect_timeout_ms : LIMIT_CONNECT_MS;

    live_add(&w->live.connects, 1);
    if (is_local(t)) {
        struct worker_identity *id = worker_identity(w, t->identity);
        struct str who = t->cluster->tls != CLUSTER_TLS_OFF ? t->identity : STR_NONE;

        conn_open_pair(w, &u->io, &u->task, 0, &t->addr, who,
                       id ? creds_fingerprint(id->creds) : STR_NONE, t->is_http);
        if (who.n > 0)
            u->peer_uri = own(t->endpoint->identity);
    } else {
        (void)io_connect(&u->io, &u->task, 0, &t->addr,
                         w->proxy->options.mark); /* asked for in on_connect */
    }
    timer_in(&u->timer, limit);
    task_note(&u->task, IO_NOTE_WRITE);
}

static struct upstream *upstream_new(struct worker *w, struct upstream_wait *wait,
                                     struct pool *pool, const struct upstream_target *t)
{
    struct upstream *u = MEM_NEW(struct upstream);

    u->worker = w;
    u->wait = wait;
    u->addr = t->addr;
    u->idle_ms = t->cluster->http_idle_ms;
    task_init(&u->task, w->loop, run);
    timer_init(&u->timer, &u->task, N_TIMER);
    link_init(&u->idle_link);
    link_push(&w->upstreams, &u->link);
    u->pool = pool;
    if (u->pool)
        u->pool->count++;
    live_add(&w->live.upstreams, 1);
    return u;
}

static void answer(struct upstream_wait *wait, struct upstream *up, enum outcome why,
                   const char *failure)
{
    wait->done = true;
    wait->up = up;
    wait->outcome = why;
    snprintf(wait->failure, sizeof(wait->failure), "%s", failure);
    task_note(wait->task, wait->note);
}

static struct upstream *take_idle(struct pool *p)
{
    while (!link_is_empty(&p->idle)) {
        struct upstream *u =
            CONTAINER(p->idle.prev, struct upstream, idle_link); /* the one used last */

        leave_idle(u);
        if (http1_is_idle(&u->http))
            return u;
    }
    return NULL;
}

void upstream_get(struct worker *w, struct upstream_wait *wait, struct task *task, unsigned note,
                  const struct upstream_target *t)
{
    bool tls = wants_tls(t) && !is_local(t);
    struct worker_identity *id = tls ? worker_identity(w, t->identity) : NULL;
    struct str expect = STR_NONE, key;
    char text[KEY_MAX];
    struct pool *pool;
    struct upstream *u;

    *wait = (struct upstream_wait){.task = task, .note = note};
    if (tls && !id) {
        answer(wait, NULL, OUTCOME_UPSTREAM_TLS,
               "there is no certificate for the caller's identity yet");
        return;
    }
    if (tls)
        expect = t->cluster->sans.n ? t->cluster->sans
                 : t->endpoint      ? t->endpoint->identity
                                    : STR_NONE;
    key = pool_key(t, id ? creds_generation(id->creds) : 0, expect, text);
    if (key.n == 0) {
        answer(wait, NULL, OUTCOME_INTERNAL, "names of this cluster are too long");
        return;
    }
    pool = t->is_http ? pool_get(w, key, t, id ? creds_generation(id->creds) : 0) : NULL;
    u = pool && !t->fresh ? take_idle(pool) : NULL;
    if (u) {
        live_add(&w->live.reused, 1);
        wait->reused = true;
        wait->pending = true;
        u->wait = wait;
        tell(u, u, OUTCOME_NONE, STR_NONE);
        return;
    }
    wait->pending = true;
    u = upstream_new(w, wait, pool, t);
    wait->up = u;
    u->is_tls = tls;
    dial(u, t);
    if (tls && !u->io.failed && !start_tls(u, t, id, expect, key)) {
        tell(u, NULL, OUTCOME_UPSTREAM_TLS, STR("TLS cannot be set up"));
        close_upstream(u);
    }
}

void upstream_cancel(struct upstream_wait *wait)
{
    struct upstream *u = wait->up;

    if (!u || (!wait->pending && !wait->done))
        return;
    wait->up = NULL;
    wait->pending = wait->done = false;
    u->wait = NULL;
    if (u->state == UPSTREAM_READY && u->has_codec && http1_is_idle(&u->http))
        on_idle(u);
    else
        close_upstream(u);
}

void upstream_taken(struct upstream_wait *wait)
{
    if (wait->up)
        wait->up->wait = NULL;
    wait->up = NULL;
    wait->pending = wait->done = false;
}

void upstream_take(struct upstream *u, struct io *to, struct task *task, unsigned note_shift)
{
    io_move(to, &u->io, task, note_shift);
    close_upstream(u);
}

/* ---- after a swap, and the end ---- */

static bool has_address(const struct snapshot *s, const struct pool *p)
{
    const struct cluster *c = snapshot_cluster(s, p->cluster);

    if (!c)
        return false;
    if (!p->has_endpoint)
        return true;
    for (size_t i = 0; c->endpoints && i < c->endpoints->count; i++) {
        if (addr_eq(&c->endpoints->endpoints[i].addr, &p->addr))
            return true;
    }
    return false;
}

static void close_idle(struct pool *p)
{
    while (!link_is_empty(&p->idle))
        close_upstream(CONTAINER(p->idle.next, struct upstream, idle_link));
}

void upstream_trim(struct worker *w, const struct snapshot *s)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&w->pools, &i));) {
        struct pool *p = e->value;

        if (has_address(s, p) && is_current(w, p))
            continue;
        close_idle(p);
        if (p->count > 0)
            continue;
        map_del(&w->pools, p->key);
        pool_free(p);
    }
}

void upstream_drain(struct worker *w)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&w->pools, &i));)
        close_idle(e->value);
}

void upstream_close_all(struct worker *w)
{
    while (!link_is_empty(&w->upstreams))
        close_upstream(CONTAINER(w->upstreams.next, struct upstream, link));
}

void upstream_pools_done(struct worker *w)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&w->pools, &i));)
        pool_free(e->value);
    map_done(&w->pools);
}
