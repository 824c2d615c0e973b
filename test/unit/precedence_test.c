/* Whose word counts, where several documents speak of one thing: names, namespaces, visibility, age.
 * Source: fields.md 4.6 and 4.7; more of it in compile_rule_test.c, compile_policy_test.c, catalog_test.c, service_entry_test.c. Unless said
 * otherwise: service b in default on 10.1.0.1:80 HTTP, one workload, and a caller in default. */
#include "test/unit/compile_world.h"

#define B      "10.1.0.1:80"
#define B_HOST "b.default.svc.cluster.local"

static void start(struct world *w)
{
    world_init(w);
    world_workload(w, world_service(w, "default", "b", "10.1.0.1", "http:HTTP:80"), "192.0.2.1", "app=b");
}

/* A document of networking.istio.io, made in that second of the year. */
static void document(struct world *w, const char *kind, const char *ns, const char *name, const char *second,
                     const char *spec)
{
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: networking.istio.io/v1\nkind: %s\nmetadata: {name: %s, namespace: "
                                "%s, creationTimestamp: 2026-01-01T00:00:%sZ}\nspec: %s\n",
                                kind, name, ns, second, spec)
                       .p);
}

static const char *b_routes(struct world *w)
{
    world_compile(w);
    return world_routes(w, B, B_HOST);
}

#define VIRTUAL    "VirtualService"
#define TO(subset) "http: [{route: [{destination: {host: " B_HOST ", subset: " subset "}}]}]"

/* ---- age ---- */

TEST(age_counts_in_whole_seconds_and_then_the_name)
{
    struct world w;

    start(&w);
    document(&w, VIRTUAL, "default", "b-first", "01.100", "{hosts: [b], " TO("first") "}");
    document(&w, VIRTUAL, "default", "a-later", "01.900", "{hosts: [b], " TO("later") "}");
    CHECK_TEXT(b_routes(&w), "80|later|b.default");
    document(&w, VIRTUAL, "default", "z", "00.999", "{hosts: [b], " TO("oldest") "}");
    CHECK_TEXT(b_routes(&w), "80|oldest|b.default");
    world_done(&w);
}

TEST(of_one_age_and_name_the_namespace_decides)
{
    struct world w;

    start(&w);
    document(&w, VIRTUAL, "zoo", "v", "01", "{hosts: [" B_HOST "], " TO("zoo") "}");
    document(&w, VIRTUAL, "ant", "v", "01", "{hosts: [" B_HOST "], " TO("ant") "}");
    CHECK_TEXT(b_routes(&w), "80|ant|b.default");
    world_done(&w);
}

/* ---- names ---- */

TEST(a_short_host_of_a_rule_is_a_service_of_the_rules_namespace)
{
    struct world w;

    start(&w);
    document(&w, VIRTUAL, "else", "v", "01", "{hosts: [b], " TO("wrong") "}");
    CHECK_TEXT(b_routes(&w), "80||b.default");
    document(&w, VIRTUAL, "default", "v", "02", "{hosts: [B], " TO("right") "}"); /* names have no case */
    CHECK_TEXT(b_routes(&w), "80|right|b.default");
    world_done(&w);
}

TEST(a_host_with_a_dot_is_completed_by_nothing)
{
    struct world w;

    start(&w);
    document(&w, VIRTUAL, "default", "v", "01", "{hosts: [b.default], " TO("v1") "}");
    CHECK_TEXT(b_routes(&w), "80||b.default");
    world_done(&w);
}

TEST(a_mirror_is_completed_by_the_namespace_of_its_rule)
{
    const struct route *r;
    struct world w;

    start(&w);
    document(&w, VIRTUAL, "else", "v", "01",
             "{hosts: [" B_HOST "], http: [{route: [{destination: {host: " B_HOST "}}], mirror: {host: m}}]}");
    world_service(&w, "else", "m", "10.1.0.7", "http:HTTP:80");
    world_compile(&w);
    r = &world_vhost(&w, B, B_HOST)->routes[0];
    CHECK_INT(r->mirror_count, 1);
    CHECK_STR(r->mirrors[0].cluster, "outbound|80||m.else.svc.cluster.local");
    world_done(&w);
}

