/* A mesh on one thread, told as a story: a caller, the proxy (or two with mutual TLS between them), an application.
 *
 * A story is STORY(sentence, WHERE) { ... } in *_test.c. It is told in every shape that WHERE names, and in each plainly,
 * dripped, coalesced and under seeds; then under seeds that also tear connections, where what the story expects may fail to
 * come (it is left at that point) but nothing may be left behind. After every telling the ledger must be at zero.
 *
 *   STORY(a_request_is_answered, EVERYWHERE)
 *   {
 *       struct end *caller = call(w), *app;
 *
 *       ask(caller, "GET", "/");         the caller sends a request without a body
 *       app = meet(w);                   the application gets a connection
 *       hear(app, "GET / HTTP/1.1\r\n"); wait until it has read that, or fail
 *       answer(app, 200, "hello");
 *       hear_answer(caller, 200, "hello");
 *   }
 *
 * say/hear are bytes, for what is about framing; ask/answer/hear_answer are messages, and know alone how HTTP/1.1 frames
 * them. Waiting turns all loops; when nobody moves a byte the clock goes on by a millisecond. `later` moves it further.
 *
 * Replay: a failure prints how, with WEFT_SEED. WEFT_CHAOS_ROUNDS is the number of seeds per story and shape.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <strings.h>

#include "mesh/base/limits.h"
#include "proxy/upstream.h"
#include "proxy/wire/bytes.h"
#include "proxy/worker.h"
#include "test/unit/pki_world.h"
#include "test/unit/snapshot_world.h"
#include "test/world/chaos.h"

#define CLUSTER   "outbound|80||svc.test"
#define OTHER_URI "spiffe://cluster.local/ns/default/sa/other"

enum shape { SHAPE_PLAIN, SHAPE_MTLS, SHAPE_PAIR, SHAPES };

enum where {
    IN_PLAIN = 1 << SHAPE_PLAIN,
    IN_MTLS = 1 << SHAPE_MTLS, /* two proxies */
    IN_PAIR = 1 << SHAPE_PAIR, /* caller and application on one host: the proxies meet in memory */
    EVERYWHERE = IN_PLAIN | IN_MTLS | IN_PAIR,
    AS_TCP = 1 << SHAPES, /* the ports are declared tcp */
};

#define ENDS       64
#define ROUND_IDLE 6    /* rounds in which nobody moved, then the clock moves */
#define PATIENCE   4000 /* ms of the story's time */

struct world;

/* One host: a proxy with one worker, whose loop the story turns. */
struct side {
    struct loop *control;
    struct proxy *proxy;
    uint16_t outbound, inbound;
};

/* One end of a connection in the story's hands. */
struct end {
    struct world *w;
    const char *name;
    int fd; /* -1: closed */
    bool is_app, met, ended, was_reset;
    bool deaf;    /* does not read */
    bool ending;  /* half-close once all is said */
    char *in;     /* all that came */
    size_t in_n, in_cap, at; /* `at`: heard up to here */
    char *out;
    size_t out_n, out_cap;
};

struct world {
    const char *story;
    enum shape shape;
    bool tcp;
    enum chaos_mode mode;
    uint64_t seed;
    jmp_buf left; /* a torn story ends here */
    struct side caller, host;
    bool has_host;
    int app_fd[2];
    uint16_t app_port[2];
    struct end *ends[ENDS];
    size_t end_count;
    struct snapshot *snapshots[16]; /* all that were applied */
    size_t snapshot_count;
    size_t needs; /* how often rules were asked for */
    size_t fds_before, slices_before; /* a story that failed before may have left some */
    size_t bulk;  /* bytes of a body that is large in this mode */
    char *bulks[4]; /* those that bulk_text made; a torn story may not come to free them */
    size_t bulk_count;
    struct {
        void *p;
        void (*free_fn)(void *p);
    } kept[16]; /* what else a torn story may not come to free */
    size_t kept_count;
    /* What the next apply_rules says. */
    struct {
        struct retry_policy retry;
        int64_t timeout_ms, http_idle_ms, connect_timeout_ms;
        size_t app;  /* which application */
        bool pending; /* the rules are not there yet */
        enum cluster_http http; /* what endpoints speak, on each way */
        const char *identity; /* of the caller */
    } rules;
};

