/* What rules come to. Numbers such as A21 and C26 are rows of the behavioural checklist (what Istio
 * does). Unless said otherwise: service b in default on 10.1.0.1:80 HTTP with two workloads, v1 and
 * v2. */
#include "test/unit/compile_world.h"

#define B      "10.1.0.1:80"
#define B_HOST "b.default.svc.cluster.local"

static void start(struct world *w)
{
    struct service *b;

    world_init(w);
    b = world_service(w, "default", "b", "10.1.0.1", "http:HTTP:80:8080");
    world_workload(w, b, "192.0.2.1", "app=b,version=v1");
    world_workload(w, b, "192.0.2.2", "app=b,version=v2");
}

/* Rules of a VirtualService for b, as the text under `http:`. */
static void rules(struct world *w, const char *http)
{
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                                "metadata: {name: r, namespace: default}\n"
                                "spec:\n  hosts: [b]\n  http:\n%s",
                                http)
                       .p);
}

static const char *routes_of(const char *http)
{
    static char text[2048];
    struct world w;

    start(&w);
    rules(&w, http);
    world_compile(&w);
    snprintf(text, sizeof(text), "%s", world_routes(&w, B, "b"));
    world_done(&w);
    return text;
}

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

/* ---- which rules ---- */

TEST(match_blocks_are_alternatives_and_keep_the_order_of_rules)
{
    /* A06: first match wins, whatever is more specific; what follows a catch-all is dead */
    CHECK_TEXT(
        routes_of("  - match: [{uri: {prefix: /foo}}, {uri: {exact: /bar}, method: {exact: GET}}]\n"
                  "    route: [{destination: {host: b, subset: v1}}]\n"
                  "  - route: [{destination: {host: b}}]\n"
                  "  - match: [{uri: {exact: /dead}}]\n"
                  "    route: [{destination: {host: b, subset: v2}}]\n"),
        "path^/foo 80|v1|b.default; path=/bar method=GET 80|v1|b.default; 80||b.default");
}

TEST(headers_and_query_parameters_become_matches)
{
    CHECK_TEXT(
        routes_of("  - match:\n"
                  "    - headers: {End-User: {exact: jason}, x-any: {}, ':method': {exact: GET}}\n"
                  "      queryParams: {a: {exact: v}, b: {regex: '[0-9]+'}}\n"
                  "      authority: {exact: b}\n"
                  "    route: [{destination: {host: b}}]\n"),
        "authority=b end-user=jason x-any? :method=GET ?a=v ?b~[0-9]+ 80||b.default");
}

TEST(without_headers_takes_an_absent_header_as_empty_only_for_expressions)
{
    /* A14 */
    CHECK_TEXT(routes_of("  - match: [{withoutHeaders: {end-user: {exact: jason}}}]\n"
                         "    route: [{destination: {host: b}}]\n"),
               "!end-user=jason 80||b.default");
    /* A15: "*" is presence */
    CHECK_TEXT(routes_of("  - match: [{withoutHeaders: {end-user: {regex: '*'}}}]\n"
                         "    route: [{destination: {host: b}}]\n"),
               "!end-user? 80||b.default");
    /* A16: never matches, for an absent header counts as empty and .* covers that */
    CHECK_TEXT(routes_of("  - match: [{withoutHeaders: {end-user: {regex: '.*'}}}]\n"
                         "    route: [{destination: {host: b}}]\n"),
               "!end-user~.* end-user? 80||b.default");
}

TEST(a_condition_on_the_port_is_decided_here)
{
    /* A08: a catch-all for another port is not taken, and does not hide what follows */
    CHECK_TEXT(routes_of("  - match: [{port: 8080}]\n"
                         "    route: [{destination: {host: b, subset: v1}}]\n"
                         "  - match: [{port: 80, uri: {prefix: /}}]\n"
                         "    route: [{destination: {host: b, subset: v2}}]\n"),
               "path^/ 80|v2|b.default");
}

#define BY_LABEL                                                                                   \
    "  - match: [{sourceLabels: {app: x}}]\n    route: [{destination: {host: b, subset: v1}}]\n"   \
    "  - route: [{destination: {host: b}}]\n"

TEST(source_labels_are_those_of_the_only_service_of_the_host)
{
    struct world w;

    start(&w); /* A21 */
    rules(&w, BY_LABEL);
    world_local(&w, "default", "x", 9000, "http", "app=x");
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80|v1|b.default");
    w.locals[0].labels.items[0].value = STR("y");
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80||b.default");
    w.locals[0].labels.items[0].value = STR("x");
    world_local(&w, "default", "z", 9001, "http", "app=x"); /* now it is not clear who calls */
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80||b.default");
    world_done(&w);
}

TEST(a_rule_for_another_source_namespace_does_not_exist)
{
    struct world w;

    start(&w); /* A22 */
    rules(
        &w,
        "  - match: [{sourceNamespace: ns1}]\n    route: [{destination: {host: b, subset: v1}}]\n");
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b.default"),
               "80||b.default"); /* no rule left: as without rules */
    w.self.ns = STR("ns1");
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b.default"), "80|v1|b.default");
    world_done(&w);
}

static void virtual_service(struct world *w, const char *ns, const char *name, int day,
                            const char *spec)
{
    world_apply(
        w, arena_printf(
               &w->arena,
               "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
               "metadata: {name: %s, namespace: %s, creationTimestamp: 2026-01-%02dT00:00:00Z}\n"
               "spec: %s\n",
               name, ns, day, spec)
               .p);
}

#define TO(subset) "http: [{route: [{destination: {host: " B_HOST ", subset: " subset "}}]}]}"

TEST(one_virtual_service_wins_per_host_the_oldest_of_the_closest_group)
{
    struct world w;

    start(&w);
    virtual_service(&w, "default", "young", 5, "{hosts: [b], " TO("young"));
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80|young|b.default");
    virtual_service(&w, "default", "old", 2, "{hosts: [b], " TO("old"));
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80|old|b.default");
    virtual_service(&w, "else", "named", 9,
                    "{hosts: [" B_HOST "], exportTo: [default, ns2], " TO("named"));
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80|named|b.default");
    virtual_service(&w, "default", "private", 20, "{hosts: [b], exportTo: ['.'], " TO("private"));
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80|private|b.default");
    virtual_service(&w, "else", "hidden", 1,
                    "{hosts: [" B_HOST "], exportTo: ['.'], " TO("hidden"));
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80|private|b.default");
    world_done(&w);
}

