#include "proxy/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "pki/creds.h"
#include "proxy/balance.h"
#include "proxy/conn.h"
#include "proxy/listener.h"
#include "proxy/mirror.h"
#include "proxy/tunnel.h"
#include "proxy/upstream.h"
#include "proxy/wire/tls.h"

enum { N_REPORT = 1, N_STOP = 2, N_SERVE = 4 };

#define REPORT_MS 5000 /* TCP bytes of open tunnels, endpoints that are back */

/* Source: fields.md 4.8. */
static const char *const server_alpn[] = {"istio-h2", "istio-http/1.1", "istio-peer-exchange", "istio",
                                          "h2",       "http/1.1",       NULL};

/* What a client asks for: of agents, and of servers outside of the mesh. */
static const struct client_alpn {
    const char *const *mesh, *const *web;
} client_alpn[WORKER_PROTOCOLS] = {
    [UPSTREAM_TCP]   = {(const char *const[]){"istio-peer-exchange", "istio", NULL}, NULL},
    [UPSTREAM_HTTP1] = {(const char *const[]){"istio-http/1.1", "istio", "http/1.1", NULL},
                        (const char *const[]){"http/1.1", NULL}},
    [UPSTREAM_HTTP2] = {(const char *const[]){"istio-h2", "istio", "h2", NULL},
                        (const char *const[]){"h2", NULL}},
};

_Static_assert((int)UPSTREAM_PROTOCOLS == WORKER_PROTOCOLS, "a context for each");

/* ---- snapshots ---- */

struct snap *snap_ref(struct snap *s)
{
    s->refs++;
    return s;
}

void snap_unref(struct snap *s)
{
    if (!s || --s->refs > 0)
        return;
    snapshot_unref(s->root);
    mem_free(s);
}

static void wake_parked(struct worker *w)
{
    while (!link_is_empty(&w->parked)) {
        struct park *p = CONTAINER(w->parked.next, struct park, link);

        link_del(&p->link);
        task_note(p->task, p->note);
    }
}

/* A new rule against plaintext bites open connections too. */
static void enforce_strict(struct worker *w)
{
    for (struct link *at = w->conns.next; at != &w->conns; at = at->next) {
        struct conn *c = CONTAINER(at, struct conn, link);
        const struct listener *l;

        if (c->kind != LISTENER_INBOUND || c->is_mutual ||
            (c->state != CONN_HTTP && c->state != CONN_TUNNEL))
            continue;
        l = conn_listener(c, w->snap->root);
        if (l && l->mtls == MTLS_STRICT)
            conn_abort(c, OUTCOME_STRICT_PLAINTEXT);
    }
}

void worker_apply(struct worker *w, struct snapshot *s)
{
    struct snap *old = w->snap;

    w->snap = MEM_NEW(struct snap);
    *w->snap = (struct snap){.root = s, .refs = 1};
    snap_unref(old);
    metrics_forget(&w->metrics);
    map_done(&w->asked);
    map_init(&w->asked);
    upstream_trim(w, s);
    cluster_views_trim(&w->views, s);
    limiters_trim(&w->limiters, s);
    listener_trim(w, s);
    enforce_strict(w);
    wake_parked(w);
    worker_serve(w); /* limits may be wider now */
}

void worker_park(struct worker *w, struct park *p, struct task *task, unsigned note,
                 struct str service)
{
    p->task = task;
    p->note = note;
    link_push(&w->parked, &p->link);
    if (service.n > 0 && !map_put(&w->asked, service, w))
        proxy_need(w->proxy, service);
}

void worker_unpark(struct park *p)
{
    if (p->link.next)
        link_del(&p->link);
}

/* ---- identities ---- */

static void drop_contexts(struct worker_identity *id)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&id->gates, &i));)
        tls_context_unref(e->value);
    map_done(&id->gates);
    map_init(&id->gates);
    tls_context_unref(id->server);
    id->server = NULL;
    for (size_t i = 0; i < WORKER_PROTOCOLS; i++) {
        tls_context_unref(id->client[i]);
        tls_context_unref(id->web[i]);
        id->client[i] = id->web[i] = NULL;
    }
}

static void identity_free(struct worker_identity *id)
{
    drop_contexts(id);
    creds_unref(id->creds);
    tls_tickets_unref(id->tickets);
    str_free(id->uri);
    mem_free(id);
}

