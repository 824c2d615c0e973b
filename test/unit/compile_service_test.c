/* Services, their names and addresses, and where they run. */
#include "test/unit/compile_docs.h"

/* ---- services without rules ---- */

TEST(a_service_without_rules_has_one_default_route_with_the_default_retries)
{
    struct world w;
    const struct route *r;

    start(&w);
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80||b.default");
    r = &world_vhost(&w, B, "b")->routes[0];
    CHECK_STR(r->name, "default");
    CHECK_INT(r->timeout_ms, 0); /* B24 */
    CHECK_INT(r->retry.attempts, 2);
    CHECK_INT(r->retry.on, RETRY_CONNECT_FAILURE | RETRY_REFUSED_STREAM | RETRY_GRPC_UNAVAILABLE |
                               RETRY_GRPC_CANCELLED | RETRY_STATUS_CODES);
    CHECK_INT(r->retry.code_count, 0); /* B26: so a 503 is not retried */
    CHECK_INT(r->retry.backoff_base_ms, 25);
    CHECK_INT(r->retry.per_try_timeout_ms, 0);
    CHECK_INT(r->retry.avoid_previous, AVOID_UNLESS_HASHED);
    CHECK_TEXT(world_endpoints(&w, "80||b.default"), "192.0.2.1:8080 192.0.2.2:8080");
    world_done(&w);
}

TEST(a_service_answers_to_all_its_names_and_addresses)
{
    static const char *const own[] = {"b",
                                      "b.default",
                                      "b.default.svc",
                                      B_HOST,
                                      "B.Default.SVC",
                                      "b:80",
                                      B_HOST ":8080",
                                      "10.1.0.1",
                                      "10.1.0.1:80",
                                      "b.mesh",
                                      "b.default.mesh"};
    struct world w;

    start(&w);
    world_service(&w, "other", "c", "10.1.0.2", "http:HTTP:80");
    world_compile(&w);
    for (size_t i = 0; i < COUNT(own); i++)
        CHECK_TEXT(world_routes(&w, B, own[i]), "80||b.default");
    CHECK_TEXT(world_routes(&w, B, "c"), "none"); /* the bare name is for the own namespace */
    CHECK_TEXT(world_routes(&w, B, "c.other"), "80||c.other");
    CHECK_TEXT(world_routes(&w, B, "10.1.0.2"), "80||c.other");
    CHECK_TEXT(world_routes(&w, B, "nobody"), "none");
    world_done(&w);
}

TEST(an_ipv6_address_gets_a_listener_and_a_domain)
{
    struct world w;
    struct service *s;

    start(&w);
    s = w.c.services[0];
    CHECK(addr_parse_ip(STR("fd00::1"), &s->vip6));
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, "[fd00::1]:80", "[fd00::1]"), "80||b.default");
    CHECK_TEXT(world_routes(&w, "[fd00::1]:80", "[fd00::1]:80"), "80||b.default");
    CHECK_TEXT(world_routes(&w, "[fd00::1]:80", "fd00::1"), "80||b.default");
    world_done(&w);
}

TEST(an_http_service_answers_on_80_if_that_is_free)
{
    struct world w;

    start(&w);
    world_service(&w, "default", "web", "10.1.0.9", "http:HTTP:8080");
    world_service(&w, "default", "two", "10.1.0.8", "http:HTTP:8080,tcp:TCP:80");
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, "10.1.0.9:8080", "web"), "8080||web.default");
    CHECK_TEXT(world_routes(&w, "10.1.0.9:80", "web"), "8080||web.default");
    CHECK_INT(world_listener(&w, "10.1.0.8:80")->protocol, APP_TCP);
    CHECK_TEXT(world_tcp(&w, world_listener(&w, "10.1.0.8:80")), "80||two.default");
    world_done(&w);
}

TEST(protocols_decide_what_a_listener_does)
{
    struct world w;
    const struct listener *l;

    start(&w);
    world_service(&w, "default", "p", "10.1.0.3",
                  "db:TCP:5432,any:-:7000,grpc:GRPC:9000,web:http:7001");
    world_compile(&w);
    l = world_listener(&w, "10.1.0.3:5432");
    CHECK_INT(l->protocol, APP_TCP);
    CHECK(!l->http);
    CHECK_TEXT(world_tcp(&w, l), "5432||p.default");
    l = world_listener(&w, "10.1.0.3:7000"); /* E22 */
    CHECK_INT(l->protocol, APP_SNIFF);
    CHECK_TEXT(world_vhost_text(&w, l->http, "p"), "7000||p.default");
    CHECK_TEXT(world_tcp(&w, l), "7000||p.default");
    CHECK_INT(world_listener(&w, "10.1.0.3:9000")->protocol, APP_HTTP);
    CHECK_INT(world_cluster(&w, "9000||p.default")->http, CLUSTER_HTTP2);
    CHECK_INT(world_cluster(&w, "7000||p.default")->http, CLUSTER_HTTP_SAME);
    CHECK_INT(world_cluster(&w, "7001||p.default")->http, CLUSTER_HTTP1);
    l = world_listener(&w, "10.1.0.3:7001");
    CHECK_INT(l->protocol, APP_HTTP);
    CHECK_INT(l->tcp_count, 0); /* opaque bytes are refused there */
    CHECK(!world_listener(&w, "10.1.0.3:1"));
    world_done(&w);
}