TEST(names_and_namespaces_settle_equal_ages)
{
    struct world w;

    start(&w);
    virtual_service(&w, "default", "y", 1, "{hosts: [b], " TO("y"));
    virtual_service(&w, "default", "x", 1, "{hosts: [b], " TO("x"));
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80|x|b.default");
    world_done(&w);
}

TEST(the_most_specific_host_wins_and_nothing_is_combined)
{
    struct world w;

    start(&w); /* A25 */
    world_service(&w, "default", "a.example.org", "10.2.0.1", "http:HTTP:80");
    world_service(&w, "default", "b.example.org", "10.2.0.2", "http:HTTP:80");
    virtual_service(&w, "default", "wide", 1, "{hosts: ['*.example.org'], " TO("wide"));
    virtual_service(&w, "default", "wider", 1, "{hosts: ['*.org'], " TO("wider"));
    virtual_service(&w, "default", "exact", 9, "{hosts: [a.example.org], " TO("exact"));
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "a.example.org"), "80|exact|b.default");
    CHECK_TEXT(world_routes(&w, B, "b.example.org"), "80|wide|b.default");
    CHECK_TEXT(world_routes(&w, B, "c.org"),
               "none"); /* *.org has services, so it is no host of its own */
    world_done(&w);
}

TEST(a_host_that_no_service_has_works_on_80_only)
{
    struct world w;

    start(&w); /* A26 */
    world_service(&w, "default", "p", "10.1.0.3", "http:HTTP:8080");
    virtual_service(&w, "default", "foreign", 1, "{hosts: ['*.example.net'], " TO("v1"));
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "x.example.net"), "80|v1|b.default");
    CHECK_TEXT(world_routes(&w, B, "example.net"), "none");
    CHECK_TEXT(world_routes(&w, "10.1.0.3:8080", "x.example.net"), "none");
    world_done(&w);
}

TEST(rules_of_gateways_are_not_for_the_mesh)
{
    struct world w;

    start(&w);
    virtual_service(&w, "default", "gw", 1, "{hosts: [b], gateways: [edge], " TO("v1"));
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80||b.default");
    virtual_service(
        &w, "default", "both", 2,
        "{hosts: [b], gateways: [mesh, edge], http: [{match: [{gateways: [edge]}], route: "
        "[{destination: {host: b, subset: v1}}]}, {route: [{destination: {host: b, subset: "
        "v2}}]}]}");
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80|v2|b.default");
    world_done(&w);
}

/* ---- what a rule does ---- */

TEST(weights_are_kept_and_zero_gets_nothing)
{
    /* B01, B03 */
    CHECK_TEXT(
        routes_of(
            "  - route: [{destination: {host: b, subset: v1}, weight: 80}, {destination: {host: b, "
            "subset: v2}, weight: 20}]\n"),
        "80|v1|b.default*80,80|v2|b.default*20");
    CHECK_TEXT(
        routes_of(
            "  - route: [{destination: {host: b, subset: v1}, weight: 0}, {destination: {host: b, "
            "subset: v2}, weight: 7}]\n"),
        "80|v2|b.default");
    CHECK_TEXT(routes_of("  - route: [{destination: {host: b, subset: v1}}]\n"), "80|v1|b.default");
}

TEST(a_destination_without_a_port_takes_the_only_one_or_the_one_addressed)
{
    struct world w;

    start(&w);
    world_service(&w, "default", "one", "10.1.0.3", "http:HTTP:9080");
    world_service(&w, "default", "many", "10.1.0.4", "http:HTTP:9080,web:HTTP:80");
    rules(&w, "  - match: [{uri: {prefix: /one}}]\n    route: [{destination: {host: one}}]\n"
              "  - match: [{uri: {prefix: /many}}]\n    route: [{destination: {host: many}}]\n"
              "  - match: [{uri: {prefix: /given}}]\n    route: [{destination: {host: many, port: "
              "{number: 9080}}}]\n"
              "  - route: [{destination: {host: unknown.example.com}}]\n");
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"),
               "path^/one 9080||one.default; path^/many 80||many.default; "
               "path^/given 9080||many.default; 80||unknown.example.com");
    CHECK(!snapshot_cluster(w.s, STR("outbound|80||unknown.example.com"))); /* NC at run time */
    world_done(&w);
}

TEST(short_names_of_rules_belong_to_the_namespace_of_the_rule)
{
    struct world w;

    start(&w);
    virtual_service(&w, "else", "r", 1,
                    "{hosts: [" B_HOST "], http: [{route: [{destination: {host: b}}]}]}");
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "80||b.else"); /* IST0101: a service that is not there */
    world_done(&w);
}

static struct route first_route(struct world *w, const char *http)
{
    start(w);
    rules(w, http);
    world_compile(w);
    return world_vhost(w, B, "b")->routes[0];
}

#define ROUTE_B "    route: [{destination: {host: b}}]\n"

/* B36 and fields.md 4.6. `root` and `leaf` are rules of HTTP. */
static const char *delegated(const char *root, const char *leaf)
{
    static char text[4096];
    struct world w;

    start(&w);
    snprintf(text, sizeof(text),
             "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: d, namespace: "
             "client}\nspec:\n  http:\n%s",
             leaf);
    world_apply(&w, text);
    rules(&w, root);
    world_compile(&w);
    snprintf(text, sizeof(text), "%s", world_routes(&w, "10.1.0.1:80", B_HOST));
    world_done(&w);
    return text;
}

#define DELEGATE "    delegate: {name: d, namespace: client}\n"

#define ROUTE_TO_B "    route: [{destination: {host: b.default.svc.cluster.local}}]\n"

TEST(a_delegates_rules_take_the_place_of_the_rule_that_names_it)
{
    CHECK_TEXT(delegated("  - match: [{uri: {prefix: /first}}]\n    route: [{destination: {host: b}}]\n"
                         "  - name: root\n    match: [{uri: {prefix: /a}}]\n" DELEGATE
                         "  - route: [{destination: {host: b}}]\n",
                         "  - name: leaf\n    match: [{uri: {prefix: /a/x}}]\n" ROUTE_TO_B
                         "  - match: [{uri: {prefix: /b}}]\n" ROUTE_TO_B    /* outside of the root's match */
                         "  - match: [{uri: {regex: /a/y}}]\n" ROUTE_TO_B   /* who can tell? */
                         "  - match: [{method: {exact: GET}}]\n" ROUTE_TO_B /* has the root's path */),
               "path^/first 80||b.default; path^/a/x 80||b.default; path^/a method=GET 80||b.default; "
               "80||b.default");
}