TEST(every_form_of_a_gateways_name_is_understood)
{
    static const struct {
        const char *ref, *ns, *want;
    } rows[] = {
        {"mesh",                       "shop", "mesh"   },
        {"gw",                         "shop", "shop/gw"},
        {"./gw",                       "shop", "shop/gw"},
        {"edge/gw",                    "shop", "edge/gw"},
        {"gw.edge",                    "shop", "edge/gw"},
        {"gw.edge.svc.cluster.local",  "shop", "edge/gw"},
    };
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_STR(model_gateway_ref(&a, str_from(rows[i].ref), str_from(rows[i].ns)), rows[i].want);
    arena_done(&a);
}

/* ---- what is exported to whom ---- */

TEST(own_private_rules_go_before_rules_exported_by_name_and_those_before_public_ones)
{
    struct world w;

    start(&w);
    document(&w, VIRTUAL, "default", "public", "01", "{hosts: [b], exportTo: ['*'], " TO("public") "}");
    document(&w, VIRTUAL, "default", "both", "02", "{hosts: [b], exportTo: ['.', other], " TO("both") "}");
    CHECK_TEXT(b_routes(&w), "80|both|b.default"); /* not private only, yet nearer than public */
    document(&w, VIRTUAL, "default", "private", "03", "{hosts: [b], exportTo: [default], " TO("private") "}");
    CHECK_TEXT(b_routes(&w), "80|private|b.default");
    w.self.ns = STR("other");
    CHECK_TEXT(b_routes(&w), "80|both|b.default");
    w.self.ns = STR("third");
    CHECK_TEXT(b_routes(&w), "80|public|b.default");
    world_done(&w);
}

TEST(the_winner_of_each_host_is_found_for_itself)
{
    struct world w;

    start(&w);
    world_service(&w, "default", "c", "10.1.0.2", "http:HTTP:80");
    document(&w, VIRTUAL, "default", "one", "01", "{hosts: [b], " TO("one") "}");
    document(&w, VIRTUAL, "default", "two", "02", "{hosts: [b, c], " TO("two") "}");
    CHECK_TEXT(b_routes(&w), "80|one|b.default");
    CHECK_TEXT(world_routes(&w, "10.1.0.2:80", "c"), "80|two|b.default");
    world_done(&w);
}

TEST(a_service_is_there_only_for_whom_it_is_exported_to)
{
    static const struct {
        const char *export_to, *caller;
        bool there;
    } rows[] = {
        {"",           "default", true },
        {"*",          "default", true },
        {".",          "default", false},
        {".",          "shop",    true },
        {"~",          "shop",    false},
        {"x default",  "default", true },
        {"x default",  "shop",    false},
    };
    struct world w;

    start(&w);
    world_service(&w, "shop", "c", "10.1.0.2", "http:HTTP:80");
    for (size_t i = 0; i < COUNT(rows); i++) {
        w.c.services[1]->export_to = str_from(rows[i].export_to);
        w.self.ns = str_from(rows[i].caller);
        world_compile(&w);
        if ((world_listener(&w, "10.1.0.2:80") != NULL) != rows[i].there)
            fail_msg("exportTo \"%s\", caller %s", rows[i].export_to, rows[i].caller);
    }
    world_done(&w);
}

TEST(a_gateway_of_the_host_reaches_what_is_exported_to_it)
{
    struct world w;

    start(&w);
    world_service(&w, "shop", "c", "10.1.0.2", "http:HTTP:80")->export_to = STR("edge");
    world_compile(&w);
    CHECK(!world_cluster(&w, "80||c.shop"));
    world_local(&w, "edge", "edge", 0, "", "gw=edge");
    world_compile(&w);
    CHECK(world_cluster(&w, "80||c.shop") != NULL);
    world_done(&w);
}

