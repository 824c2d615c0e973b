/* What is taken and what is refused of the kinds that stand beside routing, as pairs: just right, just wrong. A verdict is one
 * of the document as a whole; what is only not supported yet is taken. */
#include "test/unit/doc_world.h"

enum verdict { TAKEN, WARNED, REFUSED };

struct pair_row {
    const char *spec; /* in flow style, after "spec:" */
    enum verdict want;
    const char *detail; /* how the first finding begins; NULL: not looked at */
};

static const char *const verdict_names[] = {[TAKEN] = "taken", [WARNED] = "taken with a warning", [REFUSED] = "refused"};

static const struct finding *first_of(const struct docs *d, enum severity severity)
{
    for (const struct finding *x = d->findings.first; x; x = x->next) {
        if (x->severity == severity && x->code != FIND_NOT_YET)
            return x;
    }
    return NULL;
}

/* Every finding says where it is and what is wrong there. */
static bool is_placed(const struct finding *x)
{
    return x->line > 0 && x->column > 0 && x->detail.n > 0 && x->object.n > 0;
}

static bool agrees(const char *api, const char *kind, const char *meta, const struct pair_row *r)
{
    const struct finding *error, *warning, *told;
    enum verdict got;
    struct str text;
    struct docs d;
    struct arena a;
    bool ok;

    arena_init(&a);
    text = arena_printf(&a, "apiVersion: %s\nkind: %s\nmetadata: {name: default, namespace: shop%s}\nspec: %s\n", api, kind, meta,
                        r->spec);
    docs_parse_all(&d, text, SYNTAX_YAML);
    error = first_of(&d, SEVERITY_ERROR);
    warning = first_of(&d, SEVERITY_WARNING);
    told = error ? error : warning;
    got = error ? REFUSED : warning ? WARNED : TAKEN;
    ok = got == r->want && (!told || is_placed(told)) && (!r->detail || (told && str_starts(told->detail, str_from(r->detail))));
    if (!ok) {
        print_error("%s %s: want %s, got %s\n", kind, r->spec, verdict_names[r->want], verdict_names[got]);
        docs_print(&d);
    }
    docs_done(&d);
    arena_done(&a);
    return ok;
}

static void check_rows_with(const char *api, const char *kind, const char *meta, const struct pair_row *rows, size_t count)
{
    size_t wrong = 0;

    for (size_t i = 0; i < count; i++)
        wrong += !agrees(api, kind, meta, &rows[i]);
    CHECK_INT(wrong, 0);
}

#define CHECK_ROWS(api, kind, rows) check_rows_with(api, kind, "", rows, COUNT(rows))

#define SECURITY   "security.istio.io/v1"
#define NETWORKING "networking.istio.io/v1"
#define A63        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* ---- what all policies have ---- */

TEST(a_selector_asks_for_labels_and_may_ask_in_vain)
{
    static const struct pair_row rows[] = {
        {"{selector: {matchLabels: {app: web, tier: ''}}}",     TAKEN,   NULL},
        {"{selector: {matchLabels: {app: " A63 "}}}",           TAKEN,   NULL},
        {"{selector: {matchLabels: {app: " A63 "a}}}", REFUSED,
         "the value of a label has at most 63 characters, not 64"},
        {"{selector: {}}",                                      WARNED,  "an empty selector takes every workload"},
        {"{selector: {matchLabels: {}}}",                       WARNED,  NULL},
        {"{selector: {matchLabels: {'a b': c}}}",               WARNED,  "\"a b\" is not the key of a label"},
        {"{selector: {matchLabels: {a: -b}}}",                  WARNED,  "\"-b\" is not the value of a label"},
        {"{selector: {matchLabels: {app: 'w*'}}}",              REFUSED, "a selector has no wildcards"},
        {"{selector: {matchLabels: {'*': web}}}",               REFUSED, "a selector has no wildcards"},
        {"{selector: {matchLabels: {'': web}}}",                REFUSED, "the key of a label is empty"},
        {"{selector: {matchLabels: {app: 1}}}",                 REFUSED, NULL},
        {"{selector: {labels: {app: web}}}",                    REFUSED, "unknown field \"labels\""},
        {"{selector: null}",                                    TAKEN,   NULL},
    };

    CHECK_ROWS(SECURITY, "AuthorizationPolicy", rows);
    CHECK_ROWS(SECURITY, "PeerAuthentication", rows);
    CHECK_ROWS(SECURITY, "RequestAuthentication", rows);
    CHECK_ROWS("telemetry.istio.io/v1", "Telemetry", rows);
    CHECK_ROWS("networking.istio.io/v1beta1", "ProxyConfig", rows);
}

#define SERVICE "{kind: Service, name: a}"

