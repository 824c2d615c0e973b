/* Documents into the model: everything generic, from the tables. */
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/gateway.h"
#include "mesh/kinds/peer_authentication.h"
#include "mesh/kinds/service.h"
#include "mesh/kinds/service_entry.h"
#include "mesh/kinds/virtual_service.h"
#include "test/unit/doc_world.h"

TEST(a_virtual_service_decodes_with_all_that_is_built)
{
    static const char text[] =
        VS("  hosts: [reviews, '*.example.com']\n"
           "  gateways: [mesh, edge/gw]\n"
           "  exportTo: [.]\n"
           "  http:\n"
           "  - name: jason\n"
           "    match:\n"
           "    - uri: {prefix: /api}\n"
           "      method: {exact: GET}\n"
           "      headers: {end-user: {exact: jason}, x-any: {}}\n"
           "      queryParams: {q: {regex: 'a+'}}\n"
           "      withoutHeaders: {x-no: {prefix: a}}\n"
           "      ignoreUriCase: true\n"
           "      port: 80\n"
           "    route:\n"
           "    - destination: {host: reviews, subset: v2, port: {number: 9080}}\n"
           "      weight: 90\n"
           "    - destination: {host: reviews, subset: v1}\n"
           "      weight: 10\n"
           "    timeout: 1m30s\n"
           "    retries: {attempts: 3, perTryTimeout: 500ms, retryOn: '5xx,connect-failure,503'}\n"
           "  - route:\n"
           "    - destination: {host: reviews}\n"
           "  tcp:\n"
           "  - match: [{port: 3306, destinationSubnets: [10.0.0.0/8]}]\n"
           "    route: [{destination: {host: db}}]\n");
    const struct virtual_service *vs;
    struct docs d;

    docs_parse(&d, str_from(text), SYNTAX_YAML);
    if (d.result)
        docs_print(&d);
    CHECK_INT(d.result, 0);
    CHECK_INT(d.objects.count, 1);
    CHECK_STR(d.objects.items[0]->meta.ns, "shop");
    vs = d.objects.items[0]->spec;
    CHECK_INT(vs->hosts_count, 2);
    CHECK_STR(vs->gateways[1], "edge/gw");
    CHECK_INT(vs->http_count, 2);
    CHECK_STR(vs->http[0].name, "jason");
    CHECK_INT(vs->http[0].match[0].uri.kind, MATCH_PREFIX);
    CHECK_STR(vs->http[0].match[0].uri.text, "/api");
    CHECK_INT(vs->http[0].match[0].authority.kind, MATCH_ANY);
    CHECK_INT(vs->http[0].match[0].headers[1].value.kind, MATCH_PRESENT);
    CHECK_INT(vs->http[0].match[0].port, 80);
    CHECK(vs->http[0].match[0].ignore_uri_case);
    CHECK_INT(vs->http[0].route[0].destination.port.number, 9080);
    CHECK_STR(vs->http[0].route[1].destination.subset, "v1");
    CHECK_INT(vs->http[0].route[0].weight, 90);
    CHECK(vs->http[0].timeout_ns == 90000000000);
    CHECK_INT(vs->http[0].retries->attempts, 3);
    CHECK(vs->http[0].retries->retry_ignore_previous_hosts);
    CHECK_INT(vs->http[0].retries->backoff_ns, DURATION_UNSET);
    CHECK_INT(vs->http[1].timeout_ns, DURATION_UNSET);
    CHECK(vs->http[1].retries == NULL);
    CHECK_INT(vs->tcp[0].match[0].port, 3306);
    docs_done(&d);
}

