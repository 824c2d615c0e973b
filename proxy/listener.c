#include "proxy/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "proxy/conn.h"

enum { N_ACCEPT = 1, N_PAUSE = 2 };

#define ACCEPTS_PER_TURN 64
#define PAUSE_MS         100
#define ROOM_MS          1 /* until those that were closed are gone */
#define BACKLOG          1024

/* An accepted descriptor on its way to another worker. */
struct handoff {
    struct post post;
    struct worker *to;
    int fd;
    enum socket_kind kind;
    struct addr at;
};

int listener_bind(const struct addr *at, struct err *err)
{
    struct sockaddr_storage sa;
    socklen_t bytes = addr_to_sockaddr(at, &sa);
    int one = 1;
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char text[ADDR_TEXT_MAX];

    addr_format(at, text);
    if (fd < 0)
        return err_errno(err, ERR_IO, "listen on %s", text);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0 ||
        (at->family == 6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0) ||
        bind(fd, (struct sockaddr *)&sa, bytes) < 0 || listen(fd, BACKLOG) < 0) {
        err_errno(err, ERR_IO, "listen on %s", text);
        close(fd);
        return -1;
    }
    return fd;
}

static void arrive(struct post *p)
{
    struct handoff *h = CONTAINER(p, struct handoff, post);

    conn_open(h->to, h->fd, h->kind, &h->at);
    mem_free(h);
}

static void dispatch(struct listener_socket *l, int fd)
{
    struct worker *to = proxy_choose(l->worker->proxy, l->worker);
    struct handoff *h;

    atomic_fetch_add_explicit(&to->load, 1, memory_order_relaxed);
    live_add(&l->worker->live.accepted, 1);
    if (to == l->worker) {
        conn_open(to, fd, l->kind, &l->at);
        return;
    }
    h = MEM_NEW(struct handoff);
    *h = (struct handoff){.post.fn = arrive, .to = to, .fd = fd, .kind = l->kind, .at = l->at};
    loop_post(to->loop, &h->post);
}

static bool is_full(const struct worker *w)
{
    return atomic_load_explicit(&w->load, memory_order_relaxed) >= w->proxy->admission.per_worker;
}

static void pause_accept(struct listener_socket *l, int64_t ms)
{
    watch_want(&l->watch, false, false);
    timer_in(&l->pause, ms);
}

static void run(struct task *t, unsigned notes)
{
    struct listener_socket *l = CONTAINER(t, struct listener_socket, task);

    if (notes & N_PAUSE)
        watch_want(&l->watch, true, false);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd;

        if (is_full(l->worker)) {
            pause_accept(l, conn_evict(l->worker) ? ROOM_MS : PAUSE_MS);
            return;
        }
        fd = accept4(l->watch.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            dispatch(l, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accept(l, conn_evict(l->worker) ? ROOM_MS : PAUSE_MS);
            return;
        } else if (errno == EAGAIN) {
            return;
        } /* ECONNABORTED and the like: the next one */
    }
}

void listener_open(struct worker *w, int fd, enum socket_kind kind, const struct addr *at)
{
    struct listener_socket *l = MEM_NEW(struct listener_socket);

    l->worker = w;
    l->kind = kind;
    l->at = *at;
    task_init(&l->task, w->loop, run);
    timer_init(&l->pause, &l->task, N_PAUSE);
    watch_init(&l->watch, &l->task, fd, N_ACCEPT, 0);
    watch_want(&l->watch, true, false);
    link_push(&w->listeners, &l->link);
}

static void free_listener(struct reap *r)
{
    mem_free(CONTAINER(r, struct listener_socket, reap));
}

void listener_close(struct listener_socket *l)
{
    link_del(&l->link);
    timer_stop(&l->pause);
    task_forget(&l->task);
    watch_close(&l->watch);
    loop_reap(l->worker->loop, &l->reap, free_listener);
}

void listener_trim(struct worker *w, const struct snapshot *s)
{
    struct link *next;

    for (struct link *at = w->listeners.next; at != &w->listeners; at = next) {
        struct listener_socket *l = CONTAINER(at, struct listener_socket, link);

        next = at->next;
        if (l->kind == SOCKET_BOUND && !snapshot_bound(s, &l->at))
            listener_close(l);
    }
}
