/* Sidecars: which one counts for whom, what its callers see, what its workloads take in. From the documents at the server to
 * the snapshot of the host. */
#include "doc_world.h"
#include "sidecar_world.h"

#define SEES(hosts) "{egress: [{hosts: [" hosts "]}]}"
#define SELECTED(labels, hosts) "{workloadSelector: {labels: {" labels "}}, egress: [{hosts: [" hosts "]}]}"

/* This host runs shop/web (app=web); others run shop/reviews, shop/ratings and bank/safe. */
static void start(struct mesh *m)
{
    mesh_init(m);
    world_local(&m->w, "shop", "web", 8080, "http", "app=web");
    mesh_service(m, "shop", "reviews", "10.0.0.1", 9080, "http");
    mesh_service(m, "shop", "ratings", "10.0.0.2", 9080, "http");
    mesh_service(m, "bank", "safe", "10.0.0.3", 9080, "http");
}

static void rule(struct mesh *m, const char *kind, const char *ns, const char *name, const char *spec)
{
    mesh_apply(m, arena_printf(&m->w.arena,
                               "apiVersion: networking.istio.io/v1\nkind: %s\nmetadata: {name: %s, namespace: %s}\n"
                               "spec: %s\n",
                               kind, name, ns, spec)
                      .p);
}

static void aged(struct mesh *m, const char *ns, const char *name, const char *when, const char *spec)
{
    mesh_apply(m, arena_printf(&m->w.arena,
                               "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
                               "metadata: {name: %s, namespace: %s, creationTimestamp: \"2026-01-01T0%s:00:00Z\"}\n"
                               "spec: %s\n",
                               name, ns, when, spec)
                      .p);
}

/* ---- which one ---- */

TEST(without_a_sidecar_everything_is_seen)
{
    struct mesh m;

    start(&m);
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "ratings reviews safe");
    CHECK_TEXT(mesh_pushed(&m, "object/Sidecar/"), "");
    mesh_done(&m);
}

TEST(selector_goes_before_namespace_and_that_before_the_root)
{
    static const struct {
        const char *ns, *name, *spec, *names;
    } rows[] = {
        {"istio-system", "root", SEES("bank/*"), "safe"},
        {"bank", "other", SEES("~/*"), "safe"}, /* another namespace's */
        {"istio-system", "picky", SELECTED("app: web", "~/*"), "safe"}, /* of workloads there only */
        {"shop", "ns", SEES("\"*/reviews.shop.svc.cluster.local\""), "reviews"},
        {"shop", "not-me", SELECTED("app: db", "~/*"), "reviews"},
        {"shop", "me", SELECTED("app: web", "shop/ratings.shop.svc.cluster.local"), "ratings"},
    };

    for (size_t n = 1; n <= COUNT(rows); n++) {
        struct mesh m;

        start(&m);
        for (size_t i = 0; i < n; i++)
            mesh_sidecar(&m, rows[i].ns, rows[i].name, rows[i].spec);
        mesh_run(&m);
        CHECK_TEXT(mesh_names(&m), rows[n - 1].names);
        mesh_done(&m);
    }
}

TEST(of_equal_sidecars_the_oldest_counts_then_the_first_by_name)
{
    struct mesh m;

    start(&m);
    aged(&m, "shop", "a", "3", SEES("bank/*"));
    aged(&m, "shop", "c", "2", SEES("\"*/ratings.shop.svc.cluster.local\""));
    aged(&m, "shop", "b", "2", SEES("\"*/reviews.shop.svc.cluster.local\""));
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "reviews");
    CHECK_TEXT(mesh_pushed(&m, "object/Sidecar/"), "shop/b"); /* the others are nothing to this host */
    mesh_done(&m);
}

TEST(a_host_of_several_services_calls_as_itself)
{
    struct mesh m;

    start(&m);
    world_local(&m.w, "shop", "db", 5432, "tcp", "app=db");
    mesh_sidecar(&m, "shop", "web", SELECTED("app: web", "~/*"));
    mesh_sidecar(&m, "default", "host", SEES("bank/*"));
    mesh_sidecar(&m, "default", "picky", SELECTED("app: web", "~/*")); /* a host has no labels */
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "safe");
    CHECK_TEXT(mesh_pushed(&m, "object/Sidecar/"), "default/host shop/web"); /* callers', and web's for what it takes in */
    mesh_done(&m);
}

TEST(a_sidecar_is_not_for_gateways)
{
    struct mesh m;

    mesh_init(&m);
    mesh_service(&m, "shop", "reviews", "10.0.0.1", 9080, "http");
    mesh_service(&m, "bank", "safe", "10.0.0.3", 9080, "http");
    world_local(&m.w, "shop", "edge", 0, "", "istio=edge");
    mesh_sidecar(&m, "istio-system", "root", SEES("~/*"));
    mesh_sidecar(&m, "shop", "ns", SEES("~/*"));
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "reviews safe");
    CHECK_TEXT(mesh_pushed(&m, "object/Sidecar/"), "");
    mesh_done(&m);
}