typedef void story_fn(struct world *w);

static struct pki_world world_pki;
static struct creds *world_creds[3];
static struct world *telling; /* now; NULL: none */

static const char *const shape_names[SHAPES] = {"plain", "mtls", "pair"};
static const char *const mode_names[CHAOS_MODES] = {"as it is", "dripped", "coalesced", "seeded", "torn"};

static const char *const live_names[] = {"weft_connections", "weft_requests", "weft_attempts", "weft_tunnels",
                                         "weft_upstream_connections"};

/* Where everybody stands. */
static void print_state(struct world *w)
{
    for (size_t i = 0; i < w->end_count; i++) {
        struct end *e = w->ends[i];

        print_error("  %s%s: %zu bytes to say, heard %zu of %zu%s%s: %.*s\n", e->name, e->fd < 0 ? " (hung up)" : "",
                    e->out_n, e->at, e->in_n, e->ended ? ", ended" : "", e->was_reset ? ", reset" : "",
                    (int)MIN(e->in_n, (size_t)300), e->in ? e->in : "");
    }
    for (size_t i = 0; i < COUNT(live_names); i++)
        print_error("  %s: %llu at the caller's, %llu at the host's\n", live_names[i],
                    (unsigned long long)proxy_live(w->caller.proxy, live_names[i]),
                    (unsigned long long)(w->has_host ? proxy_live(w->host.proxy, live_names[i]) : 0));
}

/* A broken expectation. In a torn story the connection it was about may be gone. */
__attribute__((noreturn)) static void broken(struct world *w, const char *what)
{
    if (w->mode == CHAOS_TORN)
        longjmp(w->left, 1);
    print_error("%s\n", what);
    print_state(w);
    fail();
    abort();
}