TEST(the_other_kinds_decode)
{
    struct docs d;

    CHECK_TAKEN(GW("  selector: {istio: ingressgateway}\n"
                   "  servers:\n  - port: {number: 8080, name: http, protocol: http}\n"
                   "    bind: 10.1.2.3\n    hosts: ['*', shop/a.example.com]\n"));
    CHECK_TAKEN(DR("  host: reviews\n"
                   "  trafficPolicy:\n"
                   "    loadBalancer: {simple: ROUND_ROBIN}\n"
                   "    connectionPool: {tcp: {connectTimeout: 2s, idleTimeout: 0s}, http: "
                   "{idleTimeout: 10s}}\n"
                   "    tls: {mode: ISTIO_MUTUAL}\n"
                   "    portLevelSettings:\n    - port: {number: 80}\n      tls: {mode: DISABLE}\n"
                   "  subsets:\n  - name: v1\n    labels: {version: v1}\n"
                   "    trafficPolicy: {loadBalancer: {simple: RANDOM}}\n"));
    CHECK_TAKEN(
        WE("  address: 2001:db8::1\n  ports: {http: 8080}\n  labels: {app: x}\n  locality: a/b/c\n"
           "  weight: 0\n  serviceAccount: x\n"));
    CHECK_TAKEN(PA("  selector: {matchLabels: {app: x}}\n  mtls: {mode: STRICT}\n"
                   "  portLevelMtls:\n    8080: {mode: DISABLE}\n"));
    docs_parse(&d,
               STR(SE("  hosts: [db.example.com]\n  addresses: [10.9.0.1]\n  resolution: STATIC\n"
                      "  ports:\n  - {number: 5432, name: pg, protocol: tcp}\n"
                      "  endpoints:\n  - {address: 10.0.0.1, ports: {pg: 15432}}\n  - {address: "
                      "10.0.0.2}\n")),
               SYNTAX_AUTO);
    CHECK_INT(d.result, 0);
    {
        const struct service_entry *se = d.objects.items[0]->spec;

        CHECK_INT(se->resolution, RESOLUTION_STATIC);
        CHECK_STR(se->ports[0].protocol, "TCP");
        CHECK_INT(se->ports[0].target_port, 5432);
        CHECK_INT(se->endpoints[0].ports[0].value, 15432);
        CHECK_INT(se->endpoints[1].weight, 1);
    }
    docs_done(&d);
}

TEST(a_core_service_gets_its_protocol_from_name_or_app_protocol)
{
    const struct service_document *s;
    struct docs d;

    docs_parse(&d,
               STR(SVC("  selector: {app: x}\n  clusterIP: None\n"
                       "  ports:\n  - {name: http-web, port: 80, targetPort: 8080, protocol: TCP}\n"
                       "  - {name: x, port: 81, appProtocol: tcp}\n  - {name: other, port: 82}\n"
                       "  - {name: grpc-web-x, port: 83}\n  - {name: w, port: 84, appProtocol: grpc-web}\n")),
               SYNTAX_YAML);
    CHECK_INT(d.result, 0);
    s = d.objects.items[0]->spec;
    CHECK_STR(s->ports[0].protocol, "HTTP");
    CHECK_INT(s->ports[0].target_port, 8080);
    CHECK_STR(s->ports[1].protocol, "TCP");
    CHECK_INT(s->ports[1].target_port, 81);
    CHECK_STR(s->ports[2].protocol, "");
    CHECK_STR(s->ports[3].protocol, "GRPC-WEB");
    CHECK_STR(s->ports[4].protocol, "GRPC-WEB");
    CHECK_INT(s->type, SERVICE_HEADLESS);
    docs_done(&d);
    CHECK_REFUSED(SVC("  ports:\n  - port: 80\n    nodePort: 30000\n"), FIND_UNSUPPORTED, 9,
                  "nodePort");
    CHECK_REFUSED(SVC("  type: LoadBalancer\n  ports: [{port: 80}]\n"), FIND_UNSUPPORTED, 7,
                  "LoadBalancer");
    CHECK_REFUSED(SVC("  ports:\n  - port: 80\n    targetPort: web\n"), FIND_TYPE, 9, "targetPort");
}