TEST(a_service_that_is_not_subscribed_to_is_pending)
{
    struct world w;
    struct service *c, *d;
    const struct listener *l;

    start(&w);
    c = world_service(&w, "shop", "c", "10.1.0.5", "http:HTTP:80");
    d = world_service(&w, "shop", "d", "10.1.0.6", "tcp:TCP:5432");
    map_del(&w.c.subscribed, c->key);
    map_del(&w.c.subscribed, d->key);
    world_compile(&w);
    l = world_listener(&w, "10.1.0.5:80");
    CHECK(l->is_pending);
    CHECK_STR(l->service, "shop/c.shop.svc.cluster.local");
    CHECK_TEXT(world_routes(&w, B, "c.shop"), "pending");
    CHECK_STR(world_vhost(&w, B, "c.shop")->service, "shop/c.shop.svc.cluster.local");
    CHECK(!world_cluster(&w, "80||c.shop"));
    l = world_listener(&w, "10.1.0.6:5432");
    CHECK(l->is_pending);
    CHECK_INT(l->tcp_count, 0);
    map_put(&w.c.subscribed, c->key, c);
    world_compile(&w);
    CHECK(!world_listener(&w, "10.1.0.5:80")->is_pending);
    CHECK_TEXT(world_routes(&w, B, "c.shop"), "80||c.shop");
    world_done(&w);
}

/* ---- endpoints ---- */

TEST(endpoints_know_who_they_are_and_how_to_reach_them)
{
    struct world w;
    const struct endpoint *e;
    struct workload *plain, *here;

    start(&w); /* F12 */
    plain = world_workload(&w, w.c.services[0], "192.0.2.3", "");
    plain->is_mesh = false;
    plain->name = plain->host = plain->host_id = plain->identity = STR("");
    plain->weight = 0;
    here = world_workload(&w, w.c.services[0], "192.0.2.4",
                          "service.istio.io/canonical-name=cn,app.kubernetes.io/version=cv,app=b");
    here->host_id = STR("01HOST");
    here->ports = ARENA_ARRAY(&w.arena, 1, struct service_port);
    here->ports[0] =
        (struct service_port){.name = STR("http"), .target_port = 9999, .is_plain = true};
    here->port_count = 1;
    world_compile(&w);
    e = world_cluster(&w, "80||b.default")->endpoints->endpoints;
    CHECK(e[0].is_mesh && !e[0].is_local);
    CHECK_STR(e[0].identity, "spiffe://cluster.local/ns/default/sa/b");
    CHECK_STR(e[0].workload, "b");
    CHECK_STR(e[0].version, "v1");
    CHECK_STR(e[0].canonical_service, "b");
    CHECK_STR(e[0].canonical_revision, "v1");
    CHECK_STR(e[0].host, "vm2");
    CHECK(!e[2].is_mesh);
    CHECK_INT(e[2].weight, 1); /* 0 is read as 1 */
    CHECK_STR(e[2].workload, "unknown");
    CHECK_STR(e[2].app, "unknown");
    CHECK_STR(e[2].canonical_revision, "latest");
    CHECK(e[3].is_local);
    CHECK(!e[3].is_mesh); /* its PeerAuthentication disables mTLS there: F04 */
    CHECK_INT(e[3].addr.port, 9999);
    CHECK_STR(e[3].canonical_service, "cn");
    CHECK_STR(e[3].canonical_revision, "cv");
    world_done(&w);
}

TEST(services_without_addresses_of_their_own_are_dialled_where_the_client_was_going)
{
    struct world w;
    struct service *s;
    struct addr at;

    start(&w);
    s = world_service(&w, "default", "any.example.com", "", "tls:TLS:443");
    s->is_original_dst = true;
    world_compile(&w);
    CHECK_INT(snapshot_cluster(w.s, STR("outbound|443||any.example.com"))->kind,
              CLUSTER_ORIGINAL_DST);
    CHECK(addr_parse(STR("203.0.113.9:443"), &at)); /* any address with that port */
    CHECK_TEXT(world_tcp(&w, snapshot_outbound(w.s, &at)), "443||any.example.com");
    CHECK_INT(snapshot_cluster(w.s, STR("PassthroughCluster"))->kind, CLUSTER_ORIGINAL_DST);
    world_done(&w);
}

TEST(a_service_entry_answers_at_its_addresses_and_to_its_literal_host)
{
    struct world w;
    struct service *s;

    start(&w);
    s = world_service(&w, "default", "api.example.com", "", "http:HTTP:80");
    s->addresses = ARENA_ARRAY(&w.arena, 2, struct addr);
    CHECK(addr_parse_ip(STR("203.0.113.5"), &s->addresses[0]));
    CHECK(addr_parse_ip(STR("203.0.113.6"), &s->addresses[1]));
    s->address_count = 2;
    s->sans = STR("spiffe://x/a spiffe://x/b");
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, "203.0.113.5:80", "api.example.com"), "80||api.example.com");
    CHECK_TEXT(world_routes(&w, "203.0.113.6:80", "203.0.113.6"), "80||api.example.com");
    CHECK_TEXT(world_routes(&w, "203.0.113.5:80", "api"), "none");
    CHECK_STR(snapshot_cluster(w.s, STR("outbound|80||api.example.com"))->sans,
              "spiffe://x/a spiffe://x/b");
    world_done(&w);
}

TEST(of_one_host_in_several_namespaces_the_callers_own_is_taken)
{
    struct world w;

    start(&w); /* E15 */
    world_service(&w, "aaa", "api.example.com", "10.3.0.1", "http:HTTP:80");
    world_service(&w, "default", "api.example.com", "10.3.0.2", "http:HTTP:80");
    world_compile(&w);
    CHECK(!world_listener(&w, "10.3.0.1:80"));
    CHECK_STR(world_listener(&w, "10.3.0.2:80")->service, "default/api.example.com");
    w.self.ns = STR("zzz");
    world_compile(&w);
    CHECK_STR(world_listener(&w, "10.3.0.1:80")->service, "aaa/api.example.com");
    CHECK(!world_listener(&w, "10.3.0.2:80"));
    world_done(&w);
}