TEST(a_policy_has_one_kind_of_target)
{
    static const struct pair_row rows[] = {
        {"{targetRefs: [" SERVICE "]}",                                          TAKEN,   NULL},
        {"{targetRefs: [{group: core, kind: Service, name: a}]}",                TAKEN,   NULL},
        {"{targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}]}", TAKEN, NULL},
        {"{targetRefs: [{kind: service, name: a}]}",                             REFUSED, "a policy cannot be attached to"},
        {"{targetRefs: [{kind: ServiceEntry, name: a}]}",                        REFUSED, "a policy cannot be attached to"},
        {"{targetRefs: [{kind: Service, name: ''}]}",                            REFUSED, "name is required"},
        {"{targetRefs: [{kind: Service, name: " A63 A63 A63 A63 "a}]}",          TAKEN,   NULL},
        {"{targetRefs: [{kind: Service, name: " A63 A63 A63 A63 "aa}]}",         REFUSED, "name has from 1 to 253 bytes"},
        {"{targetRefs: [{kind: Service, name: a, namespace: ''}]}",              TAKEN,   NULL},
        {"{targetRefs: [{kind: Service, name: a, namespace: b}]}",               REFUSED, "namespace must be left out"},
        {"{targetRefs: []}",                                                     TAKEN,   NULL},
        {"{targetRef: " SERVICE ", targetRefs: [" SERVICE "]}",                  REFUSED, "targetRef and targetRefs cannot both"},
        {"{selector: {}, targetRefs: [" SERVICE "]}",                            REFUSED, "selector and targetRefs cannot both"},
        {"{selector: {matchLabels: {a: b}}, targetRefs: []}",                    REFUSED, "selector and targetRefs cannot both"},
        {"{targetRefs: [null]}",                                                 REFUSED, "null is not allowed"},
    };

    CHECK_ROWS(SECURITY, "AuthorizationPolicy", rows);
    CHECK_ROWS(SECURITY, "RequestAuthentication", rows);
    CHECK_ROWS("telemetry.istio.io/v1", "Telemetry", rows);
}

/* ---- AuthorizationPolicy ---- */

#define AUTHZ(rows) CHECK_ROWS(SECURITY, "AuthorizationPolicy", rows)

TEST(an_action_goes_with_its_rules_and_its_provider)
{
    static const struct pair_row rows[] = {
        {"{}",                                                   TAKEN,   NULL},
        {"{rules: [{}]}",                                        TAKEN,   NULL},
        {"{action: DENY}",                                       REFUSED, "rules is required"},
        {"{action: DENY, rules: [{}]}",                          TAKEN,   NULL},
        {"{action: deny, rules: [{}]}",                          REFUSED, "action: \"deny\" is not one of its values"},
        {"{action: ''}",                                         REFUSED, NULL},
        {"{action: CUSTOM, provider: {name: p}}",                REFUSED, "rules is required"},
        {"{action: CUSTOM, provider: {name: p}, rules: [{}]}",   TAKEN,   NULL},
        {"{action: CUSTOM, provider: {}, rules: [{}]}",          REFUSED, "name is required"},
        {"{action: CUSTOM, rules: [{}]}",                        REFUSED, "action CUSTOM needs provider.name"},
        {"{provider: {name: p}}",                                REFUSED, "provider is for action CUSTOM only"},
        {"{rules: [null]}",                                      REFUSED, "null is not allowed"},
    };

    AUTHZ(rows);
}

TEST(a_source_or_operation_says_something)
{
    static const struct pair_row rows[] = {
        {"{rules: [{from: [{source: {}}]}]}",                                    REFUSED, "source must not be empty"},
        {"{rules: [{from: [{source: {principals: []}}]}]}",                      REFUSED, "source says nothing"},
        {"{rules: [{from: [{source: {principals: null}}]}]}",                    REFUSED, "source says nothing"},
        {"{rules: [{from: [{source: {principals: ['']}}]}]}",                    REFUSED, "principals: an empty string"},
        {"{rules: [{from: [{source: {principals: ['*']}}]}]}",                   TAKEN,   NULL},
        {"{rules: [{to: [{operation: {methods: []}}]}]}",                        REFUSED, "operation says nothing"},
        {"{rules: [{to: [{operation: {methods: [get]}}]}]}",                     TAKEN,   NULL},
        {"{rules: [{from: [{source: {serviceAccounts: [a, n/b]}}]}]}",           TAKEN,   NULL},
        {"{rules: [{from: [{source: {serviceAccounts: [a], principals: []}}]}]}", REFUSED, "serviceAccounts excludes"},
        {"{rules: [{from: [{source: {serviceAccounts: [a], trustDomains: [b]}}]}]}", TAKEN, NULL},
        {"{rules: [{from: [{source: {trustDomains: ['*.b', 'a.*', '*']}}]}]}",   TAKEN,   NULL},
        {"{rules: [{from: [{source: {trustDomains: ['a*b']}}]}]}",               REFUSED, "\"a*b\": one '*' is allowed"},
        {"{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8, '::1', '2001:db8::/32']}}]}]}", TAKEN, NULL},
        {"{rules: [{from: [{source: {ipBlocks: [10.0.0.0/08]}}]}]}",             REFUSED, "\"10.0.0.0/08\" is neither"},
        {"{rules: [{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}]}",             REFUSED, NULL},
        {"{rules: [{to: [{operation: {ports: ['0', '65535', '080']}}]}]}",       TAKEN,   NULL},
        {"{rules: [{to: [{operation: {ports: ['65536']}}]}]}",                   REFUSED, "\"65536\" is not a port"},
    };

    AUTHZ(rows);
}

static const struct pair_row path_rows[] = {
    {"{rules: [{to: [{operation: {paths: ['/a/{*}/b', '/{*}/{**}', '{**}', '/a/{**}/b/', '//{*}//']}}]}]}", TAKEN, NULL},
    {"{rules: [{to: [{operation: {paths: ['/a*', '*/a', '/a/**', '/a b?c']}}]}]}",  TAKEN,   NULL},
    {"{rules: [{to: [{operation: {paths: ['/{**}/{*}']}}]}]}", REFUSED,
     "\"/{**}/{*}\": {**} must be the last"},
    {"{rules: [{to: [{operation: {paths: ['/{*}a']}}]}]}",                          REFUSED, "\"/{*}a\": braces are only for"},
    {"{rules: [{to: [{operation: {paths: ['/{name}']}}]}]}",                        REFUSED, "\"/{name}\": braces are only for"},
    {"{rules: [{to: [{operation: {paths: ['/a}']}}]}]}",                            REFUSED, "\"/a}\": braces are only for"},
    {"{rules: [{to: [{operation: {notPaths: ['/{*}/*']}}]}]}",                      REFUSED, "\"/{*}/*\": beside {*} and {**}"},
    {"{rules: [{to: [{operation: {notPaths: ['/{*}/a b']}}]}]}",                    REFUSED, "\"/{*}/a b\": beside {*} and {**}"},
    {"{rules: [{to: [{operation: {notPaths: ['/a//{*}']}}]}]}",                     REFUSED, "\"/a//{*}\": beside {*} and {**}"},
};

