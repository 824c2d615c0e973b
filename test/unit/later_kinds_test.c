/* Kinds that are not supported yet are read and checked in full all the same; and those that have come to be. */
#include "test/unit/doc_world.h"

#define PEM(what) "-----BEGIN " what "-----\\nAAAA\\n-----END " what "-----\\n"
#define MC(spec)                                                                                   \
    "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata:\n  name: default\n"           \
    "  namespace: weft\nspec:\n" spec
#define CRED(spec) DOC("weft/v1", "Credential", spec)
#define RL(spec)   DOC("weft/v1", "RateLimit", spec)
#define PC(spec)   DOC("networking.istio.io/v1beta1", "ProxyConfig", spec)
#define TE(spec)   DOC("extensions.istio.io/v1alpha1", "TrafficExtension", spec)
#define WP(spec)   DOC("extensions.istio.io/v1alpha1", "WasmPlugin", spec)
#define TL(spec)   DOC("telemetry.istio.io/v1", "Telemetry", spec)

/* Taken, `later` but for WEFT1601, and decode(encode(x)) is x. */
static void check_taken(const char *text, bool later)
{
    struct docs d, again;
    struct node *once;
    struct buf b;

    docs_parse_all(&d, str_from(text), SYNTAX_YAML);
    if (findings_errors_besides(&d.findings, FIND_NOT_YET) || d.objects.count != 1)
        docs_print(&d);
    CHECK_INT(findings_errors_besides(&d.findings, FIND_NOT_YET), 0);
    CHECK_INT(docs_count(&d, FIND_NOT_YET) > 0, later);
    CHECK_INT(d.objects.count, 1);
    once = encode_object(d.objects.items[0], &d.arena);
    buf_init(&b, 1u << 20);
    json_write(once, 0, &b);
    docs_parse_all(&again, buf_str(&b), SYNTAX_JSON);
    CHECK_INT(again.objects.count, 1);
    CHECK(node_eq(once, encode_object(again.objects.items[0], &again.arena)));
    docs_done(&again);
    buf_done(&b);
    docs_done(&d);
}

static void check_right(const char *text)
{
    check_taken(text, true);
}

/* One error besides WEFT1601: this one, at this line of the spec. */
static void check_wrong(const char *text, enum finding_code code, unsigned line, const char *detail)
{
    const struct finding *x;
    struct docs d;

    docs_parse_all(&d, str_from(text), SYNTAX_YAML);
    x = docs_find(&d, code);
    if (x->code != code || x->line != line + 6 || !str_eq(x->detail, str_from(detail)))
        docs_print(&d);
    CHECK_INT(x->code, code);
    CHECK_STR(x->detail, detail);
    CHECK_INT(x->line, line + 6);
    CHECK_INT(findings_errors_besides(&d.findings, FIND_NOT_YET), 1);
    CHECK_INT(d.objects.count, 0);
    docs_done(&d);
}

TEST(mesh_config)
{
    check_right(MC("  connectTimeout: 3s\n  enableTracing: false\n  accessLogFile: /dev/stdout\n"
                   "  accessLogEncoding: JSON\n  outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"
                   "  defaultServiceExportTo: ['.']\n"));
    check_taken(MC("  {}\n"), false);
    check_taken(MC("  connectTimeout: 3s\n  pathNormalization: {normalization: MERGE_SLASHES}\n"), false);
    check_wrong(MC("  connectTimeout: -1s\n"), FIND_VALUE, 1, "connectTimeout: \"-1s\" is not a duration such as \"10s\" or \"1m30s\"");
    check_wrong(MC("  accessLogEncoding: XML\n"), FIND_VALUE, 1,
                "accessLogEncoding: \"XML\" is not one of its values");
    check_wrong(MC("  trustDomain: cluster.local\n"), FIND_UNSUPPORTED, 1,
                "trustDomain is not supported: it is a setting of the server, said at `weft server init`");
    check_wrong(MC("  accesLogFile: /x\n"), FIND_UNKNOWN_FIELD, 1, "unknown field \"accesLogFile\"");
}

TEST(credential)
{
    check_taken(CRED("  certificate: \"" PEM("CERTIFICATE") "\"\n  privateKey: \"" PEM("PRIVATE KEY") "\"\n"), false);
    check_taken(CRED("  caCertificates: \"" PEM("CERTIFICATE") "\"\n  crl: \"" PEM("X509 CRL") "\"\n"), false);
    check_wrong(CRED("  certificate: \"" PEM("CERTIFICATE") "\"\n"), FIND_REQUIRED, 1,
                "certificate and privateKey go together");
    check_wrong(CRED("  crl: \"" PEM("X509 CRL") "\"\n"), FIND_REQUIRED, 1,
                "a Credential needs certificate and privateKey, or caCertificates");
    check_wrong(CRED("  caCertificates: none\n"), FIND_VALUE, 1, "a certificate must be PEM, beginning with -----BEGIN ...CERTIFICATE-----");
}

