#include "proxy/route.h"

#include "mesh/base/arena.h"
#include "test/test.h"

struct world {
    struct arena a;
    struct http_head h;
    struct route routes[3];
    struct vhost v;
};

static void world_init(struct world *w, const char *method, const char *path)
{
    memset(w, 0, sizeof(*w));
    arena_init(&w->a);
    http_head_init(&w->h, &w->a, true);
    w->h.method = str_from(method);
    w->h.path = str_from(path);
    w->h.scheme = STR("http");
    w->h.authority = STR("svc.test:80");
    w->v.routes = w->routes;
    w->v.route_count = COUNT(w->routes);
    for (size_t i = 0; i < COUNT(w->routes); i++)
        w->routes[i].name = i == 0 ? STR("zero") : i == 1 ? STR("one") : STR("two");
}

static void check_route(struct world *w, const char *want)
{
    const struct route *r = NULL;

    CHECK_INT(route_find(&w->v, &w->h, &r), want ? MATCH_YES : MATCH_NO);
    if (want)
        CHECK_STR(r->name, want);
    arena_done(&w->a);
}

TEST(the_first_route_that_matches_wins_and_the_query_is_not_part_of_the_path)
{
    struct world w;

    world_init(&w, "GET", "/a/b?x=1");
    w.routes[0].match.path = (struct match_string){.kind = MATCH_EXACT, .text = STR("/a")};
    w.routes[1].match.path = (struct match_string){.kind = MATCH_EXACT, .text = STR("/a/b")};
    check_route(&w, "one");
    world_init(&w, "GET", "/a/b");
    w.routes[0].match.path = (struct match_string){.kind = MATCH_PREFIX, .text = STR("/a")};
    check_route(&w, "zero");
}

TEST(connect_goes_where_it_is_named_and_nowhere_else)
{
    static const struct {
        enum match_kind kind;
        const char *text, *want;
    } cases[] = {
        {MATCH_ANY, "", NULL}, {MATCH_PREFIX, "C", NULL}, {MATCH_EXACT, "CONNECT", "one"}, {MATCH_EXACT, "connect", NULL}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct world w;

        world_init(&w, "CONNECT", "/");
        w.routes[0].match.path = (struct match_string){.kind = MATCH_PREFIX, .text = STR("/")};
        w.routes[1].match.method = (struct match_string){.kind = cases[i].kind, .text = str_from(cases[i].text)};
        check_route(&w, cases[i].want);
    }
}

TEST(no_match_is_no_route)
{
    struct world w;

    world_init(&w, "GET", "/");
    for (size_t i = 0; i < 3; i++)
        w.routes[i].match.method = (struct match_string){.kind = MATCH_EXACT, .text = STR("POST")};
    check_route(&w, NULL);
}

TEST(headers_queries_and_their_absence_decide)
{
    static struct header_match jason = {
        STR_INIT("end-user"), {.kind = MATCH_EXACT, .text = STR_INIT("jason")},
         false
    };
    static struct header_match without = {STR_INIT("end-user"), {.kind = MATCH_PRESENT}, true};
    static struct header_match method = {
        STR_INIT(":method"), {.kind = MATCH_EXACT, .text = STR_INIT("GET")},
         false
    };
    static struct query_match query = {
        STR_INIT("v"), {.kind = MATCH_EXACT, .text = STR_INIT("2")}
    };
    struct world w;

    for (int who = 0; who < 3; who++) {
        world_init(&w, "GET", who == 2 ? "/?v=2" : "/");
        if (who != 1)
            http_add(&w.h, STR("end-user"), who == 0 ? STR("jason") : STR("mary"));
        w.routes[0].match.headers = &jason;
        w.routes[0].match.header_count = 1;
        w.routes[1].match.headers = &without;
        w.routes[1].match.header_count = 1;
        w.routes[2].match.queries = &query;
        w.routes[2].match.query_count = 1;
        w.routes[2].match.headers = &method;
        w.routes[2].match.header_count = 1;
        check_route(&w, who == 0 ? "zero" : who == 1 ? "one" : "two");
    }
}

TEST(a_header_that_comes_several_times_is_one_list)
{
    static const struct {
        const char *name, *first, *second, *want;
        enum match_kind kind;
        bool matches;
    } rows[] = {
        {"x",      "a",   "b",   "a",        MATCH_EXACT,  false},
        {"x",      "a",   "b",   "a,b",      MATCH_EXACT,  true },
        {"x",      "a",   NULL,  "a",        MATCH_EXACT,  true },
        {"x",      "ab",  "c",   "a",        MATCH_PREFIX, true },
        {"x",      "c",   "ab",  "a",        MATCH_PREFIX, false},
        {"x",      "",    "",    "",         MATCH_PRESENT, true},
        {"cookie", "a=1", "b=2", "a=1; b=2", MATCH_EXACT,  true },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct header_match m = {str_from(rows[i].name), {.kind = rows[i].kind, .text = str_from(rows[i].want)}, false};
        struct world w;

        world_init(&w, "GET", "/");
        w.v.route_count = 1;
        http_add(&w.h, m.name, str_from(rows[i].first));
        http_add(&w.h, STR("other"), STR("z"));
        if (rows[i].second)
            http_add(&w.h, m.name, str_from(rows[i].second));
        w.routes[0].match.headers = &m;
        w.routes[0].match.header_count = 1;
        check_route(&w, rows[i].matches ? "zero" : NULL);
    }
}

