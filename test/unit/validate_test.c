/* Rules of one document that no single field tells, references between documents, and agreement
 * with Istio's own validation over its test cases. */
#include <sys/stat.h>

#include "mesh/base/file.h"
#include "mesh/kinds/kinds.h"
#include "test/unit/doc_world.h"

#define BALANCER(text) DR("  host: a\n  trafficPolicy: {loadBalancer: {" text "}}\n")

TEST(balancers_have_values_that_can_be_built)
{
    CHECK_REFUSED(BALANCER("warmup: {duration: 1s, aggression: 0.5}"), FIND_VALUE, 8, "from 1 to");
    CHECK_REFUSED(BALANCER("consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 1048577}}"), FIND_VALUE, 8,
                  "1048576");
    CHECK_REFUSED(BALANCER("consistentHash: {useSourceIp: true, maglev: {tableSize: 65536}}"), FIND_VALUE, 8, "a prime");
    CHECK_REFUSED(BALANCER("consistentHash: {httpCookie: {name: 'a=b'}}"), FIND_VALUE, 8, "a=b");
    CHECK_REFUSED(BALANCER("consistentHash: {httpCookie: {name: a, path: \"/;x\", ttl: 0s}}"), FIND_VALUE, 8,
                  "cannot stand in a cookie");
    CHECK_REFUSED(BALANCER("consistentHash: {httpHeaderName: 'a b'}"), FIND_VALUE, 8, "not the name of a header");
}

TEST(gateways_have_unique_ports_and_full_host_names)
{
    CHECK_REFUSED(GW("  servers:\n  - {port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}\n"
                     "  - {port: {number: 81, name: a, protocol: HTTP}, hosts: ['*']}\n"),
                  FIND_VALUE, 9, "named \"a\"");
    CHECK_REFUSED(
        GW("  servers:\n  - {port: {number: 80, name: a, protocol: HTTP}, hosts: ['short']}\n"),
        FIND_VALUE, 8, "short name");
    CHECK_REFUSED(
        GW("  servers:\n  - {port: {number: 80, name: a, protocol: HTTP}, hosts: ['*x.com']}\n"),
        FIND_VALUE, 8, "wildcard");
}

TEST(a_gateway_port_has_a_number)
{
    CHECK_REFUSED(GW("  servers:\n  - {port: {name: a, protocol: HTTP}, hosts: ['*']}\n"),
                  FIND_REQUIRED, 8, "number");
    CHECK_REFUSED(
        GW("  servers:\n  - {port: {number: 0, name: a, protocol: HTTP}, hosts: ['*']}\n"),
        FIND_VALUE, 8, "not 0");
}

TEST(virtual_services_make_sense_as_a_whole)
{
    CHECK_REFUSED(VS("  hosts: [a]\n"), FIND_REQUIRED, 7, "http or tcp");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - timeout: 1s\n"), FIND_REQUIRED, 9,
                  "route is required");
    CHECK_REFUSED(VS("  hosts: ['*']\n  http:\n  - route: [{destination: {host: a}}]\n"),
                  FIND_VALUE, 7, "gateways only");
    CHECK_TAKEN(
        VS("  hosts: ['*']\n  gateways: [gw]\n  http:\n  - route: [{destination: {host: a}}]\n"));
    CHECK_REFUSED(
        VS("  hosts: ['*.foo.bar', '*.bar']\n  http:\n  - route: [{destination: {host: a}}]\n"),
        FIND_VALUE, 7, "overlaps");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - route: [{destination: {host: a}}, {destination: "
                     "{host: b}}]\n"),
                  FIND_VALUE, 9, "all 0");
    CHECK_REFUSED(VS(HTTP_TO_A "    retries: {attempts: 0, retryOn: 5xx}\n"), FIND_VALUE, 11,
                  "attempts is 0");
    CHECK_REFUSED(VS(HTTP_TO_A "    retries: {attempts: 1, retryOn: 'nonsense'}\n"), FIND_VALUE, 11,
                  "nonsense");
    CHECK_REFUSED(VS(HTTP_TO_A "  exportTo: ['*', a]\n"), FIND_VALUE, 11, "stand alone");
    CHECK_REFUSED(VS("  hosts: [a]\n  http:\n  - match: [{uri: {regex: '(a)\\1'}}]\n    route: "
                     "[{destination: {host: a}}]\n"),
                  FIND_VALUE, 9, "regex");
}

