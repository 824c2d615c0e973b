/* Documents and requests, by the rows of the behavioural checklist: which rule takes a request, under which name of a
 * host, from whom. The table of all rows is docs/behaviours.md. The rules send to subsets of service b in default,
 * 10.1.0.1:80 HTTP; an answer is the name of the subset, a status that the rule itself gives, or "404" without a route. */
#include "test/unit/compile_world.h"

#include "proxy/route.h"

#define B "10.1.0.1:80"

static void start(struct world *w)
{
    world_init(w);
    world_workload(w, world_service(w, "default", "b", "10.1.0.1", "http:HTTP:80"), "192.0.2.1", "app=b");
}

static void apply(struct world *w, const char *kind, const char *name, const char *spec)
{
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: networking.istio.io/v1\nkind: %s\nmetadata: {name: %s, namespace: default}\n"
                                "spec: %s\n",
                                kind, name, spec)
                       .p);
}

/* "METHOD HOST PATH [NAME:VALUE]..." */
static void read_request(struct world *w, struct http_head *h, const char *text)
{
    struct str rest = str_from(text), item, name;

    http_head_init(h, &w->arena, true);
    h->scheme = STR("http");
    CHECK(str_next(&rest, ' ', &h->method) && str_next(&rest, ' ', &h->authority) && str_next(&rest, ' ', &h->path));
    while (str_next(&rest, ' ', &item)) {
        CHECK(str_cut(&item, ':', &name));
        http_add(h, name, item);
    }
}

static const char *what_it_does(struct world *w, const struct route *r)
{
    struct str rest, port, subset;

    if (r->action == ROUTE_REDIRECT)
        return arena_printf(&w->arena, "%u", r->redirect.status).p;
    if (r->action == ROUTE_ANSWER)
        return arena_printf(&w->arena, "%u", r->answer.status).p;
    if (r->fault && r->fault->abort_share)
        return arena_printf(&w->arena, "%u", r->fault->abort_status).p;
    rest = str_sub(r->clusters[0].cluster, strlen("outbound|"), r->clusters[0].cluster.n);
    CHECK(str_cut(&rest, '|', &port));
    CHECK(str_cut(&rest, '|', &subset));
    return arena_str(&w->arena, subset).p;
}

static const char *decide(struct world *w, const struct route_table *t, const char *request)
{
    const struct route *r = NULL;
    const struct vhost *v;
    struct http_head h;

    read_request(w, &h, request);
    v = route_table_find(t, h.authority);
    return v && route_find(v, &h, &r) == MATCH_YES ? what_it_does(w, r) : "404";
}

/* ---- A: what a rule takes ---- */

struct row {
    const char *http; /* of a VirtualService for b; V1 and V2 send to these subsets */
    const char *request, *want;
};

#define V1          "route: [{destination: {host: b, subset: v1}}]"
#define V2          "route: [{destination: {host: b, subset: v2}}]"
#define IF(match)   "[{match: [{" match "}], " V1 "}]"
#define ELSE(match) "[{match: [{" match "}], " V1 "}, {" V2 "}]"

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct world w;
        const char *got;

        start(&w);
        apply(&w, "VirtualService", "v", arena_printf(&w.arena, "{hosts: [b], http: %s}", rows[i].http).p);
        world_compile(&w);
        got = decide(&w, world_listener(&w, B)->http, rows[i].request);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s\n%s: %s, want %s", rows[i].http, rows[i].request, got, rows[i].want);
        world_done(&w);
    }
}

TEST(a_path_is_exact_a_prefix_of_text_or_an_expression_for_all_of_it)
{
    static const struct row rows[] = {
        {IF("uri: {exact: /foo}"),              "GET b /foo?x=1",  "v1" }, /* A02 */
        {IF("uri: {exact: /foo}"),              "GET b /foo/",     "404"},
        {IF("uri: {prefix: /foo}"),             "GET b /foobar",   "v1" }, /* A03 */
        {IF("uri: {prefix: /foo}"),             "GET b /fo",       "404"},
        {IF("uri: {regex: '/a[0-9]+'}"),        "GET b /a12",      "v1" }, /* A04 */
        {IF("uri: {regex: '/a[0-9]+'}"),        "GET b /a12?q=/x", "v1" },
        {IF("uri: {regex: '/a[0-9]+'}"),        "GET b /a12/x",    "404"},
        {IF("uri: {regex: '/a[0-9]+'}"),        "GET b /xa12",     "404"},
    };

    check_rows(rows, COUNT(rows));
}

