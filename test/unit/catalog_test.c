/* What documents and registrations make together, and what one agent sees of it. */
#include "test/unit/catalog_world.h"

/* ---- services ---- */

TEST(a_registration_makes_a_service_with_an_endpoint)
{
    struct world w;
    const struct service *s;
    const struct workload *one;

    world_init(&w, NOTHING);
    registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "app=reviews,version=v1");
    w.rows[0].weight = 3;
    w.rows[0].locality = STR("eu/a");
    build(&w);
    s = service(&w, REVIEWS);
    CHECK_STR(s->ns, "shop");
    CHECK_STR(s->name, "reviews");
    CHECK_STR(s->fqdn, "reviews.shop.svc.cluster.local");
    CHECK_TEXT(ports(s), "80>9080 http HTTP");
    CHECK_INT(s->vip4.ip[3], 1);
    CHECK(!s->is_external);
    CHECK_TEXT(endpoints(&w, REVIEWS), "10.0.0.1:9080");
    one = w.c.workloads[0];
    CHECK_STR(one->identity, "spiffe://td.example/ns/shop/sa/reviews");
    CHECK_STR(labels_get(&one->labels, STR("version")), "v1");
    CHECK(one->is_mesh);
    CHECK_INT(one->weight, 3);
    CHECK_STR(one->host_id, "01HOST");
    CHECK_STR(one->locality, "eu/a");
    CHECK_INT(w.c.revision, 3);
    world_done(&w);
}

TEST(workloads_of_one_service_may_listen_on_different_ports)
{
    struct world w;

    world_init(&w, NOTHING);
    registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "version=v1");
    registered(&w, "shop", "reviews", "10.0.0.2", 80, 9090, "version=v2");
    build(&w);
    CHECK_INT(w.c.service_count, 1);
    CHECK_TEXT(ports(service(&w, REVIEWS)), "80>9080 http HTTP");
    CHECK_TEXT(endpoints(&w, REVIEWS), "10.0.0.1:9080 10.0.0.2:9090");
    world_done(&w);
}

TEST(one_name_in_two_namespaces_is_two_services)
{
    struct world w;

    world_init(&w, NOTHING);
    registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "");
    registered(&w, "test", "reviews", "10.0.0.2", 80, 9080, "");
    build(&w);
    CHECK_INT(w.c.service_count, 2);
    CHECK_TEXT(endpoints(&w, REVIEWS), "10.0.0.1:9080");
    CHECK_TEXT(endpoints(&w, "test/reviews.test.svc.cluster.local"), "10.0.0.2:9080");
    CHECK(service(&w, REVIEWS)->vip4.ip[3] != w.c.services[1]->vip4.ip[3]);
    world_done(&w);
}

TEST(a_gateway_is_no_service)
{
    struct world w;

    world_init(&w, NOTHING);
    registered(&w, "shop", "edge", "10.0.0.1", 0, 0, "istio=ingressgateway");
    w.rows[0].service.is_gateway = true;
    build(&w);
    CHECK_INT(w.c.service_count, 0);
    CHECK_INT(w.c.workload_count, 0);
    world_done(&w);
}

TEST(a_service_document_adds_ports_and_the_first_definition_of_a_number_stays)
{
    struct world w;

    world_init(&w, "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\n"
                   "spec:\n  ports:\n  - {name: tcp-other, port: 80, targetPort: 1}\n"
                   "  - {name: http-admin, port: 8080, targetPort: 9443}\n");
    registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "app=reviews");
    build(&w);
    CHECK_TEXT(ports(service(&w, REVIEWS)), "80>9080 http HTTP, 8080>9443 http-admin HTTP");
    CHECK_TEXT(endpoints(&w, REVIEWS), "10.0.0.1:9080,9443");
    world_done(&w);
}

TEST(two_ports_of_one_name_are_told_apart)
{
    struct world w;

    world_init(&w, "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\n"
                   "spec:\n  ports:\n  - {name: http, port: 8080, targetPort: 9443}\n");
    registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "");
    build(&w);
    CHECK_TEXT(ports(service(&w, REVIEWS)), "80>9080 http HTTP, 8080>9443 http-8080 HTTP");
    CHECK_TEXT(endpoints(&w, REVIEWS), "10.0.0.1:9080,9443");
    world_done(&w);
}

