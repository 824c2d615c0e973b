/* Where the line between right and wrong runs, rule by rule, as Istio's validation draws it: pairs of just right and just
 * wrong, and odd ones. */
#include "test/unit/doc_world.h"

/* `before` and `after` stand around each value. Without words it is taken; with words it is refused with them, or, where
 * they begin with '~', taken with a warning that has them. */
struct verdict {
    const char *value, *words;
};

static bool says(const struct docs *d, enum severity severity, const char *words)
{
    for (const struct finding *x = d->findings.first; x; x = x->next) {
        if (x->severity == severity && x->code != FIND_NOT_YET && str_find(x->detail, str_from(words), &(size_t){0}))
            return true;
    }
    return false;
}

static void check_one(const char *text, const char *value, const char *words)
{
    bool is_warning = words && words[0] == '~', ok;
    struct docs d;
    size_t errors;

    docs_parse_all(&d, str_from(text), SYNTAX_YAML);
    errors = findings_errors_besides(&d.findings, FIND_NOT_YET);
    if (!words)
        ok = errors == 0;
    else if (is_warning)
        ok = errors == 0 && says(&d, SEVERITY_WARNING, words + 1);
    else
        ok = errors > 0 && says(&d, SEVERITY_ERROR, words);
    if (!ok) {
        print_error("%s: not %s\n", value, words ? words : "taken");
        docs_print(&d);
    }
    CHECK(ok);
    docs_done(&d);
}

static void judge_each(const char *before, const char *after, const struct verdict *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct buf b;

        buf_init(&b, 4096);
        buf_printf(&b, "%s%s%s%c", before, rows[i].value, after, '\0');
        CHECK(!b.failed);
        check_one(b.p, rows[i].value, rows[i].words);
        buf_done(&b);
    }
}

#define EACH(before, after, ...)                                                                   \
    do {                                                                                           \
        static const struct verdict rows_[] = {__VA_ARGS__};                                       \
        judge_each(before, after, rows_, COUNT(rows_));                                            \
    } while (0)

#define RULE_BEFORE  VS("  hosts: [a.b]\n  http:\n  - {route: [{destination: {host: a}}], ")
#define MATCH_BEFORE VS("  hosts: [a.b]\n  http:\n  - {route: [{destination: {host: a}}], match: [{")
#define TO_A         "\n  http: [{route: [{destination: {host: a}}]}]\n"
#define POLICY       DR("  host: a.b\n  trafficPolicy: {")
#define SERVER       GW("  servers:\n  - {port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.b], tls: {")
#define SIDECAR(s)   DOC("networking.istio.io/v1", "Sidecar", s)

TEST(names_of_hosts)
{
    EACH(VS("  hosts: ["), "]" TO_A,
         {"a", NULL}, {"A.b", NULL}, {"a.b.", NULL}, {"'*.a.b'", NULL}, {"'*-a.b'", NULL}, {"'1'", NULL},
         {"1.2.3.4", NULL}, {"'::1'", NULL}, {"a.1b", NULL}, {"a.1", "number"}, {"a_b", "label"}, {"-a.b", "label"},
         {"a..b", "label"}, {"'.'", "label"}, {"''", "empty"}, {"a.*", "wildcard"}, {"'**'", "wildcard"},
         {"'*-'", "wildcard"}, {"'*.*'", "wildcard"}, {"'*', a.b", "gateways only"},
         {"outbound_.80_._.a.b", "tls rules"}, {"a, b", NULL}, {"A.b, a.b", NULL}, {"a.b, a.b", "overlaps"},
         {"'*.b', a.b", "overlaps"}, {"a.b, '*a.b'", "overlaps"}, {"'*.a.b', a.b", NULL});
    EACH(VS(HTTP_TO_A "    mirror: {host: "), "}\n",
         {"a", NULL}, {"'*.a'", NULL}, {"'1'", NULL}, {"'*'", "one host"}, {"'*-'", "wildcard"}, {"a.1", "number"});
    EACH(GW("  servers:\n  - {port: {number: 80, name: a, protocol: HTTP}, hosts: ["), "]}\n",
         {"'*'", NULL}, {"ns/a.b", NULL}, {"./a.b", NULL}, {"'*/*.a.b'", NULL}, {"NS/a.b", NULL}, {"1.2.3.4", NULL},
         {"'::1'", "IPv6"}, {"a", "short name"}, {"'*a.b'", "first label"}, {"~/a.b", "namespace"},
         {"/a.b", "namespace"}, {"ns/", "empty"});
    EACH(SIDECAR("  egress: [{hosts: ["), "]}]\n",
         {"./*", NULL}, {"'*/a.b'", NULL}, {"~/*", NULL}, {"NS/*", NULL}, {"ns/1.2.3.4", "number"},
         {"ns/a", "short name"}, {"a.b", "namespace/host"}, {"a_b/*", "namespace"});
}