TEST(an_unknown_field_names_its_place_and_a_neighbour)
{
    const struct finding *x;
    struct docs d;

    docs_parse(&d, STR(VS("  hosts: [a]\n  http:\n  - rout:\n    - destination: {host: a}\n")),
               SYNTAX_YAML);
    x = docs_find(&d, FIND_UNKNOWN_FIELD);
    CHECK_INT(x->code, FIND_UNKNOWN_FIELD);
    CHECK_INT(x->line, 9);
    CHECK_INT(x->column, 5);
    CHECK_STR(x->pointer, "/spec/http/0/rout");
    CHECK_STR(x->hint, "did you mean \"route\"?");
    CHECK_STR(x->object, "VirtualService shop/x");
    CHECK_STR(x->file, "t.yaml");
    docs_done(&d);
    CHECK_REFUSED(VS(HTTP_TO_A "  export_to: ['*']\n"), FIND_UNKNOWN_FIELD, 11, "export_to");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - match: [{uri: {suffix: a}}]\n    route: "
                     "[{destination: {host: a}}]\n"),
                  FIND_UNKNOWN_FIELD, 9, "suffix");
    CHECK_REFUSED("apiVersion: v1\nkind: Service\nmetadata: {name: a, nmespace: b}\nspec: {ports: "
                  "[{port: 1}]}\n",
                  FIND_UNKNOWN_FIELD, 3, "nmespace");
    CHECK_REFUSED("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nports: [{port: 1}]\nspec: "
                  "{ports: [{port: 1}]}\n",
                  FIND_UNKNOWN_FIELD, 4, "ports");
}

TEST(wrong_types_are_named)
{
    CHECK_REFUSED(VS("  hosts: a\n  http:\n  - route: [{destination: {host: a}}]\n"), FIND_TYPE, 7,
                  "a list of strings");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - name: 5\n    route: [{destination: {host: a}}]\n"),
                  FIND_TYPE, 9, "name must be a string");
    CHECK_REFUSED(VS(HTTP_TO_A "    timeout: 5\n"), FIND_TYPE, 11, "timeout must be a duration");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - match: [{ignoreUriCase: 'true'}]\n    route: "
                     "[{destination: {host: a}}]\n"),
                  FIND_TYPE, 9, "ignoreUriCase");
    CHECK_REFUSED(WE("  address: 10.0.0.1\n  labels: {a: true}\n"), FIND_TYPE, 8,
                  "must be a string");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - route: [{destination: {host: a}, weight: 1.5}]\n"),
                  FIND_TYPE, 9, "weight");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - route: [{destination: a}]\n"), FIND_TYPE, 9,
                  "destination");
}

TEST(required_fields_bounds_and_values_are_checked)
{
    CHECK_REFUSED(GW("  servers: []\n"), FIND_REQUIRED, 7, "servers");
    CHECK_REFUSED(DR("  subsets: []\n"), FIND_REQUIRED, 7, "host");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - route: [{weight: 1}]\n"), FIND_REQUIRED, 9,
                  "destination");
    CHECK_REFUSED(
        VS("  hosts: [a]\n  http:\n  - route: [{destination: {host: a, port: {number: 70000}}}]\n"),
        FIND_VALUE, 9, "from 1 to 65535");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - route: [{destination: {host: a}, weight: -1}]\n"),
                  FIND_VALUE, 9, "weight");
    CHECK_REFUSED(PA("  mtls: {mode: strict}\n"), FIND_VALUE, 7, "mode");
    CHECK_REFUSED(PA("  selector: {matchLabels: {a: b}}\n  portLevelMtls: {0: {mode: STRICT}}\n"),
                  FIND_VALUE, 8, "65535");
    CHECK_REFUSED(PA("  selector: {matchLabels: {a: b}}\n  portLevelMtls: {}\n"), FIND_VALUE, 8,
                  "empty");
    CHECK_REFUSED(VS("  hosts: [null]\n  http:\n  - route: [{destination: {host: a}}]\n"),
                  FIND_VALUE, 7, "null");
}

#define MUTUAL(more)                                                                                \
    GW("  servers:\n  - {port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], "                  \
       "tls: {mode: MUTUAL, credentialName: c, " more "}}\n")
#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

TEST(hashes_of_clients_are_sha256)
{
    CHECK_TAKEN(MUTUAL("verifyCertificateHash: [" HEX "]"));
    CHECK_REFUSED(MUTUAL("verifyCertificateHash: [" HEX "0]"), FIND_VALUE, 8, "is not a SHA-256 in hex");
    CHECK_REFUSED(MUTUAL("verifyCertificateHash: ['e3b0:c442']"), FIND_VALUE, 8, "64 digits");
    CHECK_REFUSED(MUTUAL("verifyCertificateHash: ['']"), FIND_VALUE, 8, "an empty string is not allowed");
    CHECK_TAKEN(MUTUAL("verifyCertificateSpki: ['47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=']"));
    CHECK_REFUSED(MUTUAL("verifyCertificateSpki: ['47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==']"), FIND_VALUE, 8,
                  "is not the base64 of a SHA-256");
    CHECK_REFUSED(MUTUAL("verifyCertificateSpki: [" HEX "]"), FIND_VALUE, 8, "is not the base64 of a SHA-256");
}