static const char *owner_of_api(struct world *w, const char *caller)
{
    struct addr vip;

    w->self.ns = str_from(caller);
    world_compile(w);
    CHECK(addr_parse(STR("10.3.0.1:80"), &vip));
    for (uint8_t i = 1; i <= 3; i++) {
        const struct listener *l;

        vip.ip[3] = i;
        l = snapshot_outbound(w->s, &vip);
        if (l)
            return arena_str(&w->arena, l->service).p;
    }
    return "nobody";
}

TEST(of_one_host_in_several_namespaces_the_callers_own_then_the_oldest_visible_is_taken)
{
    struct service *a, *b, *c;
    struct world w;

    start(&w); /* E15 */
    a = world_service(&w, "aaa", "api.example.com", "10.3.0.1", "http:HTTP:80");
    b = world_service(&w, "bbb", "api.example.com", "10.3.0.2", "http:HTTP:80");
    c = world_service(&w, "ccc", "api.example.com", "10.3.0.3", "http:HTTP:80");
    a->since_s = 30;
    b->since_s = 20;
    c->since_s = 10;
    CHECK_TEXT(owner_of_api(&w, "aaa"), "aaa/api.example.com");
    CHECK_TEXT(owner_of_api(&w, "zzz"), "ccc/api.example.com");
    c->export_to = STR(".");
    CHECK_TEXT(owner_of_api(&w, "zzz"), "bbb/api.example.com");
    a->since_s = 0; /* not by a ServiceEntry: the mesh runs it */
    CHECK_TEXT(owner_of_api(&w, "zzz"), "aaa/api.example.com");
    a->since_s = b->since_s;
    CHECK_TEXT(owner_of_api(&w, "zzz"), "aaa/api.example.com");
    world_done(&w);
}

/* The mesh says for those that say nothing. */
TEST(rules_without_an_export_have_that_of_the_mesh)
{
    struct world w;

    start(&w);
    document(&w, VIRTUAL, "else", "v", "01", "{hosts: [" B_HOST "], " TO("silent") "}");
    document(&w, VIRTUAL, "else", "w", "02", "{hosts: [" B_HOST "], exportTo: ['*'], " TO("public") "}");
    document(&w, "DestinationRule", "default", "d", "01", "{host: b, subsets: [{name: silent}]}");
    CHECK_TEXT(b_routes(&w), "80|silent|b.default");
    world_apply(&w, "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, namespace: istio-system}\n"
                    "spec: {defaultVirtualServiceExportTo: ['.'], defaultDestinationRuleExportTo: ['.']}\n");
    CHECK_TEXT(b_routes(&w), "80|public|b.default");
    CHECK(world_cluster(&w, "80|silent|b.default") != NULL);
    w.self.ns = STR("else");
    CHECK_TEXT(b_routes(&w), "80|silent|b.default"); /* private to it now: before public ones */
    CHECK(!world_cluster(&w, "80|silent|b.default"));
    world_done(&w);
}

/* ---- DestinationRules ---- */

static int balance(struct world *w)
{
    world_compile(w);
    return (int)world_cluster(w, "80||b.default")->balance;
}

#define SIMPLE(kind) "trafficPolicy: {loadBalancer: {simple: " kind "}}"
#define RULE         "DestinationRule"

TEST(a_caller_in_the_root_namespace_takes_its_private_rules_first_and_its_public_ones_last)
{
    struct world w;

    start(&w);
    w.self.ns = STR("istio-system");
    document(&w, RULE, "istio-system", "public", "01", "{host: " B_HOST ", " SIMPLE("RANDOM") "}");
    CHECK_INT(balance(&w), BALANCE_RANDOM);
    document(&w, RULE, "default", "service", "02", "{host: b, " SIMPLE("ROUND_ROBIN") "}");
    CHECK_INT(balance(&w), BALANCE_ROUND_ROBIN);
    document(&w, RULE, "istio-system", "private", "03", "{host: " B_HOST ", exportTo: ['.'], subsets: [{name: own}]}");
    CHECK_INT(balance(&w), BALANCE_LEAST_REQUEST);
    CHECK(world_cluster(&w, "80|own|b.default") != NULL);
    world_done(&w);
}