TEST(names_of_other_things)
{
    EACH(RULE_BEFORE "match: [{gateways: [", "]}]}\n",
         {"mesh", NULL}, {"ns/gw", NULL}, {"NS/Gw", NULL}, {"gw", NULL}, {"./gw", "namespace"},
         {"'*/gw'", "namespace"}, {"ns/a.b", "Gateway"}, {"ns/", "Gateway"}, {"'1'", "number"});
    EACH(RULE_BEFORE "match: [{sourceNamespace: ", "}]}\n",
         {"ns", NULL}, {"NS", NULL}, {"a.b", "not a name"}, {"'*'", "not a name"});
    EACH(VS("  hosts: [a]\n  exportTo: ["), "]" TO_A,
         {"'*'", NULL}, {"'.'", NULL}, {"ns", NULL}, {"NS", NULL}, {"a, b", NULL}, {"shop, .", "twice"},
         {"'*', a", "alone"}, {"'~'", "ServiceEntry only"}, {"a.b", "neither"}, {"''", "empty"});
    EACH(DR("  host: a\n  subsets: [{name: "), "}]\n",
         {"v1", NULL}, {"V1", NULL}, {"a.b", "not a name"}, {"''", "name"});
    EACH(SIDECAR("  ingress: [{port: {number: 80, protocol: HTTP, name: "), "}}]\n",
         {"http", NULL}, {"A-1", NULL}, {"''", NULL}, {"a b", "not a name"}, {"a_b", "not a name"});
    EACH(GW("  servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a.b]}]\n  selector: "), "\n",
         {"{a: b}", NULL}, {"{'': b}", "~nothing has it"}, {"{a: '*'}", "~nothing has it"});
    EACH(DR("  host: a\n  workloadSelector: {matchLabels: "), "}\n",
         {"{a: b}", NULL}, {"{a b: c}", "~nothing has it"}, {"{a: '*'}", "no wildcards"}, {"{'': b}", "empty"});
}

TEST(what_a_request_must_be)
{
    EACH(MATCH_BEFORE "headers: {", "}}]}\n",
         {"x: {exact: ''}", NULL}, {"x: {}", NULL}, {"':status': {exact: a}", NULL}, {"x: {prefix: ''}", "prefix"},
         {"x: {regex: '*'}", "nothing to repeat"}, {"x: null", "no value"}, {"'a b': {exact: a}", "name of a header"},
         {"':a': {exact: a}", "name of a header"}, {"'@request.auth.claims': {exact: a}", "name of a header"},
         {"'@request.auth.claims.a': {exact: a}", "gateways only"});
    EACH(MATCH_BEFORE "withoutHeaders: {", "}}]}\n",
         {"x: {regex: '*'}", NULL}, {"x: {prefix: ''}", "prefix"},
         {"'@request.auth.claims[a]': {exact: a}", "gateways only"});
    EACH(MATCH_BEFORE "queryParams: {", "}}]}\n",
         {"'': {exact: a}", NULL}, {"a: {}", NULL}, {"a: {regex: '*'}", "nothing to repeat"});
    EACH(MATCH_BEFORE "uri: {", "}}]}\n",
         {"prefix: ''", NULL}, {"exact: ''", NULL}, {"exact: null, prefix: a", NULL}, {"regex: ''", "empty"},
         {"exact: a, prefix: b", "only one"}, {"suffix: a", "unknown field"});
    EACH(MATCH_BEFORE "port: ", "}]}\n",
         {"0", NULL}, {"65535", NULL}, {"65536", "65535"}, {"-1", "65535"}, {"'80'", "whole number"});
}