/* A VirtualService with these rules; the second begins on line 10. */
#define TWO_RULES(first, second)                                                                   \
    VS("  hosts: [a]\n  http:\n  - {" first ", route: [{destination: {host: a}}]}\n"              \
       "  - {" second ", route: [{destination: {host: b}}]}\n")

TEST(a_match_that_earlier_ones_leave_nothing_to_is_warned_about)
{
    static const struct {
        const char *first, *second;
        bool warned;
    } rows[] = {
        {"name: all", "name: never", true},
        {"name: all", "match: [{uri: {exact: /a}}]", true},
        {"match: [{uri: {prefix: /}}]", "match: [{uri: {exact: /a}, method: {exact: GET}}]", true},
        {"match: [{uri: {regex: '.*'}}]", "name: never", true},
        {"match: [{uri: {prefix: /a}}]", "match: [{uri: {prefix: /ab}}]", true},
        {"match: [{uri: {prefix: /a}}]", "match: [{uri: {prefix: /b}}]", false},
        {"match: [{uri: {prefix: /ab}}]", "match: [{uri: {prefix: /a}}]", false},
        {"match: [{uri: {exact: /a}}]", "match: [{uri: {exact: /A}}]", false},
        {"match: [{uri: {exact: /a}, ignoreUriCase: true}]", "match: [{uri: {exact: /A}}]", true},
        {"match: [{uri: {exact: /a}}]", "match: [{uri: {exact: /a}, ignoreUriCase: true}]", false},
        {"match: [{uri: {regex: '/a.*'}}]", "match: [{uri: {regex: '/a.*'}}]", true},
        {"match: [{uri: {regex: '/a.*'}}]", "match: [{uri: {exact: /ab}}]", false},
        {"match: [{headers: {x: {}}}]", "match: [{headers: {X: {exact: v}, y: {}}}]", true},
        {"match: [{headers: {x: {exact: v}}}]", "match: [{headers: {x: {}}}]", false},
        {"match: [{queryParams: {q: {prefix: v}}}]", "match: [{queryParams: {q: {exact: vw}}}]", true},
        {"match: [{withoutHeaders: {x: {exact: v}}}]", "match: [{withoutHeaders: {x: {}}}]", true},
        {"match: [{withoutHeaders: {x: {}}}]", "match: [{withoutHeaders: {x: {exact: v}}}]", false},
        {"match: [{port: 80}]", "match: [{port: 80, uri: {exact: /a}}]", true},
        {"match: [{port: 80}]", "name: rest", false},
        {"match: [{sourceLabels: {a: b}}]", "match: [{sourceLabels: {a: b, c: d}}]", true},
        {"match: [{sourceLabels: {a: b, c: d}}]", "match: [{sourceLabels: {a: b}}]", false},
        {"match: [{sourceNamespace: n}]", "match: [{uri: {exact: /a}}]", false},
        {"match: [{gateways: [mesh]}]", "match: [{uri: {exact: /a}}]", false},
        {"match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}]", "match: [{uri: {exact: /bc}}]", true},
    };
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct docs d;

        docs_parse(&d, arena_printf(&a, TWO_RULES("%s", "%s"), rows[i].first, rows[i].second), SYNTAX_YAML);
        CHECK_INT(d.result, 0);
        if (d.findings.warnings != rows[i].warned || (rows[i].warned && d.findings.first->line != 10))
            fail_msg("%s, then %s", rows[i].first, rows[i].second);
        docs_done(&d);
    }
    arena_done(&a);
}