TEST(a_service_document_selects_registered_workloads_of_its_namespace)
{
    struct world w;

    world_init(&w, "apiVersion: v1\nkind: Service\nmetadata: {name: all, namespace: shop}\n"
                   "spec:\n  selector: {tier: backend}\n  ports:\n"
                   "  - {name: http, port: 80, targetPort: 7000}\n");
    registered(&w, "shop", "reviews", "10.0.0.1", 9080, 9080, "tier=backend");
    registered(&w, "shop", "ratings", "10.0.0.2", 80, 9081, "tier=backend,x=y");
    registered(&w, "shop", "front", "10.0.0.3", 80, 9082, "tier=front");
    registered(&w, "test", "reviews", "10.0.0.4", 80, 9083, "tier=backend");
    build(&w);
    CHECK_TEXT(endpoints(&w, "shop/all.shop.svc.cluster.local"), "10.0.0.1:7000 10.0.0.2:9081");
    world_done(&w);
}

TEST(a_port_of_another_workload_of_the_host_is_that_ones)
{
    struct world w;

    world_init(&w, "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
                   "spec:\n  selector: {app: web}\n  ports: [{name: http, port: 80}, {name: metrics, port: 81}, "
                   "{name: own, port: 82}]\n");
    registered(&w, "shop", "web", "10.0.0.1", 80, 80, "app=web");
    registered(&w, "shop", "web-metrics", "10.0.0.1", 81, 81, "app=web");
    registered(&w, "shop", "far", "10.0.0.2", 82, 82, "app=far");
    build(&w);
    for (size_t i = 0; i < w.c.workload_count; i++) {
        const struct workload *x = w.c.workloads[i];

        if (!str_eq(x->service, STR("shop/web.shop.svc.cluster.local")))
            continue;
        CHECK_INT(x->port_count, 3);
        CHECK(x->ports[0].is_anothers == str_eq(x->name, STR("web-metrics")));
        CHECK(x->ports[1].is_anothers == str_eq(x->name, STR("web")));
        CHECK(!x->ports[2].is_anothers);
    }
    world_done(&w);
}

TEST(a_workload_of_the_service_itself_is_not_counted_twice)
{
    struct world w;

    world_init(&w, "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\n"
                   "spec:\n  selector: {app: reviews}\n  ports: [{name: http, port: 80}]\n---\n"
                   "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
                   "metadata: {name: se, namespace: shop}\nspec:\n"
                   "  hosts: [ratings.shop.svc.cluster.local]\n  location: MESH_INTERNAL\n"
                   "  resolution: STATIC\n  ports: [{name: http, number: 80, protocol: HTTP}]\n"
                   "  workloadSelector: {labels: {app: ratings}}\n");
    registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "app=reviews");
    registered(&w, "shop", "ratings", "10.0.0.2", 80, 9080, "app=ratings");
    build(&w);
    CHECK_TEXT(endpoints(&w, REVIEWS), "10.0.0.1:9080");
    CHECK_TEXT(endpoints(&w, RATINGS), "10.0.0.2:9080");
    world_done(&w);
}

TEST(a_cluster_ip_stands_in_place_of_a_virtual_address)
{
    struct world w;
    const struct service *s;

    world_init(&w, "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\n"
                   "spec:\n  clusterIP: 10.96.0.7\n  ports: [{name: http, port: 80}]\n");
    build(&w);
    s = service(&w, REVIEWS);
    CHECK_INT(s->address_count, 1);
    CHECK_INT(s->addresses[0].ip[3], 7);
    CHECK_INT(s->vip4.family, 0);
    CHECK_INT(w.vips, 0);
    world_done(&w);
}

/* ---- ServiceEntries ---- */

TEST(a_service_entry_serves_from_its_own_endpoints)
{
    struct world w;
    const struct service *s;

    world_init(&w, ENTRY("db",
                         "  hosts: [db.example.com, db2.example.com]\n  resolution: STATIC\n"
                         "  exportTo: [., test]\n  subjectAltNames: [one, two]\n"
                         "  ports:\n  - {name: sql, number: 5432, protocol: HTTP}\n"
                         "  - {name: web, number: 80, protocol: HTTP, targetPort: 8080}\n"
                         "  endpoints:\n  - {address: 192.0.2.1, ports: {sql: 15432}, weight: 4}\n"
                         "  - {address: 192.0.2.2}\n"));
    build(&w);
    s = service(&w, "shop/db.example.com");
    CHECK(s->is_external);
    CHECK(!s->is_original_dst);
    CHECK_STR(s->sans, "one two");
    CHECK_STR(s->export_to, ". test");
    CHECK_INT(s->vip4.family, 4);
    CHECK_TEXT(ports(s), "5432>5432 sql HTTP, 80>8080 web HTTP");
    CHECK_TEXT(endpoints(&w, "shop/db.example.com"), "192.0.2.1:15432,8080 192.0.2.2:5432,8080");
    CHECK_TEXT(endpoints(&w, "shop/db2.example.com"), "192.0.2.1:15432,8080 192.0.2.2:5432,8080");
    CHECK_INT(w.c.workloads[0]->weight, 4);
    CHECK(!w.c.workloads[0]->is_mesh);
    CHECK_INT(w.c.workloads[0]->identity.n, 0);
    world_done(&w);
}

