/* consistentHash: from the request to its key, through a proxy to one endpoint. */
#include "test/unit/proxy_world.h"

#include "mesh/base/xxh64.h"
#include "proxy/balance_hash.h"
#include "proxy/wire/http.h"

#define CLUSTER "outbound|80||svc.test"

/* ---- from the request ---- */

struct asked {
    struct arena arena;
    struct cluster c;
    struct http_head head;
    struct addr remote, local;
    uint64_t hash;
    struct str cookie;
    bool has_key;
};

static void ask_key(struct asked *a, struct hash_rule rule, const char *path, const char *field, const char *value)
{
    memset(a, 0, sizeof(*a));
    arena_init(&a->arena);
    a->c.balance = BALANCE_HASH;
    a->c.hash = rule;
    http_head_init(&a->head, &a->arena, true);
    a->head.path = str_from(path);
    a->head.authority = STR("svc");
    if (field)
        http_add(&a->head, str_from(field), str_from(value));
    CHECK(addr_parse(STR("192.0.2.7:4711"), &a->remote));
    CHECK(addr_parse(STR("10.1.0.1:80"), &a->local));
    a->has_key = balance_hash_request(&a->c, &a->head, &a->remote, &a->local, &a->hash, &a->cookie);
}

static uint64_t key_hash(struct hash_rule rule, const char *path, const char *field, const char *value)
{
    struct asked a;

    ask_key(&a, rule, path, field, value);
    CHECK(a.has_key);
    CHECK_INT(a.cookie.n, 0);
    arena_done(&a.arena);
    return a.hash;
}

#define BY_HEADER ((struct hash_rule){.by = HASH_BY_HEADER, .name = STR("x-user")})
#define BY_COOKIE ((struct hash_rule){.by = HASH_BY_COOKIE, .name = STR("who")})
#define BY_QUERY  ((struct hash_rule){.by = HASH_BY_QUERY, .name = STR("q")})

/* XXH64 of "abc", as every Envoy has it. */
#define ABC 0x44bc2cf5ad770999u

TEST(the_value_alone_is_hashed_wherever_it_stands)
{
    CHECK(key_hash(BY_HEADER, "/", "x-user", "abc") == ABC);
    CHECK(key_hash(BY_COOKIE, "/", "cookie", "a=1; who=abc; b=2") == ABC);
    CHECK(key_hash(BY_COOKIE, "/", "cookie", "who=\"abc\"") == ABC);
    CHECK(key_hash(BY_QUERY, "/x?p=1&q=abc&q=other", NULL, NULL) == ABC);
    CHECK(key_hash((struct hash_rule){.by = HASH_BY_HEADER, .name = STR(":path")}, "abc", NULL, NULL) == ABC);
}

TEST(of_a_header_that_comes_several_times_all_values_count_in_any_order)
{
    uint64_t hashes[3];

    for (size_t i = 0; i < COUNT(hashes); i++) {
        static const char *const values[][2] = {{"abc", "b"}, {"b", "abc"}, {"abc", "c"}};
        struct asked a;

        ask_key(&a, BY_HEADER, "/", "x-user", values[i][0]);
        http_add(&a.head, STR("x-user"), str_from(values[i][1]));
        CHECK(balance_hash_request(&a.c, &a.head, &a.remote, &a.local, &hashes[i], &a.cookie));
        arena_done(&a.arena);
    }
    CHECK(hashes[0] == hashes[1]);
    CHECK(hashes[0] == xxh64(STR("b"), ABC)); /* as every Envoy has it */
    CHECK(hashes[2] != hashes[1]);
}

TEST(without_its_key_a_request_has_no_hash)
{
    static const struct {
        struct hash_rule rule;
        const char *path, *field, *value;
    } rows[] = {
        {{.by = HASH_BY_HEADER, .name = STR_INIT("x-user")}, "/",    "x-users", "abc"     },
        {{.by = HASH_BY_COOKIE, .name = STR_INIT("who")},    "/",    "cookie",  "whom=abc"},
        {{.by = HASH_BY_COOKIE, .name = STR_INIT("who")},    "/",    "cookie",  "who="    },
        {{.by = HASH_BY_QUERY, .name = STR_INIT("q")},       "/x?p", NULL,      NULL      },
        {{.by = HASH_BY_NOTHING},                            "/",    NULL,      NULL      },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct asked a;

        ask_key(&a, rows[i].rule, rows[i].path, rows[i].field, rows[i].value);
        CHECK(!a.has_key);
        arena_done(&a.arena);
    }
}

