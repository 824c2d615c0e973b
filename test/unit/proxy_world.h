/* A small mesh in one process: origins in threads of their own, snapshots by hand (snapshot_world.h), blocking
 * client sockets. */
#pragma once

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/loop.h"
#include "proxy/balance.h"
#include "proxy/proxy.h"
#include "test/unit/snapshot_world.h"

/* ---- sockets ---- */

#define PATIENCE_MS 30000 /* for what has to happen: a busy machine stands still for some seconds */

UNUSED static void nap_ms(int ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000l};

    nanosleep(&t, NULL);
}

static void set_patience(int fd)
{
    struct timeval t = {.tv_sec = PATIENCE_MS / 1000};
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof(on)); /* heads and bodies are written apart */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

UNUSED static int dial(uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    set_patience(fd);
    return fd;
}

static bool put_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

/* ---- messages, for both sides: enough HTTP for a test ---- */

struct message {
    char *text; /* all bytes of the head, NUL behind */
    char *body;
    size_t body_n;
    int status;
    char *rest; /* read past the end */
    size_t rest_n;
};

UNUSED static void message_free(struct message *m)
{
    free(m->text);
    free(m->body);
    free(m->rest);
    memset(m, 0, sizeof(*m));
}

struct reader {
    int fd;
    char *p;
    size_t n, cap, at;
};

static bool more(struct reader *r)
{
    ssize_t n;

    if (r->cap - r->n < 65536) {
        r->cap = r->cap * 2 + 131072;
        r->p = realloc(r->p, r->cap);
    }
    do
        n = recv(r->fd, r->p + r->n, r->cap - r->n - 1, 0);
    while (n < 0 && errno == EINTR); /* the process was stopped meanwhile */
    if (n <= 0)
        return false;
    r->n += (size_t)n;
    r->p[r->n] = 0;
    return true;
}

static bool line_end(struct reader *r, const char *mark, size_t *end)
{
    for (;;) {
        const char *at =
            r->n > r->at ? memmem(r->p + r->at, r->n - r->at, mark, strlen(mark)) : NULL;

        if (at) {
            *end = (size_t)(at - r->p) + strlen(mark);
            return true;
        }
        if (!more(r))
            return false;
    }
}

static bool take(struct reader *r, size_t n, struct message *m)
{
    while (r->n - r->at < n) {
        if (!more(r))
            return false;
    }
    m->body = realloc(m->body, m->body_n + n + 1);
    memcpy(m->body + m->body_n, r->p + r->at, n);
    m->body_n += n;
    m->body[m->body_n] = 0;
    r->at += n;
    return true;
}

static bool read_body(struct reader *r, struct message *m, bool until_close)
{
    const char *length = strcasestr(m->text, "\r\ncontent-length:");
    size_t end, size;

    if (strcasestr(m->text, "\r\ntransfer-encoding: chunked")) {
        for (;;) {
            if (!line_end(r, "\r\n", &end))
                return false;
            size = strtoul(r->p + r->at, NULL, 16);
            r->at = end;
            if (size == 0)
                break;
            if (!take(r, size, m) || !line_end(r, "\r\n", &end))
                return false;
            r->at = end;
        }
        do { /* trailers */
            size = r->at;
            if (!line_end(r, "\r\n", &end))
                return false;
            r->at = end;
        } while (end - size > 2);
        return true;
    }
    if (length)
        return take(r, strtoul(length + 17, NULL, 10), m);
    if (!until_close)
        return true;
    while (more(r))
        ;
    return take(r, r->n - r->at, m);
}

/* One whole message. False: the peer closed first. */
static bool read_message(struct reader *r, struct message *m, bool is_response)
{
    size_t end;

    memset(m, 0, sizeof(*m));
    if (!line_end(r, "\r\n\r\n", &end))
        return false;
    m->text = strndup(r->p + r->at, end - r->at);
    r->at = end;
    m->status = is_response ? (int)strtol(m->text + 9, NULL, 10) : 0;
    m->body = calloc(1, 1);
    if (is_response && m->status == 100) { /* the real one follows */
        message_free(m);
        return read_message(r, m, is_response);
    }
    return read_body(r, m, is_response && m->status != 101 && m->status != 204 && m->status != 304);
}

/* ---- origins ---- */

enum origin_mode { ORIGIN_HTTP, ORIGIN_ECHO, ORIGIN_BANNER, ORIGIN_EARLY, ORIGIN_UPGRADE };

struct origin {
    char name[16];
    enum origin_mode mode;
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_int requests, connections, live;
    atomic_int busy, peak; /* requests for /nap/MS and /hold at one time; the most there were */
    atomic_bool released;  /* those for /hold are answered */
    pthread_mutex_t lock; /* of `last` and `open` */
    char last[4096]; /* head of the last request; read when all is quiet */
    int open[512]; /* connections, each with 1 added; 0: none */
    atomic_size_t
        late_bytes; /* ORIGIN_EARLY: what came behind the head, most of it after the answer */
};