TEST(an_entry_with_addresses_needs_no_virtual_one)
{
    struct world w;
    const struct service *s;

    world_init(&w, ENTRY("a", "  hosts: [a.example.com]\n  resolution: STATIC\n"
                              "  addresses: [10.9.0.1, 10.9.0.2/32]\n"
                              "  ports: [{name: tcp, number: 1, protocol: TCP}]\n"
                              "  endpoints: [{address: 192.0.2.1}]\n")
                       ENTRY("b", "  hosts: [b.example.com]\n  resolution: NONE\n"
                                  "  ports: [{name: http, number: 80, protocol: HTTP}]\n")
                           ENTRY("c", "  hosts: [\"*.example.org\"]\n  resolution: NONE\n"
                                      "  ports: [{name: http, number: 80, protocol: HTTP}]\n"));
    build(&w);
    s = service(&w, "shop/a.example.com");
    CHECK_INT(s->address_count, 2);
    CHECK_INT(s->addresses[1].ip[3], 2);
    CHECK(service(&w, "shop/b.example.com")->is_original_dst);
    CHECK_INT(w.vips, 0);
    world_done(&w);
}

TEST(a_block_of_addresses_is_refused_as_not_yet_built)
{
    CHECK_REFUSED(SE("  hosts: [a.example.com]\n  resolution: STATIC\n  addresses: [10.9.0.0/24]\n"
                     "  ports: [{name: tcp, number: 1, protocol: TCP}]\n"
                     "  endpoints: [{address: 192.0.2.1}]\n"),
                  FIND_NOT_YET, 9, "block of addresses");
}

TEST(a_selector_takes_workload_entries_and_registered_workloads)
{
    struct world w;
    const struct workload *one, *two;

    world_init(
        &w,
        ENTRY("db",
              "  hosts: [db.mesh]\n  location: MESH_INTERNAL\n  resolution: STATIC\n"
              "  ports: [{name: tcp, number: 5432, protocol: TCP}]\n"
              "  workloadSelector: {labels: {app: db}}\n") "---\napiVersion: "
                                                           "networking.istio.io/v1\nkind: "
                                                           "WorkloadEntry\n"
                                                           "metadata: {name: vm, namespace: "
                                                           "shop}\nspec:\n  address: 192.0.2.9\n"
                                                           "  ports: {tcp: 15432}\n  labels: {app: "
                                                           "db, security.istio.io/tlsMode: istio}\n"
                                                           "  serviceAccount: db\n---\n"
                                                           "apiVersion: "
                                                           "networking.istio.io/v1\nkind: "
                                                           "WorkloadEntry\n"
                                                           "metadata: {name: plain, namespace: "
                                                           "shop}\nspec:\n  address: 192.0.2.10\n"
                                                           "  labels: {app: db}\n---\n"
                                                           "apiVersion: "
                                                           "networking.istio.io/v1\nkind: "
                                                           "WorkloadEntry\n"
                                                           "metadata: {name: far, namespace: "
                                                           "other}\nspec:\n  address: 192.0.2.11\n"
                                                           "  labels: {app: db}\n---\n"
                                                           "apiVersion: "
                                                           "networking.istio.io/v1\nkind: "
                                                           "WorkloadEntry\n"
                                                           "metadata: {name: web, namespace: "
                                                           "shop}\nspec:\n  address: 192.0.2.12\n"
                                                           "  labels: {app: web}\n");
    registered(&w, "shop", "pg", "10.0.0.5", 5432, 6432, "app=db");
    registered(&w, "other", "pg", "10.0.0.6", 5432, 6432, "app=db");
    build(&w);
    CHECK_TEXT(endpoints(&w, "shop/db.mesh"), "192.0.2.9:15432 192.0.2.10:5432 10.0.0.5:6432");
    CHECK(!service(&w, "shop/db.mesh")->is_external);
    one = w.c.workloads[w.c.workload_count - 3];
    two = w.c.workloads[w.c.workload_count - 2];
    CHECK(one->is_mesh);
    CHECK_STR(one->identity, "spiffe://td.example/ns/shop/sa/db");
    CHECK(!two->is_mesh);
    CHECK_INT(two->identity.n, 0);
    world_done(&w);
}