TEST(durations_are_go_durations_of_whole_milliseconds)
{
    CHECK_TAKEN(VS(HTTP_TO_A "    timeout: 1.5h\n"));
    CHECK_TAKEN(VS(HTTP_TO_A "    timeout: null\n"));
    CHECK_REFUSED(VS(HTTP_TO_A "    timeout: 0s\n"), FIND_VALUE, 11, "at least 1ms");
    CHECK_REFUSED(VS(HTTP_TO_A "    timeout: 1500us\n"), FIND_VALUE, 11,
                  "whole number of milliseconds");
    CHECK_REFUSED(VS(HTTP_TO_A "    timeout: -1s\n"), FIND_VALUE, 11, "not a duration");
    CHECK_REFUSED(VS(HTTP_TO_A "    timeout: 5 seconds\n"), FIND_VALUE, 11, "not a duration");
    CHECK_TAKEN(DR("  host: a\n  trafficPolicy: {connectionPool: {tcp: {idleTimeout: 0s}}}\n"));
    CHECK_REFUSED(DR("  host: a\n  trafficPolicy: {connectionPool: {http: {idleTimeout: 0s}}}\n"),
                  FIND_VALUE, 8, "idleTimeout");
}

TEST(one_of_a_group_may_be_given)
{
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - match: [{uri: {exact: /a, prefix: /b}}]\n    "
                     "route: [{destination: {host: a}}]\n"),
                  FIND_ONEOF, 9, "only one of");
    CHECK_REFUSED(SE("  hosts: [a.b]\n  resolution: STATIC\n  endpoints: [{address: 1.2.3.4}]\n  "
                     "workloadSelector: {labels: {a: b}}\n"),
                  FIND_ONEOF, 10, "workloadSelector");
}

TEST(what_is_not_built_is_refused_with_its_place)
{
    CHECK_REFUSED(VS(HTTP_TO_A "    headers: {request: {set: {a: '%ENVIRONMENT(A)%'}}}\n"),
                  FIND_NOT_YET, 11, "ENVIRONMENT");
    CHECK_REFUSED(
        VS("  hosts: [a]\n  gateways: [g]\n  http:\n  - match: [{headers: {'@request.auth.claims.x': {exact: a}}}]\n"
           "    route: [{destination: {host: a}}]\n"),
        FIND_NOT_YET, 10, "claims");
    CHECK_REFUSED(SE("  hosts: [a.b]\n  resolution: DNS\n"), FIND_NOT_YET, 8, "resolution: DNS");
    CHECK_REFUSED(WE("  address: 10.0.0.1\n  network: n\n"), FIND_NOT_YET, 8, "network");
    CHECK_REFUSED(WE("  address: example.com\n"), FIND_NOT_YET, 7, "host name");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - match: [{statPrefix: a}]\n    route: "
                     "[{destination: {host: a}}]\n"),
                  FIND_UNSUPPORTED, 9, "statPrefix is not supported: it names statistics of Envoy");
    CHECK_REFUSED(DR("  host: a\n  trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {enabled: true}}}\n"),
                  FIND_UNSUPPORTED, 8, "zoneAwareLbSetting is not supported: a host does not know");
}

TEST(every_problem_is_reported_not_only_the_first)
{
    struct docs d;

    docs_parse(&d,
               STR(VS("  hosts: 5\n  gatways: [a]\n  http:\n  - timeout: x\n    route: [{weight: "
                      "1}]\n    headers: {request: {set: {a: '%ENVIRONMENT(A)%'}}}\n")),
               SYNTAX_YAML);
    CHECK_INT(docs_count(&d, FIND_TYPE), 1);
    CHECK_INT(docs_count(&d, FIND_UNKNOWN_FIELD), 1);
    CHECK_INT(docs_count(&d, FIND_VALUE), 1);
    CHECK(docs_count(&d, FIND_REQUIRED) >= 1);
    CHECK_INT(docs_count(&d, FIND_NOT_YET), 1);
    docs_done(&d);
}

