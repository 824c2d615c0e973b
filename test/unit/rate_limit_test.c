/* Limits of requests in a running proxy. Intervals are an hour, so that no test depends on how fast it is. */
#include "test/unit/proxy_world.h"

#define LOCAL  "inbound|80||"
#define HOUR_NS 3600000000000ll

static bool has(const char *text, const char *part)
{
    if (strstr(text, part))
        return true;
    print_error("no \"%s\" in:\n%s\n", part, text);
    return false;
}

/* `burst` an hour, as the compiler fills in what a document leaves out. */
static struct limit limit(const char *name, enum limit_key key, uint32_t burst)
{
    static char buckets[16][64];
    static size_t next;
    char *bucket = buckets[next++ % COUNT(buckets)];

    (void)snprintf(bucket, sizeof(buckets[0]), "%s %d", name, (int)key);
    return (struct limit){.bucket = str_from(bucket),
                          .object = STR("default/web"),
                          .name = str_from(name),
                          .key = key,
                          .header = STR("x-user"),
                          .requests = burst,
                          .burst = burst,
                          .interval_ns = HOUR_NS,
                          .keys_max = 100,
                          .status = 429,
                          .has_headers = true};
}

static void set_limits(struct listener *l, const struct limit *limits, size_t count)
{
    l->limits = ARENA_ARRAY(&l->part.arena, count + 1, struct limit);
    for (size_t i = 0; i < count; i++) {
        l->limits[i] = limits[i];
        l->limits[i].bucket = arena_str(&l->part.arena, limits[i].bucket);
    }
    l->limit_count = count;
}

/* An application behind its agent. */
static void push(struct node *n, uint16_t app, const struct limit *limits, size_t count)
{
    struct snapshot *s = snapshot_new();
    struct cluster *c = cluster_part(LOCAL, CLUSTER_LOCAL);
    struct listener *l = listener_part(LISTENER_INBOUND, n->inbound, APP_HTTP);

    c->local = loopback(app);
    l->cluster = STR(LOCAL);
    set_limits(l, limits, count);
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    node_apply(n, s);
}

static void start(struct node *n, struct origin *o, const struct limit *limits, size_t count)
{
    origin_start(o, "app", ORIGIN_HTTP);
    node_start(n, 2, 0, NULL, NULL);
    push(n, o->port, limits, count);
}

static void stop(struct node *n, struct origin *o)
{
    CHECK(node_is_quiet(n));
    node_stop(n);
    origin_stop(o);
}

static int status_of(struct node *n, const char *path)
{
    struct message m;
    int status = get_once(n->inbound, path, &m);

    message_free(&m);
    return status;
}

static int as_user(struct node *n, const char *user)
{
    struct message m;
    char text[160];
    int fd = dial(n->inbound), status;

    (void)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: svc.test\r\nX-User: %s\r\n\r\n", user);
    status = ask(fd, text, &m);
    close(fd);
    message_free(&m);
    return status;
}

static bool counts(struct node *n, const char *row)
{
    struct buf text;
    bool found;

    buf_init(&text, 1 << 20);
    proxy_metrics(n->proxy, &text);
    buf_addc(&text, 0);
    found = has(text.p, row);
    buf_done(&text);
    return found;
}

#define ROW "{workload=\"caller-1\",namespace=\"default\",rate_limit=\"default/web\",limit=\"all\""