TEST(what_a_delegate_leaves_is_for_the_next_rule)
{
    struct docs d;

    docs_parse(&d,
               STR(VS("  hosts: [a]\n  http:\n  - delegate: {name: d}\n"
                      "  - route: [{destination: {host: b}}]\n")),
               SYNTAX_YAML);
    CHECK_INT(d.findings.warnings, 0);
    docs_done(&d);
}

TEST(destination_rules_have_no_empty_policies_and_unique_subsets)
{
    CHECK_REFUSED(DR("  host: a\n  trafficPolicy: {}\n"), FIND_VALUE, 8, "empty");
    CHECK_REFUSED(DR("  host: a\n  trafficPolicy: {tls: {mode: SIMPLE, subjectAltNames: ['*']}}\n"),
                  FIND_VALUE, 8, "insecureSkipVerify takes any");
    CHECK_REFUSED(DR("  host: a\n  trafficPolicy: {tls: {mode: SIMPLE, subjectAltNames: ['a b']}}\n"),
                  FIND_VALUE, 8, "is no name of a server");
    CHECK_REFUSED(DR("  host: a\n  trafficPolicy: {connectionPool: {}}\n"), FIND_VALUE, 8,
                  "connectionPool is empty");
    CHECK_REFUSED(DR("  host: a\n  subsets: [{name: v1}, {name: v1}]\n"), FIND_VALUE, 8,
                  "declared twice");
    CHECK_REFUSED(DR("  host: a\n  exportTo: ['*']\n  workloadSelector: {matchLabels: {a: b}}\n"),
                  FIND_VALUE, 8, "own namespace");
}

TEST(service_entries_agree_with_their_resolution)
{
    CHECK_REFUSED(SE("  hosts: [a.b]\n  resolution: NONE\n  endpoints: [{address: 1.2.3.4}]\n"),
                  FIND_VALUE, 9, "NONE");
    CHECK_REFUSED(SE("  hosts: [a.b]\n  resolution: STATIC\n  ports: [{number: 80, name: a}, "
                     "{number: 80, name: b}]\n"),
                  FIND_VALUE, 9, "port 80");
    CHECK_REFUSED(SE("  hosts: [a.b]\n  resolution: STATIC\n  ports: [{number: 80, name: a}]\n"
                     "  endpoints: [{address: 1.2.3.4, ports: {b: 1}}]\n"),
                  FIND_VALUE, 10, "\"b\"");
    CHECK_REFUSED(SE("  hosts: ['*']\n"), FIND_VALUE, 7, "\"*\"");
    CHECK_REFUSED(WE("  labels: {a: b}\n"), FIND_REQUIRED, 7, "address");
    CHECK_REFUSED(PA("  portLevelMtls: {80: {mode: STRICT}}\n"), FIND_VALUE, 7, "selector");
}

/* ---- sets ---- */

static const char dr_text[] = DR("  host: a\n  subsets: [{name: v1, labels: {v: '1'}}]\n");

static bool knows_only_a(void *arg, struct str fqdn, struct str ns)
{
    (void)arg; /* nothing to look up in */
    return str_eq(ns, STR("shop")) && str_eq(fqdn, STR("a.shop.svc.cluster.local"));
}

static void docs_set(struct docs *d, const char *text)
{
    struct validate_scope scope = {.domain = "cluster.local", .knows_host = knows_only_a};

    docs_parse(d, str_from(text), SYNTAX_YAML);
    if (d->result)
        docs_print(d);
    CHECK_INT(d->result, 0);
    validate_set(&d->objects, &scope, &d->findings);
}

static struct str joined(struct arena *a, const char *x, const char *y)
{
    return arena_printf(a, "%s---\n%s", x, y);
}

TEST(a_subset_must_be_declared)
{
    static const char vs[] =
        VS("  hosts: [a]\n  http:\n  - route: [{destination: {host: a, subset: v1}}]\n");
    struct arena a;
    struct docs d;

    arena_init(&a);
    docs_set(&d, vs);
    CHECK_INT(docs_count(&d, FIND_REFERENCE), 1);
    CHECK_INT(docs_find(&d, FIND_REFERENCE)->line, 9);
    CHECK_STR(docs_find(&d, FIND_REFERENCE)->pointer, "/spec/http/0/route/0/destination/subset");
    docs_done(&d);
    docs_set(&d, joined(&a, vs, dr_text).p);
    CHECK_INT(d.findings.errors, 0);
    CHECK_INT(d.findings.warnings, 0);
    docs_done(&d);
    arena_done(&a);
}