TEST(the_source_is_its_address_without_the_port)
{
    struct cluster c = {.balance = BALANCE_HASH, .hash = {.by = HASH_BY_SOURCE}};
    struct addr one, other_port, other;
    uint64_t a, b, d;

    CHECK(addr_parse(STR("192.0.2.7:1"), &one) && addr_parse(STR("192.0.2.7:2"), &other_port) &&
          addr_parse(STR("192.0.2.8:1"), &other));
    CHECK(balance_hash_connection(&c, &one, &a));
    CHECK(balance_hash_connection(&c, &other_port, &b));
    CHECK(balance_hash_connection(&c, &other, &d));
    CHECK(a == b && a != d);
    c.hash.by = HASH_BY_HEADER; /* a tunnel has none */
    CHECK(!balance_hash_connection(&c, &one, &a));
}

TEST(a_cookie_is_made_only_where_none_came_and_leads_to_the_same_place_when_it_comes_back)
{
    struct hash_rule rule = {.by = HASH_BY_COOKIE, .name = STR("who"), .makes_cookie = true,
                             .cookie_tail = STR("; Max-Age=9; HttpOnly")};
    struct asked first, again;
    char back[64];

    ask_key(&first, rule, "/", "cookie", "other=1");
    CHECK(first.has_key);
    CHECK(str_starts(first.cookie, STR("who=\"")) && str_ends(first.cookie, STR("\"; Max-Age=9; HttpOnly")));
    snprintf(back, sizeof(back), "%.*s", 4 + 18, first.cookie.p);
    ask_key(&again, rule, "/", "cookie", back);
    CHECK(again.has_key && again.hash == first.hash);
    CHECK_INT(again.cookie.n, 0);
    arena_done(&first.arena);
    arena_done(&again.arena);
}

/* ---- through a proxy ---- */

static struct node n;
static struct origin origins[3];
static uint16_t ports[4];
static struct route *route;

static struct cluster *start(unsigned workers, struct hash_rule rule, struct snapshot **out, size_t dead)
{
    struct snapshot *s = snapshot_new();
    struct listener *l;
    struct cluster *c = cluster_part(CLUSTER, CLUSTER_ENDPOINTS);

    for (size_t i = 0; i < 3; i++) {
        char name[8];

        snprintf(name, sizeof(name), "o%zu", i);
        origin_start(&origins[i], name, ORIGIN_HTTP);
        ports[i] = origins[i].port;
    }
    if (dead)
        ports[3] = free_port();
    node_start(&n, workers, 0, NULL, NULL);
    l = listener_part(LISTENER_OUTBOUND, n.outbound, APP_HTTP);
    route = listener_route(l, CLUSTER);
    cluster_endpoints(c, ports, 3 + dead, NULL);
    c->balance = BALANCE_HASH;
    c->hash = rule;
    c->endpoints->ring_kind = RING_POINTS;
    c->endpoints->ring_size = 1024;
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    *out = s;
    return c;
}

static void stop(void)
{
    CHECK(node_is_quiet(&n));
    node_stop(&n);
    for (size_t i = 0; i < 3; i++)
        origin_stop(&origins[i]);
}

/* On a connection of its own, so on any worker. */
static int ask_once(const char *field, char *body, size_t bytes, struct message *m)
{
    char text[512];
    int fd = dial(n.outbound), status;

    snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: svc.test:80\r\n%s\r\n", field);
    status = ask(fd, text, m);
    snprintf(body, bytes, "%s", m->body ? m->body : "");
    close(fd);
    return status;
}

TEST(a_value_keeps_to_its_endpoint_over_all_workers_and_values_spread)
{
    struct snapshot *s;
    bool seen[3] = {false};

    start(4, BY_HEADER, &s, 0);
    node_apply(&n, s);
    for (int user = 0; user < 24; user++) {
        char field[64], first[64] = "", body[64];

        snprintf(field, sizeof(field), "X-User: u%d\r\n", user);
        for (int i = 0; i < 6; i++) {
            struct message m;

            CHECK_INT(ask_once(field, body, sizeof(body), &m), 200);
            message_free(&m);
            if (i == 0)
                memcpy(first, body, sizeof(first));
            CHECK_TEXT(body, first);
        }
        seen[first[strlen("hello from o")] - '0'] = true;
    }
    CHECK(seen[0] && seen[1] && seen[2]);
    stop();
}