TEST(a_path_with_braces_is_a_template)
{
    AUTHZ(path_rows);
}

#define WHEN(key, more) "{rules: [{when: [{key: '" key "', " more "}]}]}"

TEST(a_condition_looks_at_what_there_is)
{
    static const struct pair_row rows[] = {
        {WHEN("request.headers[X-A]", "values: [a]"),                    TAKEN,   NULL},
        {WHEN("request.headers[]", "values: [a]"),                       REFUSED, "\"request.headers[]\" is not an attribute"},
        {WHEN("request.auth.claims[a][b]", "notValues: [a]"),            TAKEN,   NULL},
        {WHEN("source.ip", "values: [a]"),                               REFUSED, "\"a\" is neither an IP address"},
        {WHEN("destination.port", "notValues: ['70000']"),               REFUSED, "\"70000\" is not a port"},
        {WHEN("source.serviceAccount", "values: [a, n/b]"),              TAKEN,   NULL},
        {WHEN("source.serviceAccount", "values: [n/b/c]"), REFUSED,
         "\"n/b/c\" must be ACCOUNT or NAMESPACE/ACCOUNT"},
        {WHEN("source.serviceAccount", "values: [a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a]"), REFUSED, "values has at most 16 accounts"},
        {WHEN("source.trustDomain", "values: [a/b]"),                    REFUSED, "\"a/b\": a trust domain has no '/'"},
        {WHEN("destination.labels[v]", "values: [a]"), REFUSED,
         "\"destination.labels[v]\" is no longer an attribute: use selector"},
        {WHEN("destination.namespace", "values: [a]"), REFUSED,
         "\"destination.namespace\" is no longer an attribute: a policy"},
        {WHEN("experimental.envoy.filters.a.b[c]", "values: [a]"),       TAKEN,   NULL},
        {WHEN("experimental.envoy.filters.a.b[]", "values: [a]"),        REFUSED, NULL},
        {WHEN("request.experimental.inline.headers[a]", "values: [a]"),  TAKEN,   NULL},
        {WHEN("source.ip", "values: []"),                                REFUSED, "values or notValues is required"},
        {WHEN("connection.sni", "values: ['']"),                         REFUSED, "values: an empty string"},
    };

    AUTHZ(rows);
}

TEST(a_dry_run_is_on_or_off)
{
    static const struct pair_row right[] = {
        {"{}",              TAKEN,   NULL},
        {"{action: AUDIT}", REFUSED, "annotation istio.io/dry-run is for"},
    };
    static const struct pair_row wrong[] = {{"{}", REFUSED, "annotation istio.io/dry-run is true or false"}};

    check_rows_with(SECURITY, "AuthorizationPolicy", ", annotations: {istio.io/dry-run: 'T'}", right, COUNT(right));
    check_rows_with(SECURITY, "AuthorizationPolicy", ", annotations: {istio.io/dry-run: 'tRUE'}", wrong, COUNT(wrong));
    check_rows_with(SECURITY, "AuthorizationPolicy", ", annotations: {istio.io/dry-run: ''}", wrong, COUNT(wrong));
}

/* ---- RequestAuthentication ---- */

#define JWT(more)    "{jwtRules: [{" more "}]}"
#define KEYS(text)   JWT("issuer: a, jwks: '" text "'")
#define RSA(more)    "{\"kty\":\"RSA\",\"e\":\"AQAB\"" more "}"
#define URI(text)    JWT("issuer: a, jwksUri: '" text "'")

TEST(keys_of_an_issuer_come_from_one_place)
{
    static const struct pair_row rows[] = {
        {JWT("issuer: a"),                                        TAKEN,   NULL},
        {JWT(""),                                                 REFUSED, "issuer is required, or jwksUri"},
        {JWT("issuer: '', jwksUri: 'https://a'"),                 TAKEN,   NULL},
        {JWT("jwks_uri: 'https://a'"),                            WARNED,  "jwks_uri is deprecated: write jwksUri"},
        {JWT("jwks_uri: 'https://a', jwksUri: 'https://a'"),      REFUSED, "jwks_uri and jwksUri cannot both be given"},
        {JWT("issuer: a, jwksUri: 'https://a', jwks: ''"),        REFUSED, "jwksUri and jwks cannot both be given"},
        {URI(""),                                                 REFUSED, "jwksUri has from 1 to 2048 bytes, not 0"},
        {URI("https://a.b:8443/c d?e=f#g"),                       TAKEN,   NULL},
        {URI("HTTPS://[::1]:80/a"),                               TAKEN,   NULL},
        {URI("https://[::1"), REFUSED,
         "\"https://[::1\" is not a URL: it has a '[' without ']'"},
        {URI("https://a.b:x"),                                    REFUSED, "\"https://a.b:x\" is not a URL: it has a port"},
        {URI("https://a b"), REFUSED,
         "\"https://a b\" is not a URL: it has the character ' '"},
        {URI("https://a/%zz"),                                    REFUSED, "\"https://a/%zz\" is not a URL: it has a '%'"},
        {URI("ftp://a"),                                          REFUSED, "\"ftp://a\" is not a URL with http://"},
        {URI("a.b"),                                              REFUSED, NULL},
    };

    CHECK_ROWS(SECURITY, "RequestAuthentication", rows);
}