TEST(a_gateway_beside_a_service_reaches_what_the_service_does_not_see)
{
    struct mesh m;

    start(&m);
    world_local(&m.w, "shop", "edge", 0, "", "istio=edge");
    mesh_sidecar(&m, "shop", "ns", SEES("bank/*"));
    rule(&m, "Gateway", "shop", "gw",
         "{selector: {istio: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]}");
    rule(&m, "VirtualService", "shop", "in",
         "{hosts: [shop.example.com], gateways: [gw], http: [{route: [{destination: {host: reviews}}]}]}");
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "safe");
    CHECK_TEXT(world_vhost_text(&m.w, world_gate(&m.w, "gateway_0.0.0.0:80")->http, "shop.example.com"),
               "9080||reviews.shop");
    CHECK_TEXT(world_endpoints(&m.w, "9080||reviews.shop"), "10.0.0.1:9080");
    mesh_done(&m);
}

/* The gateway needs the rule, callers of the host do not see it. */
TEST(a_rule_that_a_gateway_of_the_host_brings_is_not_for_its_callers)
{
    struct mesh m;

    start(&m);
    world_local(&m.w, "bank", "edge", 0, "", "istio=edge");
    mesh_sidecar(&m, "shop", "ns", SEES("./*"));
    rule(&m, "Gateway", "bank", "gw",
         "{selector: {istio: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]}");
    rule(&m, "VirtualService", "bank", "both",
         "{hosts: [reviews.shop.svc.cluster.local], gateways: [gw, mesh], http: [{route: [{destination: {host: safe}}]}]}");
    mesh_run(&m);
    CHECK_TEXT(mesh_pushed(&m, "object/VirtualService/"), "bank/both");
    CHECK_TEXT(world_vhost_text(&m.w, world_gate(&m.w, "gateway_0.0.0.0:80")->http, "reviews.shop.svc.cluster.local"),
               "9080||safe.bank");
    CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 9080), "9080||reviews.shop");
    mesh_done(&m);
}

/* ---- egress: services ---- */

/* behaviours.md E04 */
TEST(a_service_of_another_namespace_is_unknown)
{
    struct mesh m;

    start(&m);
    mesh_sidecar(&m, "shop", "ns", SEES("./*"));
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "ratings reviews");
    CHECK_TEXT(mesh_pushed(&m, "service/"), "shop/ratings.shop shop/reviews.shop");
    CHECK_TEXT(mesh_pushed(&m, "endpoints/"), "shop/ratings.shop shop/reviews.shop"); /* although it subscribed to all three */
    CHECK_TEXT(mesh_routes(&m, "bank", "safe", 9080), "no listener");
    CHECK(!world_cluster(&m.w, "9080||safe.bank"));
    CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 9080), "9080||reviews.shop");
    mesh_done(&m);
}

TEST(hosts_of_egress)
{
    static const struct {
        const char *hosts, *names;
    } rows[] = {
        {"\"*/*\"", "ratings reviews safe"},
        {"./*", "ratings reviews"},
        {"shop/*", "ratings reviews"},
        {"bank/*, ./reviews.shop.svc.cluster.local", "reviews safe"},
        {"\"*/*.bank.svc.cluster.local\"", "safe"},
        {"\"shop/*.bank.svc.cluster.local\"", ""}, /* no service of shop has such a name */
        {"bank/reviews.shop.svc.cluster.local", ""},
        {"\"*/Reviews.shop.svc.cluster.local\"", "reviews"},
        {"\"~/*\"", ""},
        {"\"~/*\", bank/*", "safe"},
        {"\"*/*\", \"~shop/ratings.shop.svc.cluster.local\"", "reviews safe"},
        {"\"~shop/*\", \"*/*\"", "safe"}, /* whatever the order */
        {"\"~bank/*.shop.svc.cluster.local\", \"*/*\"", "ratings reviews safe"},
        {"nowhere/*", ""},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mesh m;

        start(&m);
        mesh_sidecar(&m, "shop", "ns", arena_printf(&m.w.arena, "{egress: [{hosts: [%s]}]}", rows[i].hosts).p);
        mesh_run(&m);
        CHECK_TEXT(mesh_names(&m), rows[i].names);
        mesh_done(&m);
    }
}

TEST(in_a_sidecar_of_the_root_namespace_a_dot_is_the_callers_namespace)
{
    struct mesh m;

    start(&m);
    mesh_sidecar(&m, "istio-system", "root", SEES("./*"));
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "ratings reviews");
    mesh_done(&m);
}

TEST(without_egress_everything_is_seen)
{
    struct mesh m;

    start(&m);
    mesh_sidecar(&m, "istio-system", "root", SEES("~/*")); /* never merged */
    mesh_sidecar(&m, "shop", "ns", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}");
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "ratings reviews safe");
    mesh_done(&m);
}

#define ENTRY(ns, address)                                                                                             \
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: " ns "}\nspec:\n"          \
    "  hosts: [api.example.com]\n  addresses: [" address "]\n  resolution: STATIC\n  location: MESH_EXTERNAL\n"        \
    "  ports: [{number: 443, name: tls, protocol: TLS}]\n  endpoints: [{address: " address "}]\n"

