#include "proxy/proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/hash.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "pki/creds.h"
#include "proxy/balance.h"
#include "proxy/listener.h"
#include "proxy/wire/crypto.h"
#include "proxy/wire/tls.h"
#include "proxy/worker.h"

#define CRYPTO_QUEUE 1024u

/* ---- orders to workers ---- */

struct order {
    struct post post;
    struct worker *worker;
    struct snapshot *snapshot;
    struct creds *creds;
    struct tls_tickets *tickets;
    char *identity;
    int fd;
    struct addr at;
};

static struct order *order_new(struct worker *w, void (*fn)(struct post *))
{
    struct order *o = MEM_NEW(struct order);

    o->worker = w;
    o->post.fn = fn;
    return o;
}

static void give(struct order *o)
{
    loop_post(o->worker->loop, &o->post);
}

static void do_apply(struct post *p)
{
    struct order *o = CONTAINER(p, struct order, post);

    if (o->worker->stopping)
        snapshot_unref(o->snapshot);
    else
        worker_apply(o->worker, o->snapshot);
    mem_free(o);
}

static void do_creds(struct post *p)
{
    struct order *o = CONTAINER(p, struct order, post);

    worker_set_creds(o->worker, str_from(o->identity), o->creds, o->tickets);
    free(o->identity);
    mem_free(o);
}

static void do_drop_creds(struct post *p)
{
    struct order *o = CONTAINER(p, struct order, post);

    worker_drop_creds(o->worker, str_from(o->identity));
    free(o->identity);
    mem_free(o);
}

static void do_listen(struct post *p)
{
    struct order *o = CONTAINER(p, struct order, post);

    if (o->worker->stopping || o->worker->draining)
        close(o->fd);
    else
        listener_open(o->worker, o->fd, SOCKET_BOUND, &o->at);
    mem_free(o);
}

static void do_drain(struct post *p)
{
    struct order *o = CONTAINER(p, struct order, post);

    worker_drain(o->worker);
    mem_free(o);
}

static void do_stop(struct post *p)
{
    struct order *o = CONTAINER(p, struct order, post);

    worker_stop(o->worker);
    mem_free(o);
}

/* ---- asking for rules ---- */

/* Outlives the proxy as long as a question is under way to the control thread. */
struct need_box {
    atomic_uint refs;
    bool gone; /* the control thread's */
    void (*need)(void *arg, struct str service_key);
    void *arg;
};

struct need_post {
    struct post post;
    struct need_box *box;
    struct str service; /* owned */
};

static void box_unref(struct need_box *b)
{
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        mem_free(b);
}

static void do_need(struct post *p)
{
    struct need_post *n = CONTAINER(p, struct need_post, post);

    if (!n->box->gone)
        n->box->need(n->box->arg, n->service);
    box_unref(n->box);
    str_free(n->service);
    mem_free(n);
}

void proxy_need(struct proxy *p, struct str service)
{
    struct need_post *n;

    if (!p->needs)
        return;
    n = MEM_NEW(struct need_post);
    n->post.fn = do_need;
    n->box = p->needs;
    atomic_fetch_add_explicit(&n->box->refs, 1, memory_order_relaxed);
    n->service = (struct str){str_dup(service), service.n};
    loop_post(p->options.control, &n->post);
}

struct worker *proxy_choose(struct proxy *p, struct worker *self)
{
    size_t a, b;

    if (p->worker_count == 1)
        return self;
    a = (size_t)(worker_random(self) % p->worker_count);
    b = (size_t)(worker_random(self) % (p->worker_count - 1));
    if (b >= a)
        b++;
    return atomic_load_explicit(&p->workers[b].load, memory_order_relaxed) <
                   atomic_load_explicit(&p->workers[a].load, memory_order_relaxed)
               ? &p->workers[b]
               : &p->workers[a];
}

/* ---- start and end ---- */

/* One socket per worker. All or nothing. */
static int bind_all(struct proxy *p, const struct addr *at, int *fds, struct err *err)
{
    for (size_t i = 0; i < p->worker_count; i++) {
        fds[i] = listener_bind(at, err);
        if (fds[i] >= 0)
            continue;
        while (i > 0)
            close(fds[--i]);
        return -1;
    }
    return 0;
}

static int open_capture(struct proxy *p, const struct addr *at, enum socket_kind kind,
                        struct err *err)
{
    int fds[LIMIT_WORKERS];

    if (at->family == 0)
        return 0;
    if (bind_all(p, at, fds, err) < 0)
        return -1;
    for (size_t i = 0; i < p->worker_count; i++)
        listener_open(&p->workers[i], fds[i], kind, at);
    return 0;
}