/* ---- PeerAuthentication ---- */

#define POLICY(name, ns, created, spec)                                                            \
    "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: " name      \
    ", namespace: " ns ", creationTimestamp: \"2026-01-0" created "T00:00:00Z\"}\nspec: " spec     \
    "\n"
#define MESH_STRICT  POLICY("mesh", "istio-system", "1", "{mtls: {mode: STRICT}}")
#define NS_OFF       POLICY("ns", "shop", "1", "{mtls: {mode: DISABLE}}")
#define ON_APP(more) "{selector: {matchLabels: {app: reviews}}, " more "}"

static int mode(const char *yaml, const char *ns, const char *labels, uint16_t port)
{
    struct world w;
    struct labels l;
    int got;

    world_init(&w, yaml);
    l = labels_of(&w, labels);
    got = catalog_mtls_mode(w.in.objects, w.in.object_count, STR("istio-system"), str_from(ns), &l,
                            port);
    world_done(&w);
    return got;
}

TEST(without_a_policy_both_are_taken)
{
    CHECK_INT(mode(NOTHING, "shop", "app=reviews", 80), MTLS_PERMISSIVE);
    CHECK_INT(mode(NS_OFF, "other", "app=reviews", 80), MTLS_PERMISSIVE);
}

TEST(the_nearest_policy_holds_port_then_workload_then_namespace_then_mesh)
{
    static const char all[] = NOTHING MESH_STRICT NS_OFF POLICY(
        "app", "shop", "1",
        ON_APP("mtls: {mode: PERMISSIVE}, portLevelMtls: {8080: {mode: STRICT}}"));

    CHECK_INT(mode(all, "shop", "app=reviews", 8080), MTLS_STRICT);
    CHECK_INT(mode(all, "shop", "app=reviews", 80), MTLS_PERMISSIVE);
    CHECK_INT(mode(all, "shop", "app=ratings", 8080), MTLS_DISABLE);
    CHECK_INT(mode(all, "other", "app=reviews", 8080), MTLS_STRICT);
    CHECK_INT(mode(all, "istio-system", "", 80), MTLS_STRICT);
}

TEST(unset_inherits_at_every_level)
{
    static const char all[] = NOTHING MESH_STRICT POLICY("ns", "shop", "1", "{mtls: {mode: UNSET}}")
        POLICY("app", "shop", "1",
               ON_APP("portLevelMtls: {80: {mode: UNSET}, 81: {mode: DISABLE}}"));

    CHECK_INT(mode(all, "shop", "app=reviews", 80), MTLS_STRICT);
    CHECK_INT(mode(all, "shop", "app=reviews", 81), MTLS_DISABLE);
    CHECK_INT(mode(all, "shop", "app=reviews", 82), MTLS_STRICT);
    CHECK_INT(mode(NOTHING POLICY("m", "istio-system", "1", "{}"), "shop", "", 1), MTLS_PERMISSIVE);
    CHECK_INT(
        mode(NOTHING POLICY("p", "shop", "1",
                            ON_APP("mtls: {mode: STRICT}, portLevelMtls: {80: {mode: UNSET}}")),
             "shop", "app=reviews", 80),
        MTLS_STRICT);
}

TEST(the_oldest_of_two_policies_on_a_level_holds)
{
    CHECK_INT(mode(NOTHING POLICY("a", "shop", "2", "{mtls: {mode: DISABLE}}")
                       POLICY("b", "shop", "1", "{mtls: {mode: STRICT}}"),
                   "shop", "", 80),
              MTLS_STRICT);
    CHECK_INT(mode(NOTHING POLICY("b", "shop", "1", ON_APP("mtls: {mode: DISABLE}"))
                       POLICY("a", "shop", "1", ON_APP("mtls: {mode: STRICT}")),
                   "shop", "app=reviews", 80),
              MTLS_STRICT); /* of one age: by name */
}