TEST(a_key_set_has_keys_that_can_be_used)
{
    static const struct pair_row rows[] = {
        {KEYS("{\"keys\":[" RSA(",\"n\":\"xAE7_-\"") "]}"),       TAKEN,   NULL},
        {KEYS("{\"keys\":[]}"),                                   TAKEN,   NULL},
        {KEYS(RSA(",\"n\":\"xAE7\"")),                            TAKEN,   NULL},
        {KEYS("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AyM1\"}]}"),   WARNED,  "jwks holds a private key"},
        {KEYS("{\"keys\":[" RSA("") "]}"),                        REFUSED, "jwks has a key of type RSA without \"n\""},
        {KEYS("{\"keys\":[" RSA(",\"n\":\"!\"") "]}"),            REFUSED, "jwks has a key of type RSA without \"n\""},
        {KEYS("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-1\",\"x\":\"a\",\"y\":\"b\"}]}"), REFUSED,
         "jwks has a key of type EC without"},
        {KEYS("{\"keys\":[{\"kty\":\"rsa\"}]}"),                  REFUSED, "jwks has a key whose \"kty\" is none of"},
        {KEYS("{\"keys\":[\"a\"]}"),                              REFUSED, "jwks has a key whose \"kty\" is none of"},
        {KEYS("{}"),                                              REFUSED, "jwks is not a JSON Web Key Set: it has no list"},
        {KEYS("[]"),                                              REFUSED, "jwks is not a JSON Web Key Set: it has no list"},
    };

    CHECK_ROWS(SECURITY, "RequestAuthentication", rows);
}

TEST(tokens_and_claims_have_names)
{
    static const struct pair_row rows[] = {
        {JWT("issuer: a, fromHeaders: [{name: x, prefix: 'Bearer '}], fromParams: [y], fromCookies: [z]"), TAKEN, NULL},
        {JWT("issuer: a, fromHeaders: [{prefix: x}]"),                          REFUSED, "name is required"},
        {JWT("issuer: a, fromHeaders: [{name: 'a b'}]"), WARNED,
         "\"a b\" is not the name of a header, so no"},
        {JWT("issuer: a, fromCookies: [x, '']"),                                REFUSED, "fromCookies: an empty string"},
        {JWT("issuer: a, outputClaimToHeaders: [{header: X_a-1, claim: b.c}]"), TAKEN,   NULL},
        {JWT("issuer: a, outputClaimToHeaders: [{header: a.b, claim: c}]"),     REFUSED, "\"a.b\" is not a name here"},
        {JWT("issuer: a, timeout: 1ms"),                                        TAKEN,   NULL},
        {JWT("issuer: a, timeout: 999us"), REFUSED,
         "timeout must be a whole number of milli"},
    };

    CHECK_ROWS(SECURITY, "RequestAuthentication", rows);
}

/* ---- PeerAuthentication ---- */

TEST(modes_of_ports_need_workloads_that_have_them)
{
    static const struct pair_row rows[] = {
        {"{mtls: {mode: STRICT}}",                                                        TAKEN,   NULL},
        {"{mtls: {mode: strict}}", REFUSED,
         "mode: \"strict\" is not one of"},
        {"{selector: {matchLabels: {a: b}}, portLevelMtls: {65535: {mode: STRICT}}}",     TAKEN,   NULL},
        {"{selector: {matchLabels: {a: b}}, portLevelMtls: {65536: {mode: STRICT}}}",     REFUSED, "\"65536\" must be a number"},
        {"{selector: {matchLabels: {a: b}}, portLevelMtls: {0: {mode: STRICT}}}",         REFUSED, NULL},
        {"{selector: {matchLabels: {a: b}}, portLevelMtls: {}}", REFUSED,
         "portLevelMtls must not be empty"},
        {"{selector: {matchLabels: {}}, portLevelMtls: {80: {mode: STRICT}}}", REFUSED,
         "portLevelMtls needs a selector"},
        {"{portLevelMtls: null}",                                                         TAKEN,   NULL},
    };

    CHECK_ROWS(SECURITY, "PeerAuthentication", rows);
}

/* ---- ServiceEntry ---- */

#define ENTRY(hosts, more) "{hosts: " hosts ", " more "}"
#define HTTP80             "ports: [{number: 80, name: http, protocol: HTTP}]"
#define STATIC80           "resolution: STATIC, " HTTP80
#define DNS80              "resolution: DNS, " HTTP80
#define PORT(more)         ENTRY("[a.b]", "resolution: STATIC, ports: [{" more "}]")
#define AT(more)           ENTRY("[a.b]", STATIC80 ", endpoints: [{" more "}]")
#define A62                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