TEST(the_first_rule_that_matches_answers)
{
    static const struct row rows[] = {
        {"[{match: [{uri: {prefix: /}}], " V1 "}, {match: [{uri: {exact: /x}}], " V2 "}]", "GET b /x", "v1"}, /* A06 */
        {"[{match: [{uri: {regex: '.*'}}], fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, " V1 "}, {" V2 "}]",
         "GET b /", "418"}, /* A07 */
        {ELSE("uri: {prefix: /}, port: 8080"), "GET b /", "v2"}, /* A08 */
        {IF("uri: {prefix: /a}"), "GET b /b", "404"}, /* A27: the service is not fallen back to */
    };

    check_rows(rows, COUNT(rows));
}

TEST(headers_are_there_are_not_there_or_have_values)
{
    static const struct row rows[] = {
        {ELSE("headers: {x: {}}"),                            "GET b / x:any",            "v1"}, /* A12 */
        {ELSE("headers: {x: {}}"),                            "GET b / x:",               "v1"},
        {ELSE("headers: {x: {}}"),                            "GET b /",                  "v2"},
        {ELSE("withoutHeaders: {end-user: {exact: jason}}"),  "GET b / end-user:jason",   "v2"}, /* A14 */
        {ELSE("withoutHeaders: {end-user: {exact: jason}}"),  "GET b / end-user:other",   "v1"},
        {ELSE("withoutHeaders: {end-user: {exact: jason}}"),  "GET b /",                  "v1"},
        {ELSE("withoutHeaders: {end-user: {regex: '*'}}"),    "GET b / end-user:jason",   "v2"}, /* A15 */
        {ELSE("withoutHeaders: {end-user: {regex: '*'}}"),    "GET b / end-user:",        "v2"},
        {ELSE("withoutHeaders: {end-user: {regex: '*'}}"),    "GET b /",                  "v1"},
        {ELSE("withoutHeaders: {end-user: {regex: '.*'}}"),   "GET b / end-user:jason",   "v2"}, /* A16 */
        {ELSE("withoutHeaders: {end-user: {regex: '.*'}}"),   "GET b /",                  "v2"},
        {ELSE("withoutHeaders: {x: {exact: a}}"),             "GET b / x:a x:b",          "v1"}, /* the list is not "a" */
        {ELSE("headers: {x: {exact: a}}"),                    "GET b / x:a x:b",          "v2"},
        {ELSE("headers: {x: {exact: 'a,b'}}"),                "GET b / x:a x:b",          "v1"},
        {ELSE("withoutHeaders: {x: {exact: ''}}"),            "GET b /",                  "v2"},
        {ELSE("withoutHeaders: {x: {exact: ''}}"),            "GET b / x:",               "v2"},
        {ELSE("withoutHeaders: {x: {exact: ''}}"),            "GET b / x:a",              "v1"},
        {IF("headers: {':method': {exact: GET}}"),            "POST b /",                 "404"}, /* A18 */
        {IF("headers: {':method': {exact: GET}}"),            "GET b /",                  "v1"},
    };

    check_rows(rows, COUNT(rows));
}