TEST(a_selector_in_the_root_namespace_reaches_no_other_namespace)
{
    static const char all[] =
        NOTHING POLICY("p", "istio-system", "1", ON_APP("mtls: {mode: STRICT}"));

    CHECK_INT(mode(all, "shop", "app=reviews", 80), MTLS_PERMISSIVE);
}

TEST(a_port_without_mutual_tls_is_marked_at_the_endpoint)
{
    struct world w;

    world_init(&w, "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\n"
                   "spec:\n  ports: [{name: http-b, port: 81, targetPort: 9081}]\n" POLICY(
                       "app", "shop", "1",
                       ON_APP("mtls: {mode: STRICT}, portLevelMtls: {9081: {mode: DISABLE}}")));
    registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "app=reviews");
    build(&w);
    CHECK_TEXT(endpoints(&w, REVIEWS), "10.0.0.1:9080,9081!");
    world_done(&w);
}

/* ---- views ---- */

TEST(an_agent_that_asked_for_nothing_sees_only_names)
{
    struct world w;

    world_init(&w, NOTHING RULE("VirtualService", "v", "shop", ROUTE("reviews", "ratings"))
                       RULE("DestinationRule", "d", "shop", "{host: reviews}"));
    two_services(&w);
    CHECK_TEXT(seen(&w), "");
    CHECK(sees_service(&w, REVIEWS));
    CHECK(sees_service(&w, RATINGS));
    world_done(&w);
}

TEST(a_subscription_brings_rules_and_every_destination_they_name)
{
    struct world w;

    world_init(&w, NOTHING RULE("VirtualService", "v1", "shop", ROUTE("reviews", "ratings"))
                       RULE("VirtualService", "v2", "shop", ROUTE("ratings", "details"))
                           RULE("DestinationRule", "d1", "shop", "{host: details}")
                               RULE("DestinationRule", "d2", "shop", "{host: other}"));
    two_services(&w);
    subscribe(&w, REVIEWS);
    subscribe(&w, "shop/nobody.shop.svc.cluster.local");
    CHECK_TEXT(seen(&w), "endpoints/shop/details.shop.svc.cluster.local endpoints/" RATINGS
                         " endpoints/" REVIEWS " object/DestinationRule/shop/d1"
                         " object/VirtualService/shop/v1 object/VirtualService/shop/v2");
    world_done(&w);
}

TEST(rules_that_name_each_other_end)
{
    struct world w;

    world_init(&w, NOTHING RULE("VirtualService", "v1", "shop", ROUTE("reviews", "ratings"))
                       RULE("VirtualService", "v2", "shop", ROUTE("ratings", "reviews")));
    two_services(&w);
    subscribe(&w, REVIEWS);
    CHECK_TEXT(seen(&w), "endpoints/" RATINGS " endpoints/" REVIEWS
                         " object/VirtualService/shop/v1 object/VirtualService/shop/v2");
    world_done(&w);
}

TEST(a_wildcard_rule_concerns_what_it_matches)
{
    struct world w;

    world_init(&w, NOTHING RULE("DestinationRule", "d", "istio-system",
                                "{host: \"*.shop.svc.cluster.local\"}"));
    two_services(&w);
    subscribe(&w, REVIEWS);
    CHECK_TEXT(seen(&w), "endpoints/" REVIEWS " object/DestinationRule/istio-system/d");
    world_done(&w);
}

static const char export_rules[] = NOTHING RULE(
    "VirtualService", "v", "shop",
    "{hosts: [reviews], exportTo: [.], http: [{route: [{destination: {host: ratings}}]}]}")
    RULE("DestinationRule", "d", "shop", "{host: reviews, exportTo: [test]}");

TEST(rules_go_where_they_are_exported_to)
{
    struct world w;

    world_init(&w, export_rules);
    two_services(&w);
    subscribe(&w, REVIEWS);
    CHECK_TEXT(seen(&w), "endpoints/" REVIEWS); /* seen from default */
    world_done(&w);

    world_init(&w, export_rules);
    two_services(&w);
    subscribe(&w, REVIEWS);
    w.own[w.viewer.service_count++] =
        (struct local_service){.ns = STR("test"), .name = STR("x"), .port = 1};
    CHECK_TEXT(seen(&w), "endpoints/" REVIEWS " object/DestinationRule/shop/d");
    world_done(&w);

    world_init(&w, export_rules);
    two_services(&w);
    subscribe(&w, REVIEWS);
    w.own[w.viewer.service_count++] =
        (struct local_service){.ns = STR("shop"), .name = STR("x"), .port = 1};
    CHECK_TEXT(seen(&w),
               "endpoints/" RATINGS " endpoints/" REVIEWS " object/VirtualService/shop/v");
    world_done(&w);
}