TEST(expressions)
{
    EACH(MATCH_BEFORE "uri: {regex: '", "'}}]}\n",
         {"(?i)a", NULL}, {"(?P<1>a)", NULL}, {"(?P<n>a)(?P<n>b)", NULL}, {"[\\w-z]", NULL}, {"[[:alpha:]-z]", NULL},
         {"\\ ", NULL}, {"\\_", NULL}, {"[]a]", NULL}, {"a{,5}", NULL}, {"a{1000}", NULL}, {"a{1001}", "1000"},
         {"a++", "possessive"}, {"(?=a)", "look-around"}, {"\\C", "escape"}, {"(a)\\1", "back-references"},
         {"[z-a]", "range"}, {"(?P<>a)", "name of a group"}, {"*", "nothing to repeat"});
}

TEST(answers_of_rules)
{
    EACH(VS("  hosts: [a]\n  http: [{redirect: {"), "}}]\n",
         {"uri: /a", NULL}, {"derivePort: FROM_REQUEST_PORT", NULL}, {"port: 0", NULL}, {"scheme: https", NULL},
         {"scheme: HTTPS", "small letters"}, {"", "needs uri"}, {"port: 65536", "65535"},
         {"uri: /a, redirectCode: 0", NULL}, {"uri: /a, redirectCode: 308", NULL},
         {"uri: /a, redirectCode: 304", "~do not follow"}, {"uri: /a, redirectCode: 400", "399"},
         {"uri: /a, port: 1, derivePort: FROM_REQUEST_PORT", "both"}, {"uri: /a, derivePort: X", "not one of"});
    EACH(VS("  hosts: [a]\n  http: [{delegate: {name: d}"), "}]\n",
         {"", NULL}, {", directResponse: {status: 200}", "~no effect"}, {", redirect: {uri: /a}", "excludes"},
         {", route: [{destination: {host: a}}]", "excludes"});
    EACH(RULE_BEFORE "fault: {", "}}\n",
         {"abort: {}", "~no request is aborted"}, {"delay: {}", "~no request is delayed"}, {"", "needs delay"},
         {"abort: {grpcStatus: NOT_FOUND}", "~without percentage"}, {"abort: {grpcStatus: ''}", "grpcStatus"},
         {"abort: {httpStatus: 600}", "~without percentage"}, {"abort: {httpStatus: 601}", "600"},
         {"abort: {httpStatus: 500, percentage: {value: 0.0001}}", NULL},
         {"abort: {httpStatus: 500, percentage: {value: 0.00001}}", "at least 0.0001"},
         {"delay: {fixedDelay: 1s, percentage: {value: 100.1}}", "100"}, {"delay: {fixedDelay: 0s}", "1ms"});
    EACH(RULE_BEFORE "mirror: {host: a}, mirrorPercentage: {value: ", "}}\n",
         {"0.00001", NULL}, {"100", NULL}, {"100.5", "100"}, {"-1", "100"});
    EACH(RULE_BEFORE "corsPolicy: {", "}}\n",
         {"maxAge: 1s", NULL}, {"maxAge: 0s", "1ms"}, {"maxAge: 1500ms", "whole number of seconds"},
         {"allowOrigins: [{exact: '*'}]", NULL}, {"allowOrigins: [{exact: ''}]", "not be empty"},
         {"allowOrigins: [{}]", "one of exact"}, {"allowHeaders: ['*']", NULL},
         {"allowHeaders: ['a b']", "name of a header"},
         {"allowHeaders: ['@request.auth.claims.a']", "name of a header"}, {"allowMethods: [get]", "method"});
    EACH(RULE_BEFORE "retries: {attempts: 1, retryOn: '", "'}}\n",
         {"5xx", NULL}, {"5xx,503", NULL}, {"", NULL}, {"5xx, 503", "no blanks"}, {"5xx,", "\"\""}, {"599", "599"},
         {"306", "306"}, {"418", NULL}, {"419", "419"}, {"5XX", "5XX"});
}