static void add_address(void *arg, const struct addr *at)
{
    struct mesh *m = arg;
    size_t n = strlen(m->text);
    char text[ADDR_TEXT_MAX];

    (void)snprintf(m->text + n, sizeof(m->text) - n, "%s%s", n ? " " : "", addr_format(at, text));
}

static const char *captured(struct mesh *m)
{
    m->text[0] = 0;
    compile_addresses(&m->w.c, &m->w.self, add_address, m);
    return m->text;
}

TEST(of_two_services_of_one_name_the_one_that_is_seen_counts)
{
    struct mesh m;

    start(&m);
    mesh_apply(&m, ENTRY("shop", "192.0.2.1"));
    mesh_apply(&m, ENTRY("bank", "192.0.2.2"));
    mesh_run(&m);
    CHECK_TEXT(captured(&m), "192.0.2.1:443"); /* the caller's own */
    mesh_sidecar(&m, "shop", "ns", SEES("bank/*"));
    catalog_done(&m.all);
    resources_done(&m.seen);
    mesh_run(&m);
    CHECK_TEXT(captured(&m), "192.0.2.2:443");
    CHECK(!world_listener(&m.w, "192.0.2.1:443"));
    mesh_done(&m);
}

TEST(addresses_of_what_is_not_seen_are_not_redirected)
{
    struct mesh m;

    start(&m);
    mesh_apply(&m, ENTRY("bank", "192.0.2.2"));
    mesh_sidecar(&m, "shop", "ns", SEES("./*"));
    rule(&m, "VirtualService", "shop", "v",
         "{hosts: [reviews], http: [{route: [{destination: {host: api.example.com}}]}]}");
    mesh_run(&m);
    CHECK_TEXT(mesh_pushed(&m, "service/bank/"), "api.example.com"); /* a rule sends there */
    CHECK_TEXT(captured(&m), "");
    mesh_done(&m);
}

/* ---- egress: rules ---- */

#define TO(host, to) "{hosts: [" host "], http: [{route: [{destination: {host: " to "}}]}]}"

TEST(what_a_rule_sends_to_is_reached_without_being_seen)
{
    struct mesh m;

    start(&m);
    mesh_sidecar(&m, "shop", "ns", SEES("./reviews.shop.svc.cluster.local"));
    rule(&m, "VirtualService", "shop", "v", TO("reviews", "safe.bank.svc.cluster.local"));
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "reviews");
    CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 9080), "9080||safe.bank");
    CHECK_TEXT(world_endpoints(&m.w, "9080||safe.bank"), "10.0.0.3:9080");
    CHECK_TEXT(mesh_routes(&m, "bank", "safe", 9080), "no listener");
    mesh_done(&m);
}

TEST(rules_of_namespaces_that_are_not_named_do_not_apply)
{
    static const struct {
        const char *hosts, *routes, *pushed;
    } rows[] = {
        {"\"*/*\"", "9080||safe.bank", "bank/v"},
        {"shop/*", "9080||reviews.shop", ""},
        {"shop/*, bank/*", "9080||safe.bank", "bank/v"},
        {"shop/*, bank/reviews.shop.svc.cluster.local", "9080||safe.bank", "bank/v"},
        {"shop/*, bank/safe.bank.svc.cluster.local", "9080||reviews.shop", ""}, /* the rule is for another host */
        {"\"*/*\", \"~bank/reviews.shop.svc.cluster.local\"", "9080||reviews.shop", ""},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mesh m;

        start(&m);
        rule(&m, "VirtualService", "bank", "v", TO("reviews.shop.svc.cluster.local", "safe"));
        mesh_sidecar(&m, "shop", "ns", arena_printf(&m.w.arena, "{egress: [{hosts: [%s]}]}", rows[i].hosts).p);
        mesh_run(&m);
        CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 9080), rows[i].routes);
        CHECK_TEXT(mesh_pushed(&m, "object/VirtualService/"), rows[i].pushed);
        mesh_done(&m);
    }
}

TEST(a_rule_for_a_host_that_is_not_seen_holds_on_port_80_alone)
{
    struct mesh m;

    start(&m);
    mesh_sidecar(&m, "shop", "ns", SEES("./*"));
    rule(&m, "VirtualService", "shop", "a", TO("reviews", "safe.bank.svc.cluster.local"));
    rule(&m, "VirtualService", "shop", "b", TO("safe.bank.svc.cluster.local", "ratings"));
    mesh_run(&m);
    CHECK_TEXT(world_routes(&m.w, mesh_at(&m, "shop", "reviews", 80), "safe.bank.svc.cluster.local"),
               "9080||ratings.shop");
    CHECK_TEXT(world_routes(&m.w, mesh_at(&m, "shop", "reviews", 9080), "safe.bank.svc.cluster.local"), "none");
    mesh_done(&m);
}