TEST(gateways_must_be_there_and_unknown_hosts_are_warned_about)
{
    static const char vs[] = VS("  hosts: [a.b]\n  gateways: [gw, mesh]\n  http:\n  - route: "
                                "[{destination: {host: nowhere}}]\n");
    static const char gw[] =
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: shop}\n"
        "spec:\n  servers:\n  - {port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}\n";
    struct arena a;
    struct docs d;

    arena_init(&a);
    docs_set(&d, vs);
    CHECK_INT(docs_count(&d, FIND_REFERENCE), 1);
    CHECK_INT(docs_find(&d, FIND_REFERENCE)->line, 8);
    CHECK_INT(d.findings.warnings, 1);
    docs_done(&d);
    docs_set(&d, joined(&a, vs, gw).p);
    CHECK_INT(d.findings.errors, 0);
    CHECK_INT(d.findings.warnings, 1);
    docs_done(&d);
    arena_done(&a);
}

TEST(a_name_that_nobody_has_is_told_with_what_may_have_been_meant)
{
    static const struct {
        const char *host, *hint;
    } rows[] = {
        {"nowhere",         "a short name is a service of the namespace shop; one of another is named "
                            "nowhere.NAMESPACE.svc.cluster.local"},
        {"a.shop",          "only a short name is completed: write a.shop.svc.cluster.local"         },
        {"api.example.com", ""                                                                      },
    };
    struct arena a;
    struct docs d;

    arena_init(&a);
    for (size_t i = 0; i < COUNT(rows); i++) {
        docs_set(&d, arena_printf(&a, DR("  host: %s\n"), rows[i].host).p);
        CHECK_INT(docs_count(&d, FIND_WARNING), 1);
        CHECK_INT(docs_find(&d, FIND_WARNING)->line, 7);
        CHECK_STR(docs_find(&d, FIND_WARNING)->hint, rows[i].hint);
        docs_done(&d);
        docs_set(&d, arena_printf(&a, VS("  hosts: [a]\n  http: [{route: [{destination: {host: %s}}]}]\n"), rows[i].host).p);
        CHECK_INT(docs_count(&d, FIND_WARNING), 1);
        CHECK_STR(docs_find(&d, FIND_WARNING)->hint, rows[i].hint);
        docs_done(&d);
    }
    docs_set(&d, DR("  host: '*.example.com'\n"));
    CHECK_INT(d.findings.warnings, 0);
    docs_done(&d);
    arena_done(&a);
}

static size_t count_details(const struct docs *d, const char *words)
{
    size_t n = 0;

    for (const struct finding *x = d->findings.first; x; x = x->next)
        n += str_find(x->detail, str_from(words), &(size_t){0});
    return n;
}

TEST(a_short_host_of_rules_that_no_service_of_the_namespace_has_is_warned_about)
{
    struct docs d;

    docs_set(&d, VS("  hosts: [a, b, c.d, '*.e.f']\n  http: [{directResponse: {status: 200}}]\n"));
    CHECK_INT(d.findings.warnings, 1);
    CHECK_STR(d.findings.first->pointer, "/spec/hosts/1");
    CHECK_STR(d.findings.first->hint,
              "a short name is a service of the namespace shop; one of another is named b.NAMESPACE.svc.cluster.local");
    docs_done(&d);
}

#define A_FULL "a.shop.svc.cluster.local"