TEST(edits_of_headers)
{
    EACH(RULE_BEFORE "headers: {request: {set: {", "}}}}\n",
         {"host: a", NULL}, {"'a b': c", "~no effect"}, {"':path': a", "cannot be edited"}, {"'': a", "empty"},
         {"x: '100%%'", NULL}, {"x: '100%'", "not closed"}, {"x: '%REQ(a):1%'", "behind ')'"},
         {"x: '%REQ(a) %'", NULL}, {"host: a, ':authority': b", "one place only"}, {"x: \"a\\tb\"", NULL},
         {"x: \"a\\nb\"", "control"});
    EACH(VS("  hosts: [a]\n  http: [{route: [{destination: {host: a}, headers: {"), "}}]}]\n",
         {"request: {set: {host: a, ':authority': b}}", "~twice"}, {"response: {set: {host: a}}", "cannot be edited"},
         {"request: {remove: [host]}", "cannot be edited"});
}

TEST(policies)
{
    EACH(POLICY, "}\n",
         {"", "empty"}, {"tls: {}", NULL}, {"tunnel: {targetHost: a, targetPort: 1}", NULL},
         {"tunnel: {targetHost: '*.a', targetPort: 1}", "one host"},
         {"tunnel: {targetHost: '::1', targetPort: 1}", NULL},
         {"tunnel: {protocol: connect, targetHost: a, targetPort: 1}", "in capitals"},
         {"tunnel: {targetHost: a, targetPort: 0}", "65535"}, {"portLevelSettings: [{port: {}, tls: {}}]", NULL},
         {"portLevelSettings: [{port: {number: 70000}, tls: {}}]", NULL},
         {"portLevelSettings: [{tls: {}}]", "port is required"},
         {"portLevelSettings: [{port: {number: 1}}]", "no block"});
    EACH(POLICY "loadBalancer: {warmup: {duration: 1s, ", "}}}\n",
         {"aggression: 1", NULL}, {"aggression: 0.9", "from 1"}, {"minimumPercent: 100", NULL},
         {"minimumPercent: 100.5", "100"});
    EACH(POLICY "tls: {", "}}\n",
         {"mode: DISABLE, credentialName: a, privateKey: b", NULL},
         {"mode: SIMPLE, credentialName: a, privateKey: b", "excludes"},
         {"mode: ISTIO_MUTUAL, insecureSkipVerify: true, caCertificates: a", NULL},
         {"mode: SIMPLE, insecureSkipVerify: true, caCertificates: a", "excludes"},
         {"mode: MUTUAL, insecureSkipVerify: true, credentialName: a", NULL},
         {"mode: MUTUAL, privateKey: a", "clientCertificate"}, {"mode: simple", "not one of"});
}

TEST(localities)
{
    EACH(POLICY "outlierDetection: {}, loadBalancer: {localityLbSetting: {", "}}}\n",
         {"distribute: [{from: a, to: {a/b: 50, a/c: 50}}]", NULL},
         {"distribute: [{from: a/*, to: {'*': 100}}]", NULL}, {"distribute: [{from: a, to: {a: 99}}]", "100"},
         {"distribute: [{from: a//b, to: {a: 100}}]", "no locality"},
         {"distribute: [{from: a, to: {a/: 100}}]", "no locality"},
         {"distribute: [{from: a*b, to: {a: 100}}]", "at the end"},
         {"distribute: [{from: a, to: {a*/b: 100}}]", "at the end"},
         {"distribute: [{from: a, to: {a: 50, a/b: 50}}]", "overlaps"},
         {"distribute: [{from: a, to: {'*': 50, b: 50}}]", "overlaps"},
         /* What stands behind is what remains. */
         {"distribute: [{from: a/b, to: {a: 100}}, {from: a/*, to: {a: 100}}, {from: '*', to: {a: 100}}]", NULL},
         {"distribute: [{from: a/*, to: {a: 100}}, {from: a/b, to: {a: 100}}]", "overlaps"},
         {"distribute: [{from: a/b/c, to: {a: 100}}, {from: a, to: {a: 100}}]", "overlaps"},
         {"failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/region=x]", NULL},
         {"failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/region]", "ranked already"},
         {"failover: [{from: a, to: a}]", "different"}, {"failover: [{from: a/b, to: c}]", "regions only"});
}