TEST(rate_limit)
{
    check_taken(RL("  selector: {matchLabels: {app: web}}\n  limits:\n"
                   "  - {name: all, requests: 100, interval: 10s, burst: 7, status: 503}\n"
                   "  - {name: each, requests: 1, key: {header: x-user}, responseHeaders: OFF}\n"), false);
    check_taken(RL("  targetRef: {kind: Service, name: a}\n  limits:\n  - {name: a, requests: 1}\n"), false);
    check_wrong(RL("  limits:\n  - {name: a, requests: 0}\n"), FIND_VALUE, 2, "requests must be from 1 to 1000000000, not 0");
    check_wrong(RL("  limits:\n  - {requests: 1}\n"), FIND_REQUIRED, 2, "name is required");
    check_wrong(RL("  limits:\n  - {name: a, requests: 1}\n  - {name: a, requests: 1}\n"), FIND_VALUE,
                3, "\"a\" is given twice");
    check_wrong(RL("  limits:\n  - {name: a, requests: 1, key: {}}\n"), FIND_REQUIRED, 2,
                "key needs sourceIp, principal or header");
    check_wrong(RL("  limits:\n  - {name: a, requests: 1, status: 200}\n"), FIND_VALUE, 2, "status must be from 400 to 599, not 200");
    check_taken(RL("  limits:\n  - {name: a, requests: 1, interval: 24h, burst: 366}\n"), false);
    check_wrong(RL("  limits:\n  - {name: a, requests: 1, interval: 24h, burst: 367}\n"), FIND_VALUE, 2,
                "limit \"a\" fills its bucket in more than 366 days; make burst or interval smaller");
    check_wrong(RL("  limits:\n  - {name: a, requests: 1, interval: 0s}\n"), FIND_VALUE, 2,
                "interval must be at least 1ms; leave it out for the default");
}

TEST(proxy_config)
{
    check_right(PC("  selector: {matchLabels: {app: web}}\n  concurrency: 0\n"
                   "  environmentVariables: {A_B: c}\n"));
    check_wrong(PC("  concurrency: -1\n"), FIND_VALUE, 1, "concurrency must be from 0 to 2147483647, not -1");
    check_wrong(PC("  image: {imageType: debug}\n"), FIND_UNSUPPORTED, 1, "image is not supported: the proxy is the program weft itself, not a container's image; "
                "leave it out");
    check_wrong(PC("  concurrency: two\n"), FIND_TYPE, 1, "concurrency must be a whole number, not \"two\"");
}

TEST(traffic_extension)
{
    check_right(TE("  phase: AUTHN\n  priority: 3\n  lua: {inlineCode: 'function f() end'}\n"));
    check_right(TE("  wasm: {url: 'oci://a.b/c', pluginConfig: {b: [1], a: {}}}\n"));
    check_wrong(TE("  priority: 1\n"), FIND_REQUIRED, 1, "wasm or lua is required");
    check_wrong(TE("  lua: {inlineCode: x}\n  wasm: {url: a.b/c}\n"), FIND_ONEOF, 2, "lua and wasm cannot both be given");
}

TEST(wasm_plugin)
{
    check_right(WP("  url: https://a.b/c.wasm\n  phase: AUTHZ\n  failStrategy: FAIL_OPEN\n"
                   "  vmConfig: {env: [{name: A, value: b}, {name: H, valueFrom: HOST}]}\n"
                   "  match: [{mode: SERVER, ports: [{number: 80}]}]\n"));
    check_wrong(WP("  phase: AUTHN\n"), FIND_REQUIRED, 1, "url is required");
    check_wrong(WP("  url: ftp://a.b/c\n"), FIND_VALUE, 1, "\"ftp://a.b/c\": a URL begins with oci, http, https or file://");
    check_wrong(WP("  url: a.b/c\n  vmConfig:\n    env:\n    - name: A\n      valueFrom: HOST\n      value: b\n"),
                FIND_VALUE, 6,
                "value is for valueFrom INLINE; with HOST the agent's own variable is taken");
    check_wrong(WP("  url: a.b/c\n  vmConfig:\n    env:\n    - name: A\n    - name: A\n"), FIND_VALUE, 5,
                "\"A\" is given twice");
}

TEST(telemetry)
{
    check_right(TL("  tracing:\n  - randomSamplingPercentage: 0\n    customTags:\n      a: {literal: {value: b}}\n"
                   "  metrics:\n  - overrides:\n    - match: {metric: REQUEST_COUNT}\n"
                   "      tagOverrides: {x: {operation: REMOVE}}\n"
                   "  accessLogging:\n  - disabled: true\n"));
    check_wrong(TL("  tracing:\n  - customTags:\n      a: null\n"), FIND_REQUIRED, 3, "the tag \"a\" is null: leave it out");
    check_wrong(TL("  metrics:\n  - overrides:\n    - tagOverrides:\n        x: {operation: REMOVE, value: a}\n"),
                FIND_VALUE, 4, "operation REMOVE takes no value");
    check_wrong(TL("  metrics:\n  - overrides:\n    - tagOverrides:\n        x: {operation: UPSERT}\n"),
                FIND_REQUIRED, 4, "operation UPSERT needs value");
    check_wrong(TL("  tracing:\n  - randomSamplingPercentage: 101\n"), FIND_VALUE, 2, "randomSamplingPercentage must be from 0 to 100, not 101");
}