void worker_set_creds(struct worker *w, struct str uri, struct creds *c, struct tls_tickets *t)
{
    struct worker_identity *id = map_get(&w->identities, uri);

    if (!id) {
        id = MEM_NEW(struct worker_identity);
        id->uri = str_copy(uri);
        map_init(&id->gates);
        map_put(&w->identities, uri, id);
    }
    drop_contexts(id);
    creds_unref(id->creds);
    tls_tickets_unref(id->tickets);
    id->creds = c;
    id->tickets = t;
    if (w->snap)
        upstream_trim(w, w->snap->root);
}

void worker_drop_creds(struct worker *w, struct str uri)
{
    struct worker_identity *id = map_del(&w->identities, uri);

    if (!id)
        return;
    identity_free(id);
    if (w->snap)
        upstream_trim(w, w->snap->root);
}

struct worker_identity *worker_identity(struct worker *w, struct str uri)
{
    return map_get(&w->identities, uri);
}

static unsigned mesh_version(const struct worker *w)
{
    return w->proxy->options.mesh_tls13 ? 13 : 12;
}

static const char *const gate_alpn[] = {"h2", "http/1.1", NULL};

static struct tls_context *gate_context(struct worker *w, struct worker_identity *id,
                                        const struct listener *chain)
{
    static const enum tls_peer peers[] = {[TLS_CLIENT_NONE] = TLS_PEER_NONE,
                                          [TLS_CLIENT_OPTIONAL] = TLS_PEER_CLIENT_OPTIONAL,
                                          [TLS_CLIENT_REQUIRED] = TLS_PEER_CLIENT};
    const struct tls_end *end = chain->tls;
    const struct tls_options options = {.peer = peers[end->client],
                                        .alpn = chain->http ? gate_alpn : NULL,
                                        .min_version = end->min_version,
                                        .max_version = end->max_version,
                                        .ciphers = end->ciphers};
    struct tls_context *context = map_get(&id->gates, end->key);
    struct err err;

    if (context)
        return context;
    context = tls_server_context(id->creds, id->tickets, &options, &err);
    if (!context) {
        log_error("worker %u: no TLS at %.*s: %s", w->index, STR_ARG(chain->name), err.text);
        return NULL;
    }
    map_put(&id->gates, end->key, context);
    return context;
}

struct tls_context *worker_server_context(struct worker *w, struct worker_identity *id,
                                          const struct listener *chain)
{
    const struct tls_options options = {.peer = TLS_PEER_REQUIRED,
                                        .alpn = server_alpn,
                                        .min_version = mesh_version(w),
                                        .max_version = 13};
    struct err err;

    if (chain)
        return gate_context(w, id, chain);
    if (!id->server) {
        id->server = tls_server_context(id->creds, id->tickets, &options, &err);
        if (!id->server)
            log_error("worker %u: no server TLS for %.*s: %s", w->index, STR_ARG(id->uri),
                      err.text);
    }
    return id->server;
}

static struct tls_context *client_context(struct worker *w, struct worker_identity *id,
                                          struct tls_context **slot,
                                          const struct tls_options *options)
{
    struct err err;

    if (!*slot) {
        *slot = tls_client_context(id->creds, options, &err);
        if (!*slot)
            log_error("worker %u: no client TLS for %.*s: %s", w->index, STR_ARG(id->uri),
                      err.text);
    }
    return *slot;
}

struct tls_context *worker_client_context(struct worker *w, struct worker_identity *id,
                                          unsigned protocol)
{
    const struct tls_options options = {.peer = TLS_PEER_REQUIRED,
                                        .alpn = client_alpn[protocol].mesh,
                                        .min_version = mesh_version(w),
                                        .max_version = mesh_version(w)};

    return client_context(w, id, &id->client[protocol], &options);
}

struct tls_context *worker_web_context(struct worker *w, struct worker_identity *id, unsigned protocol,
                                       bool skip_verify)
{
    const struct tls_options options = {.peer = skip_verify ? TLS_PEER_ANY : TLS_PEER_WEB,
                                        .alpn = client_alpn[protocol].web,
                                        .min_version = 12,
                                        .max_version = 13};

    return client_context(w, id, &id->web[protocol], &options);
}

static void identities_done(struct map *m)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(m, &i));)
        identity_free(e->value);
    map_done(m);
}