TEST(a_delegate_keeps_its_own_settings_and_takes_the_others_from_the_root)
{
    const struct vhost *v;
    struct world w;

    start(&w);
    world_apply(&w, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: d, namespace: "
                    "client}\nspec:\n  http:\n  - name: leaf\n    timeout: 3s\n" ROUTE_TO_B "  - " "route: [{destination: {host: "
                    "b.default.svc.cluster.local}}]\n");
    rules(&w, "  - name: root\n    timeout: 9s\n    retries: {attempts: 7}\n" DELEGATE);
    world_compile(&w);
    v = world_vhost(&w, "10.1.0.1:80", B_HOST);
    CHECK_INT(v->route_count, 1); /* the first takes all */
    CHECK_STR(v->routes[0].name, "root-leaf");
    CHECK_INT(v->routes[0].timeout_ms, 3000);
    CHECK_INT(v->routes[0].retry.attempts, 7);
    world_done(&w);
}

TEST(a_delegate_that_is_not_there_or_not_exported_leaves_nothing)
{
    CHECK_TEXT(delegated("  - match: [{uri: {prefix: /a}}]\n    delegate: {name: other}\n"
                         "  - route: [{destination: {host: b}}]\n", "  - match: [{uri: {prefix: /a}}]\n" ROUTE_TO_B),
               "80||b.default");
    CHECK_TEXT(delegated("  - match: [{uri: {prefix: /a}}]\n" DELEGATE "  - route: [{destination: {host: b}}]\n",
                         "  - match: [{uri: {prefix: /a}}]\n" ROUTE_TO_B "  exportTo: ['.']\n"),
               "80||b.default");
}

TEST(timeouts_retries_and_names_are_carried)
{
    struct world w;
    struct route r = first_route(
        &w, "  - name: slow\n    timeout: 1.5s\n"
            "    retries: {attempts: 3, perTryTimeout: 2s, retryOn: 'gateway-error, 503,reset,retriable-headers', "
            "backoff: 10ms, retryIgnorePreviousHosts: false}\n" ROUTE_B);

    CHECK_STR(r.name, "slow");
    CHECK_INT(r.timeout_ms, 1500);
    CHECK_INT(r.retry.attempts, 3);
    CHECK_INT(r.retry.per_try_timeout_ms, 2000);
    CHECK_INT(r.retry.backoff_base_ms, 10);
    CHECK(!r.retry.avoid_previous);
    CHECK_INT(r.retry.on, RETRY_GATEWAY_ERROR | RETRY_RESET | RETRY_HEADERS |
                              RETRY_STATUS_CODES); /* the default list is gone */
    CHECK_INT(r.retry.code_count, 1);
    CHECK_INT(r.retry.codes[0], 503); /* B28 */
    world_done(&w);
}

TEST(zero_attempts_turn_retries_off_and_absence_does_not)
{
    struct world w;
    struct route r = first_route(&w, "  - retries: {attempts: 0}\n" ROUTE_B);

    CHECK_INT(r.retry.attempts, 0);
    world_done(&w);
    r = first_route(&w, "  - retries: {attempts: 5}\n" ROUTE_B);
    CHECK_INT(r.retry.attempts, 5);
    CHECK(r.retry.on & RETRY_CONNECT_FAILURE); /* B30 a: the default list */
    CHECK(!(r.retry.on & RETRY_GATEWAY_ERROR));
    world_done(&w);
}

TEST(the_name_of_a_match_is_added_to_the_name_of_its_rule)
{
    struct world w;
    struct route r = first_route(
        &w,
        "  - name: rule\n    match: [{name: m, uri: {prefix: /x}, ignoreUriCase: true}]\n" ROUTE_B);

    CHECK_STR(r.name, "rule.m");
    CHECK(r.match.path_nocase);
    world_done(&w);
}

TEST(tcp_rules_route_opaque_listeners_by_subnet_and_weight)
{
    struct world w;

    start(&w);
    world_service(&w, "default", "db", "10.1.0.7", "tcp:TCP:5432");
    virtual_service(
        &w, "default", "db", 1,
        "{hosts: [db], tcp: [{match: [{destinationSubnets: [10.1.0.0/16], port: 5432}], route: "
        "[{destination: {host: db, subset: v1}}]}, {match: [{port: 1}], route: [{destination: "
        "{host: "
        "nobody}}]}, {match: [{sourceLabels: {app: x}}], route: [{destination: {host: "
        "nobody}}]}]}");
    world_compile(&w);
    CHECK_TEXT(world_tcp(&w, world_listener(&w, "10.1.0.7:5432")),
               "10.1.0.0/16 5432|v1|db.default; 5432||db.default");
    virtual_service(&w, "default", "adb", 1,
                    "{hosts: [db], tcp: [{route: [{destination: {host: db, subset: v1}, weight: "
                    "1}, {destination: "
                    "{host: db, subset: v2}, weight: 3}]}]}");
    world_compile(&w);
    CHECK_TEXT(world_tcp(&w, world_listener(&w, "10.1.0.7:5432")),
               "5432|v1|db.default*1,5432|v2|db.default*3");
    world_done(&w);
}

TEST(a_route_to_a_service_that_is_not_here_yet_is_pending)
{
    struct world w;
    struct service *c;

    start(&w);
    c = world_service(&w, "default", "c", "10.1.0.5", "http:HTTP:80");
    map_del(&w.c.subscribed, c->key);
    rules(&w, "  - match: [{uri: {prefix: /c}}]\n    route: [{destination: {host: c}}]\n"
              "  - route: [{destination: {host: b}}]\n");
    world_compile(&w);
    CHECK_TEXT(world_routes(&w, B, "b"), "path^/c pending; 80||b.default");
    CHECK_STR(world_vhost(&w, B, "b")->service, "default/c.default.svc.cluster.local");
    world_done(&w);
}