#define EXPECT(w, cond)                                                                            \
    do {                                                                                           \
        if (!(cond))                                                                               \
            broken(w, __FILE__ ": " #cond);                                                        \
    } while (0)

/* ---- the loops ---- */

static struct worker *only_worker(struct side *n)
{
    return &n->proxy->workers[0];
}

static void end_write(struct end *e)
{
    while (e->fd >= 0 && e->out_n > 0) {
        ssize_t n = send(e->fd, e->out, e->out_n, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN) {
            e->was_reset = true;
            e->out_n = 0;
        }
        if (n <= 0)
            return;
        memmove(e->out, e->out + n, e->out_n - (size_t)n);
        e->out_n -= (size_t)n;
        chaos_advance(0);
    }
    if (e->fd >= 0 && e->ending && e->out_n == 0) {
        shutdown(e->fd, SHUT_WR);
        e->ending = false;
    }
}

/* True: something came. */
static bool end_read(struct end *e)
{
    ssize_t n;

    if (e->fd < 0 || e->deaf || e->ended || e->was_reset)
        return false;
    if (e->in_cap - e->in_n < 65536) {
        e->in_cap = e->in_cap * 2 + 131072;
        e->in = realloc(e->in, e->in_cap);
    }
    n = read(e->fd, e->in + e->in_n, e->in_cap - e->in_n);
    if (n == 0)
        e->ended = true;
    else if (n < 0 && errno != EAGAIN)
        e->was_reset = true;
    else if (n > 0)
        e->in_n += (size_t)n;
    return n >= 0 || errno != EAGAIN;
}

static struct end *end_new(struct world *w, const char *name, int fd)
{
    struct end *e = calloc(1, sizeof(*e));
    int on = 1;

    assert_true(w->end_count < ENDS);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    e->w = w;
    e->name = name;
    e->fd = fd;
    w->ends[w->end_count++] = e;
    return e;
}

static bool app_accept(struct world *w)
{
    bool any = false;

    for (size_t i = 0; i < COUNT(w->app_fd); i++) {
        int fd;

        while (w->app_fd[i] >= 0 && (fd = accept(w->app_fd[i], NULL, NULL)) >= 0) {
            end_new(w, i == 0 ? "the application" : "the other application", fd)->is_app = true;
            any = true;
        }
    }
    return any;
}

/* Everybody has a turn. True: somebody moved. */
static bool round_of(struct world *w)
{
    uint64_t before = chaos_moves();
    bool moved;

    loop_turn(w->caller.control, 0);
    loop_turn(only_worker(&w->caller)->loop, 0);
    if (w->has_host) {
        loop_turn(w->host.control, 0);
        loop_turn(only_worker(&w->host)->loop, 0);
    }
    moved = app_accept(w);
    for (size_t i = 0; i < w->end_count; i++) {
        end_write(w->ends[i]);
        moved |= end_read(w->ends[i]);
    }
    return moved || chaos_moves() != before;
}

/* Until nobody has anything to do at this moment. */
static void settle(struct world *w)
{
    for (int idle = 0; idle < ROUND_IDLE;)
        idle = round_of(w) ? 0 : idle + 1;
}

UNUSED static void later(struct world *w, int64_t ms)
{
    settle(w);
    chaos_advance(ms);
    settle(w);
}

/* Turn until `cond`, at most `patience` ms; true if it came. */
#define UNTIL(w, cond, patience, step)                                                             \
    ({                                                                                             \
        int64_t left_ = (patience);                                                                \
        int idle_ = 0;                                                                             \
        while (!(cond) && left_ > 0) {                                                             \
            idle_ = round_of(w) ? 0 : idle_ + 1;                                                   \
            if (idle_ >= ROUND_IDLE) {                                                             \
                chaos_advance(step);                                                               \
                left_ -= (step);                                                                   \
                idle_ = 0;                                                                         \
            }                                                                                      \
        }                                                                                          \
        (cond);                                                                                    \
    })

/* ---- ends: bytes ---- */

UNUSED static struct end *call_port(struct world *w, uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* Blocking; the kernel accepts on behalf of the proxy. */
    extern int __real_connect(int, const struct sockaddr *, socklen_t);
    assert_int_equal(__real_connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return end_new(w, "the caller", fd);
}

UNUSED static struct end *call(struct world *w)
{
    return call_port(w, w->caller.outbound);
}

static struct end *unmet(struct world *w)
{
    for (size_t i = 0; i < w->end_count; i++) {
        if (w->ends[i]->is_app && !w->ends[i]->met)
            return w->ends[i];
    }
    return NULL;
}

/* The application's next connection. */
UNUSED static struct end *meet(struct world *w)
{
    struct end *e;

    if (!UNTIL(w, unmet(w) != NULL, PATIENCE, 1))
        broken(w, "nobody called the application");
    e = unmet(w);
    e->met = true;
    return e;
}

UNUSED static void say_bytes(struct end *e, const char *p, size_t n)
{
    if (e->out_cap - e->out_n < n) {
        e->out_cap = e->out_n + n;
        e->out = realloc(e->out, e->out_cap);
    }
    memcpy(e->out + e->out_n, p, n);
    e->out_n += n;
    end_write(e);
}

UNUSED static void say(struct end *e, const char *text)
{
    say_bytes(e, text, strlen(text));
}

static void complain(struct end *e, const char *wanted)
{
    if (e->w->mode != CHAOS_TORN)
        print_error("%s waits for %s; it has (%zu bytes%s%s):\n%.*s\n", e->name, wanted, e->in_n - e->at,
                    e->ended ? ", ended" : "", e->was_reset ? ", reset" : "",
                    (int)MIN(e->in_n - e->at, (size_t)600), e->in ? e->in + e->at : "");
    broken(e->w, "what was expected did not come");
}

static bool is_over(const struct end *e)
{
    return e->ended || e->was_reset || e->fd < 0;
}

/* Wait until `text` has come, and take everything up to its end. */
UNUSED static void hear(struct end *e, const char *text)
{
    const char *found = NULL;

    (void)UNTIL(e->w,
                (found = e->in ? memmem(e->in + e->at, e->in_n - e->at, text, strlen(text)) : NULL) != NULL ||
                    is_over(e),
                PATIENCE, 1); /* looked at below */
    found = e->in ? memmem(e->in + e->at, e->in_n - e->at, text, strlen(text)) : NULL;
    if (!found)
        complain(e, text);
    e->at = (size_t)(found - e->in) + strlen(text);
}

UNUSED static void hear_bytes(struct end *e, size_t n)
{
    if (!UNTIL(e->w, e->in_n - e->at >= n || is_over(e), PATIENCE, 1) || e->in_n - e->at < n)
        complain(e, "bytes");
    e->at += n;
}

/* Nothing more than what was heard, then the end of data. */
UNUSED static void hear_end(struct end *e)
{
    if (!UNTIL(e->w, is_over(e), PATIENCE, 1) || !e->ended || e->at != e->in_n)
        complain(e, "the end");
}

/* However it ends, with or without rest. */
UNUSED static void hear_gone(struct end *e)
{
    if (!UNTIL(e->w, is_over(e), PATIENCE, 1))
        complain(e, "the connection's death");
}

UNUSED static void hang_up(struct end *e)
{
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
}

UNUSED static void end_saying(struct end *e) /* half-close */
{
    e->ending = true;
    end_write(e);
}

UNUSED static void slam(struct end *e) /* with a reset */
{
    struct linger now = {.l_onoff = 1};

    if (e->fd >= 0)
        setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    hang_up(e);
}

/* A body that no other part of the story looks like; the world's. */
UNUSED static char *bulk_text(struct world *w, size_t n)
{
    char *p = malloc(n + 1);

    assert_true(w->bulk_count < COUNT(w->bulks));
    w->bulks[w->bulk_count++] = p;
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + (i * 7 + i / 1000) % 26);
    p[n] = 0;
    return p;
}

UNUSED static void keep(struct world *w, void *p, void (*free_fn)(void *p))
{
    assert_true(w->kept_count < COUNT(w->kept));
    w->kept[w->kept_count].p = p;
    w->kept[w->kept_count++].free_fn = free_fn;
}

/* ---- ends: messages, in HTTP/1.1 ---- */

UNUSED static void ask(struct end *e, const char *method, const char *path)
{
    char text[256];

    snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: svc.test\r\n\r\n", method, path);
    say(e, text);
}

UNUSED static void ask_with(struct end *e, const char *method, const char *path, const char *body,
                            size_t n)
{
    char text[256];

    snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: svc.test\r\nContent-Length: %zu\r\n\r\n",
             method, path, n);
    say(e, text);
    say_bytes(e, body, n);
}

