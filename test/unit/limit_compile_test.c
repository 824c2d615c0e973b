/* RateLimits as limits of listeners: whose, in which order, and with which buckets. */
#include "test/unit/compile_world.h"

static void rate_limit(struct world *w, const char *ns, const char *name, int day, const char *spec)
{
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: weft/v1\nkind: RateLimit\n"
                                "metadata: {name: %s, namespace: %s, creationTimestamp: 2026-01-%02dT00:00:00Z}\n"
                                "spec: %s\n",
                                name, ns, day, spec)
                       .p);
}

/* "default/a:all default/b:each" */
static const char *limits(struct world *w, const struct listener *l)
{
    CHECK(l);
    buf_clear(&w->text);
    for (size_t i = 0; i < l->limit_count; i++)
        buf_printf(&w->text, "%s%.*s:%.*s", i ? " " : "", STR_ARG(l->limits[i].object), STR_ARG(l->limits[i].name));
    return arena_str(&w->arena, buf_str(&w->text)).p;
}

#define ONE(name) "limits: [{name: " name ", requests: 5}]"

TEST(limits_are_for_what_the_selector_takes)
{
    struct world w;

    world_init(&w);
    world_local(&w, "default", "web", 9000, "http", "app=web");
    world_local(&w, "default", "db", 9001, "tcp", "app=db");
    world_local(&w, "shop", "cart", 9002, "http", "app=web");
    rate_limit(&w, "default", "web", 3, "{selector: {matchLabels: {app: web}}, " ONE("a") "}");
    rate_limit(&w, "default", "ns", 2, "{" ONE("b") "}");
    rate_limit(&w, "istio-system", "mesh", 1, "{" ONE("c") "}");
    rate_limit(&w, "istio-system", "webs", 4, "{selector: {matchLabels: {app: web}}, " ONE("d") "}");
    rate_limit(&w, "other", "ns", 1, "{" ONE("e") "}");
    world_compile(&w);
    CHECK_TEXT(limits(&w, snapshot_inbound(w.s, 9000)), "istio-system/mesh:c default/ns:b default/web:a istio-system/webs:d");
    CHECK_TEXT(limits(&w, snapshot_inbound(w.s, 9001)), "istio-system/mesh:c default/ns:b");
    CHECK_TEXT(limits(&w, snapshot_inbound(w.s, 9002)), "istio-system/mesh:c istio-system/webs:d");
    world_done(&w);
}

TEST(limits_are_for_the_services_that_they_are_attached_to)
{
    struct world w;

    world_init(&w);
    world_local(&w, "default", "web", 9000, "http", "app=web");
    world_local(&w, "default", "db", 9001, "http", "app=db");
    world_local(&w, "shop", "web", 9002, "http", "app=web");
    world_local(&w, "default", "edge", 0, "", "app=web");
    world_apply(&w, "apiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: default}\n"
                    "spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 9000}]}\n");
    world_apply(&w, "apiVersion: v1\nkind: Service\nmetadata: {name: admin, namespace: default}\n"
                    "spec: {selector: {app: web}, ports: [{name: http, port: 81, targetPort: 9999}]}\n");
    world_apply(&w, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: data, namespace: default}\n"
                    "spec: {hosts: [data.test], location: MESH_INTERNAL, resolution: STATIC, "
                    "workloadSelector: {labels: {app: db}}, ports: [{name: http, number: 80, protocol: HTTP, targetPort: 9001}]}\n");
    rate_limit(&w, "default", "name", 1, "{targetRefs: [{kind: Service, name: web}, {kind: Service, name: web}], " ONE("a") "}");
    rate_limit(&w, "default", "document", 2, "{targetRef: {kind: Service, name: front}, " ONE("b") "}");
    rate_limit(&w, "default", "port", 3, "{targetRefs: [{kind: Service, name: admin}], " ONE("c") "}");
    rate_limit(&w, "default", "entry", 4,
               "{targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: data}], " ONE("d") "}");
    rate_limit(&w, "istio-system", "root", 5, "{targetRefs: [{kind: Service, name: web}], " ONE("e") "}");
    rate_limit(&w, "default", "many", 6, "{targetRefs: [{kind: Service, name: front}, {kind: Service, name: db}], " ONE("f") "}");
    rate_limit(&w, "default", "nobody", 7, "{targetRefs: [{kind: Service, name: gone}], " ONE("g") "}");
    rate_limit(&w, "default", "edge", 8, "{targetRefs: [{kind: Service, name: edge}], " ONE("h") "}");
    rate_limit(&w, "default", "none", 9, "{targetRefs: [], " ONE("i") "}");
    world_compile(&w);
    CHECK_TEXT(limits(&w, snapshot_inbound(w.s, 9000)), "default/name:a default/document:b default/many:f default/none:i");
    CHECK_TEXT(limits(&w, snapshot_inbound(w.s, 9001)), "default/entry:d default/many:f default/none:i");
    CHECK_TEXT(limits(&w, snapshot_inbound(w.s, 9002)), "");
    world_done(&w);
}

