/* Gateways: ports, names and the rules bound to them. */
#include "test/unit/compile_docs.h"

TEST(a_gateway_opens_its_ports_and_serves_nothing_without_rules)
{
    struct world w;
    const struct listener *l;

    start_edge(&w); /* D01 */
    gateway(&w, "default", "gw", 1, HTTP_80("'*'"));
    world_compile(&w);
    l = world_gate(&w, GATE);
    CHECK(l != NULL);
    CHECK_INT(l->kind, LISTENER_GATEWAY);
    CHECK_INT(l->at.port, 80);
    CHECK_STR(l->identity, "spiffe://cluster.local/ns/edge/sa/edge");
    CHECK_STR(l->http->name, "http.80");
    CHECK_TEXT(world_vhost_text(&w, l->http, "foo.bar"), "none");
    CHECK_STR(w.s->default_identity, "spiffe://cluster.local/ns/default/sa/host-01HOST");
    CHECK(!snapshot_inbound(w.s, 0));
    world_done(&w);
}

TEST(a_selector_that_does_not_match_opens_nothing)
{
    struct world w;

    start(&w);
    world_local(&w, "edge", "edge", 0, "", "gw=other");
    gateway(&w, "default", "gw", 1, HTTP_80("'*'"));
    world_compile(&w);
    CHECK(!world_gate(&w, GATE));
    world_done(&w);
}

TEST(hosts_of_server_and_rule_are_intersected)
{
    struct world w;
    const struct route_table *t;

    start_edge(&w); /* D05 */
    gateway(&w, "default", "gw", 1, HTTP_80("'*.example.com'"));
    virtual_service(&w, "default", "wide", 1,
                    "{hosts: ['*.example.com'], gateways: [gw], http: " TO_B("w"));
    virtual_service(&w, "default", "narrow", 2,
                    "{hosts: [a.example.com], gateways: [default/gw], http: " TO_B("n"));
    virtual_service(&w, "default", "all", 3, "{hosts: ['*'], gateways: [gw], http: " TO_B("all"));
    virtual_service(&w, "default", "out", 3,
                    "{hosts: [a.example.org], gateways: [gw], http: " TO_B("out"));
    virtual_service(&w, "else", "unbound", 1, "{hosts: ['*'], gateways: [gw], http: " TO_B("u"));
    world_compile(&w);
    t = world_gate(&w, GATE)->http;
    CHECK_TEXT(world_vhost_text(&w, t, "foo.example.com"), "80|w|b.default; 80|all|b.default");
    CHECK_TEXT(world_vhost_text(&w, t, "foo.example.com:12345"),
               "80|w|b.default; 80|all|b.default");
    CHECK_TEXT(world_vhost_text(&w, t, "example.com"), "none");
    CHECK_TEXT(world_vhost_text(&w, t, "a.example.org"), "none");
    CHECK_TEXT(world_vhost_text(&w, t, "a.example.com"), "80|n|b.default");
    CHECK_TEXT(world_routes(&w, B, "b.default"),
               "80||b.default"); /* none of this is for the mesh */
    world_done(&w);
}

TEST(a_namespace_before_a_host_limits_who_may_serve_it)
{
    struct world w;
    const struct route_table *t;

    start_edge(&w); /* D07 */
    gateway(&w, "infra", "gw", 1, HTTP_80("ns1/*, ./x.example.com"));
    virtual_service(&w, "ns1", "a", 1,
                    "{hosts: [a.example.com], gateways: [infra/gw], http: " TO_B("a"));
    virtual_service(&w, "ns2", "b", 1,
                    "{hosts: [b.example.com], gateways: [infra/gw], http: " TO_B("b"));
    virtual_service(&w, "ns2", "x", 1,
                    "{hosts: [x.example.com], gateways: [infra/gw], http: " TO_B("x"));
    virtual_service(&w, "infra", "y", 1,
                    "{hosts: [x.example.com], gateways: [gw], http: " TO_B("y"));
    virtual_service(
        &w, "ns1", "hidden", 1,
        "{hosts: [h.example.com], gateways: [infra/gw], exportTo: ['.'], http: " TO_B("h"));
    world_compile(&w);
    t = world_gate(&w, GATE)->http;
    CHECK_TEXT(world_vhost_text(&w, t, "a.example.com"), "80|a|b.ns1");
    CHECK_TEXT(world_vhost_text(&w, t, "b.example.com"), "none");
    CHECK_TEXT(world_vhost_text(&w, t, "x.example.com"), "80|y|b.infra");
    CHECK_TEXT(world_vhost_text(&w, t, "h.example.com"), "none");
    world_done(&w);
}