TEST(a_rule_of_the_root_namespace_reaches_others_only_as_it_is_exported)
{
    struct world w;

    start(&w);
    document(&w, RULE, "istio-system", "own", "01", "{host: " B_HOST ", exportTo: ['.'], " SIMPLE("RANDOM") "}");
    CHECK_INT(balance(&w), BALANCE_LEAST_REQUEST);
    document(&w, RULE, "istio-system", "all", "02", "{host: " B_HOST ", exportTo: [default], " SIMPLE("ROUND_ROBIN") "}");
    CHECK_INT(balance(&w), BALANCE_ROUND_ROBIN);
    world_done(&w);
}

TEST(a_rule_is_merged_into_an_older_one_only_if_it_is_exported_as_far)
{
    static const struct {
        const char *first, *second;
        bool merged;
    } rows[] = {
        {"'*'",            "'*'",                 true },
        {"'*'",            "default",             false},
        {"default",        "'*'",                 true },
        {"default",        "default, shop",       true },
        {"default, shop",  "default",             false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w;

        start(&w);
        document(&w, RULE, "default", "x", "01",
                 arena_printf(&w.arena, "{host: b, exportTo: [%s], subsets: [{name: v1}]}", rows[i].first).p);
        document(&w, RULE, "default", "y", "02",
                 arena_printf(&w.arena, "{host: b, exportTo: [%s], subsets: [{name: v2}]}", rows[i].second).p);
        world_compile(&w);
        CHECK(world_cluster(&w, "80|v1|b.default") != NULL);
        if ((world_cluster(&w, "80|v2|b.default") != NULL) != rows[i].merged)
            fail_msg("exportTo [%s] and [%s]", rows[i].first, rows[i].second);
        world_done(&w);
    }
}

TEST(a_rule_with_a_selector_goes_before_older_ones_and_takes_their_subsets)
{
    struct world w;

    start(&w);
    world_local(&w, "default", "x", 9000, "http", "app=x");
    document(&w, RULE, "default", "all", "01", "{host: b, " SIMPLE("RANDOM") ", subsets: [{name: v1}]}");
    document(&w, RULE, "default", "some", "02",
             "{host: b, exportTo: ['.'], workloadSelector: {matchLabels: {app: x}}, " SIMPLE("ROUND_ROBIN") "}");
    CHECK_INT(balance(&w), BALANCE_ROUND_ROBIN);
    CHECK(world_cluster(&w, "80|v1|b.default") != NULL);
    world_done(&w);
}

TEST(a_selector_of_another_namespace_selects_nobody_here)
{
    struct world w;

    start(&w);
    world_local(&w, "client", "x", 9000, "http", "app=x");
    document(&w, RULE, "default", "some", "01",
             "{host: b, workloadSelector: {matchLabels: {app: x}}, " SIMPLE("ROUND_ROBIN") "}");
    CHECK_INT(balance(&w), BALANCE_LEAST_REQUEST);
    world_done(&w);
}

TEST(a_rule_for_a_wildcard_counts_only_where_its_namespace_has_none_for_the_host)
{
    struct world w;

    start(&w);
    document(&w, RULE, "default", "wide", "01", "{host: '*.svc.cluster.local', " SIMPLE("RANDOM") "}");
    document(&w, RULE, "default", "wider", "01", "{host: '*.local', subsets: [{name: v1}]}");
    CHECK_INT(balance(&w), BALANCE_RANDOM);
    CHECK(!world_cluster(&w, "80|v1|b.default")); /* different hosts are not merged */
    document(&w, RULE, "default", "exact", "09", "{host: b, subsets: [{name: v2}]}");
    CHECK_INT(balance(&w), BALANCE_LEAST_REQUEST);
    world_done(&w);
}

TEST(limits_at_the_service_itself_are_those_of_the_port_that_clients_address)
{
    struct local_service *own;
    struct world w;

    start(&w);
    own = world_local(&w, "default", "b", 9000, "http", "app=b");
    own->service_port = 80;
    document(&w, RULE, "default", "b", "01",
             "{host: b, trafficPolicy: {connectionPool: {tcp: {maxConnections: 5}}, portLevelSettings: [{port: "
             "{number: 80}, connectionPool: {tcp: {maxConnections: 7}}}]}}");
    world_compile(&w);
    CHECK_INT(snapshot_cluster(w.s, STR("inbound|9000||"))->limits.connections, 7);
    world_done(&w);
}

/* ---- delegates ---- */

#define DELEGATED(ns) "{hosts: [b], http: [{delegate: {name: d" ns "}}]}"

TEST(a_delegate_without_a_namespace_is_one_of_the_roots)
{
    struct world w;

    start(&w);
    document(&w, VIRTUAL, "else", "d", "01", "{" TO("else") "}");
    document(&w, VIRTUAL, "default", "d", "02", "{" TO("own") "}");
    document(&w, VIRTUAL, "default", "v", "03", DELEGATED(""));
    CHECK_TEXT(b_routes(&w), "80|own|b.default");
    world_done(&w);
    start(&w);
    document(&w, VIRTUAL, "else", "d", "01", "{" TO("else") "}");
    document(&w, VIRTUAL, "default", "v", "03", DELEGATED(", namespace: else"));
    CHECK_TEXT(b_routes(&w), "80|else|b.default");
    world_done(&w);
}

/* What is left of rules of a delegate under the match of its root. */
static const char *joined(const char *root, const char *leaf)
{
    static char text[2048];
    struct world w;

    start(&w);
    document(&w, VIRTUAL, "default", "d", "01",
             arena_printf(&w.arena, "{http: [{match: [%s], route: [{destination: {host: b}}]}]}", leaf).p);
    document(&w, VIRTUAL, "default", "v", "02",
             arena_printf(&w.arena,
                          "{hosts: [b], http: [{match: [%s], delegate: {name: d}}, {route: [{destination: {host: b, "
                          "subset: rest}}]}]}",
                          root)
                 .p);
    snprintf(text, sizeof(text), "%s", b_routes(&w));
    world_done(&w);
    return text;
}

#define REST "80|rest|b.default"

TEST(conditions_of_root_and_delegate_are_joined_or_exclude_each_other)
{
    static const struct {
        const char *root, *leaf, *want;
    } rows[] = {
        {"{headers: {a: {exact: '1'}}}", "{headers: {b: {exact: '2'}}}", "b=2 a=1 80||b.default; " REST},
        {"{headers: {a: {exact: '1'}}}", "{headers: {a: {exact: '2'}}}", REST},
        {"{headers: {a: {prefix: x}}}", "{headers: {A: {exact: xy}}}", "a=xy 80||b.default; " REST},
        {"{headers: {a: {regex: 'x.*'}}}", "{headers: {a: {exact: xy}}}", REST},
        {"{queryParams: {q: {exact: '1'}}}", "{queryParams: {r: {}}}", "?r? ?q=1 80||b.default; " REST},
        {"{uri: {prefix: /a}}", "{uri: {exact: /a}}", "path=/a 80||b.default; " REST},
        {"{uri: {exact: /a}}", "{uri: {prefix: /a}}", REST},
        {"{uri: {regex: '/a.*'}}", "{uri: {prefix: /a}}", REST},
        {"{uri: {regex: '/a.*'}}", "{method: {exact: GET}}", "path~/a.* method=GET 80||b.default; " REST},
        {"{port: 80}", "{uri: {prefix: /a}}", "path^/a 80||b.default; " REST},
        {"{port: 81}", "{uri: {prefix: /a}}", REST},
        {"{sourceNamespace: other}", "{uri: {prefix: /a}}", REST},
        {"{uri: {prefix: /a}}, {uri: {prefix: /b}}", "{uri: {exact: /b/1}}", "path=/b/1 80||b.default; " REST},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *got = joined(rows[i].root, rows[i].leaf);

        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s and %s: \"%s\", want \"%s\"", rows[i].root, rows[i].leaf, got, rows[i].want);
    }
}

