/* Listeners that the agent opens where nothing is redirected: what they are compiled to. */
#include "compile_world.h"

static void start(struct world *w)
{
    struct service *web;

    world_init(w);
    web = world_service(w, "default", "web", "", "http:HTTP:8080,admin:HTTP:8081,raw:TCP:9000");
    world_workload(w, web, "192.0.2.1", "app=web");
    world_service(w, "shop", "cart", "", "http:HTTP:80");
    w->self.is_uncaptured = true;
}

static void want(struct world *w, const char *name, const char *bind, const char *service, uint16_t port)
{
    struct local_listener *list = ARENA_ARRAY(&w->arena, w->self.listener_count + 1, struct local_listener);

    for (size_t i = 0; i < w->self.listener_count; i++)
        list[i] = w->self.listeners[i];
    list[w->self.listener_count] = (struct local_listener){.name = str_from(name), .service = str_from(service), .port = port};
    CHECK(addr_parse(str_from(bind), &list[w->self.listener_count].bind));
    w->self.listeners = list;
    w->self.listener_count++;
}

static const struct listener *bound(struct world *w, const char *at)
{
    struct addr a;

    CHECK(addr_parse(str_from(at), &a));
    return snapshot_bound(w->s, &a);
}

/* The cluster behind a Host; empty: nobody answers. */
static struct str cluster_of(const struct listener *l, const char *host)
{
    const struct vhost *v = route_table_find(l->http, str_from(host));

    return v ? v->routes[0].clusters[0].cluster : STR_NONE;
}

#define WEB(port) "outbound|" port "||web.default.svc.cluster.local"
#define CART      "outbound|80||cart.shop.svc.cluster.local"

TEST(any_host_is_the_service_that_is_named)
{
    struct world w;
    const struct listener *l;

    start(&w);
    want(&w, "a", "127.0.0.1:1000", "web", 8081);
    want(&w, "b", "127.0.0.1:1001", "cart.shop", 0);
    world_compile(&w);
    l = bound(&w, "127.0.0.1:1000");
    CHECK(l && l->is_bound && l->kind == LISTENER_OUTBOUND && l->protocol == APP_HTTP);
    CHECK_STR(cluster_of(l, "localhost:1000"), WEB("8081"));
    CHECK_STR(cluster_of(l, "cart.shop"), WEB("8081"));
    CHECK_STR(cluster_of(bound(&w, "127.0.0.1:1001"), "x"), CART);
    world_done(&w);
}

TEST(a_tcp_port_gets_tcp_routes)
{
    struct world w;
    const struct listener *l;

    start(&w);
    want(&w, "a", "127.0.0.1:1000", "web", 9000);
    world_compile(&w);
    l = bound(&w, "127.0.0.1:1000");
    CHECK(l && l->protocol == APP_TCP && !l->http);
    CHECK_INT(l->tcp_count, 1);
    CHECK_STR(l->tcp[0].clusters[0].cluster, WEB("9000"));
    world_done(&w);
}

TEST(by_host_the_port_of_the_header_counts_where_the_service_has_it)
{
    static const struct {
        const char *host, *cluster;
    } rows[] = {
        {"web", WEB("8080")}, /* no port 80: the first of HTTP */
        {"web:8080", WEB("8080")},
        {"web:8081", WEB("8081")},
        {"WEB.default.svc.cluster.local:8081", WEB("8081")},
        {"web:1000", WEB("8080")}, /* the listener's own, as when the name points here */
        {"web:9000", WEB("8080")}, /* TCP is not told apart by Host */
        {"cart.shop", CART},
        {"cart.shop:80", CART},
        {"cart", ""}, /* another namespace */
        {"nobody", ""},
    };
    struct world w;
    const struct listener *l;

    start(&w);
    want(&w, "all", "127.0.0.1:1000", "", 0);
    want(&w, "more", "127.0.0.2:1000", "", 0);
    world_compile(&w);
    l = bound(&w, "127.0.0.1:1000");
    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_STR(cluster_of(l, rows[i].host), rows[i].cluster);
    CHECK(bound(&w, "127.0.0.2:1000")->http == l->http);
    world_done(&w);
}

TEST(rules_hold_at_a_bound_listener)
{
    struct world w;

    start(&w);
    want(&w, "a", "127.0.0.1:1000", "web", 8080);
    want(&w, "all", "127.0.0.1:1001", "", 0);
    world_apply(&w, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, namespace: default}\n"
                    "spec:\n  hosts: [web]\n  http:\n  - route: [{destination: {host: cart.shop.svc.cluster.local}}]\n");
    world_compile(&w);
    CHECK_STR(cluster_of(bound(&w, "127.0.0.1:1000"), "x"), CART);
    CHECK_STR(cluster_of(bound(&w, "127.0.0.1:1001"), "web"), CART);
    world_done(&w);
}

/* It stays open, so that it does not come and go with the service, and refuses. */
TEST(what_cannot_be_reached_is_told_and_refused)
{
    static const struct {
        const char *service;
        uint16_t port;
    } rows[] = {
        {"nobody", 80},
        {"web", 7}, /* no such port */
        {"web", 0}, /* three of them */
        {"asis",   80}, /* resolution NONE: it would call itself */
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w;
        const struct listener *l;

        start(&w);
        world_service(&w, "default", "asis", "", "http:HTTP:80")->is_original_dst = true;
        want(&w, "a", "127.0.0.1:1000", rows[i].service, rows[i].port);
        world_compile(&w);
        l = bound(&w, "127.0.0.1:1000");
        CHECK(l && !l->http && l->tcp_count == 0);
        CHECK_INT(w.f.warnings, 1);
        world_done(&w);
    }
}

TEST(a_service_that_is_not_here_yet_is_waited_for)
{
    struct world w;
    const struct listener *l;

    start(&w);
    want(&w, "a", "127.0.0.1:1000", "web", 8080);
    map_del(&w.c.subscribed, w.c.services[0]->key);
    world_compile(&w);
    l = bound(&w, "127.0.0.1:1000");
    CHECK(l->is_pending);
    CHECK_STR(l->service, "default/web.default.svc.cluster.local");
    world_done(&w);
}

TEST(an_inbound_service_listens_where_it_says_and_is_found_by_port)
{
    struct world w;
    struct local_service *s;
    const struct listener *l;

    start(&w);
    s = world_local(&w, "default", "web", 8080, "http", "app=web");
    CHECK(addr_parse(STR("10.0.0.2:8080"), &s->listen));
    CHECK(addr_parse(STR("127.0.0.1:8089"), &s->app));
    world_apply(&w, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: default}\n"
                    "spec: {mtls: {mode: STRICT}}\n");
    world_compile(&w);
    l = bound(&w, "10.0.0.2:8080");
    CHECK(l && l->kind == LISTENER_INBOUND && l->mtls == MTLS_STRICT);
    CHECK(snapshot_inbound(w.s, 8080) == l); /* for calls within the host */
    CHECK_INT(snapshot_cluster(w.s, l->cluster)->local.port, 8089);
    CHECK(!bound(&w, "10.0.0.3:8080"));
    world_done(&w);
}

TEST(without_capture_no_virtual_address_has_a_listener)
{
    struct world w;

    start(&w);
    CHECK(addr_parse_ip(STR("10.1.0.9"), &w.c.services[1]->vip4));
    world_compile(&w);
    CHECK_INT(w.s->listener_count, 0);
    w.self.is_uncaptured = false;
    world_compile(&w);
    CHECK(world_listener(&w, "10.1.0.9:80"));
    world_done(&w);
}