/* ---- DestinationRules ---- */

static void destination_rule(struct world *w, const char *ns, const char *name, int day,
                             const char *spec)
{
    world_apply(
        w, arena_printf(
               &w->arena,
               "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
               "metadata: {name: %s, namespace: %s, creationTimestamp: 2026-01-%02dT00:00:00Z}\n"
               "spec: %s\n",
               name, ns, day, spec)
               .p);
}

static int balance(struct world *w, const char *cluster)
{
    world_compile(w);
    CHECK(world_cluster(w, cluster) != NULL);
    return (int)world_cluster(w, cluster)->balance;
}

TEST(defaults_of_a_cluster_are_those_of_istio)
{
    struct world w;
    const struct cluster *c;

    start(&w);
    world_compile(&w);
    c = world_cluster(&w, "80||b.default");
    CHECK_INT(c->balance, BALANCE_LEAST_REQUEST);
    CHECK_INT(c->tls, CLUSTER_TLS_AUTO);
    CHECK_INT(c->connect_timeout_ms, 10000);
    CHECK_INT(c->tcp_idle_ms, 3600000);
    CHECK_INT(c->http_idle_ms, 3600000);
    CHECK_STR(c->sni, "outbound_.80_._._." B_HOST);
    CHECK_STR(c->service_fqdn, B_HOST);
    CHECK_STR(c->service_name, "b");
    CHECK_STR(c->service_ns, "default");
    world_done(&w);
}

TEST(a_subset_is_a_cluster_of_the_workloads_with_its_labels)
{
    struct world w;

    start(&w); /* C01 */
    destination_rule(&w, "default", "b", 1,
                     "{host: b, subsets: [{name: v1, labels: {version: v1}}, {name: v9, labels: "
                     "{version: v9}}]}");
    world_compile(&w);
    CHECK_TEXT(world_endpoints(&w, "80||b.default"), "192.0.2.1:8080 192.0.2.2:8080");
    CHECK_TEXT(world_endpoints(&w, "80|v1|b.default"), "192.0.2.1:8080");
    CHECK_TEXT(world_endpoints(&w, "80|v9|b.default"), "");
    CHECK_TEXT(world_endpoints(&w, "80|nope|b.default"), "none"); /* NC at run time */
    CHECK_STR(world_cluster(&w, "80|v1|b.default")->sni, "outbound_.80_._.v1_." B_HOST);
    world_done(&w);
}

#define SIMPLE(kind) "trafficPolicy: {loadBalancer: {simple: " kind "}}"

TEST(the_rule_of_the_callers_namespace_then_the_services_then_the_root)
{
    struct world w;

    start(&w); /* C26 */
    w.self.ns = STR("client");
    destination_rule(&w, "istio-system", "r", 1, "{host: '*.local', " SIMPLE("RANDOM") "}");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_RANDOM);
    destination_rule(&w, "default", "hidden", 1,
                     "{host: b, exportTo: ['.'], " SIMPLE("PASSTHROUGH") "}");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_RANDOM);
    destination_rule(&w, "default", "s", 1, "{host: b, " SIMPLE("ROUND_ROBIN") "}");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_ROUND_ROBIN);
    destination_rule(&w, "client", "c", 1,
                     "{host: '*.default.svc.cluster.local', subsets: [{name: only}]}");
    CHECK_INT(balance(&w, "80||b.default"),
              BALANCE_LEAST_REQUEST); /* nothing is merged across namespaces */
    CHECK(world_cluster(&w, "80|only|b.default") != NULL);
    destination_rule(&w, "client", "d", 9, "{host: " B_HOST ", " SIMPLE("RANDOM") "}");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_RANDOM); /* the most specific host within it */
    CHECK(world_cluster(&w, "80|only|b.default") == NULL);
    world_done(&w);
}

TEST(a_short_host_of_a_foreign_rule_means_a_service_there)
{
    struct world w;

    start(&w);
    destination_rule(&w, "client", "c", 1, "{host: b, " SIMPLE("RANDOM") "}");
    w.self.ns = STR("client");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_LEAST_REQUEST);
    world_done(&w);
}

TEST(rules_of_one_namespace_and_host_are_merged)
{
    struct world w;

    start(&w); /* C27 */
    destination_rule(
        &w, "default", "y", 5,
        "{host: b, " SIMPLE(
            "RANDOM") ", subsets: [{name: v2, labels: {version: v2}}, {name: v1, labels: "
                      "{version: other}}]}");
    destination_rule(&w, "default", "x", 2,
                     "{host: " B_HOST ", subsets: [{name: v1, labels: {version: v1}}]}");
    world_compile(&w);
    CHECK_TEXT(world_endpoints(&w, "80|v1|b.default"),
               "192.0.2.1:8080"); /* the first definition stays */
    CHECK_TEXT(world_endpoints(&w, "80|v2|b.default"), "192.0.2.2:8080");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_RANDOM);
    destination_rule(&w, "default", "a", 1, "{host: b, " SIMPLE("ROUND_ROBIN") "}");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_ROUND_ROBIN); /* the oldest top-level policy */
    world_done(&w);
}

TEST(a_narrower_export_is_not_merged)
{
    struct world w;

    start(&w);
    destination_rule(&w, "default", "wide", 1, "{host: b, subsets: [{name: v1}]}");
    destination_rule(&w, "default", "narrow", 2,
                     "{host: b, exportTo: ['.'], subsets: [{name: v2}]}");
    world_compile(&w);
    CHECK(world_cluster(&w, "80|v1|b.default") != NULL);
    CHECK(world_cluster(&w, "80|v2|b.default") == NULL);
    world_done(&w);
}

TEST(a_workload_selector_limits_a_rule_to_some_callers)
{
    struct world w;

    start(&w);
    destination_rule(&w, "default", "all", 1, "{host: b, " SIMPLE("RANDOM") "}");
    destination_rule(
        &w, "default", "some", 9,
        "{host: b, workloadSelector: {matchLabels: {app: x}}, " SIMPLE("ROUND_ROBIN") "}");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_RANDOM);
    world_local(&w, "default", "x", 9000, "http", "app=x");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_ROUND_ROBIN);
    world_done(&w);
}