TEST(what_is_too_much_is_refused_in_envoys_words)
{
    const struct limit all = limit("all", LIMIT_KEY_NONE, 3);
    struct node n;
    struct origin o;
    struct message m;
    char log[8192];

    start(&n, &o, &all, 1);
    CHECK(counts(&n, "weft_rate_limit_requests_total" ROW ",result=\"allowed\"} 0\n"));
    CHECK_INT(get_once(n.inbound, "/", &m), 200);
    CHECK(has(m.text, "ratelimit-limit: 3\r\n"));
    CHECK(has(m.text, "ratelimit-remaining: 2\r\n"));
    CHECK(has(m.text, "ratelimit-reset: 1200\r\n"));
    CHECK(!strstr(m.text, "retry-after"));
    message_free(&m);
    CHECK_INT(status_of(&n, "/"), 200);
    CHECK_INT(status_of(&n, "/"), 200);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(get_once(n.inbound, "/", &m), 429);
        CHECK_TEXT(m.body, "local_rate_limited");
        CHECK(has(m.text, "HTTP/1.1 429 Too Many Requests\r\n"));
        CHECK(has(m.text, "x-envoy-ratelimited: true\r\n"));
        CHECK(has(m.text, "ratelimit-limit: 3\r\n"));
        CHECK(has(m.text, "ratelimit-remaining: 0\r\n"));
        CHECK(has(m.text, "retry-after: 1200\r\n") || has(m.text, "retry-after: 1199\r\n"));
        message_free(&m);
    }
    CHECK_INT(atomic_load(&o.requests), 3);
    CHECK(counts(&n, "weft_rate_limit_requests_total" ROW ",result=\"allowed\"} 3\n"));
    CHECK(counts(&n, "weft_rate_limit_requests_total" ROW ",result=\"refused\"} 4\n"));
    CHECK(counts(&n, "response_code=\"429\",grpc_response_status=\"\",response_flags=\"RL\""));
    node_log(&n, log, sizeof(log), " 429 ");
    CHECK(has(log, "\"GET / HTTP/1.1\" 429 RL local_rate_limited - \"-\" 0 18 "));
    stop(&n, &o);
}

TEST(a_push_refills_nothing)
{
    struct limit all = limit("all", LIMIT_KEY_NONE, 2), user = limit("user", LIMIT_KEY_HEADER, 1);
    struct node n;
    struct origin o;

    start(&n, &o, &all, 1);
    CHECK_INT(status_of(&n, "/"), 200);
    for (int i = 0; i < 5; i++)
        push(&n, o.port, &all, 1);
    CHECK_INT(status_of(&n, "/"), 200);
    push(&n, o.port, &all, 1);
    CHECK_INT(status_of(&n, "/"), 429);
    all.requests = all.burst = 4; /* wider rules, the same bucket, which was empty */
    push(&n, o.port, &all, 1);
    CHECK_INT(status_of(&n, "/"), 429);
    all.requests = 1000000000;
    push(&n, o.port, &all, 1);
    CHECK_INT(status_of(&n, "/"), 429); /* and is no emptier than empty now */
    nap_ms(5);
    CHECK_INT(status_of(&n, "/"), 200);
    push(&n, o.port, &user, 1);
    CHECK_INT(as_user(&n, "a"), 200);
    push(&n, o.port, &user, 1);
    CHECK_INT(as_user(&n, "a"), 429);
    CHECK_INT(as_user(&n, "b"), 200);
    push(&n, o.port, NULL, 0);
    CHECK_INT(as_user(&n, "a"), 200);
    push(&n, o.port, NULL, 0); /* the buckets of before have gone */
    push(&n, o.port, &user, 1);
    CHECK_INT(as_user(&n, "a"), 200);
    CHECK_INT(as_user(&n, "a"), 429);
    stop(&n, &o);
}

TEST(each_value_of_a_header_has_a_bucket)
{
    const struct limit user = limit("all", LIMIT_KEY_HEADER, 2);
    struct node n;
    struct origin o;

    start(&n, &o, &user, 1);
    for (int i = 0; i < 5; i++) {
        CHECK_INT(as_user(&n, "a"), i < 2 ? 200 : 429);
        CHECK_INT(as_user(&n, "b"), i < 2 ? 200 : 429);
        CHECK_INT(status_of(&n, "/"), i < 2 ? 200 : 429); /* those without it share one */
    }
    CHECK(counts(&n, "weft_rate_limit_keys" ROW "} 3\n"));
    CHECK(counts(&n, "weft_rate_limit_evicted_total" ROW "} 0\n"));
    CHECK(counts(&n, "weft_rate_limit_requests_total" ROW ",result=\"refused\"} 9\n"));
    stop(&n, &o);
}