struct origin_conn {
    struct origin *o;
    int fd;
};

static void answer(int fd, int status, const char *body, size_t n)
{
    char head[160];
    int h = snprintf(head, sizeof(head),
                     "HTTP/1.1 %d X\r\ncontent-length: %zu\r\ncontent-type: text/plain\r\n\r\n",
                     status, n);

    put_all(fd, head, (size_t)h);
    put_all(fd, body, n);
}

static void answer_chunked(int fd, const char *body, size_t n)
{
    char line[32];

    put_all(fd, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 47);
    while (n > 0) {
        size_t some = n > 1000 ? 1000 : n;
        int h = snprintf(line, sizeof(line), "%zx\r\n", some);

        put_all(fd, line, (size_t)h);
        put_all(fd, body, some);
        put_all(fd, "\r\n", 2);
        body += some;
        n -= some;
    }
    put_all(fd, "0\r\n\r\n", 5);
}

/* ms < 0: until it is released. */
static void be_busy(struct origin *o, int ms)
{
    int busy = atomic_fetch_add(&o->busy, 1) + 1, peak = atomic_load(&o->peak);

    while (busy > peak && !atomic_compare_exchange_weak(&o->peak, &peak, busy))
        ;
    if (ms >= 0)
        nap_ms(ms);
    while (ms < 0 && !atomic_load(&o->released))
        nap_ms(2);
    atomic_fetch_sub(&o->busy, 1);
}