TEST(parameters_methods_and_authorities_are_matched)
{
    static const struct row rows[] = {
        {ELSE("queryParams: {a: {exact: v}}"),       "GET b /?a=v",       "v1"}, /* A19 */
        {ELSE("queryParams: {a: {exact: v}}"),       "GET b /?a=vv",      "v2"},
        {ELSE("queryParams: {a: {exact: v}}"),       "GET b /?b=v",       "v2"},
        {ELSE("queryParams: {a: {prefix: v}}"),      "GET b /?b=1&a=vv",  "v1"},
        {ELSE("queryParams: {a: {prefix: v}}"),      "GET b /?a=wv",      "v2"},
        {ELSE("queryParams: {a: {regex: 'v+'}}"),    "GET b /?a=vvv",     "v1"},
        {ELSE("queryParams: {a: {regex: 'v+'}}"),    "GET b /?a=vvw",     "v2"},
        {ELSE("queryParams: {a: {}}"),               "GET b /?a=",        "v1"},
        {ELSE("queryParams: {a: {}}"),               "GET b /?ab=1",      "v2"},
        {ELSE("method: {exact: GET}"),               "GET b /",           "v1"}, /* A20 */
        {ELSE("method: {exact: GET}"),               "HEAD b /",          "v2"},
        {ELSE("authority: {exact: b}"),              "GET b /",           "v1"},
        {ELSE("authority: {exact: b}"),              "GET b:80 /",        "v2"}, /* the port of Host counts here */
        {ELSE("authority: {exact: 'b:80'}"),         "GET b:80 /",        "v1"}, /* and not for the virtual host */
        {ELSE("authority: {exact: B}"),              "GET b /",           "v1"}, /* heads have it in lower case */
        {ELSE("authority: {prefix: B}"),             "GET b /",           "v1"},
        {ELSE("authority: {regex: 'B(:80)?'}"),      "GET b /",           "v1"},
        {ELSE("headers: {host: {exact: B}}"),        "GET b /",           "v1"},
        {ELSE("headers: {':authority': {regex: 'B'}}"), "GET b /",        "v1"},
    };

    check_rows(rows, COUNT(rows));
}

TEST(a_rule_for_other_callers_does_not_exist)
{
    struct world w;

    start(&w);
    apply(&w, "VirtualService", "v", "{hosts: [b], http: " ELSE("sourceLabels: {app: x}") "}");
    world_local(&w, "default", "x", 9000, "http", "app=x");
    world_compile(&w);
    CHECK_TEXT(decide(&w, world_listener(&w, B)->http, "GET b /"), "v1"); /* A21 */
    w.locals[0].labels.items[0].value = STR("y");
    world_compile(&w);
    CHECK_TEXT(decide(&w, world_listener(&w, B)->http, "GET b /"), "v2");
    world_done(&w);
    start(&w);
    apply(&w, "VirtualService", "v", "{hosts: [b.default.svc.cluster.local], http: " ELSE("sourceNamespace: ns1") "}");
    w.self.ns = STR("ns1");
    world_compile(&w);
    CHECK_TEXT(decide(&w, world_listener(&w, B)->http, "GET b.default /"), "v1"); /* A22 */
    w.self.ns = STR("ns2");
    world_compile(&w);
    CHECK_TEXT(decide(&w, world_listener(&w, B)->http, "GET b.default /"), "v2");
    world_done(&w);
}

TEST(where_a_match_names_gateways_the_caller_does_not_count)
{
    struct world w;

    start(&w);
    apply(&w, "VirtualService", "v",
          "{hosts: [b], http: " ELSE("gateways: [mesh], sourceLabels: {app: x}, sourceNamespace: ns1") "}");
    world_compile(&w);
    CHECK_TEXT(decide(&w, world_listener(&w, B)->http, "GET b /"), "v1");
    world_done(&w);
    start(&w);
    apply(&w, "VirtualService", "v", "{hosts: [b], http: " ELSE("gateways: [other]") "}");
    world_compile(&w);
    CHECK_TEXT(decide(&w, world_listener(&w, B)->http, "GET b /"), "v2");
    world_done(&w);
}

TEST(the_most_specific_host_has_the_rules_and_an_unknown_one_port_80_only)
{
    struct world w;

    start(&w);
    apply(&w, "VirtualService", "wide", "{hosts: ['*.example.org'], http: [{" V1 "}]}");
    apply(&w, "VirtualService", "one", "{hosts: [a.example.org], http: [{match: [{uri: {prefix: /a}}], " V2 "}]}");
    world_service(&w, "default", "other", "10.1.0.3", "http:HTTP:8080");
    world_compile(&w);
    CHECK_TEXT(decide(&w, world_listener(&w, B)->http, "GET a.example.org /a"), "v2"); /* A25 */
    CHECK_TEXT(decide(&w, world_listener(&w, B)->http, "GET a.example.org /b"), "404");
    CHECK_TEXT(decide(&w, world_listener(&w, B)->http, "GET b.example.org /a"), "v1");
    CHECK_TEXT(decide(&w, world_listener(&w, "10.1.0.3:8080")->http, "GET b.example.org:8080 /a"), "404"); /* A26 */
    world_done(&w);
}