TEST(a_subset_replaces_blocks_and_inherits_the_others)
{
    struct world w;

    start(&w); /* C08 */
    destination_rule(&w, "default", "b", 1,
                     "{host: b, trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: "
                     "{tcp: {connectTimeout: "
                     "3s, idleTimeout: 60s}, http: {idleTimeout: 5s}}, tls: {mode: ISTIO_MUTUAL}}, "
                     "subsets: [{name: v1}, "
                     "{name: v2, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]}");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_RANDOM);
    CHECK_INT(balance(&w, "80|v1|b.default"), BALANCE_RANDOM);
    CHECK_INT(balance(&w, "80|v2|b.default"), BALANCE_ROUND_ROBIN);
    CHECK_INT(world_cluster(&w, "80|v2|b.default")->connect_timeout_ms, 3000);
    CHECK_INT(world_cluster(&w, "80|v2|b.default")->tcp_idle_ms, 60000);
    CHECK_INT(world_cluster(&w, "80|v2|b.default")->http_idle_ms, 5000);
    CHECK_INT(world_cluster(&w, "80|v2|b.default")->tls, CLUSTER_TLS_MUTUAL);
    world_done(&w);
}

TEST(settings_of_a_port_replace_all_blocks_for_that_port)
{
    struct world w;

    start(&w); /* C09 */
    world_service(&w, "default", "q", "10.1.0.4", "a:HTTP:80,b:HTTP:81");
    destination_rule(&w, "default", "q", 1,
                     "{host: q, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}}, tls: "
                     "{mode: DISABLE}, "
                     "portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}}");
    CHECK_INT(balance(&w, "80||q.default"), BALANCE_RANDOM);
    CHECK_INT(world_cluster(&w, "80||q.default")->connect_timeout_ms,
              10000); /* the default, not the host's 3 s */
    CHECK_INT(world_cluster(&w, "80||q.default")->tls, CLUSTER_TLS_AUTO);
    CHECK_INT(balance(&w, "81||q.default"), BALANCE_LEAST_REQUEST);
    CHECK_INT(world_cluster(&w, "81||q.default")->connect_timeout_ms, 3000);
    CHECK_INT(world_cluster(&w, "81||q.default")->tls, CLUSTER_TLS_OFF); /* F10 */
    world_done(&w);
}

TEST(limits_of_connections_and_requests_are_carried)
{
    const struct cluster *c;
    struct world w;

    start(&w);
    destination_rule(&w, "default", "b", 1,
                     "{host: b, trafficPolicy: {connectionPool: {tcp: {maxConnections: 5, "
                     "maxConnectionDuration: 90s, tcpKeepalive: {time: 300s, interval: 15s, probes: 4}}, "
                     "http: {http1MaxPendingRequests: 6, http2MaxRequests: 7, "
                     "maxRequestsPerConnection: 8, maxRetries: 9}}}, "
                     "subsets: [{name: v1, trafficPolicy: {connectionPool: {http: {maxRetries: 2}}, "
                     "retryBudget: {percent: 12.5, minRetryConcurrency: 1}}}, "
                     "{name: v2, trafficPolicy: {tls: {mode: DISABLE}, portLevelSettings: "
                     "[{port: {number: 80}, connectionPool: {tcp: {maxConnections: 1}}}]}}]}");
    world_compile(&w);
    c = world_cluster(&w, "80||b.default");
    CHECK_INT(c->limits.connections, 5);
    CHECK_INT(c->limits.pending, 6);
    CHECK_INT(c->limits.requests, 7);
    CHECK_INT(c->limits.retries, 9);
    CHECK(!c->limits.has_retry_budget);
    CHECK_INT(c->requests_per_connection, 8);
    CHECK_INT(c->age_ms_max, 90000);
    CHECK(c->probes.is_on);
    CHECK_INT(c->probes.after_s, 300);
    CHECK_INT(c->probes.every_s, 15);
    CHECK_INT(c->probes.count, 4);
    c = world_cluster(&w, "80|v1|b.default"); /* its block replaces the whole of the rule's block */
    CHECK_INT(c->limits.connections, 0);
    CHECK(c->limits.has_retry_budget);
    CHECK_INT(c->limits.retry_share, 125000);
    CHECK_INT(c->limits.retries, 1);
    CHECK(!c->probes.is_on);
    c = world_cluster(&w, "80|v2|b.default"); /* the port's entry replaces those of both */
    CHECK_INT(c->limits.connections, 1);
    CHECK_INT(c->limits.pending, 0);
    CHECK_INT(c->tls, CLUSTER_TLS_AUTO);
    world_done(&w);
}

TEST(tls_with_a_server_outside_of_the_mesh)
{
    const struct origination *o;
    const struct cluster *c;
    struct world w;

    start(&w); /* C19 */
    destination_rule(&w, "default", "b", 1,
                     "{host: b, trafficPolicy: {tls: {mode: SIMPLE}}, subsets: "
                     "[{name: v1, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /c, privateKey: "
                     "/k, caCertificates: /a, sni: x.test, subjectAltNames: [one, two]}}}, "
                     "{name: colon, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: '/a:/c%'}}}, "
                     "{name: v2, trafficPolicy: {tls: {mode: SIMPLE, sni: x.test, insecureSkipVerify: "
                     "true}}}]}");
    world_compile(&w);
    c = world_cluster(&w, "80||b.default");
    o = c->origination;
    CHECK_INT(c->tls, CLUSTER_TLS_WEB);
    CHECK_STR(o->material.creds, "files:web:::");
    CHECK(o->sni.n == 0 && o->names.n == 0 && !o->skip_verify);
    o = world_cluster(&w, "80|v1|b.default")->origination;
    CHECK_STR(o->material.creds, "files:web:/a:/c:/k");
    CHECK_STR(o->sni, "x.test");
    CHECK_STR(o->names, "one two");
    o = world_cluster(&w, "80|colon|b.default")->origination;
    CHECK_STR(o->material.creds, "files:web:/a%3A/c%25::"); /* one file, not two */
    o = world_cluster(&w, "80|v2|b.default")->origination;
    CHECK_STR(o->material.creds, "files:any:::");
    CHECK_STR(o->names, "*"); /* the chain alone is checked */
    CHECK(o->skip_verify);
    world_done(&w);
}