TEST(a_service_that_is_not_exported_is_not_seen)
{
    struct world w;

    world_init(&w, ENTRY("db", "  hosts: [db.example.com]\n  resolution: STATIC\n  exportTo: [.]\n"
                               "  ports: [{name: tcp, number: 1, protocol: TCP}]\n"
                               "  endpoints: [{address: 192.0.2.1}]\n"));
    subscribe(&w, "shop/db.example.com");
    CHECK_TEXT(seen(&w), "");
    CHECK(!sees_service(&w, "shop/db.example.com"));
    world_done(&w);
}

#define TO_RATINGS "http: [{route: [{destination: {host: ratings}}]}]"

TEST(rules_of_hosts_that_no_service_has_come_unasked)
{
    static const char docs[] = NOTHING RULE("VirtualService", "known", "shop", ROUTE("reviews", "details"))
        RULE("VirtualService", "nobodys", "shop", ROUTE("old.example.com", "ratings"))
        RULE("VirtualService", "wild", "shop", ROUTE("'*.example.com'", "ratings"))
        RULE("VirtualService", "private", "shop", "{hosts: [a.example.com], exportTo: [.], " TO_RATINGS "}")
        RULE("VirtualService", "edge", "shop", "{hosts: [b.example.com], gateways: [shop/edge], " TO_RATINGS "}");
    struct world w;

    world_init(&w, docs);
    two_services(&w);
    CHECK_TEXT(seen(&w), "endpoints/" RATINGS " object/VirtualService/shop/nobodys object/VirtualService/shop/wild");
    world_done(&w);
}

TEST(a_workload_entry_without_mutual_tls_is_marked_too)
{
    struct world w;

    world_init(&w, ENTRY("db", "  hosts: [db.mesh]\n  location: MESH_INTERNAL\n  resolution: STATIC\n"
                               "  ports: [{name: tcp, number: 5432, protocol: TCP}]\n"
                               "  workloadSelector: {labels: {app: reviews}}\n")
                   "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: vm, namespace: shop}\n"
                   "spec: {address: 192.0.2.9, labels: {app: reviews, security.istio.io/tlsMode: istio}, serviceAccount: db}\n"
                       POLICY("app", "shop", "1", ON_APP("mtls: {mode: DISABLE}")));
    build(&w);
    CHECK_TEXT(endpoints(&w, "shop/db.mesh"), "192.0.2.9:5432!");
    world_done(&w);
}

#define GATE                                                                                       \
    "{selector: {istio: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: " \
    "[\"*\"]}]}"
#define BOUND(gateway, more)                                                                       \
    "{hosts: [shop.example.com], gateways: [" gateway "]" more                                     \
    ", http: [{route: [{destination: {host: reviews}}]}]}"

static void be_gateway(struct world *w, const char *labels)
{
    w->own[w->viewer.service_count++] = (struct local_service){
        .ns = STR("edge"), .name = STR("edge"), .labels = labels_of(w, labels), .is_gateway = true};
}

TEST(a_gateway_brings_the_rules_bound_to_it_and_their_destinations)
{
    static const char docs[] = NOTHING RULE("Gateway", "gw", "edge", GATE)
        RULE("VirtualService", "web", "shop", BOUND("edge/gw", ""))
            RULE("VirtualService", "other", "shop", BOUND("edge/other", ""))
                RULE("VirtualService", "own", "shop", BOUND("gw", ""))
                    RULE("VirtualService", "hidden", "shop", BOUND("edge/gw", ", exportTo: [.]"));
    struct world w;

    world_init(&w, docs);
    two_services(&w);
    be_gateway(&w, "istio=edge");
    CHECK_TEXT(seen(&w),
               "endpoints/" REVIEWS " object/Gateway/edge/gw object/VirtualService/shop/web");
    world_done(&w);

    world_init(&w, docs);
    two_services(&w);
    be_gateway(&w, "istio=inside");
    CHECK_TEXT(seen(&w), "");
    world_done(&w);
}

#define CREDENTIAL(name, ns)                                                                        \
    "---\napiVersion: weft/v1\nkind: Credential\nmetadata: {name: " name ", namespace: " ns             \
    "}\nspec: {caCertificates: \"-----BEGIN CERTIFICATE-----\\n-----END CERTIFICATE-----\"}\n"