/* False: close. */
static bool serve_one(struct origin *o, int fd, const struct message *m)
{
    char text[64];
    const char *path = strchr(m->text, ' ') + 1;

    pthread_mutex_lock(&o->lock);
    snprintf(o->last, sizeof(o->last), "%s", m->text);
    pthread_mutex_unlock(&o->lock);
    atomic_fetch_add(&o->requests, 1);
    if (strncmp(path, "/headers", 8) == 0 || strcasestr(m->text, "\r\nx-tell:")) {
        answer(fd, 200, m->text, strlen(m->text));
    } else if (strncmp(path, "/echo", 5) == 0) {
        answer_chunked(fd, m->body, m->body_n);
    } else if (strncmp(path, "/hold", 5) == 0) {
        be_busy(o, -1);
        answer(fd, 200, "held\n", 5);
    } else if (strncmp(path, "/nap/", 5) == 0) {
        be_busy(o, atoi(path + 5));
        answer(fd, 200, o->name, strlen(o->name));
    } else if (strncmp(path, "/status/", 8) == 0) {
        answer(fd, atoi(path + 8), o->name, strlen(o->name));
    } else if (strncmp(path, "/drop", 5) == 0) {
        return false;
    } else if (strncmp(path, "/cut", 4) == 0) {
        put_all(fd, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", 44);
        return false;
    } else if (strncmp(path, "/big", 4) == 0) {
        char *big = malloc(1 << 20);

        memset(big, 'b', 1 << 20);
        answer(fd, 200, big, 1 << 20);
        free(big);
    } else {
        snprintf(text, sizeof(text), "hello from %s", o->name);
        answer(fd, 200, text, strlen(text));
    }
    return true;
}

/* Answers as soon as it has the head, and reads the body after that. */
static void serve_early(struct origin *o, int fd)
{
    char text[65536];
    size_t have = 0;
    ssize_t n = 0;
    const char *end = NULL;

    while (!end && have < sizeof(text) - 1 &&
           (n = recv(fd, text + have, sizeof(text) - 1 - have, 0)) > 0) {
        have += (size_t)n;
        text[have] = 0;
        end = strstr(text, "\r\n\r\n");
    }
    if (!end)
        return;
    atomic_fetch_add(&o->late_bytes, have - (size_t)(end + 4 - text));
    answer(fd, 200, "early", 5);
    while ((n = recv(fd, text, sizeof(text), 0)) > 0)
        atomic_fetch_add(&o->late_bytes, (size_t)n);
}

static void serve_tcp(struct origin *o, int fd)
{
    char text[4096];
    ssize_t n;

    if (o->mode == ORIGIN_BANNER)
        put_all(fd, "220 ready\n", 10);
    while ((n = recv(fd, text, sizeof(text), 0)) > 0)
        put_all(fd, text, (size_t)n);
    if (n == 0)
        put_all(fd, "bye", 3); /* after the client's half-close */
}

/* Takes the first request for one to speak WebSocket, and then echoes what comes. */
static void serve_upgrade(struct origin *o, int fd)
{
    struct reader r = {.fd = fd};
    struct message m;

    if (read_message(&r, &m, false) && strcasestr(m.text, "\r\nupgrade: websocket")) {
        static const char answer_101[] =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

        atomic_fetch_add(&o->requests, 1);
        put_all(fd, answer_101, sizeof(answer_101) - 1);
        put_all(fd, r.p + r.at, r.n - r.at); /* came with the head */
        serve_tcp(o, fd);
    }
    message_free(&m);
    free(r.p);
}

/* Give `fd` the first place that has `was`. */
static void origin_note(struct origin *o, int was, int fd)
{
    pthread_mutex_lock(&o->lock);
    for (size_t i = 0; i < COUNT(o->open); i++) {
        if (o->open[i] == was) {
            o->open[i] = fd;
            break;
        }
    }
    pthread_mutex_unlock(&o->lock);
}

static void *origin_serve(void *arg)
{
    struct origin_conn *c = arg;
    struct origin *o = c->o;
    struct reader r = {.fd = c->fd};
    struct message m;

    if (o->mode == ORIGIN_EARLY)
        serve_early(o, c->fd);
    else if (o->mode == ORIGIN_UPGRADE)
        serve_upgrade(o, c->fd);
    else if (o->mode != ORIGIN_HTTP)
        serve_tcp(o, c->fd);
    while (o->mode == ORIGIN_HTTP && read_message(&r, &m, false)) {
        bool go_on = serve_one(o, c->fd, &m);

        message_free(&m);
        memset(&m, 0, sizeof(m));
        if (!go_on)
            break;
    }
    if (o->mode == ORIGIN_HTTP)
        message_free(&m); /* of a caller who left in the middle */
    free(r.p);
    origin_note(o, c->fd + 1, 0);
    close(c->fd);
    free(c);
    atomic_fetch_sub(&o->live, 1);
    return NULL;
}

static void *origin_accept(void *arg)
{
    struct origin *o = arg;

    for (;;) {
        struct origin_conn *c;
        pthread_t t;
        int fd = accept(o->fd, NULL, NULL);

        if (fd < 0)
            return NULL;
        set_patience(fd);
        origin_note(o, 0, fd + 1);
        c = malloc(sizeof(*c));
        *c = (struct origin_conn){o, fd};
        atomic_fetch_add(&o->live, 1);
        atomic_fetch_add(&o->connections, 1);
        pthread_create(&t, NULL, origin_serve, c);
        pthread_detach(t);
    }
}

UNUSED static void origin_start(struct origin *o, const char *name, enum origin_mode mode)
{
    memset(o, 0, sizeof(*o));
    snprintf(o->name, sizeof(o->name), "%s", name);
    o->mode = mode;
    pthread_mutex_init(&o->lock, NULL);
    o->fd = listen_any(&o->port);
    pthread_create(&o->thread, NULL, origin_accept, o);
}

/* Until so many requests for /hold are held. */
UNUSED static void origin_holds(struct origin *o, int count)
{
    for (int i = 0; i < PATIENCE_MS / 2 && atomic_load(&o->busy) != count; i++)
        nap_ms(2);
    assert_int_equal(atomic_load(&o->busy), count);
}

UNUSED static void origin_release(struct origin *o)
{
    atomic_store(&o->released, true);
}

UNUSED static void origin_stop(struct origin *o)
{
    origin_release(o);
    shutdown(o->fd, SHUT_RDWR);
    pthread_join(o->thread, NULL);
    close(o->fd);
    pthread_mutex_lock(&o->lock);
    for (size_t i = 0; i < COUNT(o->open); i++) { /* some may be idle in a pool */
        if (o->open[i])
            shutdown(o->open[i] - 1, SHUT_RDWR);
    }
    pthread_mutex_unlock(&o->lock);
    for (int i = 0; i < PATIENCE_MS / 5 && atomic_load(&o->live) > 0; i++)
        nap_ms(5);
    assert_int_equal(atomic_load(&o->live), 0);
}

/* ---- clients ---- */

/* Send `text` on `fd` and read the answer; its status. 0: closed without one. */
UNUSED static int call(int fd, const char *text, size_t n, struct message *m)
{
    struct reader r = {.fd = fd};
    bool ok;

    if (!put_all(fd, text, n)) {
        memset(m, 0, sizeof(*m));
        return 0;
    }
    ok = read_message(&r, m, true);
    free(r.p);
    return ok ? m->status : 0;
}

UNUSED static int ask(int fd, const char *text, struct message *m)
{
    return call(fd, text, strlen(text), m);
}

UNUSED static int get(int fd, const char *path, struct message *m)
{
    char text[256];
    int n = snprintf(text, sizeof(text),
                     "GET %s HTTP/1.1\r\nHost: svc.test:80\r\nUser-Agent: tester\r\n\r\n", path);

    return call(fd, text, (size_t)n, m);
}

/* A request on a connection of its own. */
UNUSED static int get_once(uint16_t port, const char *path, struct message *m)
{
    int fd = dial(port), status = get(fd, path, m);

    close(fd);
    return status;
}

/* ---- proxies ---- */

struct node {
    struct loop *control;
    struct proxy *proxy;
    uint16_t outbound, inbound;
    int log[2]; /* the access log, a pipe */
};

UNUSED static void node_start(struct node *n, unsigned workers, unsigned crypto_threads,
                              void (*need)(void *, struct str), void *need_arg)
{
    struct err err = {0};
    struct proxy_options o = {
        .workers = workers, .crypto_threads = crypto_threads, .trust_local_addr = true};

    signal(SIGPIPE, SIG_IGN);
    n->control = loop_new(&err);
    n->outbound = free_port();
    n->inbound = free_port();
    assert_int_equal(pipe(n->log), 0);
    o.control = n->control;
    o.outbound4 = loopback(n->outbound);
    o.inbound4 = loopback(n->inbound);
    o.access_log_fd = n->log[1];
    o.need = need;
    o.need_arg = need_arg;
    n->proxy = proxy_new(&o, &err);
    if (!n->proxy)
        print_error("%s\n", err.text);
    assert_non_null(n->proxy);
}

UNUSED static void node_stop(struct node *n)
{
    proxy_free(n->proxy);
    loop_free(n->control);
    close(n->log[0]);
    close(n->log[1]);
}

/* Seals, applies and lets go. */
UNUSED static void node_apply(struct node *n, struct snapshot *s)
{
    struct err err = {0};

    snapshot_seal(s, NULL);
    if (proxy_apply(n->proxy, s, &err) < 0)
        print_error("%s\n", err.text);
    snapshot_unref(s);
    nap_ms(30); /* the workers see it */
}

/* Wait until nothing is under way. */
UNUSED static bool node_is_quiet(struct node *n)
{
    for (int i = 0; i < PATIENCE_MS / 10; i++) {
        if (proxy_live(n->proxy, "weft_connections") == 0 &&
            proxy_live(n->proxy, "weft_requests") == 0 &&
            proxy_live(n->proxy, "weft_attempts") == 0 && proxy_live(n->proxy, "weft_tunnels") == 0)
            return true;
        nap_ms(10);
    }
    return false;
}

/* Wait until a number of the proxy is this. */
UNUSED static bool node_shows(struct node *n, const char *name, uint64_t value)
{
    for (int i = 0; i < PATIENCE_MS / 10 && proxy_live(n->proxy, name) != value; i++)
        nap_ms(10);
    return proxy_live(n->proxy, name) == value;
}

/* What the access log got; waits for `want` in it, which the writer may be late with. */
UNUSED static char *node_log(struct node *n, char *text, size_t max, const char *want)
{
    struct pollfd p = {.fd = n->log[0], .events = POLLIN};
    size_t have = 0;
    ssize_t got;

    text[0] = 0;
    while (!strstr(text, want) && have < max - 1 && poll(&p, 1, PATIENCE_MS) == 1) {
        got = read(n->log[0], text + have, max - 1 - have);
        have += got > 0 ? (size_t)got : 0;
        text[have] = 0;
    }
    return text;
}

UNUSED static bool node_logs(struct node *n, char *text, size_t max, const char *want)
{
    if (strstr(node_log(n, text, max, want), want))
        return true;
    print_error("no \"%s\" in:\n%s\n", want, text);
    return false;
}

/* ---- choices: one worker's view of one cluster, without a proxy ---- */

#define CHOICES_MAX 10u

struct choices {
    struct cluster_table table;
    struct map views;
    struct cluster *c;
    struct cluster_view *v;
    uint64_t rng;
    int64_t now; /* for what takes the time */
    size_t hits[CHOICES_MAX];
};

/* Endpoints at the ports 1 to `count`, alike. Weights, priorities and shares may be set until the first choice. */
UNUSED static void choices_init(struct choices *w, size_t count)
{
    static const uint16_t ports[CHOICES_MAX] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

    memset(w, 0, sizeof(*w));
    cluster_table_init(&w->table);
    map_init(&w->views);
    w->c = cluster_part("c", CLUSTER_ENDPOINTS);
    cluster_endpoints(w->c, ports, count, NULL);
    w->v = cluster_view_get(&w->views, &w->table, w->c, 12345, 1);
    w->rng = 42;
    w->now = 100000;
}

UNUSED static void choices_done(struct choices *w)
{
    cluster_views_done(&w->views);
    part_unref(w->c);
    cluster_table_done(&w->table);
}

UNUSED static void pick_many(struct choices *w, unsigned kind, size_t times)
{
    memset(w->hits, 0, sizeof(w->hits));
    for (size_t i = 0; i < times; i++)
        w->hits[balance_pick(w->v, kind, &w->rng, NULL, NULL)]++;
}
