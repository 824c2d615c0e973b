/* Connections of a cluster are slots of its breaker. A request that gets none waits in its worker's
 * queue for the cluster; a slot may become free in any worker, so workers wake each other:
 *
 *   - who joins a queue counts itself in breaker->waiting, and only then tries once more; who frees
 *     a slot frees it first, and then looks at `waiting`. So one of the two sees the other.
 *   - an idle connection holds a slot, too: its worker closes it when others wait and it does not.
 *   - where own requests and other workers' wait, connections go to them by turns.
 */
#include "mesh/base/mem.h"
#include "proxy/upstream_parts.h"

struct wake {
    struct post post;
    struct worker *worker;
    struct breaker *breaker; /* referenced */
};

static unsigned waiting_elsewhere(const struct cluster_view *v)
{
    unsigned all = atomic_load(&v->breaker->waiting);

    return all > v->waiting ? all - v->waiting : 0;
}

static struct upstream *longest_idle(struct cluster_view *v)
{
    return link_is_empty(&v->idle) ? NULL : CONTAINER(v->idle.next, struct upstream, view_link);
}

static void do_wake(struct post *p)
{
    struct wake *k = CONTAINER(p, struct wake, post);
    struct worker *w = k->worker;
    struct cluster_view *v = w->stopping ? NULL : map_get(&w->views, k->breaker->name);

    if (v && v->breaker == k->breaker) {
        struct upstream *idle = longest_idle(v);

        if (v->waiting > 0)
            worker_serve(w);
        else if (idle && waiting_elsewhere(v) > 0)
            upstream_close(idle);
    }
    breaker_unref(k->breaker);
    mem_free(k);
}

static void wake_others(struct worker *w, struct breaker *b)
{
    for (size_t i = 0; i < w->proxy->worker_count; i++) {
        struct worker *to = &w->proxy->workers[i];
        struct wake *k;

        if (to == w)
            continue;
        k = MEM_NEW(struct wake);
        *k = (struct wake){.post.fn = do_wake, .worker = to, .breaker = breaker_ref(b)};
        loop_post(to->loop, &k->post);
    }
}

/* ---- slots ---- */

static bool take_slot(struct cluster_view *v, const struct cluster_limits *l)
{
    struct upstream *idle;

    if (breaker_take(v->breaker, BREAKER_CONNECTIONS, l))
        return true;
    idle = longest_idle(v);
    if (!idle)
        return false;
    upstream_close(idle);
    return breaker_take(v->breaker, BREAKER_CONNECTIONS, l);
}

void upstream_gone(struct worker *w, struct cluster_view *v)
{
    breaker_leave(v->breaker, BREAKER_CONNECTIONS);
    if (v->waiting > 0)
        worker_serve(w);
    if (waiting_elsewhere(v) > 0)
        wake_others(w, v->breaker);
    v->users--;
}

/* ---- the queue ---- */

static void join(struct upstream_wait *wait)
{
    struct cluster_view *v = wait->view;
    struct worker *w = wait->worker;

    link_push(&v->queue, &wait->link);
    wait->is_queued = true;
    wait->pool->waiters++;
    if (v->waiting++ == 0)
        link_push(&w->hungry, &v->hungry);
    atomic_fetch_add(&v->breaker->waiting, 1);
    worker_serve(w);
    wake_others(w, v->breaker);
}

void queue_leave(struct upstream_wait *wait)
{
    struct cluster_view *v = wait->view;

    if (!wait->is_queued)
        return;
    wait->is_queued = false;
    link_del(&wait->link);
    wait->pool->waiters--;
    if (--v->waiting == 0)
        link_del(&v->hungry);
    atomic_fetch_sub(&v->breaker->waiting, 1);
}

void queue_forget(struct upstream_wait *wait)
{
    if (!wait->view)
        return;
    queue_leave(wait);
    if (wait->is_counted)
        breaker_leave(wait->view->breaker, BREAKER_PENDING);
    wait->is_counted = false;
    wait->view->users--;
    wait->view = NULL;
}

/* In a slot that was taken. */
static void dial(struct upstream_wait *wait, struct cluster_view *v)
{
    struct worker *w = wait->worker;

    v->users++; /* the slot's */
    if (!upstream_dial(wait))
        upstream_gone(w, v);
}

void queue_start(struct upstream_wait *wait)
{
    const struct cluster *c = wait->target.cluster;
    struct cluster_view *v = worker_view(wait->worker, c);
    struct upstream *u;

    wait->view = v;
    v->users++;
    if (wait->target.protocol != UPSTREAM_TCP && breaker_counts(&c->limits, BREAKER_PENDING)) {
        wait->is_counted = breaker_take(v->breaker, BREAKER_PENDING, &c->limits);
        if (!wait->is_counted) {
            upstream_answer(wait, NULL, OUTCOME_OVERFLOW, STR("too many requests wait for a connection"));
            return;
        }
    }
    u = wait->pool && wait->target.protocol == UPSTREAM_HTTP2 && !wait->target.fresh
            ? pool_take(wait->pool, false)
            : NULL;
    if (u)
        upstream_give(u, wait);
    else if (v->waiting == 0 && take_slot(v, &c->limits))
        dial(wait, v);
    else if (wait->target.protocol != UPSTREAM_TCP)
        join(wait);
    else
        upstream_answer(wait, NULL, OUTCOME_OVERFLOW, STR("too many connections to the service"));
}

/* Limits may have changed since the request was routed. */
static const struct cluster_limits *limits_now(const struct worker *w,
                                               const struct upstream_wait *wait)
{
    const struct cluster *then = wait->target.cluster;
    const struct cluster *now = w->snap ? snapshot_cluster(w->snap->root, then->name) : NULL;

    return now ? &now->limits : &then->limits;
}

static void serve_view(struct worker *w, struct cluster_view *v)
{
    while (!link_is_empty(&v->queue)) {
        struct upstream_wait *wait = CONTAINER(v->queue.next, struct upstream_wait, link);

        if (!take_slot(v, limits_now(w, wait)))
            return;
        queue_leave(wait);
        v->served_own = true;
        dial(wait, v);
    }
}

void upstream_serve(struct worker *w)
{
    struct link *at = w->hungry.next;

    while (at != &w->hungry) {
        struct cluster_view *v = CONTAINER(at, struct cluster_view, hungry);

        at = at->next;
        serve_view(w, v);
    }
}

bool queue_claim(struct upstream *u)
{
    struct cluster_view *v = u->view;
    unsigned others = waiting_elsewhere(v);

    if (others > 0 && upstream_is_quiet(u) && (v->waiting == 0 || v->served_own)) {
        v->served_own = false;
        return false;
    }
    while (v->waiting > 0 && upstream_has_room(u)) {
        struct upstream_wait *first = CONTAINER(v->queue.next, struct upstream_wait, link);

        if (first->pool != u->pool) /* if it can, it makes room for what they need */
            return !upstream_is_quiet(u);
        v->served_own = true;
        queue_leave(first);
        upstream_give(u, first);
    }
    return true;
}