TEST(a_rule_for_a_wildcard_applies_where_one_name_of_it_is_seen)
{
    struct mesh m;

    start(&m);
    rule(&m, "VirtualService", "shop", "v", TO("\"*.shop.svc.cluster.local\"", "safe.bank.svc.cluster.local"));
    mesh_sidecar(&m, "shop", "ns", SEES("shop/reviews.shop.svc.cluster.local"));
    mesh_run(&m);
    CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 9080), "9080||safe.bank");
    mesh_done(&m);
}

TEST(destination_rules_come_with_the_services_that_are_seen)
{
    struct mesh m;

    start(&m);
    rule(&m, "DestinationRule", "shop", "r", "{host: reviews, trafficPolicy: {loadBalancer: {simple: RANDOM}}}");
    rule(&m, "DestinationRule", "shop", "s",
         "{host: safe.bank.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: RANDOM}}}");
    mesh_sidecar(&m, "shop", "ns", SEES("./*"));
    mesh_run(&m);
    CHECK_TEXT(mesh_pushed(&m, "object/DestinationRule/"), "shop/r");
    CHECK_INT(world_cluster(&m.w, "9080||reviews.shop")->balance, BALANCE_RANDOM);
    mesh_done(&m);
}

/* ---- egress: ports ---- */

static void with_admin_port(struct mesh *m)
{
    start(m);
    mesh_apply(m, "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\nspec:\n"
                  "  ports: [{name: http-admin, port: 9081}]\n");
}

TEST(an_entry_with_a_port_is_all_there_is_for_it)
{
    struct mesh m;

    with_admin_port(&m);
    mesh_sidecar(&m, "shop", "ns",
                 "{egress: [{port: {number: 9080}, hosts: [bank/*]}, {hosts: [./*]}]}");
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "reviews safe"); /* ratings has no other port */
    CHECK_TEXT(mesh_routes(&m, "bank", "safe", 9080), "9080||safe.bank");
    CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 9080), "no listener");
    CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 9081), "9081||reviews.shop"); /* every other port */
    mesh_done(&m);
}

TEST(without_an_entry_for_every_port_there_are_no_others)
{
    struct mesh m;

    with_admin_port(&m);
    mesh_sidecar(&m, "shop", "ns", "{egress: [{port: {number: 9081}, hosts: [./*]}]}");
    mesh_run(&m);
    CHECK_TEXT(mesh_names(&m), "reviews");
    CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 9080), "no listener");
    CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 9081), "9081||reviews.shop");
    CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 80), "9081||reviews.shop"); /* the first that is seen */
    mesh_done(&m);
}

TEST(an_entry_may_say_what_is_spoken)
{
    struct mesh m;

    start(&m);
    mesh_sidecar(&m, "shop", "ns", "{egress: [{port: {number: 9080, protocol: TCP}, hosts: [./*]}]}");
    mesh_run(&m);
    CHECK_INT(world_listener(&m.w, mesh_at(&m, "shop", "reviews", 9080))->protocol, APP_TCP);
    CHECK_TEXT(world_tcp(&m.w, world_listener(&m.w, mesh_at(&m, "shop", "reviews", 9080))), "9080||reviews.shop");
    mesh_done(&m);
}

/* ---- egress: addresses of its own ---- */

#define OPEN(port, more) "{egress: [{port: " port ", captureMode: NONE, " more "}, {hosts: [\"~/*\"]}]}"

TEST(capture_mode_none_opens_an_address_that_goes_by_host)
{
    struct mesh m;
    const struct listener *l;

    with_admin_port(&m);
    mesh_sidecar(&m, "shop", "ns", OPEN("{number: 9080, protocol: HTTP}", "hosts: [./*]"));
    mesh_run(&m);
    l = mesh_bound(&m, "127.0.0.1:9080");
    CHECK(l && l->is_bound && l->kind == LISTENER_OUTBOUND && l->protocol == APP_HTTP);
    CHECK_STR(l->identity, "spiffe://cluster.local/ns/shop/sa/web");
    CHECK_TEXT(world_vhost_text(&m.w, l->http, "reviews"), "9080||reviews.shop");
    CHECK_TEXT(world_vhost_text(&m.w, l->http, "ratings.shop"), "9080||ratings.shop");
    CHECK_TEXT(world_vhost_text(&m.w, l->http, "safe.bank"), "none");
    CHECK_TEXT(mesh_routes(&m, "shop", "reviews", 9080), "no listener"); /* redirected traffic sees nothing */
    mesh_done(&m);
}

