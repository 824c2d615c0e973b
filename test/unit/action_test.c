/* What rules do with requests, from the document to the snapshot. */
#include "mesh/header_format.h"
#include "mesh/kinds/virtual_service.h"
#include "test/unit/compile_world.h"

#define B "10.1.0.1:80"

static void start(struct world *w)
{
    struct service *b;

    world_init(w);
    b = world_service(w, "default", "b", "10.1.0.1", "http:HTTP:80:8080");
    world_workload(w, b, "192.0.2.1", "app=b,version=v1");
    world_service(w, "default", "c", "10.1.0.2", "http:HTTP:80:8080");
}

static void rules(struct world *w, const char *http)
{
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                                "metadata: {name: r, namespace: default}\n"
                                "spec:\n  hosts: [b]\n  http:\n%s",
                                http)
                       .p);
}

/* The one route of the rules. */
static const struct route *route_of(struct world *w, const char *http)
{
    start(w);
    rules(w, http);
    world_compile(w);
    return &world_vhost(w, B, "b")->routes[0];
}

#define TO_B "    route: [{destination: {host: b}}]\n"

TEST(a_rewrite_replaces_what_matched)
{
    static const struct {
        const char *match, *rewrite;
        enum path_rewrite kind;
        const char *path;
        size_t bytes;
    } rows[] = {
        {"match: [{uri: {prefix: /api/}}]", "{uri: /}",               PATH_PREFIX, "/",     5},
        {"match: [{uri: {exact: /a}}]",     "{uri: /b}",              PATH_WHOLE,  "/b",    0},
        {"match: [{uri: {regex: '/a.*'}}]", "{uri: /b}",              PATH_WHOLE,  "/b",    0},
        {"match: [{headers: {x: {}}}]",     "{uri: /b/}",             PATH_PREFIX, "/b/",   1}, /* Istio's "/" */
        {"match: [{uri: {prefix: /a}}]",    "{uri: ' '}",             PATH_PREFIX, "",      2},
        {"name: x",                         "{uriRegexRewrite: {match: '^/a/(.*)$', rewrite: '/\\1'}}",
                                                                      PATH_REGEX,  "/\\1",  0},
        {"name: x",                         "{authority: other.test}", PATH_KEEP,  "",      0},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[512];
        struct world w;
        const struct route *r;

        snprintf(text, sizeof(text), "  - %s\n    rewrite: %s\n" TO_B, rows[i].match,
                 rows[i].rewrite);
        r = route_of(&w, text);
        CHECK_INT(r->rewrite.kind, rows[i].kind);
        CHECK_STR(r->rewrite.path, rows[i].path);
        CHECK_INT(r->rewrite.prefix_bytes, rows[i].bytes);
        CHECK_INT(r->rewrite.regex != NULL, rows[i].kind == PATH_REGEX);
        world_done(&w);
    }
}

TEST(edits_of_a_single_destination_join_the_rules)
{
    struct world w;
    const struct route *r = route_of(&w, "  - headers:\n      request:\n"
                                         "        set: {X-One: rule, Host: h.test}\n"
                                         "        remove: [X-Gone]\n"
                                         "    route:\n    - destination: {host: b}\n"
                                         "      headers:\n        request: {set: {x-one: mine}}\n"
                                         "        response: {add: {x-r: s}}\n");

    CHECK_INT(r->request.remove_count, 1);
    CHECK_STR(r->request.remove[0], "x-gone");
    CHECK_INT(r->request.set_count, 2); /* the later one wins */
    CHECK_STR(r->request.set[0].value.text, "rule");
    CHECK_STR(r->request.set[1].value.text, "mine");
    CHECK_STR(r->rewrite.authority.text, "h.test");
    CHECK_INT(r->response.add_count, 1);
    CHECK_INT(r->clusters[0].request.set_count, 0);
    world_done(&w);
}

TEST(edits_of_several_destinations_stay_with_them)
{
    struct world w;
    const struct route *r =
        route_of(&w, "  - headers: {request: {set: {x-one: rule}}}\n"
                     "    route:\n    - {destination: {host: b}, weight: 1, headers: {request: {set: "
                     "{x-one: mine, ':authority': d.test}}}}\n"
                     "    - {destination: {host: c}, weight: 1}\n");

    CHECK_INT(r->request.set_count, 1);
    CHECK_INT(r->clusters[0].request.set_count, 1);
    CHECK_STR(r->clusters[0].authority.text, "d.test");
    CHECK_STR(r->rewrite.authority.text, "");
    CHECK_INT(r->clusters[1].request.set_count, 0);
    world_done(&w);
}