TEST(rules_of_one_host_are_joined_oldest_first_and_catch_alls_go_last)
{
    struct world w;

    start_edge(&w); /* D09 */
    gateway(&w, "default", "gw", 1, HTTP_80("'*'"));
    virtual_service(&w, "default", "young", 5,
                    "{hosts: [x.com], gateways: [gw], http: [{match: [{uri: {prefix: /b}}], route: "
                    "[{destination: {host: "
                    "b, subset: b}}]}]}");
    virtual_service(&w, "default", "old", 2,
                    "{hosts: [x.com], gateways: [gw], http: [{match: [{uri: {prefix: /a}}], route: "
                    "[{destination: {host: "
                    "b, subset: a}}]}, {route: [{destination: {host: b, subset: rest}}]}, {match: "
                    "[{uri: {exact: /dead}}], "
                    "route: [{destination: {host: b}}]}]}");
    world_compile(&w);
    CHECK_TEXT(world_vhost_text(&w, world_gate(&w, GATE)->http, "x.com"),
               "path^/a 80|a|b.default; path^/b 80|b|b.default; 80|rest|b.default");
    world_done(&w);
}

TEST(gateways_on_one_port_share_its_table_and_rules_can_ask_for_one)
{
    struct world w;
    const struct route_table *t;

    start_edge(&w);
    gateway(&w, "default", "gw1", 1, HTTP_80("a.com"));
    gateway(&w, "default", "gw2", 2,
            "[{port: {number: 80, name: http, protocol: HTTP}, hosts: [b.com]}, {port: {number: "
            "8080, name: h2, protocol: "
            "HTTP}, bind: 192.0.2.9, hosts: ['*']}]");
    virtual_service(
        &w, "default", "v", 1,
        "{hosts: [a.com, b.com], gateways: [gw1, gw2], http: [{match: [{gateways: [gw2], port: "
        "8080}], route: "
        "[{destination: {host: b, subset: p8080}}]}, {route: [{destination: {host: b}}]}]}");
    world_compile(&w);
    t = world_gate(&w, GATE)->http;
    CHECK_TEXT(world_vhost_text(&w, t, "a.com"), "80||b.default");
    CHECK_TEXT(world_vhost_text(&w, t, "b.com"), "80||b.default");
    t = world_gate(&w, "gateway_192.0.2.9:8080")->http;
    CHECK_STR(t->name, "http.8080.192.0.2.9");
    CHECK_TEXT(world_vhost_text(&w, t, "b.com"),
               "80|p8080|b.default"); /* b's only port, not the listener's */
    world_done(&w);
}

TEST(several_gateways_of_one_namespace_obey_its_destination_rules)
{
    struct world w;

    start_edge(&w);
    world_local(&w, "edge", "other-edge", 0, "", "gw=other");
    destination_rule(&w, "edge", "own", 1,
                     "{host: b.default.svc.cluster.local, trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}}");
    world_compile(&w);
    CHECK_INT(world_cluster(&w, "80||b.default")->limits.connections, 3);
    world_local(&w, "elsewhere", "third", 0, "", "gw=third");
    world_compile(&w);
    CHECK_INT(world_cluster(&w, "80||b.default")->limits.connections, 0);
    world_done(&w);
}

TEST(a_gateway_route_to_a_service_that_is_not_here_yet_is_pending)
{
    struct world w;
    const struct route_table *t;
    struct service *c;

    start_edge(&w);
    c = world_service(&w, "default", "c", "10.1.0.5", "http:HTTP:8080");
    map_del(&w.c.subscribed, c->key);
    gateway(&w, "default", "gw", 1, HTTP_80("'*'"));
    virtual_service(&w, "default", "v", 1,
                    "{hosts: [x.com], gateways: [gw], http: [{match: [{uri: {prefix: /c}}], route: "
                    "[{destination: {host: "
                    "c}}]}, {route: [{destination: {host: b}}]}]}");
    world_compile(&w);
    t = world_gate(&w, GATE)->http;
    CHECK_TEXT(world_vhost_text(&w, t, "x.com"), "path^/c pending; 80||b.default");
    CHECK_STR(route_table_find(t, STR("x.com"))->service, "default/c.default.svc.cluster.local");
    map_put(&w.c.subscribed, c->key, c);
    world_compile(&w);
    CHECK_TEXT(world_vhost_text(&w, world_gate(&w, GATE)->http, "x.com"),
               "path^/c 8080||c.default; 80||b.default");
    world_done(&w);
}
