/* DestinationRules: which of them counts, and what becomes of clusters. */
#include "test/unit/compile_docs.h"

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

TEST(the_rule_of_the_callers_namespace_then_the_services_then_the_root)
{
    struct world w;

    start(&w); /* C26 */
    w.self.ns = STR("client");
    destination_rule(&w, "istio-system", "r", 1, "{host: '*.local', " SIMPLE("RANDOM") "}");
    CHECK_INT(balance(&w, "80||b.default"), BALANCE_RANDOM);
    destination_rule(&w, "client", "for-others", 1, "{host: " B_HOST ", exportTo: [elsewhere], " SIMPLE("PASSTHROUGH") "}");
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
                     "{name: colon, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: '/a cert=/c%'}}}, "
                     "{name: v2, trafficPolicy: {tls: {mode: SIMPLE, sni: x.test, insecureSkipVerify: "
                     "true}}}]}");
    world_compile(&w);
    c = world_cluster(&w, "80||b.default");
    o = c->origination;
    CHECK_INT(c->tls, CLUSTER_TLS_WEB);
    CHECK_STR(o->material.creds, "files:web");
    CHECK(o->sni.n == 0 && o->names.n == 0 && !o->skip_verify);
    o = world_cluster(&w, "80|v1|b.default")->origination;
    CHECK_STR(o->material.creds, "files:web ca=/a cert=/c key=/k");
    CHECK_STR(o->sni, "x.test");
    CHECK_STR(o->names, "one two");
    o = world_cluster(&w, "80|colon|b.default")->origination;
    CHECK_STR(o->material.creds, "files:web ca=/a%20cert=/c%25"); /* one file, not two */
    o = world_cluster(&w, "80|v2|b.default")->origination;
    CHECK_STR(o->material.creds, "files:any");
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

static uint32_t own_requests(struct world *w)
{
    world_compile(w);
    return snapshot_cluster(w->s, STR("inbound|80||"))->limits.requests;
}

TEST(limits_at_the_service_are_those_of_its_name_else_of_what_selects_it)
{
    static const char entry[] = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
                                "metadata: {name: a, namespace: default}\n"
                                "spec: {hosts: [front.example.com], location: MESH_INTERNAL, resolution: STATIC, ports: ["
                                "{name: http, number: 81, targetPort: 80, protocol: HTTP}], workloadSelector: {labels: {app: b}}}\n";
    static const char service[] = "apiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: default}\n"
                                  "spec: {selector: {app: b}, ports: [{name: http, port: 82, targetPort: 80}]}\n";
    struct world w;

    start(&w);
    world_local(&w, "default", "b", 80, "http", "app=b");
    world_service(&w, "default", "front", "10.1.0.2", "http:HTTP:82:80");
    world_service(&w, "default", "front.example.com", "10.1.0.3", "http:HTTP:81:80");
    world_apply(&w, entry);
    destination_rule(&w, "default", "of-some-callers", 1,
                     "{host: b, workloadSelector: {matchLabels: {app: b}}, "
                     "trafficPolicy: {connectionPool: {http: {http2MaxRequests: 9}}}}");
    CHECK_INT(own_requests(&w), 0);
    destination_rule(&w, "default", "e", 2, "{host: front.example.com, trafficPolicy: {portLevelSettings: [{port: {number: 81}, "
                                            "connectionPool: {http: {http2MaxRequests: 3}}}]}}");
    CHECK_INT(own_requests(&w), 3);
    world_apply(&w, service);
    destination_rule(&w, "default", "s", 3, "{host: front, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 2}}}}");
    CHECK_INT(own_requests(&w), 2);
    destination_rule(&w, "default", "b", 4, "{host: b, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}}");
    CHECK_INT(own_requests(&w), 1);
    world_done(&w);
}

TEST(a_client_may_show_a_credential)
{
    static const char text[] =
        "apiVersion: weft/v1\nkind: Credential\nmetadata: {name: c, namespace: default}\nspec: {"
        "certificate: \"-----BEGIN CERTIFICATE-----\\nA\\n-----END CERTIFICATE-----\", "
        "privateKey: \"-----BEGIN PRIVATE KEY-----\\nB\\n-----END PRIVATE KEY-----\", "
        "caCertificates: \"-----BEGIN CERTIFICATE-----\\nC\\n-----END CERTIFICATE-----\", "
        "crl: \"-----BEGIN X509 CRL-----\\nD\\n-----END X509 CRL-----\"}\n";
    const struct tls_material *m;
    struct world w;
    size_t at;

    start(&w);
    world_apply(&w, text);
    destination_rule(&w, "default", "b", 1,
                     "{host: b, subsets: [{name: v1, trafficPolicy: {tls: {mode: MUTUAL, credentialName: c}}}, "
                     "{name: v2, trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}}}, "
                     "{name: v3, trafficPolicy: {tls: {mode: SIMPLE, credentialName: none}}}, "
                     "{name: v4, trafficPolicy: {tls: {mode: MUTUAL, credentialName: c, insecureSkipVerify: true}}}]}");
    world_compile(&w);
    m = &world_cluster(&w, "80|v1|b.default")->origination->material;
    CHECK(str_starts(m->creds, STR("credential:web:default/c ca#")));
    CHECK(m->texts[TLS_TEXT_CERT].pem.n && m->texts[TLS_TEXT_KEY].pem.n && m->texts[TLS_TEXT_CA].pem.n && !m->system_authorities);
    m = &world_cluster(&w, "80|v2|b.default")->origination->material;
    CHECK(!m->texts[TLS_TEXT_CERT].pem.n && !m->texts[TLS_TEXT_KEY].pem.n && m->texts[TLS_TEXT_CA].pem.n); /* it shows nothing */
    CHECK(str_find(m->texts[TLS_TEXT_CRL].pem, STR("X509 CRL"), &at));
    m = &world_cluster(&w, "80|v4|b.default")->origination->material;
    CHECK(str_starts(m->creds, STR("credential:any:default/c ca#"))); /* who is not verified is none who is */
    m = &world_cluster(&w, "80|v3|b.default")->origination->material;
    CHECK_INT(m->creds.n, 0);
    CHECK(!m->texts[TLS_TEXT_CA].pem.n && !m->system_authorities);
    CHECK_INT(w.f.warnings, 1);
    world_done(&w);
}