TEST(without_the_header_requests_spread)
{
    struct snapshot *s;

    start(2, BY_HEADER, &s, 0);
    node_apply(&n, s);
    for (int i = 0; i < 60; i++) {
        struct message m;
        char body[64];

        CHECK_INT(ask_once("", body, sizeof(body), &m), 200);
        message_free(&m);
    }
    for (size_t i = 0; i < 3; i++)
        CHECK(atomic_load(&origins[i].requests) > 0);
    stop();
}

/* From 127.0.0.N. */
static void talk_from(uint8_t number)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + number)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[16];

    CHECK_INT(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sa.sin_port = htons(n.outbound);
    CHECK_INT(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    set_patience(fd);
    CHECK(put_all(fd, "x", 1));
    CHECK_INT(recv(fd, text, 1, 0), 1);
    close(fd);
}

TEST(a_tunnel_keeps_to_its_source)
{
    struct snapshot *s;
    unsigned used = 0;

    start(2, (struct hash_rule){.by = HASH_BY_SOURCE}, &s, 0);
    for (size_t i = 0; i < 3; i++)
        origins[i].mode = ORIGIN_ECHO;
    s->listeners[0]->protocol = APP_TCP;
    listener_tcp(s->listeners[0], CLUSTER);
    node_apply(&n, s);
    for (uint8_t source = 1; source <= 12; source++) {
        int before[3], touched = 0;

        for (size_t i = 0; i < 3; i++)
            before[i] = atomic_load(&origins[i].connections);
        for (int k = 0; k < 4; k++)
            talk_from(source);
        for (size_t i = 0; i < 3; i++)
            touched += atomic_load(&origins[i].connections) != before[i];
        CHECK_INT(touched, 1);
    }
    for (size_t i = 0; i < 3; i++)
        used += atomic_load(&origins[i].connections) > 0;
    CHECK(used > 1);
    stop();
}

TEST(a_made_cookie_comes_with_the_answer_and_brings_the_client_back)
{
    struct hash_rule rule = BY_COOKIE;
    struct snapshot *s;

    rule.makes_cookie = true;
    rule.cookie_tail = STR("; Path=/; HttpOnly");
    start(2, rule, &s, 0);
    node_apply(&n, s);
    for (int i = 0; i < 10; i++) {
        char first[64], body[64], field[64];
        const char *made;
        struct message m;

        CHECK_INT(ask_once("", first, sizeof(first), &m), 200);
        made = strstr(m.text, "set-cookie: who=\"");
        CHECK(made != NULL);
        CHECK(strncmp(made + 17 + 16, "\"; Path=/; HttpOnly\r\n", 21) == 0);
        snprintf(field, sizeof(field), "Cookie: x=y; %.*s\r\n", 4 + 18, made + 12);
        message_free(&m);
        for (int k = 0; k < 4; k++) {
            CHECK_INT(ask_once(field, body, sizeof(body), &m), 200);
            CHECK(strstr(m.text, "set-cookie") == NULL);
            message_free(&m);
            CHECK_TEXT(body, first);
        }
    }
    stop();
}

/* A user whose endpoint is the dead one, by the same ring as the proxy's. */
static void find_user_of(const struct cluster *c, size_t endpoint, char *field, size_t bytes)
{
    char user[16];

    for (int i = 0;; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        if (c->endpoints->ring.owners[ring_at(&c->endpoints->ring, key_hash(BY_HEADER, "/", "x-user", user))] == endpoint)
            break;
    }
    snprintf(field, bytes, "X-User: %s\r\n", user);
}

TEST(a_retry_stays_with_the_key_unless_previous_hosts_are_to_be_ignored)
{
    static const struct {
        enum retry_avoid avoid;
        int status;
    } rows[] = {
        {AVOID_UNLESS_HASHED, 503},
        {AVOID_ALWAYS,        200},
        {AVOID_NEVER,         503},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snapshot *s;
        struct cluster *c = start(2, BY_HEADER, &s, 1);
        char field[64], first[64] = "", body[64];

        endpoint_set_index(c->endpoints);
        find_user_of(c, 3, field, sizeof(field));
        route->retry = (struct retry_policy){
            .attempts = 2, .on = RETRY_CONNECT_FAILURE, .backoff_base_ms = 1, .avoid_previous = rows[i].avoid};
        node_apply(&n, s);
        for (int k = 0; k < 6; k++) {
            struct message m;

            CHECK_INT(ask_once(field, body, sizeof(body), &m), rows[i].status);
            message_free(&m);
            if (k == 0)
                memcpy(first, body, sizeof(first));
            CHECK_TEXT(body, first); /* the next on the ring, not anybody */
        }
        stop();
    }
}