TEST(mesh_tls_may_ask_for_other_names)
{
    const struct cluster *c;
    struct world w;

    start(&w);
    destination_rule(&w, "default", "b", 1,
                     "{host: b, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, sni: x.test, subjectAltNames: "
                     "['spiffe://a/b']}}}");
    world_compile(&w);
    c = world_cluster(&w, "80||b.default");
    CHECK_INT(c->tls, CLUSTER_TLS_MUTUAL);
    CHECK_STR(c->sni, "x.test");
    CHECK_STR(c->sans, "spiffe://a/b");
    world_done(&w);
}

TEST(limits_hold_at_the_service_too)
{
    const struct cluster *c;
    struct world w;

    start(&w);
    world_local(&w, "default", "b", 80, "http", "app=b");
    destination_rule(&w, "default", "b", 1,
                     "{host: b, trafficPolicy: {connectionPool: {tcp: {maxConnections: 5}, http: "
                     "{http1MaxPendingRequests: 6}}, tls: {mode: ISTIO_MUTUAL}}}");
    world_compile(&w);
    c = snapshot_cluster(w.s, STR("inbound|80||"));
    CHECK(c != NULL);
    CHECK_INT(c->limits.connections, 5);
    CHECK_INT(c->limits.pending, 6);
    CHECK_INT(c->tls, CLUSTER_TLS_OFF);
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

/* ---- inbound and identity ---- */

TEST(a_local_service_has_an_inbound_listener_that_repeats_only_what_never_began)
{
    struct world w;
    const struct listener *l;
    const struct cluster *c;
    const struct route *r;

    start(&w);
    world_local(&w, "default", "x", 9000, "http", "app=x,version=v3");
    world_compile(&w);
    l = snapshot_inbound(w.s, 9000);
    CHECK(l != NULL);
    CHECK_INT(l->protocol, APP_HTTP);
    CHECK_INT(l->mtls, MTLS_PERMISSIVE); /* F01 */
    CHECK_STR(l->identity, "spiffe://cluster.local/ns/default/sa/x");
    CHECK_STR(l->cluster, "inbound|9000||");
    CHECK_STR(l->service_fqdn, "x.default.svc.cluster.local");
    CHECK_STR(l->version, "v3");
    r = &route_table_find(l->http, STR("whatever"))->routes[0];
    CHECK_INT(r->retry.attempts, 2);
    CHECK_INT(r->retry.on, RETRY_RESET_BEFORE_REQUEST);
    CHECK_INT(r->timeout_ms, 0);
    CHECK_STR(r->clusters[0].cluster, "inbound|9000||");
    c = snapshot_cluster(w.s, STR("inbound|9000||"));
    CHECK_INT(c->kind, CLUSTER_LOCAL);
    CHECK_INT(c->local.port, 9000);
    CHECK(!snapshot_inbound(w.s, 9001));
    world_done(&w);
}

TEST(inbound_tcp_is_tunnelled_and_unknown_protocols_get_both)
{
    struct world w;
    const struct listener *l;

    start(&w);
    world_local(&w, "default", "x", 9000, "tcp", "");
    world_local(&w, "default", "y", 9001, "", "");
    world_compile(&w);
    l = snapshot_inbound(w.s, 9000);
    CHECK(!l->http);
    CHECK_TEXT(world_tcp(&w, l), "inbound|9000||");
    l = snapshot_inbound(w.s, 9001);
    CHECK_INT(l->protocol, APP_SNIFF);
    CHECK(l->http != NULL);
    CHECK_TEXT(world_tcp(&w, l), "inbound|9001||");
    world_done(&w);
}

static void peer_authentication(struct world *w, const char *ns, const char *name, const char *spec)
{
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                                "metadata: {name: %s, namespace: %s}\nspec: %s\n",
                                name, ns, spec)
                       .p);
}

TEST(peer_authentication_port_beats_workload_beats_namespace_beats_mesh)
{
    struct world w;

    start(&w);
    world_local(&w, "default", "x", 9000, "http", "app=x");
    world_local(&w, "default", "y", 9001, "http", "app=y");
    world_local(&w, "default", "z", 9002, "http", "app=x");
    peer_authentication(&w, "istio-system", "mesh", "{mtls: {mode: STRICT}}");
    world_compile(&w);
    CHECK_INT(snapshot_inbound(w.s, 9001)->mtls, MTLS_STRICT); /* F02 */
    peer_authentication(&w, "default", "ns", "{mtls: {mode: DISABLE}}");
    world_compile(&w);
    CHECK_INT(snapshot_inbound(w.s, 9001)->mtls, MTLS_DISABLE);
    peer_authentication(&w, "default", "x",
                        "{selector: {matchLabels: {app: x}}, mtls: {mode: STRICT}, "
                        "portLevelMtls: {9000: {mode: PERMISSIVE}}}");
    world_compile(&w);
    CHECK_INT(snapshot_inbound(w.s, 9000)->mtls, MTLS_PERMISSIVE); /* F04 */
    CHECK_INT(snapshot_inbound(w.s, 9002)->mtls, MTLS_STRICT);
    CHECK_INT(snapshot_inbound(w.s, 9001)->mtls, MTLS_DISABLE);
    world_done(&w);
}

TEST(an_unset_mode_inherits)
{
    struct world w;

    start(&w); /* F06 */
    world_local(&w, "default", "x", 9000, "http", "app=x");
    peer_authentication(&w, "default", "ns", "{mtls: {mode: STRICT}}");
    peer_authentication(&w, "default", "x",
                        "{selector: {matchLabels: {app: x}}, mtls: {mode: UNSET}}");
    world_compile(&w);
    CHECK_INT(snapshot_inbound(w.s, 9000)->mtls, MTLS_STRICT);
    world_done(&w);
}

TEST(the_only_service_of_a_host_speaks_for_it)
{
    struct world w;

    start(&w);
    world_compile(&w);
    CHECK_STR(w.s->default_identity, "spiffe://cluster.local/ns/default/sa/host-01HOST");
    CHECK_STR(world_listener(&w, B)->workload, "vm1");
    world_local(&w, "shop", "x", 9000, "http", "app=x");
    world_compile(&w);
    CHECK_STR(w.s->default_identity, "spiffe://cluster.local/ns/shop/sa/x");
    CHECK_STR(world_listener(&w, B)->identity, "spiffe://cluster.local/ns/shop/sa/x");
    CHECK_STR(world_listener(&w, B)->workload, "x");
    CHECK_TEXT(world_routes(&w, B, "b"), "none"); /* its namespace is shop now */
    world_local(&w, "shop", "y", 9001, "http", "");
    world_compile(&w);
    CHECK_STR(w.s->default_identity, "spiffe://cluster.local/ns/default/sa/host-01HOST");
    world_done(&w);
}