static int start(struct proxy *p, struct err *err)
{
    const struct proxy_options *o = &p->options;

    if (access_start(&p->access, o->workers, o->access_log_fd, err) < 0)
        return -1;
    for (size_t i = 0; i < o->workers; i++) {
        p->worker_count = i + 1; /* what proxy_free must undo */
        if (worker_init(&p->workers[i], p, (unsigned)i, err) < 0)
            return -1;
    }
    if (open_capture(p, &o->outbound4, SOCKET_OUTBOUND, err) < 0 ||
        open_capture(p, &o->outbound6, SOCKET_OUTBOUND, err) < 0 ||
        open_capture(p, &o->inbound4, SOCKET_INBOUND, err) < 0 ||
        open_capture(p, &o->inbound6, SOCKET_INBOUND, err) < 0)
        return -1;
    for (size_t i = 0; i < p->worker_count; i++) {
        if (worker_start(&p->workers[i], err) < 0)
            return -1;
    }
    return 0;
}

struct proxy *proxy_new(const struct proxy_options *o, struct err *err)
{
    struct proxy *p;

    if (o->workers < 1 || o->workers > LIMIT_WORKERS) {
        err_set(err, ERR_INVALID, "workers must be 1 to %u, not %u", LIMIT_WORKERS, o->workers);
        return NULL;
    }
    if (crypto_start(o->crypto_threads, CRYPTO_QUEUE, err) < 0)
        return NULL;
    p = MEM_NEW(struct proxy);
    p->options = *o;
    p->started_wall_s = (int64_t)time(NULL);
    link_init(&p->bound);
    map_init(&p->identities);
    admission_init(&p->admission, o->workers, o->connections_per_source);
    cluster_table_init(&p->clusters);
    limiter_table_init(&p->limiters);
    p->workers = mem_array(o->workers, sizeof(*p->workers));
    if (o->need) {
        p->needs = MEM_NEW(struct need_box);
        *p->needs = (struct need_box){.refs = 1, .need = o->need, .arg = o->need_arg};
    }
    if (start(p, err) < 0) {
        proxy_free(p);
        return NULL;
    }
    return p;
}

struct bound_socket {
    struct link link;
    struct addr at;
    int fds[LIMIT_WORKERS]; /* until the workers have them */
};

/* Of one identity or material. */
struct shown {
    struct tls_tickets *tickets;
    uint8_t trust[HASH_BYTES]; /* creds_trust when they were made */
};

static void shown_free(struct shown *s)
{
    tls_tickets_unref(s->tickets);
    mem_free(s);
}

static void free_tickets(struct proxy *p)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&p->identities, &i));)
        shown_free(e->value);
    map_done(&p->identities);
}

void proxy_free(struct proxy *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->worker_count; i++) {
        if (p->workers[i].started)
            give(order_new(&p->workers[i], do_stop));
    }
    for (size_t i = 0; i < p->worker_count; i++)
        worker_join(&p->workers[i]);
    crypto_stop(); /* before the loops go: its jobs come back by post */
    for (size_t i = 0; i < p->worker_count; i++)
        worker_done(&p->workers[i]);
    access_stop(&p->access);
    while (!link_is_empty(&p->bound)) {
        struct bound_socket *g = CONTAINER(p->bound.next, struct bound_socket, link);

        link_del(&g->link);
        mem_free(g);
    }
    if (p->needs) {
        p->needs->gone = true;
        box_unref(p->needs);
    }
    free_tickets(p);
    snapshot_unref(p->snapshot);
    admission_done(&p->admission);
    cluster_table_done(&p->clusters);
    limiter_table_done(&p->limiters);
    mem_free(p->workers);
    mem_free(p);
}

/* ---- snapshots and credentials ---- */

static struct bound_socket *find_bound(struct link *list, const struct addr *at)
{
    for (struct link *l = list->next; l != list; l = l->next) {
        struct bound_socket *g = CONTAINER(l, struct bound_socket, link);

        if (addr_eq(&g->at, at))
            return g;
    }
    return NULL;
}

/* Bind what `s` names and is not open yet. All or nothing. */
static int bind_new(struct proxy *p, const struct snapshot *s, struct link *fresh, struct err *err)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener *l = s->listeners[i];
        struct bound_socket *g;

        if (!l->is_bound || find_bound(&p->bound, &l->at) || find_bound(fresh, &l->at))
            continue;
        g = MEM_NEW(struct bound_socket);
        g->at = l->at;
        if (bind_all(p, &l->at, g->fds, err) < 0) {
            mem_free(g);
            return err_wrap(err, "listener %.*s", STR_ARG(l->name));
        }
        link_push(fresh, &g->link);
    }
    return 0;
}