TEST(envelopes_are_checked)
{
    CHECK_REFUSED("kind: Service\nmetadata: {name: a}\n", FIND_REQUIRED, 1, "apiVersion");
    CHECK_REFUSED("apiVersion: v1\nkind: VirtualService\nmetadata: {name: a}\n", FIND_ENVELOPE, 1,
                  "is not in");
    CHECK_REFUSED("apiVersion: v1\nkind: Servce\nmetadata: {name: a}\n", FIND_ENVELOPE, 2,
                  "unknown kind");
    CHECK_REFUSED("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", FIND_UNSUPPORTED,
                  2, "not a cluster");
    CHECK_REFUSED("apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\n", FIND_UNSUPPORTED,
                  2, "EnvoyFilter");
    CHECK_REFUSED("apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: a}\n"
                  "spec: {url: \"oci://a.b/c\"}\n",
                  FIND_NOT_YET, 2, "WasmPlugin");
    CHECK_REFUSED("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\n",
                  FIND_UNSUPPORTED, 1, "Gateway API");
    CHECK_REFUSED("apiVersion: v1\nkind: Service\nspec: {ports: [{port: 1}]}\n", FIND_REQUIRED, 1,
                  "metadata");
    CHECK_REFUSED("apiVersion: v1\nkind: Service\nmetadata: {generateName: a, name: b}\nspec: "
                  "{ports: [{port: 1}]}\n",
                  FIND_UNSUPPORTED, 3, "generateName");
    CHECK_REFUSED(
        "apiVersion: v1\nkind: Service\nmetadata: {name: A_b}\nspec: {ports: [{port: 1}]}\n",
        FIND_ENVELOPE, 3, "A_b");
    CHECK_REFUSED("- 1\n", FIND_TYPE, 1, "a map");
    CHECK_TAKEN("apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {istio-injection: "
                "enabled}}\n");
    CHECK_TAKEN("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n");
    CHECK_TAKEN("apiVersion: networking.istio.io/v1alpha3\nkind: WorkloadEntry\nmetadata: {name: "
                "a.b}\nspec: {address: 1.1.1.1}\n");
}

TEST(what_kubernetes_writes_for_itself_is_taken_and_dropped)
{
    struct docs d;

    docs_parse(
        &d,
        STR("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  uid: u\n  resourceVersion: "
            "'5'\n  generation: 1\n"
            "  creationTimestamp: '2026-01-02T03:04:05Z'\n  managedFields: [{a: b}]\n  selfLink: "
            "s\n  finalizers: [x]\n"
            "  ownerReferences: []\nspec:\n  ports: [{port: 80}]\nstatus: {loadBalancer: {}}\n"),
        SYNTAX_YAML);
    CHECK_INT(d.result, 0);
    CHECK_INT(d.findings.warnings, 0);
    CHECK_STR(d.objects.items[0]->meta.ns, "default");
    CHECK(d.objects.items[0]->meta.created_ms == 1767323045000);
    docs_done(&d);
}