TEST(two_local_services_on_one_port_are_a_warning_and_the_first_keeps_it)
{
    struct world w;

    start(&w);
    world_local(&w, "default", "x", 9000, "http", "");
    world_local(&w, "default", "y", 9000, "http", "");
    world_compile(&w);
    CHECK_STR(snapshot_inbound(w.s, 9000)->service, "default/x.default.svc.cluster.local");
    CHECK_INT(w.f.warnings, 1);
    CHECK_INT(w.f.errors, 0);
    world_done(&w);
}

/* ---- gateways ---- */

static void gateway(struct world *w, const char *ns, const char *name, int day, const char *servers)
{
    world_apply(
        w, arena_printf(
               &w->arena,
               "apiVersion: networking.istio.io/v1\nkind: Gateway\n"
               "metadata: {name: %s, namespace: %s, creationTimestamp: 2026-01-%02dT00:00:00Z}\n"
               "spec: {selector: {gw: edge}, servers: %s}\n",
               name, ns, day, servers)
               .p);
}

static void start_edge(struct world *w)
{
    start(w);
    world_local(w, "edge", "edge", 0, "", "gw=edge");
}

#define HTTP_80(hosts) "[{port: {number: 80, name: http, protocol: HTTP}, hosts: [" hosts "]}]"
#define GATE           "gateway_0.0.0.0:80"

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

#define TO_B(subset) "[{route: [{destination: {host: b, subset: " subset "}}]}]}"

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

/* ---- sharing ---- */

TEST(the_same_input_gives_the_same_parts)
{
    struct world w;
    struct snapshot *first;

    start_edge(&w);
    world_local(&w, "default", "x", 9000, "http", "app=x");
    gateway(&w, "default", "gw", 1, HTTP_80("'*'"));
    virtual_service(&w, "default", "v", 1,
                    "{hosts: [b, x.com], gateways: [gw, mesh], http: " TO_B("v1"));
    world_compile(&w);
    first = snapshot_ref(w.s);
    world_compile(&w);
    CHECK(first != w.s);
    CHECK_INT(first->listener_count, w.s->listener_count);
    CHECK_INT(first->cluster_count, w.s->cluster_count);
    for (size_t i = 0; i < first->listener_count; i++)
        CHECK(first->listeners[i] == w.s->listeners[i]);
    for (size_t i = 0; i < first->cluster_count; i++)
        CHECK(first->clusters[i] == w.s->clusters[i]);
    snapshot_unref(first);
    world_done(&w);
}

TEST(what_did_not_change_is_shared_and_what_changed_is_new)
{
    struct world w;
    struct snapshot *first;
    struct addr b_at, c_at;
    struct str c_host = STR("c.default.svc.cluster.local");
    const struct vhost *b_vhost, *c_vhost;

    start(&w);
    world_workload(&w, world_service(&w, "default", "c", "10.1.0.5", "http:HTTP:80"), "192.0.2.9",
                   "");
    CHECK(addr_parse(STR(B), &b_at) && addr_parse(STR("10.1.0.5:80"), &c_at));
    world_compile(&w);
    first = snapshot_ref(w.s);
    b_vhost = route_table_find(snapshot_outbound(first, &b_at)->http, STR("b"));
    c_vhost = route_table_find(snapshot_outbound(first, &b_at)->http, c_host);
    rules(&w, "  - timeout: 1s\n" ROUTE_B);
    w.c.workloads[0]->weight = 5;
    world_compile(&w);
    CHECK(route_table_find(snapshot_outbound(w.s, &b_at)->http, STR("b")) != b_vhost);
    CHECK(route_table_find(snapshot_outbound(w.s, &b_at)->http, c_host) == c_vhost);
    CHECK(snapshot_outbound(w.s, &b_at)->http ==
          snapshot_outbound(w.s, &c_at)->http); /* one table of port 80 */
    CHECK(snapshot_outbound(w.s, &b_at)->http != snapshot_outbound(first, &b_at)->http);
    CHECK(world_cluster(&w, "80||c.default") ==
          snapshot_cluster(first, STR("outbound|80||c.default.svc.cluster.local")));
    CHECK(world_cluster(&w, "80||b.default") !=
          snapshot_cluster(first, STR("outbound|80||" B_HOST)));
    snapshot_unref(first);
    /* The old root is gone, the shared parts live on. */
    CHECK_TEXT(world_routes(&w, B, "c"), "80||c.default");
    CHECK_TEXT(world_endpoints(&w, "80||c.default"), "192.0.2.9:80");
    world_done(&w);
}

TEST(a_new_policy_keeps_the_endpoint_set)
{
    struct world w;
    const struct endpoint_set *set;
    const struct cluster *c;

    start(&w);
    world_compile(&w);
    c = world_cluster(&w, "80||b.default");
    set = part_ref(c->endpoints);
    destination_rule(&w, "default", "b", 1, "{host: b, " SIMPLE("RANDOM") "}");
    world_compile(&w);
    CHECK(world_cluster(&w, "80||b.default")->endpoints == set);
    CHECK_INT(world_cluster(&w, "80||b.default")->balance, BALANCE_RANDOM);
    part_unref((void *)(uintptr_t)set);
    world_done(&w);
}

TEST(a_snapshot_needs_nothing_of_its_catalog)
{
    struct world w;
    struct snapshot *s;
    struct buf before, after;

    buf_init(&before, 1 << 20);
    buf_init(&after, 1 << 20);
    start_edge(&w);
    world_local(&w, "default", "x", 9000, "", "app=x");
    gateway(&w, "default", "gw", 1, HTTP_80("'*'"));
    virtual_service(&w, "default", "v", 1,
                    "{hosts: [b, x.com], gateways: [gw, mesh], http: [{name: n, match: [{name: m, "
                    "uri: {regex: '/a+'}, "
                    "headers: {h: {exact: v}}, queryParams: {q: {prefix: p}}}], route: "
                    "[{destination: {host: b, subset: "
                    "v1}}], retries: {attempts: 1, retryOn: '503'}}]}");
    destination_rule(&w, "default", "b", 1,
                     "{host: b, subsets: [{name: v1, labels: {version: v1}}]}");
    world_compile(&w);
    s = snapshot_ref(w.s);
    snapshot_dump(s, &before);
    world_done(&w);
    snapshot_dump(s, &after);
    CHECK(!before.failed && str_eq(buf_str(&before), buf_str(&after)));
    snapshot_unref(s);
    buf_done(&before);
    buf_done(&after);
}