TEST(a_tcp_route_is_chosen_by_the_original_address)
{
    struct cidr ten, any6;
    struct tcp_route routes[2] = {
        {.subnets = &ten,     .subnet_count = 1, .name = STR("ten")},
        {.name = STR("rest")}
    };
    struct listener l = {.tcp = routes, .tcp_count = 2};
    struct addr a;

    CHECK(cidr_parse(STR("10.0.0.0/8"), &ten));
    CHECK(cidr_parse(STR("fd00::/8"), &any6));
    CHECK(addr_parse(STR("10.1.2.3:80"), &a));
    CHECK_STR(route_tcp(&l, &a, STR_NONE)->name, "ten");
    CHECK(addr_parse(STR("11.1.2.3:80"), &a));
    CHECK_STR(route_tcp(&l, &a, STR_NONE)->name, "rest");
    routes[1].subnets = &any6;
    routes[1].subnet_count = 1;
    CHECK(route_tcp(&l, &a, STR_NONE) == NULL);
}

TEST(weights_share_the_traffic_exactly)
{
    const struct weighted_cluster c[] = {
        {.cluster = STR("v1"), .weight = 90},
        {.cluster = STR("v2"), .weight = 0},
        {.cluster = STR("v3"), .weight = 10}
    };
    size_t v1 = 0, v3 = 0;

    for (uint64_t r = 0; r < 1000; r++) {
        struct str name = route_choose(c, 3, 100, r)->cluster;

        v1 += str_eq(name, STR("v1"));
        v3 += str_eq(name, STR("v3"));
    }
    CHECK_INT(v1, 900);
    CHECK_INT(v3, 100);
    CHECK(!route_choose(NULL, 0, 0, 7));
}

TEST(the_default_policy_repeats_what_never_began_and_no_answer)
{
    struct retry_policy p = {
        .attempts = 2, .on = RETRY_CONNECT_FAILURE | RETRY_REFUSED_STREAM | RETRY_STATUS_CODES};
    struct arena a;
    struct http_head h;

    arena_init(&a);
    http_head_init(&h, &a, false);
    h.status = 503;
    CHECK(route_retry_wanted(&p, OUTCOME_CONNECT_FAILED, NULL, STR_NONE, false));
    CHECK(route_retry_wanted(&p, OUTCOME_UPSTREAM_REFUSED, NULL, STR_NONE, true));
    CHECK(!route_retry_wanted(&p, OUTCOME_UPSTREAM_CLOSED, NULL, STR_NONE, true));
    CHECK(!route_retry_wanted(&p, OUTCOME_TRY_TIMEOUT, NULL, STR_NONE, true));
    CHECK(!route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR_NONE, true));
    CHECK(!route_retry_wanted(&p, OUTCOME_CLIENT_GONE, NULL, STR_NONE, true));
    CHECK(!route_retry_wanted(&p, OUTCOME_REQUEST_TIMEOUT, NULL, STR_NONE, true));
    arena_done(&a);
}

TEST(answers_are_repeated_by_class_code_and_grpc_status)
{
    static const uint16_t codes[] = {418};
    struct retry_policy p = {.attempts = 1, .on = RETRY_5XX};
    struct arena a;
    struct http_head h;

    arena_init(&a);
    http_head_init(&h, &a, false);
    h.status = 500;
    CHECK(route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR_NONE, true));
    CHECK(route_retry_wanted(&p, OUTCOME_UPSTREAM_CLOSED, NULL, STR_NONE, true));
    p.on = RETRY_GATEWAY_ERROR;
    CHECK(!route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR_NONE, true));
    h.status = 504;
    CHECK(route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR_NONE, true));
    p = (struct retry_policy){.on = RETRY_STATUS_CODES, .codes = codes, .code_count = 1};
    CHECK(!route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR_NONE, true));
    h.status = 418;
    CHECK(route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR_NONE, true));
    http_add(&h, STR("x-envoy-ratelimited"), STR("true"));
    CHECK(!route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR_NONE, true));
    http_remove(&h, STR("x-envoy-ratelimited"));
    h.status = 200;
    http_add(&h, STR("grpc-status"), STR("14"));
    p.on = RETRY_GRPC_CANCELLED;
    CHECK(!route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR_NONE, true));
    p.on = RETRY_GRPC_UNAVAILABLE;
    CHECK(route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR_NONE, true));
    arena_done(&a);
}

TEST(answers_are_repeated_by_headers_that_the_request_names)
{
    struct retry_policy p = {.attempts = 1, .on = RETRY_HEADERS};
    struct arena a;
    struct http_head h;

    arena_init(&a);
    http_head_init(&h, &a, false);
    h.status = 200;
    http_add(&h, STR("x-again"), STR("no")); /* the name counts, not what it says */
    CHECK(!route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR_NONE, true));
    CHECK(!route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR("x-other,x-agai,, x-again-not"), true));
    CHECK(route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR("x-again"), true));
    CHECK(route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR("x-other , X-Again "), true));
    CHECK(!route_retry_wanted(&p, OUTCOME_UPSTREAM_CLOSED, NULL, STR("x-again"), true));
    http_add(&h, STR("x-envoy-ratelimited"), STR("true"));
    CHECK(!route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR("x-again"), true));
    http_remove(&h, STR("x-envoy-ratelimited"));
    p.on = RETRY_5XX; /* named, but the rule does not look at names */
    CHECK(!route_retry_wanted(&p, OUTCOME_ANSWERED, &h, STR("x-again"), true));
    arena_done(&a);
}

TEST(the_wait_between_tries_grows_to_ten_times_its_base)
{
    struct retry_policy p = {.backoff_base_ms = 25};

    for (uint64_t r = 0; r < 2000; r++) {
        CHECK(route_backoff_ms(&p, 1, r) <= 25);
        CHECK(route_backoff_ms(&p, 2, r) <= 50);
        CHECK(route_backoff_ms(&p, 50, r) <= 250);
        CHECK(route_backoff_ms(&p, 1, r) >= 0);
    }
    CHECK_INT(route_backoff_ms(&p, 50, 250), 250);
}