/* Two VirtualServices for a.shop; each is told of the other where somebody sees both. */
TEST(two_virtual_services_of_one_host_are_warned_about_where_callers_obey_one)
{
    static const struct {
        const char *first, *second; /* namespace and further lines */
        unsigned warnings;
    } rows[] = {
        {"shop}\nspec:\n  hosts: [a]", "shop}\nspec:\n  hosts: [a.shop.svc.cluster.local]", 2},
        {"shop}\nspec:\n  hosts: [a]", "else}\nspec:\n  hosts: [a]", 0},
        {"shop}\nspec:\n  hosts: [a]\n  exportTo: ['.']", "else}\nspec:\n  hosts: [" A_FULL "]\n  exportTo: ['.']", 0},
        {"shop}\nspec:\n  hosts: [a]\n  exportTo: ['.']", "else}\nspec:\n  hosts: [" A_FULL "]\n  exportTo: [shop]", 2},
        {"shop}\nspec:\n  hosts: [a]\n  exportTo: [x, y]", "else}\nspec:\n  hosts: [" A_FULL "]\n  exportTo: [y, z]", 2},
        {"shop}\nspec:\n  hosts: [a]\n  exportTo: [x]", "else}\nspec:\n  hosts: [a.shop.svc.cluster.local]", 2},
        {"shop}\nspec:\n  gateways: [gw]\n  hosts: [a]", "shop}\nspec:\n  hosts: [a]", 0},
        {"shop}\nspec:\n  hosts: [a, b]", "shop}\nspec:\n  hosts: [c]", 0},
    };
    static const char one[] = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                              "metadata: {name: %s, namespace: %s\n"
                              "  http: [{directResponse: {status: 200}}]\n";
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct docs d;

        docs_set(&d, arena_printf(&a, "%s%s", arena_printf(&a, one, "x", rows[i].first).p,
                                  arena_printf(&a, one, "y", rows[i].second).p)
                         .p);
        if (count_details(&d, "obey one of the two") != rows[i].warnings) {
            docs_print(&d);
            fail_msg("%s\n%s", rows[i].first, rows[i].second);
        }
        docs_done(&d);
    }
    arena_done(&a);
}

TEST(a_limit_for_a_route_that_is_at_no_gateway_is_warned_about)
{
    static const struct {
        const char *spec, *route; /* of the VirtualService; of the limit */
        unsigned warnings;
    } rows[] = {
        {"{hosts: [a], http: [{name: r, directResponse: {status: 200}}]}",                                     "r",   1},
        {"{hosts: [a], gateways: [mesh], http: [{name: r, directResponse: {status: 200}}]}",                   "r",   1},
        {"{hosts: [a], gateways: [gw], http: [{name: r, directResponse: {status: 200}}]}",                     "r",   0},
        {"{hosts: [a], gateways: [gw], http: [{name: r, directResponse: {status: 200}}]}",                     "q",   1},
        {"{hosts: [a], http: [{name: r, match: [{gateways: [gw]}], directResponse: {status: 200}}]}",          "r",   0},
        {"{http: [{name: leaf, directResponse: {status: 200}}]}",                                              "r-leaf", 0},
    };
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct docs d;

        docs_set(&d, arena_printf(&a,
                                  "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n"
                                  "spec: %s\n---\napiVersion: weft/v1\nkind: RateLimit\nmetadata: {name: l, namespace: shop}\n"
                                  "spec: {limits: [{name: x, requests: 1, route: %s}]}\n",
                                  rows[i].spec, rows[i].route)
                         .p);
        if (docs_count(&d, FIND_WARNING) != rows[i].warnings) {
            docs_print(&d);
            fail_msg("%s %s", rows[i].spec, rows[i].route);
        }
        docs_done(&d);
    }
    arena_done(&a);
}