/* ---- names ---- */

static void collect(void *arg, struct str name, const struct addr *vip4, const struct addr *vip6,
                    struct str key)
{
    struct buf *b = arg;
    char text[ADDR_TEXT_MAX];

    CHECK(key.n > 0);
    buf_printf(b, "%.*s=%s%s ", STR_ARG(name), vip4->family ? addr_format_ip(vip4, text) : "",
               vip6->family ? "+6" : "");
}

TEST(dns_knows_every_form_of_every_name)
{
    struct world w;
    struct service *s;

    start(&w);
    CHECK(addr_parse_ip(STR("fd00::1"), &w.c.services[0]->vip6));
    world_service(&w, "other", "b", "10.1.0.2", "http:HTTP:80");
    s = world_service(&w, "other", "only", "10.1.0.3", "http:HTTP:80");
    map_del(&w.c.subscribed, s->key); /* names are there before the rules */
    world_service(&w, "default", "api.example.com", "10.1.0.4", "http:HTTP:80");
    world_service(&w, "default", "*.wild.example.com", "", "http:HTTP:80");
    compile_names(&w.c, &w.self, collect, &w.text);
    CHECK_STR(
        buf_str(&w.text),
        "api.example.com=10.1.0.4 "
        "b.default.svc.cluster.local=10.1.0.1+6 b.default.svc=10.1.0.1+6 b.default=10.1.0.1+6 "
        "b.default.mesh=10.1.0.1+6 b.mesh=10.1.0.1+6 b=10.1.0.1+6 "
        "b.other.svc.cluster.local=10.1.0.2 b.other.svc=10.1.0.2 b.other=10.1.0.2 "
        "b.other.mesh=10.1.0.2 "
        "only.other.svc.cluster.local=10.1.0.3 only.other.svc=10.1.0.3 only.other=10.1.0.3 "
        "only.other.mesh=10.1.0.3 only.mesh=10.1.0.3 ");
    world_done(&w);
}

/* ---- the mesh's own settings ---- */

TEST(settings_of_the_mesh_are_what_rules_fall_back_to)
{
    struct world w;

    start(&w);
    world_apply(&w, "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\n"
                    "metadata: {name: default, namespace: istio-system}\n"
                    "spec:\n  connectTimeout: 3s\n  enableAutoMtls: false\n  tcpKeepalive: {time: 60s}\n"
                    "  pathNormalization: {normalization: MERGE_SLASHES}\n"
                    "  defaultHttpRetryPolicy: {attempts: 7, retryOn: reset}\n");
    destination_rule(&w, "default", "b", 1,
                     "{host: b, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: "
                     "{tls: {mode: ISTIO_MUTUAL}, connectionPool: {tcp: {connectTimeout: 1s}}}}]}");
    world_compile(&w);
    CHECK_INT(w.s->path_mode, PATH_MERGE);
    CHECK_INT(world_cluster(&w, "80||b.default")->connect_timeout_ms, 3000);
    CHECK_INT(world_cluster(&w, "80||b.default")->tls, CLUSTER_TLS_OFF);
    CHECK(world_cluster(&w, "80||b.default")->probes.is_on);
    CHECK_INT(world_cluster(&w, "80|v1|b.default")->connect_timeout_ms, 1000);
    CHECK_INT(world_cluster(&w, "80|v1|b.default")->tls, CLUSTER_TLS_MUTUAL);
    CHECK_INT(world_vhost(&w, B, "b")->routes[0].retry.attempts, 7);
    CHECK_INT(world_vhost(&w, B, "b")->routes[0].retry.on, RETRY_RESET);
    world_done(&w);
}

TEST(a_mesh_config_elsewhere_is_not_the_meshs)
{
    struct world w;

    start(&w);
    world_apply(&w, "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\n"
                    "metadata: {name: default, namespace: default}\nspec: {connectTimeout: 3s}\n");
    world_compile(&w);
    CHECK_INT(w.s->path_mode, PATH_BASE);
    CHECK_INT(world_cluster(&w, "80||b.default")->connect_timeout_ms, 10000);
    world_done(&w);
}

TEST(a_client_may_show_a_credential)
{
    static const char text[] =
        "apiVersion: weft/v1\nkind: Credential\nmetadata: {name: c, namespace: default}\nspec: {"
        "certificate: \"-----BEGIN CERTIFICATE-----\\nA\\n-----END CERTIFICATE-----\", "
        "privateKey: \"-----BEGIN PRIVATE KEY-----\\nB\\n-----END PRIVATE KEY-----\", "
        "caCertificates: \"-----BEGIN CERTIFICATE-----\\nC\\n-----END CERTIFICATE-----\"}\n";
    const struct tls_material *m;
    struct world w;

    start(&w);
    world_apply(&w, text);
    destination_rule(&w, "default", "b", 1,
                     "{host: b, subsets: [{name: v1, trafficPolicy: {tls: {mode: MUTUAL, credentialName: c}}}, "
                     "{name: v2, trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}}}, "
                     "{name: v3, trafficPolicy: {tls: {mode: SIMPLE, credentialName: none}}}]}");
    world_compile(&w);
    m = &world_cluster(&w, "80|v1|b.default")->origination->material;
    CHECK(str_starts(m->creds, STR("credential:default/c:")));
    CHECK(m->cert.n && m->key.n && m->ca.n && !m->system_authorities);
    m = &world_cluster(&w, "80|v2|b.default")->origination->material;
    CHECK(!m->cert.n && !m->key.n && m->ca.n); /* it shows nothing */
    m = &world_cluster(&w, "80|v3|b.default")->origination->material;
    CHECK_INT(m->creds.n, 0);
    CHECK(!m->ca.n && !m->system_authorities);
    CHECK_INT(w.f.warnings, 1);
    world_done(&w);
}
