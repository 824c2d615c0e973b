/* What a host takes in for its services, and who it is. */
#include "test/unit/compile_docs.h"

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

TEST(an_application_is_asked_in_its_own_version_whatever_travels_between_hosts)
{
    struct world w;

    start(&w);
    world_local(&w, "default", "b", 80, "http", "");
    destination_rule(&w, "default", "b", 1,
                     "{host: b, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE, http2MaxRequests: 7}}}}");
    world_compile(&w);
    CHECK_INT(world_cluster(&w, "80||b.default")->http, CLUSTER_HTTP2);
    CHECK_INT(snapshot_cluster(w.s, STR("inbound|80||"))->http, CLUSTER_HTTP1);
    CHECK_INT(snapshot_cluster(w.s, STR("inbound|80||"))->limits.requests, 7);
    world_done(&w);
}

static void offer_ports(struct world *w)
{
    start(w);
    world_local(w, "default", "b", 80, "http", "app=b");
    world_local(w, "default", "x", 9000, "http", "app=x");
    world_service(w, "default", "front", "10.1.0.2", "http:HTTP:8001,db:TCP:8002:5432");
    world_apply(w, "apiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: default}\n"
                   "spec: {selector: {app: b}, ports: ["
                   "{name: http, port: 8001}, {name: tcp-db, port: 8002, targetPort: 5432}, {name: http-x, port: 9000}, "
                   "{name: tcp-ssh, port: 22}, {name: tcp-agent, port: 15000}, {name: tcp-gate, port: 8080}]}\n");
}

TEST(ports_that_documents_add_to_a_workload_are_taken_in)
{
    static const uint16_t own[] = {15000};
    struct world w;

    offer_ports(&w);
    world_local(&w, "edge", "edge", 0, "", "gw=edge");
    gateway(&w, "edge", "g", 1, "[{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]");
    w.self.own_ports = own;
    w.self.own_port_count = 1;
    destination_rule(&w, "default", "front", 1,
                     "{host: front, trafficPolicy: {portLevelSettings: [{port: {number: 8001}, connectionPool: {http: "
                     "{http2MaxRequests: 7}}}, {port: {number: 8002}, connectionPool: {tcp: {maxConnections: 8}}}]}}");
    world_compile(&w);
    CHECK_INT(snapshot_inbound(w.s, 8001)->protocol, APP_HTTP);
    CHECK_STR(snapshot_inbound(w.s, 8001)->identity, "spiffe://cluster.local/ns/default/sa/b");
    CHECK_STR(snapshot_inbound(w.s, 8001)->service_fqdn, "front.default.svc.cluster.local");
    CHECK_STR(snapshot_cluster(w.s, STR("inbound|8001||"))->service_name, "front");
    CHECK_INT(snapshot_cluster(w.s, STR("inbound|8001||"))->limits.requests, 7);
    CHECK_INT(snapshot_cluster(w.s, STR("inbound|8001||"))->local.port, 8001);
    CHECK_INT(snapshot_inbound(w.s, 5432)->protocol, APP_TCP);
    CHECK_INT(snapshot_cluster(w.s, STR("inbound|5432||"))->limits.connections, 8);
    CHECK_STR(snapshot_inbound(w.s, 9000)->identity, "spiffe://cluster.local/ns/default/sa/x");
    CHECK(!snapshot_inbound(w.s, 22) && !snapshot_inbound(w.s, 15000) && !snapshot_inbound(w.s, 8080));
    world_done(&w);
}

TEST(ports_that_documents_add_are_bytes_where_a_sidecar_lists_others_and_not_taken_where_nothing_is_redirected)
{
    struct world w;

    offer_ports(&w);
    w.self.is_uncaptured = true;
    world_compile(&w);
    CHECK(snapshot_inbound(w.s, 80) && !snapshot_inbound(w.s, 8001));
    w.self.is_uncaptured = false;
    world_apply(&w, "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: default}\n"
                    "spec: {ingress: [{port: {number: 5432, protocol: HTTP, name: db}}]}\n");
    world_compile(&w);
    CHECK_INT(snapshot_inbound(w.s, 5432)->protocol, APP_HTTP);
    CHECK_INT(snapshot_inbound(w.s, 8001)->protocol, APP_TCP);
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