static void drop_new(struct proxy *p, struct link *fresh)
{
    while (!link_is_empty(fresh)) {
        struct bound_socket *g = CONTAINER(fresh->next, struct bound_socket, link);

        for (size_t i = 0; i < p->worker_count; i++)
            close(g->fds[i]);
        link_del(&g->link);
        mem_free(g);
    }
}

/* Each worker has the snapshot before it accepts anything, and before another hands it a connection. */
static void hand_out_new(struct proxy *p, struct link *fresh)
{
    while (!link_is_empty(fresh)) {
        struct bound_socket *g = CONTAINER(fresh->next, struct bound_socket, link);

        link_del(&g->link);
        link_push(&p->bound, &g->link);
        for (size_t i = 0; i < p->worker_count; i++) {
            struct order *o = order_new(&p->workers[i], do_listen);

            o->fd = g->fds[i];
            o->at = g->at;
            give(o);
        }
    }
}

/* The workers close the sockets when they see the snapshot. */
static void forget_bound(struct proxy *p, const struct snapshot *s)
{
    struct link *next;

    for (struct link *l = p->bound.next; l != &p->bound; l = next) {
        struct bound_socket *g = CONTAINER(l, struct bound_socket, link);

        next = l->next;
        if (snapshot_bound(s, &g->at))
            continue;
        link_del(&g->link);
        mem_free(g);
    }
}

int proxy_apply(struct proxy *p, struct snapshot *s, struct err *err)
{
    struct link fresh;

    link_init(&fresh);
    if (bind_new(p, s, &fresh, err)) {
        drop_new(p, &fresh);
        return -1;
    }
    forget_bound(p, s);
    for (size_t i = 0; i < p->worker_count; i++) {
        struct order *o = order_new(&p->workers[i], do_apply);

        o->snapshot = snapshot_ref(s);
        give(o);
    }
    hand_out_new(p, &fresh);
    snapshot_unref(p->snapshot);
    p->snapshot = snapshot_ref(s);
    cluster_table_trim(&p->clusters);
    limiter_table_trim(&p->limiters);
    return 0;
}

/* Tickets outlive a renewed certificate, but not a change of those who are trusted: what is resumed was verified before. */
static struct tls_tickets *tickets_of(struct proxy *p, struct str identity, const struct creds *c)
{
    struct shown *s = map_get(&p->identities, identity);

    if (!s) {
        s = MEM_NEW(struct shown);
        map_put(&p->identities, identity, s);
    }
    if (s->tickets && memcmp(s->trust, creds_trust(c), sizeof(s->trust)) != 0)
        s->tickets = tls_tickets_unref(s->tickets);
    if (!s->tickets)
        s->tickets = tls_tickets_new();
    memcpy(s->trust, creds_trust(c), sizeof(s->trust));
    return s->tickets;
}

void proxy_set_creds(struct proxy *p, struct str identity, struct creds *c)
{
    struct tls_tickets *tickets = tickets_of(p, identity, c);

    for (size_t i = 0; i < p->worker_count; i++) {
        struct order *o = order_new(&p->workers[i], do_creds);

        o->identity = str_dup(identity);
        o->creds = creds_ref(c);
        o->tickets = tls_tickets_ref(tickets);
        give(o);
    }
}

void proxy_drop_creds(struct proxy *p, struct str identity)
{
    struct shown *s = map_del(&p->identities, identity);

    if (!s)
        return;
    shown_free(s);
    for (size_t i = 0; i < p->worker_count; i++) {
        struct order *o = order_new(&p->workers[i], do_drop_creds);

        o->identity = str_dup(identity);
        give(o);
    }
}

/* ---- drain, health, numbers ---- */

void proxy_drain(struct proxy *p)
{
    for (size_t i = 0; i < p->worker_count; i++)
        give(order_new(&p->workers[i], do_drain));
}

bool proxy_is_drained(const struct proxy *p)
{
    for (size_t i = 0; i < p->worker_count; i++) {
        if (atomic_load_explicit(&p->workers[i].load, memory_order_relaxed) > 0)
            return false;
    }
    return true;
}

static void do_nothing(struct post *p)
{
    mem_free(CONTAINER(p, struct order, post));
}

/* An idle worker would not turn: each call gives it a reason to do so until the next. */
bool proxy_is_alive(struct proxy *p)
{
    bool alive = crypto_is_alive();

    for (size_t i = 0; i < p->worker_count; i++) {
        uint64_t turns = loop_turns(p->workers[i].loop);

        if (turns == p->workers[i].turns_seen)
            alive = false;
        p->workers[i].turns_seen = turns;
        give(order_new(&p->workers[i], do_nothing));
    }
    return alive;
}