TEST(limits_of_a_service_that_nobody_knows_are_warned_about)
{
    static const struct {
        const char *targets;
        unsigned warnings;
    } rows[] = {
        {"{kind: Service, name: a}", 0}, /* registered */
        {"{kind: Service, name: front}, {group: networking.istio.io, kind: ServiceEntry, name: data}", 0},
        {"{kind: Service, name: a}, {kind: Service, name: gone}", 1},
        {"{kind: Service, name: data}, {group: networking.istio.io, kind: ServiceEntry, name: front}", 2},
    };
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct docs d;

        docs_set(&d, arena_printf(&a,
                                  "apiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: shop}\n"
                                  "spec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n---\n"
                                  "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: data, namespace: shop}\n"
                                  "spec: {hosts: [data.test], resolution: STATIC, location: MESH_INTERNAL, workloadSelector: "
                                  "{labels: {app: db}}, ports: [{name: http, number: 80, protocol: HTTP}]}\n---\n"
                                  "apiVersion: weft/v1\nkind: RateLimit\nmetadata: {name: l, namespace: shop}\n"
                                  "spec: {targetRefs: [%s], limits: [{name: x, requests: 1}]}\n",
                                  rows[i].targets)
                         .p);
        if (docs_count(&d, FIND_WARNING) != rows[i].warnings) {
            docs_print(&d);
            fail_msg("%s", rows[i].targets);
        }
        docs_done(&d);
    }
    arena_done(&a);
}

TEST(a_twin_in_one_apply_is_an_error_at_the_second)
{
    struct arena a;
    struct docs d;

    arena_init(&a);
    docs_parse(&d, joined(&a, dr_text, dr_text), SYNTAX_YAML);
    CHECK_INT(d.result, 0);
    validate_duplicates(&d.objects, &d.findings);
    CHECK_INT(docs_count(&d, FIND_DUPLICATE), 1);
    CHECK_INT(docs_find(&d, FIND_DUPLICATE)->document, 2);
    docs_done(&d);
    arena_done(&a);
}

static void check_warned(const char *text, unsigned line, const char *detail)
{
    const struct finding *x;
    struct docs d;

    docs_parse_all(&d, str_from(text), SYNTAX_YAML);
    x = docs_find(&d, FIND_WARNING);
    CHECK_INT(findings_errors_besides(&d.findings, FIND_NOT_YET), 0);
    CHECK_INT(d.findings.warnings, 1);
    CHECK_INT(x->line, line);
    CHECK(str_find(x->detail, str_from(detail), &(size_t){0}));
    docs_done(&d);
}

TEST(what_is_right_and_surely_not_meant_is_warned_about)
{
    check_warned(VS("  hosts: [a]\n  http:\n  - match: [{uri: {prefix: /a}}, {uri: {prefix: /ab}}]\n    route: [{destination: "
                    "{host: a}}]\n"), 9, "this match has no effect: line 9 takes all");
    check_warned(WE("  network: n\n"), 7, "through the gateway of its network");
    check_warned(SE("  hosts: [a.b]\n  resolution: NONE\n"), 7, "it names none");
    check_warned(SE("  hosts: [a.b, c.d]\n  resolution: STATIC\n  addresses: [10.0.0.1]\n  ports:\n"
                    "  - {number: 80, name: a, protocol: HTTP}\n  - {number: 443, name: b, protocol: TLS}\n"),
                 12, "port 443 does not tell the hosts apart");
    check_warned(PA("  selector: {}\n"), 7, "an empty selector takes every workload of the namespace");
    check_warned(VS(HTTP_TO_A "  gateways: [edge.shop.svc.cluster.local]\n"), 11,
                 "the gateway \"edge.shop.svc.cluster.local\" is written like a host: write namespace/name");
    check_warned(DR("  host: a\n  trafficPolicy:\n    loadBalancer:\n      localityLbSetting:\n"
                    "        failover: [{from: x, to: y}]\n"), 11, "failover has no effect without outlierDetection");
    check_warned(DR("  host: a\n  trafficPolicy:\n    loadBalancer:\n      consistentHash:\n"
                    "        useSourceIp: true\n        minimumRingSize: 9\n"), 12, "use ringHash.minimumRingSize");
    check_warned(DR("  host: a\n  trafficPolicy:\n    loadBalancer:\n      simple: RANDOM\n      warmup:\n"
                    "        duration: 60s\n"), 12, "warmup has an effect with");
    check_warned(DR("  host: a\n  trafficPolicy:\n    loadBalancer:\n      warmupDurationSecs: 60s\n"), 10,
                 "use warmup.duration");
}