TEST(a_credential_goes_to_whom_a_rule_of_their_namespace_selects)
{
    static const char docs[] = NOTHING CREDENTIAL("c", "shop") CREDENTIAL("c", "edge") RULE(
        "DestinationRule", "r", "shop",
        "{host: reviews, exportTo: [.], workloadSelector: {matchLabels: {app: ratings}}, trafficPolicy: {tls: {mode: SIMPLE, "
        "credentialName: c}}}");
    static const struct {
        const char *ns, *labels, *credentials;
    } rows[] = {
        {"shop", "app=ratings", " object/Credential/shop/c"},
        {"shop", "app=other", ""},
        {"edge", "app=ratings", ""}, /* the rule is of another namespace */
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w;
        char want[256];

        world_init(&w, docs);
        two_services(&w);
        w.viewer.ns = STR("shop"); /* that sees the rule */
        w.own[w.viewer.service_count++] =
            (struct local_service){.ns = str_from(rows[i].ns), .labels = labels_of(&w, rows[i].labels)};
        subscribe(&w, REVIEWS);
        snprintf(want, sizeof(want), "endpoints/" REVIEWS "%s object/DestinationRule/shop/r", rows[i].credentials);
        CHECK_TEXT(seen(&w), want);
        world_done(&w);
    }
}

#define HTTPS(tls)                                                                                  \
    "{selector: {istio: edge}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [\"*\"], tls: {" tls "}}]}"

TEST(a_gateway_gets_every_credential_that_its_servers_name_and_no_other)
{
    static const char docs[] = NOTHING
        RULE("Gateway", "gw", "edge", HTTPS("mode: MUTUAL, credentialNames: [rsa, ec], caCertCredentialName: clients"))
            CREDENTIAL("rsa", "edge") CREDENTIAL("ec", "edge") CREDENTIAL("ec-cacert", "edge") CREDENTIAL("clients", "edge")
                CREDENTIAL("other", "edge") CREDENTIAL("rsa", "shop");
    struct world w;

    world_init(&w, docs);
    be_gateway(&w, "istio=edge");
    CHECK_TEXT(seen(&w), "object/Credential/edge/clients object/Credential/edge/ec object/Credential/edge/ec-cacert "
                         "object/Credential/edge/rsa object/Gateway/edge/gw");
    world_done(&w);
}

TEST(policies_come_only_for_own_workloads)
{
    static const char docs[] =
        NOTHING MESH_STRICT NS_OFF POLICY("app", "shop", "1", ON_APP("mtls: {mode: STRICT}"))
            POLICY("rootapp", "istio-system", "1", ON_APP("mtls: {mode: STRICT}"));
    struct world w;

    world_init(&w, docs);
    CHECK_TEXT(seen(&w), "object/PeerAuthentication/istio-system/mesh");
    world_done(&w);

    world_init(&w, docs);
    w.own[w.viewer.service_count++] =
        (struct local_service){.ns = STR("shop"), .labels = labels_of(&w, "app=ratings")};
    CHECK_TEXT(seen(&w), "object/PeerAuthentication/istio-system/mesh"
                         " object/PeerAuthentication/shop/ns");
    world_done(&w);

    world_init(&w, docs);
    w.own[w.viewer.service_count++] =
        (struct local_service){.ns = STR("shop"), .labels = labels_of(&w, "app=reviews")};
    CHECK_TEXT(seen(&w), "object/PeerAuthentication/istio-system/mesh"
                         " object/PeerAuthentication/shop/app object/PeerAuthentication/shop/ns");
    world_done(&w);
}

#define LIMIT(name, ns, selector)                                                                   \
    "---\napiVersion: weft/v1\nkind: RateLimit\nmetadata: {name: " name ", namespace: " ns            \
    "}\nspec: {" selector "limits: [{name: all, requests: 1}]}\n"

