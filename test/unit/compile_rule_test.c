/* VirtualServices: which of them counts, and what it does. */
#include "test/unit/compile_docs.h"

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
            "    retries: {attempts: 3, perTryTimeout: 2s, retryOn: 'gateway-error,503,reset,retriable-headers', "
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