TEST(a_limit_is_as_its_document_says)
{
    struct world w;
    const struct listener *l;

    world_init(&w);
    world_local(&w, "default", "web", 9000, "http", "app=web");
    rate_limit(&w, "default", "web", 1,
               "{limits: [{name: all, requests: 100, interval: 10s},"
               "{name: user, requests: 3, burst: 9, key: {header: X-User}, maxKeys: 77, status: 503, responseHeaders: OFF},"
               "{name: ip, requests: 1, key: {sourceIp: true}, route: checkout},"
               "{name: peer, requests: 1, key: {principal: true}}]}");
    world_compile(&w);
    l = snapshot_inbound(w.s, 9000);
    CHECK_INT(l->limit_count, 4);
    CHECK_INT(l->limits[0].key, LIMIT_KEY_NONE);
    CHECK_INT(l->limits[0].requests, 100);
    CHECK_INT(l->limits[0].burst, 100);
    CHECK_INT(l->limits[0].interval_ns, 10000000000);
    CHECK_INT(l->limits[0].status, 429);
    CHECK(l->limits[0].has_headers);
    CHECK_STR(l->limits[0].bucket, "default/web.default.svc.cluster.local default/web all all:/1");
    CHECK_INT(l->limits[1].key, LIMIT_KEY_HEADER);
    CHECK_STR(l->limits[1].header, "x-user");
    CHECK_INT(l->limits[1].requests, 3);
    CHECK_INT(l->limits[1].burst, 9);
    CHECK_INT(l->limits[1].interval_ns, 1000000000);
    CHECK_INT(l->limits[1].keys_max, 77);
    CHECK_INT(l->limits[1].status, 503);
    CHECK(!l->limits[1].has_headers);
    CHECK_STR(l->limits[1].bucket, "default/web.default.svc.cluster.local default/web user header:x-user/77");
    CHECK_INT(l->limits[2].key, LIMIT_KEY_ADDRESS);
    CHECK_STR(l->limits[2].rule, "checkout");
    CHECK_INT(l->limits[2].keys_max, 10000);
    CHECK_INT(l->limits[3].key, LIMIT_KEY_PRINCIPAL);
    world_done(&w);
}