UNUSED static void answer_with(struct end *e, int status, const char *body, size_t n)
{
    char text[128];

    snprintf(text, sizeof(text), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n", status, n);
    say(e, text);
    say_bytes(e, body, n);
}

UNUSED static void answer_text(struct end *e, int status, const char *body)
{
    answer_with(e, status, body, strlen(body));
}

/* A whole message at the front of `e`: its length; 0: not yet. `body` is allocated. */
static size_t whole_message(const struct end *e, bool is_response, char **head, char **body,
                            size_t *body_n)
{
    const char *p = e->in ? e->in + e->at : "", *stop = p + (e->in_n - e->at), *at, *length;
    size_t size;

    *head = *body = NULL;
    *body_n = 0;
    at = memmem(p, (size_t)(stop - p), "\r\n\r\n", 4);
    if (!at)
        return 0;
    at += 4;
    *head = strndup(p, (size_t)(at - p));
    *body = calloc(1, (size_t)(stop - at) + 1);
    length = strcasestr(*head, "\r\ncontent-length:");
    if (strcasestr(*head, "\r\ntransfer-encoding: chunked")) {
        for (;;) {
            const char *line = memmem(at, (size_t)(stop - at), "\r\n", 2);

            if (!line)
                return 0;
            size = strtoul(at, NULL, 16);
            at = line + 2;
            if (size == 0)
                break;
            if ((size_t)(stop - at) < size + 2)
                return 0;
            memcpy(*body + *body_n, at, size);
            *body_n += size;
            at += size + 2;
        }
        for (;;) { /* trailers */
            const char *line = memmem(at, (size_t)(stop - at), "\r\n", 2);

            if (!line)
                return 0;
            size = (size_t)(line - at);
            at = line + 2;
            if (size == 0)
                return (size_t)(at - p);
        }
    }
    size = length ? strtoul(length + 17, NULL, 10) : 0;
    if (!length && is_response && !strstr(*head, " 204 ") && !strstr(*head, " 304 ") &&
        strncmp(*head, "HTTP/1.1 1", 10) != 0) { /* to the end of the connection */
        if (!e->ended)
            return 0;
        size = (size_t)(stop - at);
    }
    if ((size_t)(stop - at) < size)
        return 0;
    memcpy(*body, at, size);
    *body_n = size;
    return (size_t)(at + size - p);
}

static bool take_message(struct end *e, bool is_response, char **head, char **body, size_t *n)
{
    size_t used = whole_message(e, is_response, head, body, n);

    if (used == 0) {
        free(*head);
        free(*body);
        *head = *body = NULL;
        return false;
    }
    e->at += used;
    return true;
}

/* The next message, whole. */
static void hear_message(struct end *e, bool is_response, char **head, char **body, size_t *n)
{
    bool got = false;
    size_t looked = SIZE_MAX; /* do not scan again what did not grow */

    *head = *body = NULL;
    (void)UNTIL(e->w,
                (e->in_n != looked && (looked = e->in_n, true) &&
                 (got = take_message(e, is_response, head, body, n))) ||
                    got || is_over(e),
                PATIENCE, 1); /* looked at below */
    if (!got && !take_message(e, is_response, head, body, n))
        complain(e, "a whole message");
}

UNUSED static void hear_answer_with(struct end *e, int status, const char *want, size_t want_n)
{
    char *head, *body;
    size_t n;
    int got;
    bool same;

    hear_message(e, true, &head, &body, &n);
    got = (int)strtol(head + 9, NULL, 10);
    same = got == status && (!want || (n == want_n && memcmp(body, want, n) == 0));
    if (!same && e->w->mode != CHAOS_TORN)
        print_error("%s wants %d \"%.100s\" (%zu bytes), got %d \"%.100s\" (%zu bytes)\n", e->name,
                    status, want ? want : "*", want_n, got, body, n);
    free(head);
    free(body);
    if (!same)
        broken(e->w, "another answer than expected");
}

UNUSED static void hear_answer(struct end *e, int status, const char *body /* NULL: any */)
{
    hear_answer_with(e, status, body, body ? strlen(body) : 0);
}

/* The application hears a request; its head, to be freed. */
UNUSED static void hear_request(struct end *e, const char *start, const char *want, size_t want_n)
{
    char *head, *body;
    size_t n;
    bool same;

    hear_message(e, false, &head, &body, &n);
    same = strncmp(head, start, strlen(start)) == 0 && n == want_n && memcmp(body, want, n) == 0;
    if (!same && e->w->mode != CHAOS_TORN)
        print_error("%s wants \"%s\" with %zu bytes, got with %zu: %s\n", e->name, start, want_n, n, head);
    free(head);
    free(body);
    if (!same)
        broken(e->w, "another request than expected");
}

/* A request without a body comes to the application, which has it on a new connection. */
UNUSED static struct end *reach(struct end *caller, const char *path)
{
    struct end *app;
    char start[64];

    ask(caller, "GET", path);
    app = meet(caller->w);
    snprintf(start, sizeof(start), "GET %s ", path);
    hear_request(app, start, "", 0);
    return app;
}

/* ---- rules ---- */

static struct snapshot *world_snapshot(struct world *w, struct side *n, bool caller, bool serves)
{
    struct snapshot *s = snapshot_new();
    enum app_protocol protocol = w->tcp ? APP_TCP : APP_HTTP;

    if (caller) {
        struct cluster *c = cluster_part(CLUSTER, CLUSTER_ENDPOINTS);
        struct listener *l = listener_part(LISTENER_OUTBOUND, n->outbound, protocol);
        uint16_t port = w->shape == SHAPE_PLAIN  ? w->app_port[w->rules.app]
                        : w->shape == SHAPE_MTLS ? w->host.inbound
                                                 : n->inbound;
        struct route *r;

        cluster_endpoints(c, &port, 1, w->shape == SHAPE_PLAIN ? NULL : WEB_URI);
        c->endpoints->endpoints[0].is_local = w->shape == SHAPE_PAIR;
        c->http_idle_ms = w->rules.http_idle_ms;
        c->http = w->rules.http;
        if (w->rules.connect_timeout_ms)
            c->connect_timeout_ms = w->rules.connect_timeout_ms;
        r = listener_route(l, CLUSTER);
        listener_tcp(l, CLUSTER);
        r->retry = w->rules.retry;
        r->timeout_ms = w->rules.timeout_ms;
        if (w->rules.pending)
            r->action = ROUTE_PENDING;
        l->identity = str_from(w->rules.identity);
        snapshot_add_cluster(s, c);
        snapshot_add_listener(s, l);
    }
    if (serves) {
        struct cluster *c = cluster_part("inbound|80||", CLUSTER_LOCAL);
        struct listener *l = listener_part(LISTENER_INBOUND, n->inbound, protocol);

        c->local = loopback(w->app_port[w->rules.app]);
        c->http = w->rules.http;
        l->cluster = STR("inbound|80||");
        l->mtls = MTLS_STRICT;
        l->identity = STR(WEB_URI);
        snapshot_add_cluster(s, c);
        snapshot_add_listener(s, l);
    }
    return s;
}

static void apply_to(struct world *w, struct side *n, bool caller, bool serves)
{
    struct snapshot *s = world_snapshot(w, n, caller, serves);
    struct err err = {0};

    assert_true(w->snapshot_count < COUNT(w->snapshots));
    snapshot_seal(s, NULL);
    w->snapshots[w->snapshot_count++] = s; /* our reference */
    if (proxy_apply(n->proxy, s, &err) < 0)
        print_error("%s\n", err.text);
}

UNUSED static void apply_rules(struct world *w)
{
    if (w->has_host)
        apply_to(w, &w->host, false, true);
    apply_to(w, &w->caller, true, w->shape == SHAPE_PAIR);
    settle(w);
}

/* ---- the ledger ---- */

static size_t open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

struct entry {
    const char *what;
    uint64_t left;
};

/* Prints what is not zero. */
static bool is_square(struct world *w, const char *when, const struct entry *e, size_t count)
{
    bool good = true;

    for (size_t i = 0; i < count; i++) {
        if (e[i].left == 0)
            continue;
        print_error("ledger, %s: %llu of %s left\n", when, (unsigned long long)e[i].left, e[i].what);
        good = false;
    }
    (void)w;
    return good;
}

static uint64_t alive(struct world *w, const char *what)
{
    return proxy_live(w->caller.proxy, what) + (w->has_host ? proxy_live(w->host.proxy, what) : 0);
}

static uint64_t under_way(struct world *w)
{
    return alive(w, "weft_connections") + alive(w, "weft_requests") + alive(w, "weft_attempts") +
           alive(w, "weft_tunnels");
}

static uint64_t blocks_sum(struct side *n, bool refs)
{
    struct map_entry *e;
    uint64_t sum = 0;

    for (size_t i = 0; (e = map_each(&n->proxy->clusters.blocks, &i));) {
        struct endpoint_block *b = e->value;

        sum += refs ? atomic_load(&b->refs) - 1 : atomic_load(&b->active);
    }
    return sum;
}

static bool no_traffic_is_left(struct world *w)
{
    const struct entry rows[] = {
        {"connections",                   alive(w, "weft_connections")                                     },
        {"requests",                      alive(w, "weft_requests")                                        },
        {"tries",                         alive(w, "weft_attempts")                                        },
        {"tunnels",                       alive(w, "weft_tunnels")                                         },
        {"slices of traffic",             bytes_pool_live() - w->slices_before},
        {"requests counted at endpoints", blocks_sum(&w->caller, false) +
                                              (w->has_host ? blocks_sum(&w->host, false) : 0)              },
        {"load of the caller's worker",   atomic_load(&only_worker(&w->caller)->load)                      },
        {"load of the host's worker",     w->has_host ? atomic_load(&only_worker(&w->host)->load) : 0      },
    };

    return is_square(w, "when all were gone", rows, COUNT(rows));
}

static bool nothing_is_left(struct world *w, uint64_t upstreams, uint64_t timers)
{
    struct entry rows[] = {
        {"connections to endpoints",  upstreams        },
        {"timers",                    timers           },
        {"slices of traffic",         bytes_pool_live() - w->slices_before},
        {"references to rules",       0                },
        {"descriptors",               0                },
    };
    size_t fds = open_fds();

    for (size_t i = 0; i < w->snapshot_count; i++)
        rows[3].left += atomic_load(&w->snapshots[i]->refs) - 1;
    rows[4].left = fds > w->fds_before ? fds - w->fds_before : 0;
    return is_square(w, "after the proxies' end", rows, COUNT(rows));
}

/* ---- begin and end ---- */

static void on_world_need(void *arg, struct str service)
{
    struct world *w = arg;

    (void)service; /* there is one */
    w->needs++;
}

static void world_node(struct world *w, struct side *n)
{
    struct err err = {0};
    struct proxy_options o = {
        .workers = 1, .trust_local_addr = true, .access_log_fd = -1, .need = on_world_need, .need_arg = w};

    n->control = o.control = loop_new(&err);
    n->outbound = free_port();
    n->inbound = free_port();
    o.outbound4 = loopback(n->outbound);
    o.inbound4 = loopback(n->inbound);
    n->proxy = proxy_new(&o, &err);
    if (!n->proxy)
        print_error("%s\n", err.text);
    assert_non_null(n->proxy);
    only_worker(n)->rng = w->seed | 1;
}

static void world_start(struct world *w)
{
    w->fds_before = open_fds();
    w->slices_before = bytes_pool_live();
    w->has_host = w->shape == SHAPE_MTLS;
    w->bulk = w->mode == CHAOS_DRIPPED ? 500 : 200000; /* a byte each way costs a turn of all loops */
    w->rules.identity = DB_URI;
    for (size_t i = 0; i < COUNT(w->app_fd); i++) {
        w->app_fd[i] = listen_any(&w->app_port[i]);
        fcntl(w->app_fd[i], F_SETFL, O_NONBLOCK);
    }
    world_node(w, &w->caller);
    proxy_set_creds(w->caller.proxy, STR(DB_URI), world_creds[0]);
    proxy_set_creds(w->caller.proxy, STR(OTHER_URI), world_creds[2]);
    if (w->has_host)
        world_node(w, &w->host);
    proxy_set_creds(w->has_host ? w->host.proxy : w->caller.proxy, STR(WEB_URI), world_creds[1]);
    apply_rules(w);
}

static bool node_end(struct world *w, struct side *n, uint64_t *upstreams, uint64_t *timers)
{
    struct worker *k = only_worker(n);

    worker_stop(k);
    for (int i = 0; i < 100 && !(link_is_empty(&k->conns) && link_is_empty(&k->upstreams)); i++)
        round_of(w);
    for (int i = 0; i < 4; i++)
        round_of(w);
    *upstreams += proxy_live(n->proxy, "weft_upstream_connections");
    *timers += loop_timers(k->loop);
    return link_is_empty(&k->conns);
}

/* Everybody leaves; what remains is counted. */
static bool world_end(struct world *w)
{
    uint64_t upstreams = 0, timers = 0;
    bool good;

    chaos_hold_handshakes(false);
    chaos_release_handshakes();
    chaos_stall_connects(false);
    for (size_t i = 0; i < w->end_count; i++)
        hang_up(w->ends[i]);
    settle(w);
    /* Its pool keeps connections of the host, also those that become idle meanwhile. The ledger tells the rest. */
    (void)UNTIL(w, (upstream_drain(only_worker(&w->caller)), under_way(w) == 0), 20000, 10);
    for (size_t i = 0; i < w->end_count; i++)
        hang_up(w->ends[i]); /* those that came meanwhile */
    settle(w);
    good = no_traffic_is_left(w);
    good &= node_end(w, &w->caller, &upstreams, &timers);
    if (w->has_host)
        good &= node_end(w, &w->host, &upstreams, &timers);
    for (size_t i = 0; i < w->end_count; i++) {
        hang_up(w->ends[i]);
        free(w->ends[i]->in);
        free(w->ends[i]->out);
        free(w->ends[i]);
    }
    for (size_t i = 0; i < COUNT(w->app_fd); i++)
        close(w->app_fd[i]);
    proxy_free(w->caller.proxy);
    loop_free(w->caller.control);
    if (w->has_host) {
        proxy_free(w->host.proxy);
        loop_free(w->host.control);
    }
    good &= nothing_is_left(w, upstreams, timers);
    for (size_t i = 0; i < w->snapshot_count; i++)
        snapshot_unref(w->snapshots[i]);
    for (size_t i = 0; i < w->bulk_count; i++)
        free(w->bulks[i]);
    for (size_t i = 0; i < w->kept_count; i++)
        w->kept[i].free_fn(w->kept[i].p);
    return good;
}

/* ---- telling ---- */

static void tell(const char *name, story_fn *fn, unsigned where, enum shape shape,
                 enum chaos_mode mode, uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));

    w->story = name;
    w->shape = shape;
    w->tcp = (where & AS_TCP) != 0;
    w->mode = mode;
    w->seed = seed;
    telling = w;
    chaos_begin(CHAOS_NONE, seed);
    world_start(w);
    chaos_begin(mode, seed);
    if (setjmp(w->left) == 0)
        fn(w);
    assert_true(world_end(w));
    chaos_end();
    telling = NULL;
    free(w);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