/* ---- gateways ---- */

#define GATEWAY      "Gateway"
#define SERVER(more) "{selector: {gw: edge}, servers: [{hosts: ['*'], port: " more "}]}"

static void start_edge(struct world *w)
{
    start(w);
    world_local(w, "edge", "edge", 0, "", "gw=edge");
}

TEST(a_server_whose_protocol_does_not_fit_an_older_ones_port_is_left_out_and_told)
{
    struct world w;

    start_edge(&w);
    document(&w, GATEWAY, "default", "young", "02", SERVER("{number: 80, name: tcp, protocol: TCP}"));
    document(&w, GATEWAY, "default", "old", "01", SERVER("{number: 80, name: http, protocol: HTTP}"));
    document(&w, VIRTUAL, "default", "v", "01", "{hosts: ['*'], gateways: [young, old], " TO("v1") "}");
    world_compile(&w);
    CHECK_INT(world_gate(&w, "gateway_0.0.0.0:80")->protocol, APP_HTTP);
    CHECK_TEXT(world_vhost_text(&w, world_gate(&w, "gateway_0.0.0.0:80")->http, "x"), "80|v1|b.default");
    CHECK_INT(w.f.warnings, 1);
    CHECK_STR(w.f.first->object, "Gateway default/young");
    world_done(&w);
}