TEST(hosts_of_an_entry_are_names)
{
    static const struct pair_row rows[] = {
        {ENTRY("[]", STATIC80),                                  REFUSED, "hosts is required"},
        {ENTRY("['*']", STATIC80),                               REFUSED, "\"*\" is not allowed here"},
        {ENTRY("['*.b', Upper.Case, short, a.b.]", STATIC80),    TAKEN,   NULL},
        {ENTRY("['*b.c']", STATIC80),                            WARNED,  "\"*b.c\" is a wildcard within a label"},
        {ENTRY("['a.*.b']", STATIC80),                           REFUSED, NULL},
        {ENTRY("[1.2.3.4]", STATIC80),                           REFUSED, "\"1.2.3.4\" is not a host name"},
        {ENTRY("[" A63 "." A63 "." A63 "." A63 "]", STATIC80),   TAKEN,   NULL},
        {ENTRY("[" A63 "." A63 "." A63 "." A63 ".a]", STATIC80), REFUSED, "a host name has at most 255 characters"},
        {ENTRY("[a.b, c.d]", STATIC80),                          TAKEN,   NULL},
        {ENTRY("[a.b, c.d]", "resolution: STATIC, ports: [{number: 1, name: t, protocol: HTTPS}]"), TAKEN, NULL},
        {ENTRY("[a.b, c.d]", "resolution: STATIC, ports: [{number: 1, name: t, protocol: TCP}]"), REFUSED,
         "several hosts cannot share"},
        {ENTRY("[a.b, c.d]", "resolution: STATIC, ports: [{number: 1, name: t}]"), REFUSED,
         "several hosts cannot share a port of no protocol"},
    };

    CHECK_ROWS(NETWORKING, "ServiceEntry", rows);
}

TEST(ports_of_an_entry_are_told_apart)
{
    static const struct pair_row rows[] = {
        {PORT("number: 65535, name: HTTP-1, protocol: http"),    TAKEN,   NULL},
        {PORT("number: 80, name: " A63),                         TAKEN,   NULL},
        {PORT("number: 80, name: " A63 "a"),                     REFUSED, NULL},
        {PORT("number: 80, name: a_b"),                          REFUSED, "\"a_b\" is not a name"},
        {PORT("number: 0, name: a"),                             REFUSED, "number must be from 1 to 65535, not 0"},
        {PORT("number: 65536, name: a"),                         REFUSED, "number must be from 1 to 65535"},
        {PORT("number: 80, name: a, targetPort: 0"),             REFUSED, "targetPort must be from 1 to 65535, not 0"},
        {PORT("number: 80, name: a, protocol: HTTP_PROXY"),      TAKEN,   NULL},
        {PORT("number: 80, name: a, protocol: QUIC"),            REFUSED, "protocol: \"QUIC\" is not one of its values"},
        {PORT("number: 80, name: a}, {number: 81, name: A"),     TAKEN,   NULL},
        {PORT("number: 80, name: a}, {number: 81, name: a"),     REFUSED, "the port name \"a\" is declared twice"},
        {PORT("number: 80, name: a}, {number: 80, name: b"),     REFUSED, "port 80 is declared twice"},
    };

    CHECK_ROWS(NETWORKING, "ServiceEntry", rows);
}

TEST(resolution_says_which_endpoints_there_may_be)
{
    static const struct pair_row rows[] = {
        {ENTRY("[a.b]", HTTP80 ", addresses: [1.2.3.4], endpoints: []"),                 REFUSED, "resolution NONE dials"},
        {ENTRY("[a.b]", HTTP80 ", addresses: [10.0.0.0/8]"),                             TAKEN,   NULL},
        {ENTRY("[a.b]", DNS80 ", addresses: [10.0.0.1/32]"),                             REFUSED, "a block of addresses needs"},
        {ENTRY("[a.b]", STATIC80 ", workloadSelector: {labels: {a: b}}, endpoints: []"), REFUSED,
         "workloadSelector and endpoints"},
        {ENTRY("[a.b]", DNS80 ", endpoints: [{address: c.d}]"),                          TAKEN,   NULL},
        {ENTRY("[a.b]", DNS80 ", endpoints: [{address: 'unix:///a'}]"),                  REFUSED, "an endpoint that is resolved"},
        {ENTRY("[a.b]", DNS80 ", endpoints: [{network: n}]"),                            REFUSED, "an endpoint that is resolved"},
        {ENTRY("[a.b]", DNS80 ", workloadSelector: {labels: {a: b}}"), WARNED,
         "workloadSelector has no effect"},
        {ENTRY("['*.b']", DNS80), REFUSED,
         "a wildcard cannot be resolved"},
        {ENTRY("['*.b']", DNS80 ", workloadSelector: {labels: {a: b}}"), REFUSED,
         "a wildcard cannot be resolved"},
        {ENTRY("['*.b']", DNS80 ", endpoints: [{address: c.d}]"),                        TAKEN,   NULL},
        {ENTRY("['*.b']", "resolution: DYNAMIC_DNS, " HTTP80),                           TAKEN,   NULL},
        {ENTRY("[a.b]", "resolution: DYNAMIC_DNS, " HTTP80), REFUSED,
         "resolution DYNAMIC_DNS is for"},
        {ENTRY("[a.b]", "resolution: dns, " HTTP80),                                     REFUSED, NULL},
        {ENTRY("[a.b]", STATIC80 ", exportTo: [Ns, '.']"),                               TAKEN,   NULL},
        {ENTRY("[a.b]", STATIC80 ", exportTo: ['.', shop]"), REFUSED,
         "exportTo names \"shop\" twice"},
        {ENTRY("[a.b]", STATIC80 ", exportTo: ['*', a]"), REFUSED,
         "exportTo \"*\" must stand alone"},
    };

    CHECK_ROWS(NETWORKING, "ServiceEntry", rows);
}

