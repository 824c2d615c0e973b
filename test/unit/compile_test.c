/* Snapshots as a whole: what is shared with the one before, the names, the settings of the mesh. */
#include "test/unit/compile_docs.h"

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
                    "spec:\n  connectTimeout: 3s\n  protocolDetectionTimeout: 0.7s\n  enableAutoMtls: false\n  tcpKeepalive: {time: 60s}\n"
                    "  pathNormalization: {normalization: MERGE_SLASHES}\n"
                    "  defaultHttpRetryPolicy: {attempts: 7, retryOn: reset}\n");
    destination_rule(&w, "default", "b", 1,
                     "{host: b, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: "
                     "{tls: {mode: ISTIO_MUTUAL}, connectionPool: {tcp: {connectTimeout: 1s}}}}]}");
    world_compile(&w);
    CHECK_INT(w.s->path_mode, PATH_MERGE);
    CHECK_INT(w.s->detection_ms, 700);
    CHECK_INT(world_cluster(&w, "80||b.default")->connect_timeout_ms, 3000);
    CHECK_INT(world_cluster(&w, "80||b.default")->tls, CLUSTER_TLS_OFF);
    CHECK(world_cluster(&w, "80||b.default")->probes.is_on);
    CHECK_INT(world_cluster(&w, "80|v1|b.default")->connect_timeout_ms, 1000);
    CHECK_INT(world_cluster(&w, "80|v1|b.default")->tls, CLUSTER_TLS_MUTUAL);
    CHECK_INT(world_vhost(&w, B, "b")->routes[0].retry.attempts, 7);
    CHECK_INT(world_vhost(&w, B, "b")->routes[0].retry.on, RETRY_RESET);
    world_done(&w);
}

TEST(the_mesh_upgrades_what_is_declared_http_and_no_rule_keeps_back)
{
    struct world w;

    start(&w);
    world_service(&w, "default", "found-out", "10.1.0.2", "any::80");
    world_service(&w, "default", "rows", "10.1.0.3", "tcp:TCP:80");
    world_apply(&w, "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\n"
                    "metadata: {name: default, namespace: istio-system}\nspec: {h2UpgradePolicy: UPGRADE}\n");
    destination_rule(&w, "default", "b", 1,
                     "{host: b, subsets: ["
                     "{name: v1, labels: {version: v1}, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}}}, "
                     "{name: v2, labels: {version: v2}, trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}}]}");
    world_compile(&w);
    CHECK_INT(world_cluster(&w, "80||b.default")->http, CLUSTER_HTTP2);
    CHECK_INT(world_cluster(&w, "80|v1|b.default")->http, CLUSTER_HTTP1);
    CHECK_INT(world_cluster(&w, "80|v2|b.default")->http, CLUSTER_HTTP_SAME);
    CHECK_INT(world_cluster(&w, "80||found-out.default")->http, CLUSTER_HTTP_SAME);
    CHECK_INT(world_cluster(&w, "80||rows.default")->http, CLUSTER_HTTP1);
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
    CHECK_INT(w.s->detection_ms, 5000);
    CHECK_INT(world_cluster(&w, "80||b.default")->connect_timeout_ms, 10000);
    world_done(&w);
}
