#include <stdlib.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "pki/creds.h"
#include "proxy/upstream_parts.h"

struct pool *pool_get(struct worker *w, const struct upstream_target *t, const struct way *way)
{
    struct pool *p = map_get(&w->pools, way->key);

    if (p)
        return p;
    p = MEM_NEW(struct pool);
    p->key = str_copy(way->key);
    p->cluster = str_copy(t->cluster->name);
    p->creds = str_copy(way->creds);
    p->generation = way->id ? creds_generation(way->id->creds) : 0;
    p->addr = t->addr;
    p->has_endpoint = t->endpoint != NULL;
    link_init(&p->idle);
    map_put(&w->pools, way->key, p);
    return p;
}

static void pool_free(struct pool *p)
{
    str_free(p->key);
    str_free(p->cluster);
    str_free(p->creds);
    mem_free(p);
}

bool pool_is_current(struct worker *w, const struct pool *p)
{
    struct worker_identity *id = p->generation ? worker_identity(w, p->creds) : NULL;

    return p->generation == 0 || (id && creds_generation(id->creds) == p->generation);
}

static bool is_in(const struct link *l)
{
    return !link_is_empty(l);
}

void pool_leave(struct upstream *u)
{
    link_del(&u->view_link);
    if (!is_in(&u->idle_link))
        return;
    link_del(&u->idle_link);
    u->pool->idle_count--;
}

void pool_settle(struct upstream *u)
{
    bool quiet = upstream_is_quiet(u);

    if (!upstream_has_room(u)) {
        pool_leave(u);
        return;
    }
    if (!is_in(&u->idle_link)) {
        link_push(&u->pool->idle, &u->idle_link);
        u->pool->idle_count++;
    }
    if (quiet && !is_in(&u->view_link))
        link_push(&u->view->idle, &u->view_link);
    else if (!quiet)
        link_del(&u->view_link);
}

struct upstream *pool_take(struct pool *p, bool ready)
{
    struct link *at = p->idle.prev;

    while (at != &p->idle) {
        struct upstream *u = CONTAINER(at, struct upstream, idle_link);

        at = at->prev;
        if ((u->state == UPSTREAM_READY) != ready)
            continue;
        if (upstream_has_room(u))
            return u;
        pool_leave(u);
    }
    return NULL;
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

/* Idle ones now, the others when what is under way has ended. */
static void close_idle(struct pool *p)
{
    while (!link_is_empty(&p->idle)) {
        struct upstream *u = CONTAINER(p->idle.next, struct upstream, idle_link);

        if (upstream_is_quiet(u)) {
            upstream_close(u);
            continue;
        }
        pool_leave(u);
        if (u->codec)
            codec_drain(u->codec);
    }
}

void upstream_trim(struct worker *w, const struct snapshot *s)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&w->pools, &i));) {
        struct pool *p = e->value;

        if (has_address(s, p) && pool_is_current(w, p))
            continue;
        close_idle(p);
        if (p->count > 0 || p->waiters > 0)
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

void upstream_pools_done(struct worker *w)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&w->pools, &i));)
        pool_free(e->value);
    map_done(&w->pools);
}