/* A request from another address of the loopback. */
static int from_address(struct node *n, uint8_t last)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(n->inbound)}, from = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status;
    struct message m;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(0x7f000000u | last);
    CHECK_INT(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    set_patience(fd);
    status = get(fd, "/", &m);
    message_free(&m);
    close(fd);
    return status;
}

TEST(each_address_has_a_bucket_and_all_without_identity_one)
{
    const struct limit each = limit("each", LIMIT_KEY_ADDRESS, 1), peer = limit("peer", LIMIT_KEY_PRINCIPAL, 1);
    struct node n;
    struct origin o;

    start(&n, &o, &each, 1);
    CHECK_INT(from_address(&n, 1), 200);
    CHECK_INT(from_address(&n, 2), 200);
    CHECK_INT(from_address(&n, 1), 429);
    CHECK_INT(from_address(&n, 2), 429);
    push(&n, o.port, &peer, 1);
    CHECK_INT(from_address(&n, 1), 200);
    CHECK_INT(from_address(&n, 2), 429);
    stop(&n, &o);
}

TEST(a_request_takes_from_all_limits_or_from_none)
{
    struct limit two[] = {limit("all", LIMIT_KEY_NONE, 3), limit("user", LIMIT_KEY_HEADER, 1)};
    struct node n;
    struct origin o;
    struct message m;

    start(&n, &o, two, 2);
    CHECK_INT(as_user(&n, "a"), 200);
    for (int i = 0; i < 10; i++)
        CHECK_INT(as_user(&n, "a"), 429);
    CHECK_INT(as_user(&n, "b"), 200);
    CHECK_INT(get_once(n.inbound, "/", &m), 200); /* the third of all, the first of its own */
    CHECK(has(m.text, "ratelimit-remaining: 0\r\n"));
    message_free(&m);
    CHECK_INT(as_user(&n, "c"), 429);
    CHECK(counts(&n, ROW ",result=\"allowed\"} 3\n"));
    CHECK(counts(&n, ROW ",result=\"refused\"} 1\n"));
    stop(&n, &o);
}

TEST(answers_are_as_the_limit_says)
{
    struct limit quiet = limit("all", LIMIT_KEY_NONE, 1);
    struct node n;
    struct origin o;
    struct message m;

    quiet.status = 503;
    quiet.has_headers = false;
    start(&n, &o, &quiet, 1);
    CHECK_INT(get_once(n.inbound, "/", &m), 200);
    CHECK(!strstr(m.text, "ratelimit"));
    message_free(&m);
    CHECK_INT(get_once(n.inbound, "/", &m), 503);
    CHECK(!strstr(m.text, "\r\nratelimit") && !strstr(m.text, "retry-after"));
    message_free(&m);
    stop(&n, &o);
}

TEST(grpc_is_told_in_its_own_way)
{
    const struct limit all = limit("all", LIMIT_KEY_NONE, 1);
    struct node n;
    struct origin o;
    struct message m;
    int fd;

    start(&n, &o, &all, 1);
    CHECK_INT(status_of(&n, "/"), 200);
    fd = dial(n.inbound);
    CHECK_INT(ask(fd, "POST /a.B/C HTTP/1.1\r\nHost: svc.test\r\nContent-Type: application/grpc\r\n"
                      "Content-Length: 0\r\n\r\n", &m), 200);
    CHECK(has(m.text, "grpc-status: 14\r\n"));
    CHECK(has(m.text, "grpc-message: local_rate_limited\r\n"));
    CHECK(has(m.text, "x-envoy-ratelimited: true\r\n"));
    CHECK_INT(m.body_n, 0);
    message_free(&m);
    close(fd);
    CHECK_INT(atomic_load(&o.requests), 1);
    stop(&n, &o);
}

/* ---- gateways ---- */

