/* Threads under load: two proxies of four workers with mutual TLS between them, callers who ask, leave and reset, origins who
 * drop and cut, while snapshots, endpoints, the version of HTTP between the proxies and certificates (and with them tickets)
 * change. Every request that may be judged must have its own answer; at the end nothing may be left. For ThreadSanitizer first:
 * make soak, SOAK_SECONDS (default 30).
 */
#include "proxy/wire/bytes.h"
#include "test/unit/pki_world.h"
#include "test/unit/proxy_world.h"

#define CLUSTER   "outbound|80||svc.test"
#define CALLERS   8
#define WORKERS   4
#define TICK_MS   10  /* one snapshot each */
#define ROTATE    20  /* ticks between certificates */
#define BODY_MAX  60000 /* within LIMIT_REPLAY_BYTES, so that it may be sent again */

struct soak {
    struct pki_world pki;
    struct node client, server;
    struct origin apps[2];
    uint16_t dead; /* nobody listens there */
    atomic_bool stop;
    atomic_size_t answered, failed, bad;
};

struct caller {
    struct soak *s;
    pthread_t thread;
    unsigned seed;
    int fd; /* -1: none */
    char body[BODY_MAX];
};

/* ---- callers ---- */

static void leave(struct caller *c, bool reset)
{
    struct linger now = {.l_onoff = 1};

    if (c->fd >= 0 && reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void judge(struct caller *c, const char *what, int got, int want, bool same)
{
    if (got == want && same) {
        atomic_fetch_add(want == 200 ? &c->s->answered : &c->s->failed, 1);
        return;
    }
    fprintf(stderr, "soak: %s: %d instead of %d%s\n", what, got, want, same ? "" : ", another body");
    atomic_fetch_add(&c->s->bad, 1);
    leave(c, false);
}

static void ask_status(struct caller *c, const char *path, int want)
{
    struct message m;

    judge(c, path, get(c->fd, path, &m), want, true);
    message_free(&m);
}

static void ask_echo(struct caller *c)
{
    size_t n = (size_t)rand_r(&c->seed) % BODY_MAX;
    char head[160];
    struct message m = {0};
    int h, got = 0;

    memset(c->body, 'a' + rand_r(&c->seed) % 26, n);
    h = snprintf(head, sizeof(head), "POST /echo HTTP/1.1\r\nHost: svc.test\r\nContent-Length: %zu\r\n\r\n", n);
    if (put_all(c->fd, head, (size_t)h))
        got = call(c->fd, c->body, n, &m);
    judge(c, "/echo", got, 200, got != 200 || (m.body_n == n && memcmp(m.body, c->body, n) == 0));
    message_free(&m);
}

/* Goes away at some point of a request or an answer. */
static void ask_and_leave(struct caller *c)
{
    static const char *const texts[] = {
        "GE", "POST /echo HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 100\r\n\r\nhalf",
        "GET /big HTTP/1.1\r\nHost: svc.test\r\n\r\n", "GET /slow HTTP/1.1\r\nHost: svc.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: svc.test\r\n\r\nGET /cut HTTP/1.1\r\nHost: svc.test\r\n\r\nGET /"};
    const char *text = texts[(size_t)rand_r(&c->seed) % COUNT(texts)];
    char some[4096];

    if (put_all(c->fd, text, strlen(text)) && strstr(text, "/big"))
        (void)!recv(c->fd, some, sizeof(some), 0); /* whatever came */
    leave(c, rand_r(&c->seed) % 2);
}

static void *caller_run(void *arg)
{
    struct caller *c = arg;

    while (!atomic_load(&c->s->stop)) {
        if (c->fd < 0)
            c->fd = dial(c->s->client.outbound);
        switch (rand_r(&c->seed) % 8) {
        case 0:
            ask_and_leave(c);
            break;
        case 1:
            ask_status(c, "/drop", 503);
            break;
        case 2:
            ask_status(c, "/status/418", 418);
            break;
        case 3:
        case 4:
            ask_echo(c);
            break;
        default:
            ask_status(c, "/", 200);
            break;
        }
    }
    leave(c, false);
    return NULL;
}

/* ---- changes ---- */

static struct snapshot *client_rules(struct soak *s, unsigned tick)
{
    struct snapshot *snap = snapshot_new();
    struct cluster *c = cluster_part(CLUSTER, CLUSTER_ENDPOINTS);
    struct listener *l = listener_part(LISTENER_OUTBOUND, s->client.outbound, APP_HTTP);
    uint16_t ports[2] = {s->server.inbound, s->dead};
    struct route *r;

    cluster_endpoints(c, ports, 1 + tick / 4 % 2, WEB_URI);
    c->http = tick / 16 % 2 ? CLUSTER_HTTP2 : CLUSTER_HTTP1; /* between the proxies */
    r = listener_route(l, CLUSTER);
    r->retry = (struct retry_policy){.attempts = 3,
                                     .on = RETRY_CONNECT_FAILURE | RETRY_RESET,
                                     .backoff_base_ms = 1,
                                     .avoid_previous = AVOID_ALWAYS};
    l->identity = STR(DB_URI);
    snapshot_add_cluster(snap, c);
    snapshot_add_listener(snap, l);
    return snap;
}

static struct snapshot *server_rules(struct soak *s, unsigned tick)
{
    struct snapshot *snap = snapshot_new();
    struct cluster *c = cluster_part("inbound|80||", CLUSTER_LOCAL);
    struct listener *l = listener_part(LISTENER_INBOUND, s->server.inbound, APP_HTTP);

    c->local = loopback(s->apps[tick / 8 % 2].port);
    l->cluster = STR("inbound|80||");
    l->mtls = MTLS_STRICT;
    l->identity = STR(WEB_URI);
    snapshot_add_cluster(snap, c);
    snapshot_add_listener(snap, l);
    return snap;
}

static void apply(struct node *n, struct snapshot *snap)
{
    struct err err = {0};

    snapshot_seal(snap, NULL);
    CHECK_INT(proxy_apply(n->proxy, snap, &err), 0);
    snapshot_unref(snap);
    loop_turn(n->control, 0);
}

static void renew(struct soak *s, struct node *n, const char *uri)
{
    struct creds *c = pki_world_creds(&s->pki, uri, s->pki.now_ms);

    proxy_set_creds(n->proxy, str_from(uri), c);
    creds_unref(c);
}

static void change(struct soak *s, unsigned tick)
{
    if (tick % 2)
        apply(&s->client, client_rules(s, tick));
    else
        apply(&s->server, server_rules(s, tick));
    if (tick % (2 * ROTATE) == 0)
        renew(s, &s->client, DB_URI);
    else if (tick % ROTATE == 0)
        renew(s, &s->server, WEB_URI);
}

/* Access logs must go somewhere. */
static void *log_run(void *arg)
{
    char text[65536];

    while (read(((struct node *)arg)->log[0], text, sizeof(text)) > 0)
        ;
    return NULL;
}

static unsigned seconds(void)
{
    const char *text = getenv("SOAK_SECONDS");

    return text && *text ? (unsigned)strtoul(text, NULL, 10) : 30;
}

TEST(nothing_is_lost_while_everything_changes)
{
    static struct soak s;
    static struct caller callers[CALLERS];
    pthread_t logs[2];
    unsigned ticks = seconds() * 1000 / TICK_MS;

    pki_world_init(&s.pki, "cluster.local");
    origin_start(&s.apps[0], "one", ORIGIN_HTTP);
    origin_start(&s.apps[1], "two", ORIGIN_HTTP);
    node_start(&s.client, WORKERS, 2, NULL, NULL);
    node_start(&s.server, WORKERS, 2, NULL, NULL);
    s.dead = free_port();
    pthread_create(&logs[0], NULL, log_run, &s.client);
    pthread_create(&logs[1], NULL, log_run, &s.server);
    renew(&s, &s.client, DB_URI);
    renew(&s, &s.server, WEB_URI);
    node_apply(&s.server, server_rules(&s, 0));
    node_apply(&s.client, client_rules(&s, 0));
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.s = &s, .seed = (unsigned)i + 1, .fd = -1};
        pthread_create(&callers[i].thread, NULL, caller_run, &callers[i]);
    }
    for (unsigned i = 1; i <= ticks; i++) {
        change(&s, i);
        nap_ms(TICK_MS);
    }
    atomic_store(&s.stop, true);
    for (size_t i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
    print_message("soak: %zu answered, %zu failed as they must, %zu wrong; %u snapshots\n", atomic_load(&s.answered),
                  atomic_load(&s.failed), atomic_load(&s.bad), ticks);
    CHECK(node_is_quiet(&s.client));
    CHECK(proxy_is_alive(s.client.proxy)); /* one of the two: it asks the helpers of the process as well */
    proxy_free(s.client.proxy); /* its pools hold connections of the server */
    s.client.proxy = NULL;
    CHECK(node_is_quiet(&s.server));
    proxy_free(s.server.proxy);
    for (size_t i = 0; i < COUNT(logs); i++) {
        struct node *n = i ? &s.server : &s.client;

        loop_free(n->control);
        close(n->log[1]);
        pthread_join(logs[i], NULL);
        close(n->log[0]);
    }
    origin_stop(&s.apps[0]);
    origin_stop(&s.apps[1]);
    pki_world_done(&s.pki);
    CHECK_INT(bytes_pool_live(), 0);
    CHECK_INT(atomic_load(&s.bad), 0);
    CHECK(atomic_load(&s.answered) > ticks / 10);
}