TEST(an_endpoint_is_where_it_says)
{
    static const struct pair_row rows[] = {
        {AT("address: 1.2.3.4, ports: {http: 65535}, weight: 4294967295"),     TAKEN,   NULL},
        {AT("address: 1.2.3.4, ports: {other: 1}"),                            REFUSED, "port \"other\" is not the name"},
        {AT("address: 1.2.3.4, ports: {http: 0}"),                             REFUSED, "http must be from 1 to 65535"},
        {AT("address: c.d"),                                                   REFUSED, "\"c.d\" is not an IP address"},
        {AT("address: 'unix://@'"),                                            TAKEN,   NULL},
        {AT("address: 'unix://'"),                                             REFUSED, NULL},
        {AT("address: 'unix:///a/'"),                                          REFUSED, NULL},
        {AT("address: 'unix:///a', ports: {}"),                                REFUSED, "an entry on a unix socket has no ports"},
        {AT("address: 1.2.3.4, labels: {Example.com/a: " A63 "a}"),            TAKEN,   NULL},
        {AT("address: 1.2.3.4, labels: {exa_mple.com/a: b}"),                  REFUSED, "\"exa_mple.com/a\" is not the key"},
        {AT("address: 1.2.3.4, labels: {a: 'b c'}"),                           REFUSED, "\"b c\" is not the value of a label"},
        {AT("network: n"),                                                     WARNED,  "without an address"},
        {AT(""),                                                               REFUSED, "address is required"},
    };
    static const struct pair_row own[] = {
        {"{address: 1.2.3.4, ports: {A-b: 80, " A62 ": 81}}", TAKEN,   NULL},
        {"{address: 1.2.3.4, ports: {" A63 ": 80}}",          REFUSED, NULL},
        {"{address: a_b}",                                    REFUSED, "\"a_b\" is neither an IP address nor a host name"},
    };

    CHECK_ROWS(NETWORKING, "ServiceEntry", rows);
    CHECK_ROWS(NETWORKING, "WorkloadEntry", own);
}

/* ---- WorkloadGroup ---- */

#define PROBE(more) "{template: {}, probe: {" more "}}"

TEST(a_group_has_a_template_and_one_probe)
{
    static const struct pair_row rows[] = {
        {"{}",                                                            REFUSED, "template is required"},
        {"{template: {address: any thing, labels: {'a b': c}}}",          TAKEN,   NULL},
        {"{template: {address: 'unix:///a', ports: {a: 1}}}",             REFUSED, "an entry on a unix socket has no ports"},
        {"{template: {}, metadata: {labels: {'a b': c}}}",                REFUSED, "\"a b\" is not the key of a label"},
        {"{template: {}, metadata: {annotations: {'a b': c}}}",           TAKEN,   NULL},
        {PROBE(""),                                                       REFUSED, "probe needs httpGet"},
        {PROBE("httpGet: {port: 80}, exec: {command: [a]}"),              REFUSED, "httpGet and exec cannot both be given"},
        {PROBE("httpGet: {port: 80, scheme: ''}"),                        TAKEN,   NULL},
        {PROBE("httpGet: {port: 80, scheme: http}"),                      REFUSED, "\"http\" is neither HTTP nor HTTPS"},
        {PROBE("httpGet: {port: 80, httpHeaders: [{name: X_a-1}]}"),      TAKEN,   NULL},
        {PROBE("httpGet: {port: 80, httpHeaders: [{name: 'a:b'}]}"),      REFUSED, "\"a:b\" is not a name here"},
        {PROBE("tcpSocket: {port: 65536}"),                               REFUSED, "port must be from 1 to 65535"},
        {PROBE("exec: {command: [a, '']}"),                               REFUSED, "command: an empty string is not allowed"},
        {PROBE("grpc: {port: 80}, periodSeconds: 0"),                     TAKEN,   NULL},
        {PROBE("grpc: {port: 80}, periodSeconds: -1"),                    REFUSED, "periodSeconds must be from 0"},
    };

    CHECK_ROWS(NETWORKING, "WorkloadGroup", rows);
}

/* ---- Telemetry ---- */

#define TRACING(more) "{tracing: [{" more "}]}"
#define OVERRIDE(more) "{metrics: [{overrides: [{" more "}]}]}"
#define FILTER(text)   "{accessLogging: [{filter: {expression: \"" text "\"}}]}"

TEST(traces_and_metrics_say_what_they_change)
{
    static const struct pair_row rows[] = {
        {TRACING("randomSamplingPercentage: 100.0"),                                  TAKEN,   NULL},
        {TRACING("randomSamplingPercentage: 100.1"), REFUSED,
         "randomSamplingPercentage must be"},
        {TRACING("providers: [{name: a}, {name: b}]"),                                WARNED,  "only the first provider is used"},
        {TRACING("providers: [{}]"),                                                  REFUSED, "name is required"},
        {TRACING("customTags: {a: {literal: {value: ''}}}"),                          REFUSED, "value is required"},
        {TRACING("customTags: {a: {}}"),                                              WARNED,  "a tag without literal"},
        {TRACING("customTags: {a: null}"),                                            REFUSED, "the tag \"a\" is null"},
        {TRACING("customTags: {'': {literal: {value: b}}}"),                          REFUSED, "an empty string is not allowed"},
        {TRACING("customTags: {a: {literal: {value: b}, header: {name: c}}}"),        REFUSED, "literal and header cannot both"},
        {TRACING("match: {mode: client}"),                                            REFUSED, NULL},
        {OVERRIDE("match: {customMetric: ''}"),                                       REFUSED, "customMetric must not be empty"},
        {OVERRIDE("match: {metric: ALL_METRICS, customMetric: x}"), REFUSED,
         "metric and customMetric cannot both"},
        {OVERRIDE("tagOverrides: {a: {value: b}}"),                                   TAKEN,   NULL},
        {OVERRIDE("tagOverrides: {a: {operation: UPSERT, value: ''}}"),               REFUSED, "operation UPSERT needs value"},
        {OVERRIDE("tagOverrides: {a: null}"),                                         REFUSED, "operation UPSERT needs value"},
        {OVERRIDE("tagOverrides: {a: {operation: REMOVE}}"),                          TAKEN,   NULL},
        {OVERRIDE("tagOverrides: {a: {operation: REMOVE, value: ''}}"),               REFUSED, "operation REMOVE takes no value"},
        {OVERRIDE("tagOverrides: {a: {value: 'a ('}}"),                               WARNED,  "\"a (\" is not an expression"},
        {OVERRIDE("tagOverrides: {'': {value: b}}"),                                  WARNED,  "a label without a name"},
        {"{metrics: [{reportingInterval: 1500us}]}",                                  TAKEN,   NULL},
        {"{metrics: [{reportingInterval: 999us}]}", REFUSED,
         "reportingInterval must be a whole"},
    };

    CHECK_ROWS("telemetry.istio.io/v1", "Telemetry", rows);
}