TEST(rate_limits_come_to_those_whom_they_select_and_to_nobody_else)
{
    static const char docs[] = NOTHING LIMIT("mesh", "istio-system", "")
        LIMIT("everywhere", "istio-system", "selector: {matchLabels: {app: reviews}}, ") LIMIT("ns", "shop", "")
            LIMIT("app", "shop", "selector: {matchLabels: {app: reviews}}, ") LIMIT("elsewhere", "default", "");
    struct world w;

    world_init(&w, docs);
    CHECK_TEXT(seen(&w), ""); /* a host without services takes no requests */
    world_done(&w);

    world_init(&w, docs);
    w.own[w.viewer.service_count++] =
        (struct local_service){.ns = STR("shop"), .labels = labels_of(&w, "app=ratings")};
    CHECK_TEXT(seen(&w), "object/RateLimit/istio-system/mesh object/RateLimit/shop/ns");
    world_done(&w);

    world_init(&w, docs);
    w.own[w.viewer.service_count++] =
        (struct local_service){.ns = STR("shop"), .labels = labels_of(&w, "app=reviews")};
    CHECK_TEXT(seen(&w), "object/RateLimit/istio-system/everywhere object/RateLimit/istio-system/mesh"
                         " object/RateLimit/shop/app object/RateLimit/shop/ns");
    w.own[0].labels = labels_of(&w, "app=ratings"); /* the selector lets go of it */
    resources_done(&w.seen);
    resources_init(&w.seen);
    catalog_done(&w.c);
    catalog_init(&w.c);
    CHECK_TEXT(seen(&w), "object/RateLimit/istio-system/mesh object/RateLimit/shop/ns");
    world_done(&w);
}

TEST(what_a_rate_limit_is_attached_to_comes_with_it)
{
    static const char docs[] = NOTHING LIMIT("by-document", "shop", "targetRef: {kind: Service, name: front}, ")
        LIMIT("by-name", "shop", "targetRefs: [{kind: Service, name: reviews}], ")
            LIMIT("of-others", "shop", "targetRefs: [{kind: Service, name: ratings}], ")
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: shop}\n"
        "spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 9080}]}\n";
    struct world w;

    world_init(&w, docs);
    w.own[w.viewer.service_count++] = (struct local_service){
        .ns = STR("shop"), .name = STR("reviews"), .port = 9080, .labels = labels_of(&w, "app=reviews")};
    CHECK_TEXT(seen(&w), "object/RateLimit/shop/by-document object/RateLimit/shop/by-name object/Service/shop/front");
    world_done(&w);
}

TEST(the_host_of_a_service_gets_the_rules_of_all_services_that_it_offers)
{
    static const char docs[] = NOTHING RULE("DestinationRule", "by-name", "shop", "{host: reviews}")
        RULE("DestinationRule", "by-service", "shop", "{host: front}")
            RULE("DestinationRule", "by-entry", "shop", "{host: front.example.com}")
                RULE("DestinationRule", "of-another", "shop", "{host: ratings}")
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: shop}\n"
        "spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 9080}]}\n"
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: other-port, namespace: shop}\n"
        "spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 9081}]}\n"
        ENTRY("e", "  hosts: [front.example.com]\n  location: MESH_INTERNAL\n  resolution: STATIC\n"
                   "  ports: [{name: http, number: 80, targetPort: 9080, protocol: HTTP}]\n"
                   "  workloadSelector: {labels: {app: reviews}}\n");
    struct world w;

    world_init(&w, docs);
    two_services(&w);
    w.own[w.viewer.service_count++] = (struct local_service){.ns = STR("shop"),
                                                             .name = STR("reviews"),
                                                             .fqdn = STR("reviews.shop.svc.cluster.local"),
                                                             .port = 9080,
                                                             .labels = labels_of(&w, "app=reviews")};
    CHECK_TEXT(seen(&w), "object/DestinationRule/shop/by-entry object/DestinationRule/shop/by-name "
                         "object/DestinationRule/shop/by-service object/Service/shop/front "
                         "object/Service/shop/other-port object/ServiceEntry/shop/e");
    CHECK(sees_service(&w, "shop/front.shop.svc.cluster.local"));
    world_done(&w);
}

TEST(what_an_agent_sees_reads_back_as_a_catalog)
{
    struct world w;
    struct catalog back;

    world_init(&w, export_rules);
    two_services(&w);
    subscribe(&w, REVIEWS);
    w.own[w.viewer.service_count++] = (struct local_service){.ns = STR("shop")};
    (void)seen(&w); /* the names of it were checked above */
    catalog_init(&back);
    CHECK_INT(catalog_read(&w.seen, &back, &w.docs.findings), 0);
    CHECK_INT(back.service_count, 3);
    CHECK_INT(back.workload_count, 2);
    CHECK_INT(back.object_count, 1);
    CHECK(map_get(&back.subscribed, STR(REVIEWS)));
    CHECK(map_get(&back.subscribed, STR(RATINGS)));
    CHECK(!map_get(&back.subscribed, STR("shop/details.shop.svc.cluster.local")));
    catalog_done(&back);
    world_done(&w);
}