TEST(a_change_of_a_limit_makes_another_listener_and_keeps_the_buckets)
{
    struct world w;
    const struct listener *before, *after;
    struct str bucket;

    world_init(&w);
    world_local(&w, "default", "web", 9000, "http", "app=web");
    world_local(&w, "default", "db", 9001, "http", "app=db");
    rate_limit(&w, "default", "web", 1, "{selector: {matchLabels: {app: web}}, " ONE("a") "}");
    world_compile(&w);
    before = snapshot_inbound(w.s, 9000);
    after = snapshot_inbound(w.s, 9001);
    bucket = arena_str(&w.arena, before->limits[0].bucket);
    w.c.object_count = 0;
    rate_limit(&w, "default", "web", 1, "{selector: {matchLabels: {app: web}}, limits: [{name: a, requests: 6}]}");
    world_compile(&w);
    CHECK(snapshot_inbound(w.s, 9001) == after); /* is not concerned */
    after = snapshot_inbound(w.s, 9000);
    CHECK_INT(after->limits[0].requests, 6);
    CHECK(str_eq(after->limits[0].bucket, bucket));
    w.c.object_count = 0;
    rate_limit(&w, "default", "web", 1, "{selector: {matchLabels: {app: web}}, limits: [{name: a, requests: 6, "
                                        "key: {sourceIp: true}}]}");
    world_compile(&w);
    CHECK(!str_eq(snapshot_inbound(w.s, 9000)->limits[0].bucket, bucket));
    world_done(&w);
}

TEST(all_listeners_of_a_gateway_share_the_buckets_of_its_limits)
{
    struct world w;
    struct addr at = {.family = 4, .port = 443};
    const struct listener *plain, *chain;
    const struct vhost *v;

    world_init(&w);
    world_service(&w, "default", "a", "10.1.0.1", "http:HTTP:80");
    world_local(&w, "default", "edge", 0, "", "gw=edge");
    world_apply(&w, "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: default}\n"
                    "spec: {selector: {gw: edge}, servers: ["
                    "{port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']},"
                    "{port: {number: 443, name: s, protocol: HTTPS}, hosts: [x.test], "
                    "tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}]}\n");
    world_apply(&w, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, namespace: default}\n"
                    "spec: {hosts: [x.test], gateways: [gw], http: ["
                    "{name: checkout, match: [{name: small, uri: {prefix: /c}}], route: [{destination: {host: a}}]},"
                    "{route: [{destination: {host: a}}]}]}\n");
    rate_limit(&w, "default", "edge", 1, "{selector: {matchLabels: {gw: edge}}, limits: [{name: a, requests: 1, route: checkout}]}");
    world_compile(&w);
    plain = world_gate(&w, "gateway_0.0.0.0:80");
    chain = snapshot_chain(w.s, &at, STR("x.test"));
    CHECK_TEXT(limits(&w, plain), "default/edge:a");
    CHECK_TEXT(limits(&w, chain), "default/edge:a");
    CHECK(str_eq(plain->limits[0].bucket, chain->limits[0].bucket));
    v = route_table_find(plain->http, STR("x.test"));
    CHECK_STR(v->routes[0].name, "checkout.small");
    CHECK_STR(v->routes[0].rule, "checkout");
    CHECK_STR(v->routes[1].rule, "");
    world_done(&w);
}

TEST(the_ports_that_a_sidecar_takes_in_share_the_buckets_of_the_workload)
{
    struct world w;
    const struct listener *one, *two;

    world_init(&w);
    world_local(&w, "default", "web", 9000, "http", "app=web");
    world_apply(&w, "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: web, namespace: default}\n"
                    "spec: {workloadSelector: {labels: {app: web}}, ingress: ["
                    "{port: {number: 9000, name: a, protocol: HTTP}, defaultEndpoint: '127.0.0.1:9000'},"
                    "{port: {number: 9100, name: b, protocol: HTTP}, defaultEndpoint: '127.0.0.1:9000'}]}\n");
    rate_limit(&w, "default", "web", 1, "{" ONE("a") "}");
    world_compile(&w);
    one = snapshot_inbound(w.s, 9000);
    two = snapshot_inbound(w.s, 9100);
    CHECK_TEXT(limits(&w, one), "default/web:a");
    CHECK_TEXT(limits(&w, two), "default/web:a");
    CHECK(str_eq(one->limits[0].bucket, two->limits[0].bucket));
    world_done(&w);
}