TEST(a_limit_may_be_for_the_routes_of_one_rule)
{
    struct limit some = limit("some", LIMIT_KEY_NONE, 1);
    struct snapshot *s = snapshot_new();
    struct node n;
    struct origin o;
    struct cluster *c;
    struct listener *l;
    struct route *r, *routes;
    uint16_t port = free_port();
    struct message m;
    int fd;

    origin_start(&o, "app", ORIGIN_HTTP);
    node_start(&n, 2, 0, NULL, NULL);
    c = cluster_part("outbound|80||svc.test", CLUSTER_ENDPOINTS);
    cluster_endpoints(c, &o.port, 1, NULL);
    l = listener_part(LISTENER_GATEWAY, port, APP_HTTP);
    r = listener_route(l, c->name.p);
    routes = ARENA_ARRAY(&l->http->vhosts[0]->part.arena, 2, struct route);
    routes[0] = routes[1] = *r;
    routes[0].name = STR("checkout.small");
    routes[0].rule = STR("checkout");
    routes[0].match.path = (struct match_string){.kind = MATCH_PREFIX, .text = STR("/checkout")};
    l->http->vhosts[0]->routes = routes;
    l->http->vhosts[0]->route_count = 2;
    some.rule = STR("checkout");
    set_limits(l, &some, 1);
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    node_apply(&n, s);
    fd = dial(port);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(get(fd, "/checkout/1", &m), i == 0 ? 200 : 429);
        message_free(&m);
        CHECK_INT(get(fd, "/", &m), 200);
        CHECK(!strstr(m.text, "ratelimit-"));
        message_free(&m);
    }
    close(fd);
    stop(&n, &o);
}

static int said_to_come_from(uint16_t port, const char *address)
{
    struct message m;
    char text[200];
    int fd = dial(port), status;

    (void)snprintf(text, sizeof(text), "PROXY %s %s %s 5000 80\r\nGET / HTTP/1.1\r\nHost: svc.test\r\n\r\n",
                   strchr(address, ':') ? "TCP6" : "TCP4", address, strchr(address, ':') ? "2001:db8::1" : "192.0.2.1");
    status = ask(fd, text, &m);
    message_free(&m);
    close(fd);
    return status;
}

TEST(behind_a_balancer_that_says_so_clients_are_told_apart)
{
    static const struct {
        const char *address;
        int status;
    } rows[] = {
        {"198.51.100.1",         200},
        {"198.51.100.2",         200},
        {"198.51.100.1",         429},
        {"2001:db8:1:2::3",      200},
        {"2001:db8:1:2:ff::4",   429}, /* the same /64 */
        {"2001:db8:1:3::3",      200},
    };
    const struct limit each = limit("each", LIMIT_KEY_ADDRESS, 1);
    struct snapshot *s = snapshot_new();
    uint16_t port = free_port();
    struct listener *l = listener_part(LISTENER_GATEWAY, port, APP_HTTP);
    struct cluster *c = cluster_part("outbound|80||svc.test", CLUSTER_ENDPOINTS);
    struct node n;
    struct origin o;

    origin_start(&o, "app", ORIGIN_HTTP);
    node_start(&n, 2, 0, NULL, NULL);
    cluster_endpoints(c, &o.port, 1, NULL);
    listener_route(l, c->name.p);
    l->takes_proxy_header = true;
    set_limits(l, &each, 1);
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    node_apply(&n, s);
    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_INT(said_to_come_from(port, rows[i].address), rows[i].status);
    stop(&n, &o);
}

/* ---- workers ---- */

#define CALLERS 4
#define CALLS   60

struct caller {
    struct node *n;
    int allowed;
};

static void *ask_often(void *arg)
{
    struct caller *c = arg;

    for (int i = 0; i < CALLS; i++)
        c->allowed += status_of(c->n, "/") == 200;
    return NULL;
}

TEST(all_workers_together_allow_exactly_what_is_allowed)
{
    const struct limit all = limit("all", LIMIT_KEY_NONE, 100);
    struct caller callers[CALLERS];
    pthread_t threads[CALLERS];
    struct node n;
    struct origin o;
    int allowed = 0;

    origin_start(&o, "app", ORIGIN_HTTP);
    node_start(&n, 4, 0, NULL, NULL);
    push(&n, o.port, &all, 1);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.n = &n};
        CHECK_INT(pthread_create(&threads[i], NULL, ask_often, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        allowed += callers[i].allowed;
    }
    CHECK_INT(allowed, 100);
    CHECK_INT(atomic_load(&o.requests), 100);
    stop(&n, &o);
}