/* ---- D: the same at a gateway ---- */

static const struct route_table *gate(struct world *w, const char *hosts)
{
    world_local(w, "default", "edge", 0, "", "gw=edge");
    apply(w, "Gateway", "gw",
          arena_printf(&w->arena, "{selector: {gw: edge}, servers: [{port: {number: 80, name: h, protocol: HTTP}, %s}]}",
                       hosts)
              .p);
    world_compile(w);
    return world_gate(w, "gateway_0.0.0.0:80")->http;
}

TEST(a_gateway_serves_the_hosts_that_server_and_rule_share)
{
    const struct route_table *t;
    struct world w;

    start(&w);
    CHECK_TEXT(decide(&w, gate(&w, "hosts: ['*']"), "GET foo.bar /"), "404"); /* D01 */
    world_done(&w);
    start(&w);
    apply(&w, "VirtualService", "v", "{hosts: ['*.example.com'], gateways: [gw], http: [{" V1 "}]}");
    t = gate(&w, "hosts: ['*.example.com']");
    CHECK_TEXT(decide(&w, t, "GET foo.example.com /"), "v1"); /* D05 */
    CHECK_TEXT(decide(&w, t, "GET foo.example.com:80 /"), "v1");
    CHECK_TEXT(decide(&w, t, "GET foo.example.com:12345 /"), "v1");
    CHECK_TEXT(decide(&w, t, "GET example.com /"), "404");
    world_done(&w);
}

TEST(a_server_may_send_all_plain_text_to_https_also_without_rules)
{
    struct world w;
    const struct route_table *t;

    start(&w); /* D03 */
    apply(&w, "VirtualService", "v", "{hosts: [x.com], gateways: [gw], http: [{" V1 "}]}");
    t = gate(&w, "hosts: ['*'], tls: {httpsRedirect: true}");
    CHECK_TEXT(decide(&w, t, "GET x.com /"), "301");
    CHECK_TEXT(decide(&w, t, "GET foo.bar /a"), "301");
    world_done(&w);
}

TEST(rules_of_one_gateway_host_are_joined_and_what_takes_all_goes_last)
{
    struct world w;
    const struct route_table *t;

    start(&w); /* D09 */
    apply(&w, "VirtualService", "a-old", "{hosts: [x.com], gateways: [gw], http: [{match: [{uri: {prefix: /a}}], " V1 "}, {"
                                         "directResponse: {status: 418}}]}");
    apply(&w, "VirtualService", "b-young", "{hosts: [x.com], gateways: [gw], http: [{match: [{uri: {prefix: /b}}], " V2 "}]}");
    t = gate(&w, "hosts: ['*']");
    CHECK_TEXT(decide(&w, t, "GET x.com /a"), "v1");
    CHECK_TEXT(decide(&w, t, "GET x.com /b"), "v2");
    CHECK_TEXT(decide(&w, t, "GET x.com /c"), "418");
    world_done(&w);
}

/* ---- E: services from outside ---- */

TEST(tcp_services_of_one_port_are_told_apart_by_their_virtual_addresses)
{
    struct world w;

    start(&w); /* E13 */
    world_service(&w, "default", "db1.example.com", "240.240.0.1", "tcp:TCP:5432");
    world_service(&w, "default", "db2.example.com", "240.240.0.2", "tcp:TCP:5432");
    world_compile(&w);
    CHECK_STR(world_listener(&w, "240.240.0.1:5432")->tcp[0].clusters[0].cluster, "outbound|5432||db1.example.com");
    CHECK_STR(world_listener(&w, "240.240.0.2:5432")->tcp[0].clusters[0].cluster, "outbound|5432||db2.example.com");
    world_done(&w);
}