TEST(a_filter_is_an_expression)
{
    static const struct pair_row rows[] = {
        {FILTER("response.code >= 400 && has(request.headers.x)"),                    TAKEN,   NULL},
        {FILTER("[1, 2].exists(x, x > 1) ? a : {'b': 1u}['b'] in [1]"),               TAKEN,   NULL},
        {FILTER("a.all(b) || a.map(b, c, d) || has((a.b)) || x.if == 1"),             TAKEN,   NULL},
        {FILTER(""),                                                                  REFUSED, "expression is required"},
        {"{accessLogging: [{filter: {}}]}",                                           REFUSED, "expression is required"},
        {FILTER("a &"),                                                               REFUSED, NULL},
        {FILTER("has(a)"), REFUSED,
         "\"has(a)\" is not an expression: it goes wrong at character 5"},
        {FILTER("has(a.b, c.d)"),                                                     REFUSED, NULL},
        {FILTER("has(a.b == c.d)"),                                                   REFUSED, NULL},
        {FILTER("a.exists(1, true)"),                                                 REFUSED, NULL},
        {FILTER("for == 1"), REFUSED,
         "\"for == 1\" is not an expression: it goes wrong at character 1"},
    };

    CHECK_ROWS("telemetry.istio.io/v1", "Telemetry", rows);
}

/* ---- WasmPlugin, TrafficExtension ---- */

#define PLUGIN(url, more)  "{url: '" url "'" more "}"
#define EXTENSIONS "extensions.istio.io/v1alpha1"

TEST(a_module_has_a_url_and_a_machine)
{
    static const struct pair_row rows[] = {
        {PLUGIN("a.b/c:latest", ""),                                                  TAKEN,   NULL},
        {PLUGIN("OCI://a.b:5000/c@sha256:aa", ""),                                    TAKEN,   NULL},
        {PLUGIN("/a/b", ""),                                                          TAKEN,   NULL},
        {PLUGIN("", ""),                                                              REFUSED, "url is required"},
        {PLUGIN("s3://a/b", ""),                                                      REFUSED, "\"s3://a/b\": a URL begins with"},
        {PLUGIN("localhost:5000/a", ""), REFUSED,
         "\"localhost:5000/a\": a URL begins with oci, http, https or file://; write oci://"},
        {PLUGIN("a b", ""), REFUSED,
         "\"a b\" is not a URL: it has the character ' '"},
        {PLUGIN("a.b/%zz", ""), REFUSED,
         "\"a.b/%zz\" is not a URL: it has a '%'"},
        {PLUGIN("http://a.b:port/c", ""), WARNED,
         "\"http://a.b:port/c\" is not a URL and counts as"},
        {PLUGIN("a", ", pluginName: ''"), REFUSED,
         "pluginName has from 1 to 256 bytes, not 0"},
        {PLUGIN("a", ", sha256: ''"),                                                 TAKEN,   NULL},
        {PLUGIN("a", ", sha256: AA"),                                                 REFUSED, "sha256 has 64 digits"},
        {PLUGIN("a", ", vmConfig: {env: [{name: a, valueFrom: HOST, value: ''}]}"),   REFUSED, "value is for valueFrom INLINE"},
        {PLUGIN("a", ", vmConfig: {env: [{name: a}, {name: A}]}"),                    TAKEN,   NULL},
        {PLUGIN("a", ", match: [{ports: [{number: 80}]}, {ports: [{number: 80}]}]"),  TAKEN,   NULL},
        {PLUGIN("a", ", match: [{ports: [{number: 80}, {number: 80}]}]"),             REFUSED, "port 80 is given twice"},
        {PLUGIN("a", ", match: [{ports: [{}]}]"),                                     REFUSED, "number is required"},
        {PLUGIN("a", ", match: [null]"),                                              REFUSED, "null is not allowed"},
        {PLUGIN("a", ", priority: 2147483648"),                                       REFUSED, NULL},
    };
    static const struct pair_row extension[] = {
        {"{wasm: {url: a}, lua: {inlineCode: x}}", REFUSED,
         "wasm and lua cannot both be given"},
        {"{wasm: null, lua: {inlineCode: x}}",                                        TAKEN,   NULL},
        {"{lua: {inlineCode: ''}}",                                                   REFUSED, "inlineCode is required"},
        {"{lua: {inlineCode: x}, phase: UNSPECIFIED_PHASE}",                          REFUSED, NULL},
        {"{lua: {inlineCode: x}, targetRef: {kind: Service, name: a}}",               REFUSED, "unknown field \"targetRef\""},
    };

    CHECK_ROWS(EXTENSIONS, "WasmPlugin", rows);
    CHECK_ROWS(EXTENSIONS, "TrafficExtension", extension);
}