TEST(two_addresses_have_hosts_of_their_own)
{
    struct mesh m;

    start(&m);
    mesh_service(&m, "bank", "vault", "10.0.0.9", 9081, "http");
    rule(&m, "VirtualService", "shop", "v", TO("reviews, shop.example.com", "reviews"));
    mesh_sidecar(&m, "shop", "ns",
                 "{egress: [{port: {number: 9080, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: [./*]},"
                 " {port: {number: 9081, protocol: HTTP}, bind: 127.0.0.2, captureMode: NONE, hosts: [bank/*]},"
                 " {port: {number: 80, protocol: HTTP}, captureMode: NONE, hosts: [./*]}]}");
    mesh_run(&m);
    CHECK_TEXT(world_vhost_text(&m.w, mesh_bound(&m, "127.0.0.1:9080")->http, "safe.bank"), "none");
    CHECK_TEXT(world_vhost_text(&m.w, mesh_bound(&m, "127.0.0.2:9081")->http, "vault.bank"), "9081||vault.bank");
    CHECK_TEXT(world_vhost_text(&m.w, mesh_bound(&m, "127.0.0.2:9081")->http, "reviews.shop"), "none");
    /* A host of rules that no service has is served on port 80, as everywhere. */
    CHECK_TEXT(world_vhost_text(&m.w, mesh_bound(&m, "127.0.0.1:80")->http, "shop.example.com"), "9080||reviews.shop");
    CHECK_TEXT(world_vhost_text(&m.w, mesh_bound(&m, "127.0.0.1:9080")->http, "shop.example.com"), "none");
    mesh_done(&m);
}

TEST(opaque_bytes_need_one_service)
{
    struct mesh m;
    const struct listener *l;

    start(&m);
    mesh_sidecar(&m, "shop", "ns",
                 OPEN("{number: 9080, protocol: TCP}", "bind: 127.0.0.3, hosts: [./ratings.shop.svc.cluster.local]"));
    mesh_run(&m);
    l = mesh_bound(&m, "127.0.0.3:9080");
    CHECK(l && l->protocol == APP_TCP);
    CHECK_TEXT(world_tcp(&m.w, l), "9080||ratings.shop");
    mesh_done(&m);

    start(&m);
    mesh_sidecar(&m, "shop", "ns", OPEN("{number: 9080, protocol: TCP}", "hosts: [./*]"));
    mesh_run(&m);
    CHECK_INT(mesh_bound(&m, "127.0.0.1:9080")->tcp_count, 0);
    CHECK(strstr(mesh_warning(&m), "egress port 9080: several services"));
    mesh_done(&m);
}

TEST(what_is_behind_an_own_address_is_subscribed_to_at_first_use)
{
    struct mesh m;
    const struct vhost *v;

    start(&m);
    map_done(&m.subscriptions);
    map_init(&m.subscriptions);
    mesh_sidecar(&m, "shop", "ns", OPEN("{number: 9080}", "hosts: [./ratings.shop.svc.cluster.local]"));
    mesh_run(&m);
    CHECK(mesh_bound(&m, "127.0.0.1:9080")->is_pending); /* bytes that are not HTTP */
    v = route_table_find(mesh_bound(&m, "127.0.0.1:9080")->http, STR("ratings"));
    CHECK_INT(v->routes[0].action, ROUTE_PENDING);
    CHECK_STR(v->service, "shop/ratings.shop.svc.cluster.local");
    mesh_done(&m);
}

TEST(listeners_of_the_host_go_before)
{
    struct local_listener own = {.name = STR("mine"), .service = STR("reviews"), .port = 9080};
    struct mesh m;

    start(&m);
    CHECK(addr_parse(STR("127.0.0.1:9080"), &own.bind));
    m.w.self.listeners = &own;
    m.w.self.listener_count = 1;
    mesh_sidecar(&m, "shop", "ns",
                 "{egress: [{port: {number: 9080, protocol: HTTP}, captureMode: NONE, hosts: [bank/*]}, {hosts: [./*]}]}");
    mesh_run(&m);
    CHECK_TEXT(world_vhost_text(&m.w, mesh_bound(&m, "127.0.0.1:9080")->http, "x"), "9080||reviews.shop");
    CHECK(strstr(mesh_warning(&m), "services.d of this host opens this address already"));
    mesh_done(&m);
}

TEST(listeners_of_the_host_know_what_its_sidecar_lets_them_see)
{
    struct local_listener own[] = {
        {.name = STR("hidden"), .service = STR("safe.bank.svc.cluster.local"), .port = 9080},
        {.name = STR("by-host")},
        {.name = STR("no-port"), .service = STR("reviews"), .port = 9080},
    };
    struct mesh m;

    with_admin_port(&m);
    for (size_t i = 0; i < COUNT(own); i++)
        CHECK(addr_parse(arena_printf(&m.w.arena, "127.0.0.1:%zu", 1000 + i), &own[i].bind));
    m.w.self.is_uncaptured = true;
    m.w.self.listeners = own;
    m.w.self.listener_count = COUNT(own);
    rule(&m, "VirtualService", "shop", "v",
         "{hosts: [reviews], http: [{match: [{uri: {prefix: /x}}], route: [{destination: {host: safe.bank.svc.cluster.local}}]},"
         " {route: [{destination: {host: reviews}}]}]}");
    mesh_sidecar(&m, "shop", "ns", "{egress: [{port: {number: 9081}, hosts: [./*]}]}");
    mesh_run(&m);
    CHECK(!mesh_bound(&m, "127.0.0.1:1000")->service.n);
    CHECK(mesh_warns(&m, "no service is known as safe.bank.svc.cluster.local"));
    CHECK(!mesh_bound(&m, "127.0.0.1:1002")->service.n);
    CHECK_TEXT(world_vhost_text(&m.w, mesh_bound(&m, "127.0.0.1:1001")->http, "reviews:9080"),
               "path^/x 9080||safe.bank; 9081||reviews.shop");
    CHECK_TEXT(world_vhost_text(&m.w, mesh_bound(&m, "127.0.0.1:1001")->http, "ratings"), "none");
    mesh_done(&m);
}