TEST(a_redirect_names_what_changes)
{
    struct world w;
    const struct route *r =
        route_of(&w, "  - match: [{uri: {prefix: /old}}]\n    redirect: {prefixRewrite: /new, scheme: "
                     "https, derivePort: FROM_REQUEST_PORT, redirectCode: 308}\n");

    CHECK_INT(r->action, ROUTE_REDIRECT);
    CHECK_INT(r->redirect.status, 308);
    CHECK_INT(r->redirect.port, 80);
    CHECK_INT(r->redirect.kind, PATH_PREFIX);
    CHECK_STR(r->redirect.path, "/new");
    world_done(&w);
    r = route_of(&w, "  - directResponse: {status: 503, body: {bytes: aGVsbG8=}}\n");
    CHECK_INT(r->action, ROUTE_ANSWER);
    CHECK_INT(r->answer.status, 503);
    CHECK_STR(r->answer.body, "hello");
    world_done(&w);
}

TEST(shares_are_parts_of_a_million)
{
    struct world w;
    const struct route *r = route_of(
        &w, "  - fault:\n      delay: {fixedDelay: 2s, percentage: {value: 0.0001}}\n"
            "      abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}\n" TO_B);

    CHECK_INT(r->fault->delay_ms, 2000);
    CHECK_INT(r->fault->delay_share, 1);
    CHECK_INT(r->fault->abort_share, 1000000);
    CHECK_INT(r->fault->grpc_status, 14);
    world_done(&w);
    r = route_of(&w, "  - fault: {abort: {httpStatus: 418}}\n" TO_B);
    CHECK_INT(r->fault->abort_share, 0); /* Istio's default: nobody */
    world_done(&w);
    r = route_of(&w, "  - fault: {abort: {percentage: {value: 100}}, delay: {percentage: {value: 100}}}\n" TO_B);
    CHECK_INT(r->fault->abort_share, 0); /* with nothing */
    CHECK_INT(r->fault->delay_share, 0);
    world_done(&w);
}

TEST(a_cors_policy_becomes_fields)
{
    struct world w;
    const struct route *r = route_of(
        &w, "  - corsPolicy:\n      allowOrigins: [{exact: https://a.test}, {regex: 'https://.*b'}]\n"
            "      allowMethods: [GET, POST]\n      allowHeaders: [x-a, x-b]\n      exposeHeaders: "
            "[x-c]\n      maxAge: 24h\n      allowCredentials: true\n      unmatchedPreflights: "
            "IGNORE\n" TO_B);

    CHECK_INT(r->cors->origin_count, 2);
    CHECK_STR(r->cors->methods, "GET,POST");
    CHECK_STR(r->cors->headers, "x-a,x-b");
    CHECK_STR(r->cors->expose, "x-c");
    CHECK_STR(r->cors->max_age, "86400");
    CHECK(r->cors->credentials && r->cors->answer_unmatched);
    world_done(&w);
}

/* Every field takes part in the hash of its virtual host: no change is mistaken for none. */
TEST(a_change_of_any_field_changes_the_hash)
{
    static const char *const variants[] = {
        "rewrite: {uri: /a}",
        "rewrite: {uri: /b}",
        "rewrite: {authority: a.test}",
        "rewrite: {uriRegexRewrite: {match: a, rewrite: b}}",
        "rewrite: {uriRegexRewrite: {match: a, rewrite: c}}",
        "rewrite: {uriRegexRewrite: {match: x, rewrite: c}}",
        "headers: {request: {set: {a: b}}}",
        "headers: {request: {set: {a: c}}}",
        "headers: {request: {add: {a: b}}}",
        "headers: {request: {remove: [a]}}",
        "headers: {response: {set: {a: b}}}",
        "fault: {abort: {httpStatus: 500, percentage: {value: 1}}}",
        "fault: {abort: {httpStatus: 501, percentage: {value: 1}}}",
        "fault: {abort: {httpStatus: 501, percentage: {value: 2}}}",
        "fault: {abort: {grpcStatus: OK, percentage: {value: 2}}}",
        "fault: {delay: {fixedDelay: 1s, percentage: {value: 2}}}",
        "fault: {delay: {fixedDelay: 2s, percentage: {value: 2}}}",
        "fault: {delay: {fixedDelay: 2s, percentage: {value: 3}}}",
        "corsPolicy: {allowOrigins: [{exact: a}]}",
        "corsPolicy: {allowOrigins: [{prefix: a}]}",
        "corsPolicy: {allowMethods: [GET]}",
        "corsPolicy: {allowHeaders: [a]}",
        "corsPolicy: {exposeHeaders: [a]}",
        "corsPolicy: {maxAge: 1s}",
        "corsPolicy: {allowCredentials: true}",
        "corsPolicy: {unmatchedPreflights: IGNORE}",
        "mirror: {host: c}",
        "mirror: {host: d.test}",
        "{mirror: {host: c}, mirrorPercentage: {value: 1}}",
    };
    uint8_t seen[COUNT(variants)][32];

    for (size_t i = 0; i < COUNT(variants); i++) {
        char text[512];
        struct world w;

        bool flow = variants[i][0] == '{';

        snprintf(text, sizeof(text), flow ? "  - {%.*s, route: [{destination: {host: b}}]}\n" : "  - %.*s\n" TO_B,
                 (int)strlen(variants[i]) - 2 * flow, variants[i] + flow);
        start(&w);
        rules(&w, text);
        world_compile(&w);
        memcpy(seen[i], world_vhost(&w, B, "b")->part.hash, 32);
        world_done(&w);
        for (size_t k = 0; k < i; k++) {
            if (memcmp(seen[i], seen[k], 32) == 0)
                print_error("%s and %s have one hash\n", variants[i], variants[k]);
            CHECK(memcmp(seen[i], seen[k], 32) != 0);
        }
    }
}