/* ---- Istio's cases ---- */

/* A finding "not supported yet" alone is no refusal: the document is one that Istio takes. What is not supported at all, with a
 * reason, is refused by intent: that is not too strict, and what is in it is not looked at. */
struct score {
    size_t cases, too_strict, too_lax, unwarned;
};

static struct str expand(struct arena *a, struct str yaml, const struct node *how)
{
    for (const struct node *e = how ? how->first : NULL; e; e = e->next) {
        struct str token = node_text(e, "token"), unit = node_text(e, "unit"),
                   tail = node_text(e, "tail");
        uint64_t count = 0;
        struct buf b;
        size_t at;

        if (!str_uint(node_text(e, "count"), 0, 16u << 20, &count) || !str_find(yaml, token, &at))
            continue;
        buf_init(&b, 64u << 20);
        buf_add(&b, str_sub(yaml, 0, at));
        for (uint64_t i = 0; i < count; i++)
            buf_add(&b, unit);
        buf_add(&b, tail);
        buf_add(&b, str_sub(yaml, at + token.n, yaml.n));
        yaml = arena_str(a, buf_str(&b));
        buf_done(&b);
    }
    return yaml;
}

static void judge(const struct node *c, struct arena *a, struct score *s)
{
    bool valid = node_is_true(c, "valid"), refused = false, unsupported = false;
    struct docs d;

    docs_parse(&d, expand(a, node_text(c, "yaml"), node_get(c, STR("expand"))), SYNTAX_YAML);
    for (const struct finding *x = d.findings.first; x; x = x->next) {
        unsupported = unsupported || x->code == FIND_UNSUPPORTED;
        refused = refused || (x->severity == SEVERITY_ERROR && x->code != FIND_NOT_YET);
    }
    s->cases++;
    if (unsupported) {
        CHECK(refused);
        docs_done(&d);
        return;
    }
    s->too_strict += refused && valid;
    s->too_lax += !refused && !valid;
    s->unwarned += node_is_true(c, "warn") && valid && d.findings.warnings == 0;
    if (getenv("WEFT_CASES") &&
        (refused == valid || (node_is_true(c, "warn") && valid && d.findings.warnings == 0))) {
        print_message("%s: %.*s\n%.*s\n", refused && valid ? "TOO STRICT"
                                            : refused == valid ? "TOO LAX" : "UNWARNED",
                      STR_ARG(node_text(c, "name")), STR_ARG(node_text(c, "yaml")));
        docs_print(&d);
    }
    docs_done(&d);
}

TEST(istios_own_validation_cases_agree)
{
    const char *corpus = getenv("WEFT_CORPUS") ? getenv("WEFT_CORPUS") : "../shared/corpus";
    struct score s = {0};
    struct str rest, line;
    struct buf text;
    struct err err;
    char path[1024];
    struct stat st;

    snprintf(path, sizeof(path), "%s/istio/validation_cases.jsonl", corpus);
    if (stat(path, &st) != 0) {
        CHECK(getenv("CI") == NULL || strcmp(getenv("CI"), "true") != 0);
        print_message("skipped: no corpus at %s (set WEFT_CORPUS)\n", path);
        skip();
    }
    buf_init(&text, 16u << 20);
    CHECK_INT(file_read(path, &text, &err), 0);
    rest = buf_str(&text);
    while (str_next(&rest, '\n', &line)) {
        struct arena a;
        struct node *c;

        if (line.n == 0)
            continue;
        arena_init(&a);
        CHECK_INT(json_read(line, &a, &c, &err), 0);
        judge(c, &a, &s);
        arena_done(&a);
    }
    buf_done(&text);
    print_message("Istio's cases: %zu; %zu too strict, %zu too lax, %zu without a warning\n",
                  s.cases, s.too_strict, s.too_lax, s.unwarned);
    CHECK_INT(s.cases, 701);
    CHECK((s.too_strict + s.too_lax) * 100 <= s.cases);
    CHECK_INT(s.unwarned, 0);
}