/* Only one shape or mode: WEFT_SHAPE=mtls WEFT_MODE=seeded. */
static bool is_wanted(const char *variable, const char *name)
{
    const char *text = getenv(variable);

    return !text || !*text || strcmp(text, name) == 0;
}

#define CHAOS_ROUNDS 4 /* seeds of each kind, per story and shape */

static void tell_all(const char *name, story_fn *fn, unsigned where)
{
    uint64_t rounds = number_from("WEFT_CHAOS_ROUNDS", CHAOS_ROUNDS), seed = number_from("WEFT_SEED", 0);

    signal(SIGPIPE, SIG_IGN);
    for (enum shape shape = 0; shape < SHAPES; shape++) {
        if (!(where & BIT(shape)) || !is_wanted("WEFT_SHAPE", shape_names[shape]))
            continue;
        for (enum chaos_mode mode = 0; mode < CHAOS_MODES; mode++) {
            uint64_t times = mode < CHAOS_SEEDED || seed ? 1 : rounds;

            for (uint64_t i = 1; i <= times && is_wanted("WEFT_MODE", mode_names[mode]); i++)
                tell(name, fn, where, shape, mode, seed ? seed : i);
        }
    }
}

/* The authority is made once: its keys cost more than the stories. */
static int story_setup(void **state)
{
    (void)state; /* cmocka's */
    if (world_pki.ca)
        return 0;
    pki_world_init(&world_pki, "cluster.local");
    world_creds[0] = pki_world_creds(&world_pki, DB_URI, world_pki.now_ms);
    world_creds[1] = pki_world_creds(&world_pki, WEB_URI, world_pki.now_ms);
    world_creds[2] = pki_world_creds(&world_pki, OTHER_URI, world_pki.now_ms);
    return 0;
}

static int story_teardown(void **state)
{
    (void)state; /* cmocka's */
    chaos_end();
    if (telling)
        print_error("replay: WEFT_SHAPE=%s WEFT_MODE='%s' WEFT_SEED=%llu %s %s\n", shape_names[telling->shape],
                    mode_names[telling->mode], (unsigned long long)telling->seed,
                    program_invocation_name, telling->story);
    telling = NULL;
    return 0;
}

__attribute__((destructor)) static void world_authority_done(void)
{
    if (!world_pki.ca)
        return;
    for (size_t i = 0; i < COUNT(world_creds); i++)
        creds_unref(world_creds[i]);
    pki_world_done(&world_pki);
}

#define STORY(id, where)                                                                           \
    static void story_##id(struct world *w);                                                       \
    static void run_##id(void **state)                                                             \
    {                                                                                              \
        (void)state;                                                                               \
        tell_all(#id, story_##id, where);                                                          \
    }                                                                                              \
    __attribute__((constructor)) static void add_##id(void)                                        \
    {                                                                                              \
        test_list[test_count++] =                                                                  \
            (struct CMUnitTest){#id, run_##id, story_setup, story_teardown, NULL};                 \
    }                                                                                              \
    static void story_##id(struct world *w)