TEST(rules_of_several_owners_on_one_gateway_host_come_oldest_first_whatever_their_visibility)
{
    static const char rule[] = "{hosts: [x.com], gateways: [default/gw], exportTo: [%s], http: [{match: [{uri: {prefix: "
                               "/%s}}], route: [{destination: {host: b}}]}]}";
    struct world w;

    start_edge(&w);
    document(&w, GATEWAY, "default", "gw", "01", SERVER("{number: 80, name: http, protocol: HTTP}"));
    document(&w, VIRTUAL, "edge", "private", "03", arena_printf(&w.arena, rule, "'.'", "private").p);
    document(&w, VIRTUAL, "default", "public", "01", arena_printf(&w.arena, rule, "'*'", "public").p);
    document(&w, VIRTUAL, "shop", "named", "02", arena_printf(&w.arena, rule, "edge", "named").p);
    document(&w, VIRTUAL, "shop", "hidden", "00", arena_printf(&w.arena, rule, "'.'", "hidden").p);
    world_compile(&w);
    CHECK_TEXT(world_vhost_text(&w, world_gate(&w, "gateway_0.0.0.0:80")->http, "x.com"),
               "path^/public 80||b.default; path^/named 80||b.shop; path^/private 80||b.edge");
    world_done(&w);
}

TEST(a_rule_with_hosts_of_two_servers_is_served_once_on_each)
{
    struct world w;

    start_edge(&w);
    document(&w, GATEWAY, "default", "gw", "01",
             "{selector: {gw: edge}, servers: [{hosts: ['*.a.com'], port: {number: 80, name: one, protocol: HTTP}}, "
             "{hosts: ['*'], port: {number: 80, name: two, protocol: HTTP}}]}");
    document(&w, VIRTUAL, "default", "v", "01", "{hosts: [x.a.com], gateways: [gw], " TO("v1") "}");
    world_compile(&w);
    CHECK_TEXT(world_vhost_text(&w, world_gate(&w, "gateway_0.0.0.0:80")->http, "x.a.com"), "80|v1|b.default");
    world_done(&w);
}