TEST(mirrors_have_shares_and_wait_for_their_service)
{
    struct world w;
    const struct route *r =
        route_of(&w, "  - mirrors:\n    - {destination: {host: c}, percentage: {value: 50}}\n"
                     "    - {destination: {host: c}, percentage: {value: 0}}\n"
                     "    - {destination: {host: gone.test}}\n" TO_B);

    CHECK_INT(r->mirror_count, 2); /* 0 % is none */
    CHECK_STR(r->mirrors[0].cluster, "outbound|80||c.default.svc.cluster.local");
    CHECK_INT(r->mirrors[0].share, 500000);
    CHECK_INT(r->mirrors[1].share, 1000000);
    CHECK_INT(r->action, ROUTE_FORWARD);
    world_done(&w);
}

TEST(values_of_headers_are_formats)
{
    static const struct {
        const char *value, *problem;
    } rows[] = {
        {"plain",                                   NULL                        },
        {"100%%",                                   NULL                        },
        {"a %DOWNSTREAM_REMOTE_ADDRESS% b",         NULL                        },
        {"%REQ(x-user?:path)%",                     NULL                        },
        {"%REQ(x) %",                               NULL                        },
        {"50%",                                     "a single '%'"              },
        {"%REQ%",                                   "needs the name of a header"},
        {"%REQ(x%",                                 "not closed"                },
        {"%REQ(x)y%",                               "behind ')' stands '%'"     },
        {"%REQ(x):10%",                             "behind ')' stands '%'"     },
        {"%()%",                                    "not closed"                },
        {"%A([\"b\" \"c\"])%",                      "stands ',' or ']'"         },
        {"%A([b])%",                                "in double quotes"          },
        {"%A([\"b\"] ])%",                          "behind ']' stands ')'"     },
        {"%HOSTNAME(x)%",                           "takes no argument"         },
        {"%ENVIRONMENT(HOME)%",                     "in the value of a header"  },
        {"%START_TIME(%b %d)%",                     NULL                        },
        {"t=%START_TIME(%s.%3f)%",                  NULL                        },
        {"%START_TIME(%c)%",                        "in the value of a header"  },
        {"%START_TIME(%3)%",                        "in the value of a header"  },
        {"%START_TIME% %REQ_WITHOUT_QUERY(:path)%", NULL                        },
        {"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",      NULL                        },
        {"%REQ_WITHOUT_QUERY%",                     "needs the name of a header"},
        {"a\r\nb: c",                               "control characters"        },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err err = {0};

        CHECK_INT(header_format_check(str_from(rows[i].value), &err), rows[i].problem ? -1 : 0);
        if (rows[i].problem && !strstr(err.text, rows[i].problem))
            print_error("%s: %s\n", rows[i].value, err.text);
        CHECK(!rows[i].problem || strstr(err.text, rows[i].problem));
    }
}

TEST(a_value_is_cut_into_what_stands_for_itself_and_variables)
{
    struct header_format f;
    struct arena a;

    arena_init(&a);
    f = header_format_compile(&a, STR("plain"));
    CHECK_STR(f.text, "plain");
    CHECK_INT(f.count, 0);
    f = header_format_compile(&a, STR("100%% of %REQ(x-a?x-b)%%PROTOCOL%"));
    CHECK_STR(f.text, "100%% of %REQ(x-a?x-b)%%PROTOCOL%");
    CHECK_INT(f.count, 5);
    CHECK_STR(f.pieces[0].text, "100");
    CHECK_STR(f.pieces[1].text, "%");
    CHECK_STR(f.pieces[2].text, " of ");
    CHECK_INT(f.pieces[3].variable, HEADER_REQ);
    CHECK_STR(f.pieces[3].name, "x-a");
    CHECK_STR(f.pieces[3].other, "x-b");
    CHECK_INT(f.pieces[4].variable, HEADER_PROTOCOL);
    f = header_format_literal(&a, STR("%PROTOCOL%"));
    CHECK_INT(f.count, 0);
    arena_done(&a);
}