TEST(servers_and_their_certificates)
{
    EACH(SERVER, "}}\n",
         {"mode: SIMPLE, credentialName: a", NULL}, {"mode: SIMPLE", "serverCertificate"},
         {"mode: PASSTHROUGH, tlsCertificates: [{}]", "~not used"},
         {"mode: SIMPLE, tlsCertificates: [{serverCertificate: a}]", "privateKey"},
         {"mode: SIMPLE, credentialNames: [a, b]", NULL}, {"mode: SIMPLE, credentialNames: [a, b, c]", "at most 2"},
         {"mode: SIMPLE, credentialName: a, credentialNames: []", "not be empty"},
         {"mode: PASSTHROUGH, credentialName: a, credentialNames: [b]", "only one of"},
         {"mode: PASSTHROUGH, credentialName: a, caCrl: b", "caCrl"}, {"mode: ISTIO_MUTUAL, caCrl: a", "~no effect"},
         {"mode: ISTIO_MUTUAL, caCertificates: a", "excludes"},
         {"mode: MUTUAL, serverCertificate: a, privateKey: b, caCertCredentialName: c", "caCertificates"},
         {"mode: MUTUAL, credentialName: a, caCertCredentialName: c", NULL},
         {"mode: SIMPLE, serverCertificate: a, privateKey: b, caCrl: c", "caCrl"});
    EACH(GW("  servers:\n  - {port: {number: 80, name: a, protocol: HTTP}, hosts: [a.b], tls: {"), "}}\n",
         {"httpsRedirect: true", NULL}, {"", "~only tls.httpsRedirect"},
         {"httpsRedirect: true, mode: SIMPLE, credentialName: a", "has no TLS"},
         {"httpsRedirect: true, caCertificates: a", "has no TLS"});
    EACH(GW("  servers:\n  - {hosts: [a.b], port: {name: a, number: 80, protocol: "), "}}\n",
         {"http", NULL}, {"GRPC-Web", NULL}, {"HTTP_PROXY", NULL}, {"SCTP", "not one of"}, {"''", "protocol"});
    EACH(GW("  servers:\n  - {hosts: [a.b], port: {name: a, number: 0, protocol: HTTP}, bind: '"), "'}\n",
         {"unix:///a", NULL}, {"unix://@a", NULL}, {"unix:///", "neither"}, {"unix:/a", "neither"},
         {"1.2.3.4", "not 0"});
}

TEST(listeners_of_sidecars)
{
    EACH(SIDECAR("  egress: ["), "]\n",
         {"{hosts: [./*], port: {number: 80, protocol: HTTP}}, {hosts: [./*]}", NULL},
         {"{hosts: [./*]}, {hosts: [./*], port: {number: 80, protocol: HTTP}}", "only the last"},
         {"{hosts: [./*], port: {number: 80}, bind: 127.0.0.1, captureMode: NONE}, {hosts: [./*], port: {number: 80}, bind: 127.0.0.2, "
          "captureMode: NONE}", "has port 80"},
         {"{hosts: [./*], port: {number: 0}, bind: 'unix:///a'}", NULL},
         {"{hosts: [./*], port: {number: 0}}", "bind a unix socket"});
    EACH(SIDECAR("  outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {"), "}}\n",
         {"host: a.b, port: {number: 80}", NULL}, {"host: '*.b', port: {number: 80}", "one host"},
         {"host: a.b", "needs port"});
}