TEST(lists_and_several_documents_and_json_are_read)
{
    struct docs d;

    docs_parse(
        &d,
        STR("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: "
            "{name: a}\n"
            "- apiVersion: v1\n  kind: Namespace\n  metadata: {name: b}\n---\n# nothing\n---\n"
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n"),
        SYNTAX_AUTO);
    CHECK_INT(d.result, 0);
    CHECK_INT(d.objects.count, 3);
    docs_done(&d);
    docs_parse(&d,
               STR(" {\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\","
                   "\"x\":1}}"),
               SYNTAX_AUTO);
    CHECK_INT(d.result, -1);
    CHECK_INT(docs_count(&d, FIND_UNKNOWN_FIELD), 1);
    CHECK(d.findings.first->column > 1);
    docs_done(&d);
    docs_parse(&d, STR("a: [\n"), SYNTAX_YAML);
    CHECK_INT(d.result, -1);
    CHECK_INT(docs_count(&d, FIND_PARSE), 1);
    docs_done(&d);
}

TEST(deprecated_words_are_taken_with_a_warning)
{
    const struct destination_rule *r;
    struct docs d;

    docs_parse(&d, STR(DR("  host: a\n  trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}\n")),
               SYNTAX_YAML);
    CHECK_INT(d.result, 0);
    CHECK_INT(d.findings.warnings, 1);
    r = d.objects.items[0]->spec;
    CHECK_INT(r->traffic_policy->load_balancer->simple, LOAD_BALANCER_LEAST_REQUEST);
    docs_done(&d);
}

/* ---- documents that are passed by ---- */

static void docs_skip(struct docs *d, const char *text, const char *kinds)
{
    const struct documents_how how = {.skip_kinds = str_from(kinds)};

    memset(d, 0, sizeof(*d));
    arena_init(&d->arena);
    findings_init(&d->findings, &d->arena);
    d->result = documents_read(str_from(text), STR("t.yaml"), &how, &d->arena, &d->objects,
                               &d->findings);
}

TEST(kinds_that_mean_nothing_here_can_be_passed_by)
{
    static const char text[] = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\n"
                               "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"
                               "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
                               "metadata: {name: g}\n---\n"
                               "apiVersion: v1\nkind: List\nitems:\n"
                               "- {apiVersion: v1, kind: Secret, metadata: {name: key}}\n";
    struct docs d;

    docs_skip(&d, text, "");
    CHECK_INT(d.result, -1);
    CHECK_INT(d.findings.errors, 3);
    docs_done(&d);
    docs_skip(&d, text, "deployment, Secret");
    CHECK_INT(d.result, -1); /* the Gateway API's Gateway is left */
    CHECK_INT(d.findings.errors, 1);
    CHECK_STR(d.findings.first->detail, "Deployment web is passed by");
    CHECK_INT(d.findings.first->line, 2);
    docs_done(&d);
    docs_skip(&d, text, "all");
    CHECK_INT(d.result, 0);
    CHECK_INT(docs_count(&d, FIND_WARNING), 3);
    CHECK_INT(d.objects.count, 1);
    CHECK_STR(d.objects.items[0]->meta.name, "shop");
    docs_done(&d);
}

TEST(a_kind_of_ours_is_never_passed_by)
{
    struct docs d;

    docs_skip(&d, "apiVersion: networking.istio.io/v9\nkind: VirtualService\nmetadata: {name: a}\n", "all");
    CHECK_INT(d.result, -1);
    docs_done(&d);
    docs_skip(&d, "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n", "Namespace,all");
    CHECK_INT(d.result, 0);
    CHECK_INT(d.objects.count, 1);
    docs_done(&d);
}

TEST(a_name_is_limited_as_a_whole_not_by_label)
{
    static const struct {
        const char *name;
        bool good;
    } rows[] = {
        {"a-label-of-more-than-sixty-three-characters-is-fine-in-the-name-of-an-object.b.c", true },
        {"a..b",                                                                           false},
        {"A",                                                                              false},
        {"a-",                                                                             false},
        {"a.-b",                                                                           false},
        {"a_b",                                                                            false},
    };
    struct docs d;
    char text[512];

    for (size_t i = 0; i < COUNT(rows); i++) {
        snprintf(text, sizeof(text),
                 "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: %s}\n"
                 "spec: {address: 10.0.0.1}\n",
                 rows[i].name);
        docs_parse(&d, str_from(text), SYNTAX_YAML);
        if ((d.result == 0) != rows[i].good)
            fail_msg("%s", rows[i].name);
        docs_done(&d);
    }
}

TEST(the_annotation_that_exports_a_service_is_held_to_namespaces)
{
    CHECK_TAKEN("apiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {networking.istio.io/exportTo: '., b'}}\n"
                "spec: {ports: [{port: 80}]}\n");
    CHECK_REFUSED("apiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {networking.istio.io/exportTo: 'A b'}}\n"
                  "spec: {ports: [{port: 80}]}\n",
                  FIND_VALUE, 3, "\"A b\" is neither");
    CHECK_REFUSED("apiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: {networking.istio.io/exportTo: '.'}}\n",
                  FIND_VALUE, 3, "is for Service only");
}
