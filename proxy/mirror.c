#include "proxy/mirror.h"

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "proxy/exchange.h"
#include "proxy/pick.h"

#define SHARE_ALL 1000000u

enum { N_TIMER = 1 << STREAM_NOTE_BITS, N_UPSTREAM = 2 << STREAM_NOTE_BITS };

struct mirror {
    struct task task;
    struct timer timer;
    struct reap reap;
    struct link link; /* in worker->mirrors */
    struct link feed; /* in exchange->mirrors until the request is complete */
    struct worker *worker;
    struct snap *snap;
    struct picked to;
    struct upstream_wait wait;
    struct stream *stream; /* NULL until connected */
    struct breaker *counted;
    struct http_head head;
    struct bytes body; /* what waits to be sent */
    bool complete;     /* nothing will be added to `body` */
    struct arena arena;
};

static void free_mirror(struct reap *r)
{
    mem_free(CONTAINER(r, struct mirror, reap));
}

static void close_mirror(struct mirror *m)
{
    struct worker *w = m->worker;

    if (m->stream)
        stream_release(m->stream);
    else
        upstream_cancel(&m->wait);
    upstream_request_end(&m->counted);
    bytes_done(&m->body);
    timer_stop(&m->timer);
    task_forget(&m->task);
    link_del(&m->link);
    link_del(&m->feed);
    endpoint_block_end(m->to.block);
    endpoint_block_unref(m->to.block);
    snap_unref(m->snap);
    arena_done(&m->arena);
    w->mirror_count--;
    live_sub(&w->live.attempts, 1);
    loop_reap(w->loop, &m->reap, free_mirror);
}

/* False: the connection is gone, or never came. */
static bool connect_stream(struct mirror *m)
{
    bool ends = m->complete && m->body.n == 0;

    if (!m->wait.up)
        return false;
    if (upstream_open(&m->wait, &m->task, 0, &m->stream, &m->counted) != OUTCOME_NONE)
        return false;
    stream_send_head(m->stream, &m->head, ends);
    return true;
}

static void send_body(struct mirror *m)
{
    struct bytes some;

    bytes_init(&some);
    while (m->body.n > 0) {
        size_t n = MIN(m->body.n, stream_room(m->stream));

        if (n == 0)
            return;
        bytes_move(&some, &m->body, n);
        stream_send_data(m->stream, &some, false);
        bytes_done(&some);
    }
    if (m->complete && !m->stream->out_ended)
        stream_send_data(m->stream, &some, true);
}

static void drop_answer(struct stream *s)
{
    if (s->in.n == 0)
        return;
    bytes_done(&s->in);
    stream_consumed(s);
}

static void run(struct task *t, unsigned notes)
{
    struct mirror *m = CONTAINER(t, struct mirror, task);
    bool is_over = (notes & N_TIMER) != 0;

    if (!is_over && !m->stream && m->wait.done)
        is_over = !connect_stream(m);
    if (!is_over && m->stream) {
        send_body(m);
        drop_answer(m->stream);
        is_over = m->stream->reset != STREAM_RESET_NONE ||
                  (m->stream->in_ended && m->stream->out_ended);
    }
    if (is_over)
        close_mirror(m);
}

/* "svc" becomes "svc-shadow", "svc:80" "svc-shadow:80". */
static struct str shadow_of(struct arena *a, struct str authority)
{
    struct str host = http_host_only(authority);
    struct str port = str_sub(authority, host.n, authority.n);

    return arena_printf(a, "%.*s-shadow%.*s", STR_ARG(host), (int)port.n, port.n ? port.p : "");
}

static void start(struct exchange *x, const struct cluster *c)
{
    struct worker *w = x->worker;
    struct upstream_target target = {.cluster = c, .protocol = exchange_protocol(x, c)};
    struct mirror *m;
    struct picked to;
    struct str host;

    if (w->mirror_count >= LIMIT_MIRRORS ||
        !pick_endpoint(w, c, conn_destination(x->conn), NULL, NULL, &to))
        return;
    m = MEM_NEW(struct mirror);
    m->worker = w;
    m->snap = snap_ref(x->snap);
    m->to = to;
    arena_init(&m->arena);
    bytes_init(&m->body);
    http_head_copy(&m->head, &x->request, &m->arena);
    host = http_host_name(m->head.authority);
    m->head.authority = shadow_of(&m->arena, x->request.authority);
    task_init(&m->task, w->loop, run);
    timer_init(&m->timer, &m->task, N_TIMER);
    link_init(&m->feed);
    link_push(&w->mirrors, &m->link);
    link_push(&x->mirrors, &m->feed);
    w->mirror_count++;
    endpoint_block_begin(to.block);
    live_add(&w->live.attempts, 1);
    timer_in(&m->timer, x->route->timeout_ms > 0 ? x->route->timeout_ms : LIMIT_MIRROR_MS);
    target.endpoint = to.endpoint;
    target.addr = to.addr;
    target.host = host;
    target.identity =
        x->listener->identity.n ? x->listener->identity : x->snap->root->default_identity;
    upstream_get(w, &m->wait, &m->task, N_UPSTREAM, &target);
}

void mirrors_start(struct exchange *x)
{
    for (size_t i = 0; i < x->route->mirror_count && x->request.framing != HTTP_BODY_TUNNEL; i++) {
        const struct route_mirror *r = &x->route->mirrors[i];
        const struct cluster *c = snapshot_cluster(x->snap->root, r->cluster);

        if (c && worker_random(x->worker) % SHARE_ALL < r->share)
            start(x, c);
    }
}

void mirrors_feed(struct exchange *x, size_t n)
{
    struct link *at = x->mirrors.next;

    while (at != &x->mirrors) {
        struct mirror *m = CONTAINER(at, struct mirror, feed);

        at = at->next;
        if (m->body.n + n > LIMIT_STREAM_HIGH) {
            close_mirror(m);
            continue;
        }
        bytes_share(&m->body, &x->down->in, 0, n);
        if (m->stream)
            task_note(&m->task, STREAM_NOTE_ROOM);
    }
}

void mirrors_finish(struct exchange *x)
{
    while (!link_is_empty(&x->mirrors)) {
        struct mirror *m = CONTAINER(x->mirrors.next, struct mirror, feed);

        link_del(&m->feed);
        m->complete = true;
        if (m->stream)
            task_note(&m->task, STREAM_NOTE_ROOM);
    }
}

void mirrors_abandon(struct exchange *x)
{
    while (!link_is_empty(&x->mirrors))
        close_mirror(CONTAINER(x->mirrors.next, struct mirror, feed));
}

void mirrors_close_all(struct worker *w)
{
    while (!link_is_empty(&w->mirrors))
        close_mirror(CONTAINER(w->mirrors.next, struct mirror, link));
}