/* ---- life ---- */

uint64_t worker_random(struct worker *w)
{
    return balance_random(&w->rng);
}

struct cluster_view *worker_view(struct worker *w, const struct cluster *c)
{
    return cluster_view_get(&w->views, &w->proxy->clusters, c, w->rng,
                            loop_now_ms(w->loop));
}

void worker_serve(struct worker *w)
{
    task_note(&w->task, N_SERVE);
}

static void report(struct worker *w)
{
    for (struct link *at = w->tunnels.next; at != &w->tunnels; at = at->next)
        tunnel_report(CONTAINER(at, struct tunnel, link));
    if (w->snap)
        cluster_views_look(&w->views, w->snap->root, loop_now_ms(w->loop));
    timer_in(&w->report, REPORT_MS);
}

static void run(struct task *t, unsigned notes)
{
    struct worker *w = CONTAINER(t, struct worker, task);

    if (notes & N_REPORT)
        report(w);
    if (notes & N_SERVE)
        upstream_serve(w);
    if (!w->stopping)
        return;
    if (!link_is_empty(&w->conns)) {
        task_note(t, N_STOP); /* they close in their own tasks */
        return;
    }
    mirrors_close_all(w);
    upstream_close_all(w);
    loop_stop(w->loop);
}

void worker_drain(struct worker *w)
{
    w->draining = true;
    while (!link_is_empty(&w->listeners))
        listener_close(CONTAINER(w->listeners.next, struct listener_socket, link));
    for (struct link *at = w->conns.next; at != &w->conns; at = at->next)
        conn_drain(CONTAINER(at, struct conn, link));
    upstream_drain(w);
}

void worker_stop(struct worker *w)
{
    w->stopping = true;
    worker_drain(w);
    timer_stop(&w->report);
    for (struct link *at = w->conns.next; at != &w->conns; at = at->next)
        conn_abort(CONTAINER(at, struct conn, link), OUTCOME_DRAINED);
    task_note(&w->task, N_STOP);
}

int worker_init(struct worker *w, struct proxy *p, unsigned index, struct err *err)
{
    w->proxy = p;
    w->index = index;
    w->loop = loop_new(err);
    if (!w->loop)
        return -1;
    if (getrandom(&w->rng, sizeof(w->rng), 0) != (ssize_t)sizeof(w->rng))
        return err_errno(err, ERR_IO, "getrandom");
    link_init(&w->listeners);
    link_init(&w->conns);
    link_init(&w->tunnels);
    link_init(&w->upstreams);
    link_init(&w->parked);
    link_init(&w->mirrors);
    link_init(&w->hungry);
    map_init(&w->identities);
    map_init(&w->pools);
    map_init(&w->views);
    map_init(&w->limiters);
    map_init(&w->asked);
    metrics_init(&w->metrics);
    task_init(&w->task, w->loop, run);
    timer_init(&w->report, &w->task, N_REPORT);
    timer_in(&w->report, REPORT_MS);
    return 0;
}

static void *thread(void *arg)
{
    struct worker *w = arg;

    loop_run(w->loop);
    bytes_pool_trim();
    return NULL;
}

int worker_start(struct worker *w, struct err *err)
{
    char name[16];

    if (pthread_create(&w->thread, NULL, thread, w) != 0)
        return err_set(err, ERR_IO, "worker %u: the thread cannot be started", w->index);
    (void)snprintf(name, sizeof(name), "weft-worker-%u", w->index);
    (void)pthread_setname_np(w->thread, name); /* for ps -T */
    w->started = true;
    return 0;
}

void worker_join(struct worker *w)
{
    if (w->started)
        pthread_join(w->thread, NULL);
    w->started = false;
}

void worker_done(struct worker *w)
{
    if (!w->loop)
        return;
    w->stopping = true; /* what still arrives by post is turned away */
    while (!link_is_empty(&w->listeners))
        listener_close(CONTAINER(w->listeners.next, struct listener_socket, link));
    timer_stop(&w->report);
    loop_free(w->loop);
    snap_unref(w->snap);
    identities_done(&w->identities);
    upstream_pools_done(w);
    cluster_views_done(&w->views);
    limiters_done(&w->limiters);
    map_done(&w->asked);
    metrics_done(&w->metrics);
}