/* ---- MeshConfig ---- */

#define PROVIDER(more)  "{extensionProviders: [{name: a, " more "}]}"
#define SERVED_BY(host) PROVIDER("zipkin: {service: '" host "', port: 80}")
#define ASKED(more)     PROVIDER("envoyExtAuthzHttp: {service: a.b, port: 80, " more "}")
#define MESH            "mesh.istio.io/v1alpha1"

TEST(a_provider_is_a_service_that_can_be_named)
{
    static const struct pair_row rows[] = {
        {SERVED_BY("short"),                                      TAKEN,   NULL},
        {SERVED_BY("::1"),                                        TAKEN,   NULL},
        {SERVED_BY("Ns/a.b"),                                     TAKEN,   NULL},
        {SERVED_BY("*/*.a.b"),                                    TAKEN,   NULL},
        {SERVED_BY("ns/short"),                                   REFUSED, "\"short\" is a short name"},
        {SERVED_BY("ns/*a.b"),                                    REFUSED, "\"*a.b\": a wildcard covers the whole first label"},
        {SERVED_BY("ns/1.2.3.4"),                                 REFUSED, "\"ns/1.2.3.4\": an address has no namespace"},
        {SERVED_BY("*.a.b"),                                      REFUSED, "\"*.a.b\" must name one host"},
        {SERVED_BY("n_s/a.b"),                                    REFUSED, "\"n_s/a.b\": the part before '/' is not a namespace"},
        {SERVED_BY(""),                                           REFUSED, "service is required"},
        {PROVIDER("zipkin: {service: a.b, port: 65536}"),         REFUSED, "port must be from 1 to 65535"},
        {PROVIDER("prometheus: {}, zipkin: {service: a, port: 1}"), REFUSED, "prometheus and zipkin cannot both be given"},
        {PROVIDER("prometheus: {}}, {name: a, prometheus: {}"),   REFUSED, "the provider \"a\" is given twice"},
        {ASKED("statusOnError: '503'"),                           TAKEN,   NULL},
        {ASKED("statusOnError: '418'"),                           REFUSED, "\"418\" is not a status that there is"},
        {ASKED("statusOnError: '403.0'"),                         REFUSED, NULL},
        {ASKED("pathPrefix: '/a b'"),                             TAKEN,   NULL},
        {ASKED("pathPrefix: a"),                                  REFUSED, "\"a\" must begin with '/'"},
        {ASKED("pathPrefix: '/%zz'"),                             REFUSED, "\"/%zz\" is not a path: it has a '%'"},
        {PROVIDER("opentelemetry: {service: a, port: 1, grpc: {timeout: 1s}}"),           TAKEN,   NULL},
        {PROVIDER("opentelemetry: {service: a, port: 1, grpc: {}, http: {path: /v1}}"), REFUSED,
         "grpc and http cannot both be given"},
    };

    CHECK_ROWS(MESH, "MeshConfig", rows);
}

TEST(settings_of_the_mesh_are_within_bounds)
{
    static const struct pair_row rows[] = {
        {"{connectTimeout: 1h}",                                  TAKEN,   NULL},
        {"{connectTimeout: 3601s}",                               REFUSED, "connectTimeout must be from 1ms to 1h"},
        {"{protocolDetectionTimeout: 0s}",                        TAKEN,   NULL},
        {"{protocolDetectionTimeout: 1500us}",                    REFUSED, "protocolDetectionTimeout must be a whole number"},
        {"{trustDomainAliases: [a.b., '1.2']}",                   TAKEN,   NULL},
        {"{trustDomainAliases: [a_b]}",                           REFUSED, "\"a_b\" is not a trust domain"},
        {"{trustDomainAliases: ['*.b']}",                         REFUSED, "\"*.b\" is not a trust domain"},
        {"{meshMTLS: {ecdhCurves: [P-256]}}",                     REFUSED, "meshMTLS has no ecdhCurves"},
        {"{tlsDefaults: {ecdhCurves: [P-256, X25519]}}",          TAKEN,   NULL},
        {"{tlsDefaults: {ecdhCurves: [P-257]}}",                  WARNED,  "\"P-257\" is not the name of a curve"},
        {"{tlsDefaults: {ecdhCurves: [P-256, P-256]}}",           WARNED,  "\"P-256\" is given twice"},
        {"{defaultConfig: {drainDuration: 45s}}",                 TAKEN,   NULL},
        {"{defaultConfig: {drainDuration: 1500ms}}",              REFUSED, "drainDuration must be a whole number of seconds"},
        {"{defaultConfig: {proxyAdminPort: 0}}",                  REFUSED, "proxyAdminPort must be from 1 to 65535"},
        {"{h2UpgradePolicy: UPGRADE}",                            TAKEN,   NULL},
        {"{h2UpgradePolicy: DEFAULT}", REFUSED,
         "h2UpgradePolicy: \"DEFAULT\" is not one of its values"},
        {"{discoverySelectors: []}", REFUSED,
         "discoverySelectors is not supported: it is about a Kubern"},
        {"{proxyListenPort: 15001}",                              REFUSED, "proxyListenPort is not supported: it is about Envoy"},
        {"{nothing: 1}",                                          REFUSED, "unknown field \"nothing\""},
    };

    CHECK_ROWS(MESH, "MeshConfig", rows);
}