/* As loops count it. */
static int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void proxy_clusters(struct proxy *p, struct buf *json)
{
    cluster_print(&p->clusters, p->snapshot, clock_ms(), json);
}

/* clang-format off */
static const struct {
    const char *name, *type, *help;
    size_t at;
} rows[] = {
    {"weft_connections",               "gauge",   "Downstream connections open now.",            offsetof(struct live, conns)},
    {"weft_requests",                  "gauge",   "Requests under way.",                         offsetof(struct live, exchanges)},
    {"weft_attempts",                  "gauge",   "Tries at endpoints under way.",               offsetof(struct live, attempts)},
    {"weft_tunnels",                   "gauge",   "TCP connections being relayed.",              offsetof(struct live, tunnels)},
    {"weft_upstream_connections",      "gauge",   "Connections to endpoints, pooled ones too.",  offsetof(struct live, upstreams)},
    {"weft_accepted_total",            "counter", "Connections accepted.",                       offsetof(struct live, accepted)},
    {"weft_handshakes_full_total",     "counter", "TLS handshakes with public-key work.",        offsetof(struct live, handshakes_full)},
    {"weft_handshakes_resumed_total",  "counter", "TLS handshakes resumed by a ticket.",         offsetof(struct live, handshakes_resumed)},
    {"weft_handshakes_failed_total",   "counter", "TLS handshakes that failed.",                 offsetof(struct live, handshakes_failed)},
    {"weft_retries_total",             "counter", "Extra tries made by retry policy.",           offsetof(struct live, retries)},
    {"weft_strict_refusals_total",     "counter", "Plaintext connections refused by STRICT.",    offsetof(struct live, strict_refused)},
    {"weft_refused_total",             "counter", "Downstream connections that ended in error.", offsetof(struct live, refused)},
    {"weft_upstream_connects_total",   "counter", "Connections to endpoints begun.",             offsetof(struct live, connects)},
    {"weft_upstream_reuses_total",     "counter", "Requests that took a pooled connection.",     offsetof(struct live, reused)},
};
/* clang-format on */

static uint64_t live_sum(struct proxy *p, size_t at)
{
    uint64_t n = 0;

    for (size_t i = 0; i < p->worker_count; i++) {
        atomic_ullong *one = (atomic_ullong *)(void *)((char *)&p->workers[i].live + at);

        n += atomic_load_explicit(one, memory_order_relaxed);
    }
    return n;
}

uint64_t proxy_live(struct proxy *p, const char *name)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (strcmp(rows[i].name, name) == 0)
            return live_sum(p, rows[i].at);
    }
    return 0;
}

static void print_process(struct proxy *p, struct buf *out)
{
    struct rusage usage;
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long pages[2] = {0, 0};

    if (f) {
        if (fscanf(f, "%lu %lu", &pages[0], &pages[1]) != 2)
            pages[1] = 0;
        fclose(f);
    }
    getrusage(RUSAGE_SELF, &usage);
    buf_adds(out, "# HELP process_cpu_seconds_total User and system time.\n"
                  "# TYPE process_cpu_seconds_total counter\n");
    buf_printf(out, "process_cpu_seconds_total %.3f\n",
               (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    metrics_print_one(out, "process_resident_memory_bytes", "gauge", "Resident memory.", "",
                      (uint64_t)pages[1] * (uint64_t)sysconf(_SC_PAGESIZE));
    metrics_print_one(out, "process_start_time_seconds", "gauge", "Start of the proxy since 1970.",
                      "", (uint64_t)p->started_wall_s);
}

void proxy_metrics(struct proxy *p, struct buf *out)
{
    struct metrics *tables[LIMIT_WORKERS];

    for (size_t i = 0; i < p->worker_count; i++)
        tables[i] = &p->workers[i].metrics;
    metrics_print(tables, p->worker_count, out);
    metrics_print_one(out, "istio_build", "gauge", "Version of the proxy.",
                      "component=\"proxy\",tag=\"" WEFT_VERSION "\"", 1);
    for (size_t i = 0; i < COUNT(rows); i++)
        metrics_print_one(out, rows[i].name, rows[i].type, rows[i].help, "",
                          live_sum(p, rows[i].at));
    metrics_print_one(out, "weft_access_log_dropped_total", "counter",
                      "Access lines that did not fit.", "", access_dropped(&p->access));
    cluster_metrics(&p->clusters, p->snapshot, clock_ms(), out);
    limiter_table_print(&p->limiters, p->snapshot, out);
    print_process(p, out);
}