/* ---- ingress ---- */

/* behaviours.md E06 */
TEST(default_endpoint_is_where_the_application_is)
{
    static const struct {
        const char *endpoint, *app;
    } rows[] = {
        {"", "10.0.0.9:8080"}, /* as registered */
        {", defaultEndpoint: \"127.0.0.1:8080\"", "127.0.0.1:8080"},
        {", defaultEndpoint: \"[::1]:7000\"", "[::1]:7000"},
        {", defaultEndpoint: \"0.0.0.0:7001\"", "10.0.0.9:7001"},
        {", defaultEndpoint: \"[::]:7002\"", "10.0.0.9:7002"},
        {", defaultEndpoint: \":7003\"", "10.0.0.9:7003"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mesh m;

        start(&m);
        CHECK(addr_parse(STR("10.0.0.9:8080"), &m.w.locals[0].app));
        mesh_sidecar(&m, "shop", "ns",
                     arena_printf(&m.w.arena, "{ingress: [{port: {number: 8080, protocol: HTTP}%s}]}", rows[i].endpoint)
                         .p);
        mesh_run(&m);
        CHECK_TEXT(mesh_app(&m, 8080), rows[i].app);
        CHECK_INT(mesh_inbound(&m, 8080)->protocol, APP_HTTP);
        CHECK(!mesh_inbound(&m, 8080)->is_bound);
        mesh_done(&m);
    }
}

TEST(ingress_takes_the_place_of_what_is_registered)
{
    struct mesh m;
    const struct listener *l;

    start(&m);
    mesh_sidecar(&m, "shop", "ns", "{ingress: [{port: {number: 9000}, defaultEndpoint: \"127.0.0.1:8080\"}]}");
    mesh_apply(&m, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\n"
                   "spec: {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {9000: {mode: DISABLE}}}\n");
    mesh_run(&m);
    l = mesh_inbound(&m, 9000);
    CHECK(l && l->protocol == APP_SNIFF); /* found out where it is not said */
    CHECK_INT(l->mtls, MTLS_DISABLE);
    CHECK_STR(l->identity, "spiffe://cluster.local/ns/shop/sa/web");
    CHECK_TEXT(mesh_app(&m, 9000), "127.0.0.1:8080");
    l = mesh_inbound(&m, 8080); /* left out: opaque, and no way around PeerAuthentication */
    CHECK(l && l->protocol == APP_TCP && !l->http);
    CHECK_INT(l->mtls, MTLS_STRICT);
    CHECK_TEXT(world_tcp(&m.w, l), "inbound|8080||");
    mesh_done(&m);
}

TEST(one_sidecar_lists_the_ports_of_all_workloads_of_a_host)
{
    struct mesh m;

    start(&m);
    world_local(&m.w, "shop", "db", 5432, "tcp", "app=db");
    mesh_sidecar(&m, "shop", "ns",
                 "{ingress: [{port: {number: 5432, protocol: TCP}}, {port: {number: 8080, protocol: HTTP}}]}");
    mesh_run(&m);
    CHECK_STR(mesh_inbound(&m, 5432)->service_name, "db");
    CHECK_STR(mesh_inbound(&m, 8080)->service_name, "web");
    CHECK_TEXT(mesh_warning(&m), "");
    mesh_done(&m);
}

TEST(capture_mode_none_of_ingress_opens_the_port)
{
    struct mesh m;

    start(&m);
    m.w.self.is_uncaptured = true;
    mesh_sidecar(&m, "shop", "ns",
                 "{ingress: [{port: {number: 9000, protocol: HTTP}, captureMode: NONE, defaultEndpoint: \"127.0.0.1:8080\"},"
                 " {port: {number: 9001, protocol: HTTP}, captureMode: NONE, bind: 10.1.1.1,"
                 " defaultEndpoint: \"127.0.0.1:8080\"}, {port: {number: 9002}}]}");
    mesh_run(&m);
    CHECK(mesh_bound(&m, "10.0.0.9:9000") && mesh_bound(&m, "10.0.0.9:9000")->kind == LISTENER_INBOUND);
    CHECK(mesh_bound(&m, "10.1.1.1:9001"));
    CHECK(!mesh_inbound(&m, 9002));
    CHECK(strstr(mesh_warning(&m), "ingress port 9002 is left out: nothing is redirected on this host"));
    mesh_done(&m);
}

TEST(what_ingress_must_not_take)
{
    static const uint16_t own[] = {15006};
    struct mesh m;

    start(&m);
    m.w.self.own_ports = own;
    m.w.self.own_port_count = 1;
    mesh_sidecar(&m, "shop", "ns", "{ingress: [{port: {number: 15006}}]}");
    mesh_run(&m);
    CHECK(!mesh_inbound(&m, 15006));
    CHECK(strstr(mesh_warning(&m), "ingress port 15006 is left out: it, or its defaultEndpoint, belongs to the agent"));
    mesh_done(&m);

    start(&m); /* nor is the agent's own page to be shown to the mesh */
    m.w.self.own_ports = own;
    m.w.self.own_port_count = 1;
    mesh_sidecar(&m, "shop", "ns", "{ingress: [{port: {number: 8080}, defaultEndpoint: \"127.0.0.1:15006\"}]}");
    mesh_run(&m);
    CHECK(strstr(mesh_warning(&m), "ingress port 8080 is left out"));
    mesh_done(&m);

    start(&m);
    CHECK(addr_parse(STR("10.0.0.9:8080"), &m.w.locals[0].app));
    mesh_sidecar(&m, "shop", "ns", "{ingress: [{port: {number: 8080}, captureMode: NONE}]}");
    mesh_run(&m);
    CHECK(strstr(mesh_warning(&m), "ingress port 8080 is left out: the application would be its own address"));
    mesh_done(&m);
}

#define TLS_PORT(number, protocol, tls)                                                                                \
    "{port: {number: " number ", protocol: " protocol "}, defaultEndpoint: \"127.0.0.1:8080\", tls: {" tls "}}"

TEST(tls_of_ingress_ends_here_whatever_peer_authentication_says)
{
    struct mesh m;
    const struct listener *l;

    start(&m);
    mesh_apply(&m, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\n"
                   "spec: {mtls: {mode: STRICT}}\n");
    mesh_sidecar(&m, "shop", "ns",
                 "{ingress: [" TLS_PORT("8443", "HTTPS", "mode: SIMPLE, serverCertificate: /a.crt, privateKey: /a.key") ", "
                 TLS_PORT("8444", "TLS", "mode: MUTUAL, serverCertificate: /a.crt, privateKey: /a.key, caCertificates: /ca") ", "
                 TLS_PORT("8445", "TLS", "mode: PASSTHROUGH") ", "
                 TLS_PORT("8446", "HTTPS", "mode: SIMPLE, serverCertificate: /a.crt, privateKey: /a.key,"
                          " maxProtocolVersion: TLSV1_0") "]}");
    mesh_run(&m);
    l = mesh_inbound(&m, 8443); /* HTTP within */
    CHECK(l && l->tls && l->http && l->protocol == APP_HTTP);
    CHECK_INT(l->mtls, MTLS_DISABLE);
    CHECK_INT(l->tls->client, TLS_CLIENT_NONE);
    CHECK_STR(l->tls->material.texts[TLS_TEXT_CERT].file, "/a.crt");
    l = mesh_inbound(&m, 8444);
    CHECK(l && l->tls && l->protocol == APP_TCP);
    CHECK_INT(l->tls->client, TLS_CLIENT_REQUIRED);
    CHECK_TEXT(world_tcp(&m.w, l), "inbound|8444||");
    l = mesh_inbound(&m, 8445); /* the application's business, within the mesh's mutual TLS */
    CHECK(l && !l->tls && l->protocol == APP_TCP);
    CHECK_INT(l->mtls, MTLS_STRICT);
    CHECK(!mesh_inbound(&m, 8446));
    CHECK(strstr(mesh_warning(&m), "ingress port 8446 is left out: TLS 1.0 and 1.1"));
    mesh_done(&m);
}

/* ---- limits ---- */

#define POOL(n) "{tcp: {maxConnections: " n "}}"

TEST(limits_of_ingress_before_those_of_the_sidecar_before_those_of_rules)
{
    static const struct {
        const char *spec;
        unsigned limit;
    } rows[] = {
        {SEES("bank/*"), 1}, /* the service's own, seen or not */
        {"{inboundConnectionPool: " POOL("2") "}", 2},
        {"{inboundConnectionPool: {http: {http2MaxRequests: 5}}}", 0}, /* not merged */
        {"{inboundConnectionPool: " POOL("2") ", ingress: [{port: {number: 8080}}]}", 2},
        {"{inboundConnectionPool: " POOL("2") ", ingress: [{port: {number: 8080}, connectionPool: " POOL("3") "}]}", 3},
        {"{ingress: [{port: {number: 8080}, connectionPool: " POOL("3") "}]}", 3},
        {"{ingress: [{port: {number: 8080}}]}", 1},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mesh m;

        start(&m);
        mesh_service(&m, "shop", "web", "10.0.0.9", 8080, "http");
        rule(&m, "DestinationRule", "shop", "d", "{host: web, trafficPolicy: {connectionPool: " POOL("1") "}}");
        mesh_sidecar(&m, "shop", "ns", rows[i].spec);
        mesh_run(&m);
        CHECK_INT(snapshot_cluster(m.w.s, STR("inbound|8080||"))->limits.connections, rows[i].limit);
        mesh_done(&m);
    }
}

/* ---- what is not there yet, and what never is ---- */

#define SIDECAR(spec) DOC("networking.istio.io/v1", "Sidecar", spec)

TEST(what_is_not_there_yet_is_refused_in_its_own_row)
{
    CHECK_REFUSED(SIDECAR("  outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"), FIND_NOT_YET, 7, "mode: REGISTRY_ONLY");
    CHECK_REFUSED(SIDECAR("  outboundTrafficPolicy: {}\n"), FIND_NOT_YET, 7, "without mode is REGISTRY_ONLY");
    CHECK_REFUSED(SIDECAR("  outboundTrafficPolicy:\n    mode: ALLOW_ANY\n"
                          "    egressProxy: {host: a.b, port: {number: 1}}\n"),
                  FIND_NOT_YET, 9, "egressProxy");
    CHECK_REFUSED(SIDECAR("  egress:\n  - hosts: [./*]\n    captureMode: NONE\n"), FIND_NOT_YET, 9,
                  "for ports that no entry names");
    CHECK_REFUSED(SIDECAR("  egress:\n  - hosts: [./*]\n    bind: 127.0.0.1\n"), FIND_NOT_YET, 9,
                  "for ports that no entry names");
    CHECK_REFUSED(SIDECAR("  egress:\n  - hosts: [./*]\n    port: {number: 1}\n    bind: 127.0.0.1\n"), FIND_NOT_YET, 10,
                  "bind without captureMode NONE");
    CHECK_REFUSED(SIDECAR("  egress:\n  - hosts: [./*]\n    port: {number: 0}\n    bind: unix:///run/x\n"), FIND_NOT_YET,
                  10, "unix socket");
    CHECK_REFUSED(SIDECAR("  egress:\n  - hosts: [./*]\n    port: {number: 1, protocol: HTTP_PROXY}\n"), FIND_NOT_YET, 9,
                  "HTTP_PROXY");
    CHECK_REFUSED(SIDECAR("  ingress:\n  - port: {number: 1}\n    bind: 10.0.0.1\n"), FIND_NOT_YET, 9,
                  "bind without captureMode NONE");
    CHECK_REFUSED(SIDECAR("  ingress:\n  - port: {number: 1}\n    defaultEndpoint: unix:///run/x\n"), FIND_NOT_YET, 9,
                  "unix socket");
}

TEST(ssh_stays_reachable)
{
    CHECK_REFUSED(SIDECAR("  ingress:\n  - port: {number: 22}\n"), FIND_VALUE, 8, "SSH");
}

static size_t warnings(const char *text, const char *words)
{
    struct docs d;
    size_t n = 0;

    docs_parse(&d, str_from(text), SYNTAX_YAML);
    CHECK_INT(d.result, 0);
    validate_set(&d.objects, NULL, &d.findings);
    for (const struct finding *f = d.findings.first; f; f = f->next)
        n += f->severity == SEVERITY_WARNING && str_find(f->detail, str_from(words), &(size_t){0});
    docs_done(&d);
    return n;
}

#define NAMED(name, ns, more)                                                                                          \
    "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: " name ", namespace: " ns "}\n"          \
    "spec: {" more "egress: [{hosts: [./*]}]}\n"

TEST(a_second_sidecar_for_a_namespace_is_warned_about)
{
    CHECK_INT(warnings(NAMED("a", "shop", "") NAMED("b", "shop", ""), "only the older one counts"), 2);
    CHECK_INT(warnings(NAMED("a", "shop", "") NAMED("b", "bank", ""), "only the older one counts"), 0);
    CHECK_INT(warnings(NAMED("a", "shop", "") NAMED("b", "shop", "workloadSelector: {labels: {app: x}}, "),
                       "only the older one counts"),
              0);
}

TEST(an_address_for_everybody_is_warned_about)
{
    CHECK_INT(warnings(SIDECAR("  egress:\n  - {port: {number: 80}, bind: 0.0.0.0, captureMode: NONE, hosts: [./*]}\n"),
                       "identity of the host"),
              1);
    CHECK_INT(warnings(SIDECAR("  egress:\n  - {port: {number: 80}, bind: \"::1\", captureMode: NONE, hosts: [./*]}\n"),
                       "identity of the host"),
              0);
}

TEST(hosts_are_held_to_their_syntax)
{
    CHECK_REFUSED(SIDECAR("  egress:\n  - hosts: [reviews]\n"), FIND_VALUE, 8, "namespace/host");
    CHECK_REFUSED(SIDECAR("  egress:\n  - hosts: [./reviews]\n"), FIND_VALUE, 8, "reviews");
    CHECK_REFUSED(SIDECAR("  egress:\n  - hosts: [\"./*foo.com\"]\n"), FIND_VALUE, 8, "foo.com");
    CHECK_REFUSED(SIDECAR("  egress:\n  - hosts: []\n"), FIND_REQUIRED, 8, "hosts");
    CHECK_TAKEN(SIDECAR("  egress:\n  - hosts: [./*, \"~/*\", \"~bank/a.b\", \"*/*.c.d\"]\n"));
}
