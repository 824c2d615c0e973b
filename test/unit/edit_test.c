/* What routes do to messages: edits, rewrites, redirects, fixed answers, faults and CORS, seen from both ends. */
#include "test/unit/proxy_world.h"

#define CLUSTER "outbound|80||svc.test"

static struct node n;
static struct origin o;
static struct route *route;
static struct vhost *vhost;

static bool has(const char *text, const char *part)
{
    if (text && strcasestr(text, part))
        return true;
    print_error("no \"%s\" in:\n%s\n", part, text ? text : "(nothing)");
    return false;
}

static bool lacks(const char *text, const char *part)
{
    if (!strcasestr(text, part))
        return true;
    print_error("\"%s\" in:\n%s\n", part, text);
    return false;
}

static struct snapshot *begin(void)
{
    struct snapshot *s = snapshot_new();
    struct cluster *c = cluster_part(CLUSTER, CLUSTER_ENDPOINTS);
    struct listener *l;

    origin_start(&o, "one", ORIGIN_HTTP);
    node_start(&n, 1, 0, NULL, NULL);
    cluster_endpoints(c, &o.port, 1, NULL);
    l = listener_part(LISTENER_OUTBOUND, n.outbound, APP_HTTP);
    route = listener_route(l, CLUSTER);
    vhost = l->http->vhosts[0];
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    return s;
}

static void end(void)
{
    CHECK(node_is_quiet(&n));
    node_stop(&n);
    origin_stop(&o);
}

static struct header_format format(const char *text)
{
    return header_format_compile(&vhost->part.arena, str_from(text));
}

static struct header_edit *edits(const char *name, const char *value)
{
    struct header_edit *e = ARENA_NEW(&vhost->part.arena, struct header_edit);

    *e = (struct header_edit){str_from(name), format(value)};
    return e;
}

static struct str *names(const char *name)
{
    struct str *s = ARENA_NEW(&vhost->part.arena, struct str);

    *s = str_from(name);
    return s;
}

static int send_text(const char *text, struct message *m)
{
    int fd = dial(n.outbound), status = ask(fd, text, m);

    close(fd);
    return status;
}

TEST(headers_are_removed_then_set_then_added)
{
    struct snapshot *s = begin();
    struct message m;

    route->request = (struct header_edits){
        names("x-gone"), 1, edits("x-set", "%REQ(user-agent)% 100%%"), 1, edits("x-more", "two"), 1};
    route->response = (struct header_edits){names("content-type"), 1,
                                            edits("x-code", "%RESPONSE_CODE%"), 1, NULL, 0};
    route->clusters[0].request =
        (struct header_edits){NULL, 0, edits("x-set", "lost"), 1, edits("x-empty", "%RESP(x)%"), 1};
    route->clusters[0].authority = format("a.test");
    node_apply(&n, s);
    CHECK_INT(send_text("GET /headers HTTP/1.1\r\nHost: svc.test\r\nUser-Agent: me\r\nX-Gone: 1\r\nX-Set: "
                        "0\r\nX-More: one\r\n\r\n",
                        &m),
              200);
    CHECK(has(m.body, "\r\nhost: a.test\r\n"));
    CHECK(has(m.body, "\r\nx-envoy-original-host: svc.test\r\n"));
    CHECK(has(m.body, "\r\nx-set: me 100%\r\n")); /* the route's edits come last and win */
    CHECK(has(m.body, "\r\nx-more: one\r\n"));
    CHECK(has(m.body, "\r\nx-more: two\r\n"));
    CHECK(lacks(m.body, "x-gone"));
    CHECK(lacks(m.body, "x-empty"));
    CHECK(has(m.text, "\r\nx-code: 200\r\n"));
    CHECK(lacks(m.text, "content-type"));
    message_free(&m);
    end();
}

TEST(variables_see_what_was_edited_before_and_not_what_is_set_beside_them)
{
    struct snapshot *s = begin();
    struct message m;

    route->request.remove = names("x-gone");
    route->request.remove_count = 1;
    route->request.set = ARENA_ARRAY(&vhost->part.arena, 5, struct header_edit);
    route->request.set_count = 5;
    route->request.set[0] = (struct header_edit){STR("x-a"), format("%REQ(x-b)%")};
    route->request.set[1] = (struct header_edit){STR("x-b"), format("new")};
    route->request.set[2] = (struct header_edit){STR("x-c"), format("%REQ(x-gone)%|%REQ(x-of-cluster)%")};
    route->request.set[3] = (struct header_edit){STR("x-d"), format("id=%REQ(x-request-id)%")};
    route->request.set[4] = (struct header_edit){STR("x-e"), format("%REQ(x-gone)%")};
    route->clusters[0].request = (struct header_edits){NULL, 0, edits("x-of-cluster", "early"), 1, NULL, 0};
    route->rewrite = (struct route_rewrite){.kind = PATH_WHOLE, .path = STR("/headers")};
    route->response = (struct header_edits){NULL, 0, edits("x-now", "%REQ(:path)% %REQ(x-envoy-original-path?:path)% %REQ(x-b)%"),
                                            1, NULL, 0};
    node_apply(&n, s);
    CHECK_INT(send_text("GET /old HTTP/1.1\r\nHost: svc.test\r\nX-Gone: 1\r\nX-B: old\r\n\r\n", &m), 200);
    CHECK(has(m.body, "\r\nx-a: old\r\n"));
    CHECK(has(m.body, "\r\nx-b: new\r\n"));
    CHECK(has(m.body, "\r\nx-c: |early\r\n"));
    CHECK(lacks(m.body, "\r\nx-d: id=\r\n")); /* it is made for requests that have none */
    CHECK(has(m.body, "\r\nx-d: id="));
    CHECK(lacks(m.body, "x-e:"));
    CHECK(has(m.text, "\r\nx-now: /headers /old new\r\n"));
    message_free(&m);
    end();
}

TEST(variables_tell_of_the_try_and_its_end)
{
    static const char *const values[][3] = {
        {"%REQ_WITHOUT_QUERY(:path)%", "x-0: /headers", "x-0: /headers"},
        {"%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "x-1: 1", "x-1: 1"},
        {"%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "x-2: 127.0.0.1", "x-2: 127.0.0.1"},
        {"%RESPONSE_CODE_DETAILS%", "x-3: via_upstream",
         "x-3: upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"},
        {"%RESPONSE_FLAGS%", "x-4: -", "x-4: UF"},
        {"%UPSTREAM_TRANSPORT_FAILURE_REASON%", NULL, "x-5: delayed connect error: Connection refused"},
        {"%START_TIME%|%START_TIME(t=%Y%b %9f%%)%", "x-6: 20", "000000%"},
        {"%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "x-7: 127.0.0.1", NULL},
    };
    struct snapshot *s = begin();
    struct message m;

    route->response.set = ARENA_ARRAY(&vhost->part.arena, COUNT(values), struct header_edit);
    route->response.set_count = COUNT(values);
    for (size_t i = 0; i < COUNT(values); i++)
        route->response.set[i] = (struct header_edit){arena_printf(&vhost->part.arena, "x-%zu", i), format(values[i][0])};
    route->retry.attempts = 0;
    node_apply(&n, s);
    for (size_t end = 1; end < 3; end++) {
        if (end == 2)
            origin_stop(&o);
        CHECK_INT(get_once(n.outbound, "/headers?q=1", &m), end == 1 ? 200 : 503);
        for (size_t i = 0; i < COUNT(values); i++)
            CHECK(values[i][end] ? has(m.text, values[i][end]) : lacks(m.text, values[i][3 - end]));
        message_free(&m);
    }
    CHECK(node_is_quiet(&n));
    node_stop(&n);
}

TEST(what_the_proxy_answers_has_the_rules_response_headers)
{
    struct snapshot *s = begin();
    struct message m;

    route->response = (struct header_edits){NULL, 0, edits("x-code", "%RESPONSE_CODE%"), 1, NULL, 0};
    node_apply(&n, s);
    origin_stop(&o);
    CHECK_INT(get_once(n.outbound, "/", &m), 503);
    CHECK(has(m.text, "\r\nx-code: 503\r\n"));
    message_free(&m);
    CHECK(node_is_quiet(&n));
    node_stop(&n);
    s = begin();
    route->response = (struct header_edits){NULL, 0, edits("x-code", "%RESPONSE_CODE%"), 1, NULL, 0};
    route->fault = ARENA_NEW(&vhost->part.arena, struct route_fault);
    *route->fault = (struct route_fault){0, 0, 1000000, 418, -1};
    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/", &m), 418);
    CHECK(has(m.text, "\r\nx-code: 418\r\n"));
    message_free(&m);
    end();
}

TEST(what_callers_order_goes_no_further)
{
    struct snapshot *s = begin();
    struct message m;

    route->request = (struct header_edits){NULL, 0, edits("x-envoy-force-trace", "by-rule"), 1, NULL, 0};
    node_apply(&n, s);
    CHECK_INT(send_text("GET /headers HTTP/1.1\r\nHost: svc.test\r\nX-Envoy-Retry-On: 5xx\r\nX-Envoy-Max-Retries: 9\r\n"
                        "X-Envoy-Upstream-Rq-Timeout-Ms: 9000\r\nX-Envoy-Original-Path: /kept\r\nX-Envoy-Force-Trace: true\r\n\r\n",
                        &m),
              200);
    CHECK(lacks(m.body, "x-envoy-retry-on"));
    CHECK(lacks(m.body, "x-envoy-max-retries"));
    CHECK(lacks(m.body, "x-envoy-upstream-rq-timeout-ms"));
    CHECK(has(m.body, "\r\nx-envoy-original-path: /kept\r\n")); /* gateways take that too */
    CHECK(has(m.body, "\r\nx-envoy-force-trace: by-rule\r\n"));
    message_free(&m);
    end();
}

TEST(the_rules_authority_wins_over_the_destinations)
{
    struct snapshot *s = begin();
    struct message m;

    route->rewrite.authority = format("rule.test");
    route->clusters[0].authority = format("destination.test");
    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/headers", &m), 200);
    CHECK(has(m.body, "\r\nhost: rule.test\r\n"));
    message_free(&m);
    end();
}

TEST(paths_are_rewritten_and_queries_stay)
{
    static const struct {
        struct route_rewrite r;
        const char *ask, *sent;
    } rows[] = {
        {{.kind = PATH_WHOLE, .path = STR_INIT("/new/path")},                    "/foo?k=v",   "/new/path?k=v"},
        {{.kind = PATH_PREFIX, .path = STR_INIT("/"), .prefix_bytes = 8},        "/headers/x", "//x"          },
        {{.kind = PATH_PREFIX, .path = STR_INIT("/"), .prefix_bytes = 9},        "/headers/x", "/x"           },
        {{.kind = PATH_PREFIX, .path = STR_INIT("/new"), .prefix_bytes = 4},     "/foobar",    "/newbar"      },
        {{.kind = PATH_PREFIX, .path = STR_INIT(""), .prefix_bytes = 4},         "/foo?a=b",   "/?a=b"        },
        {{.kind = PATH_KEEP},                                                    "/same",      "/same"        },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snapshot *s = begin();
        struct message m;
        char want[200];

        route->rewrite = rows[i].r;
        route->request.set = edits("x-tell", "head");
        route->request.set_count = 1;
        node_apply(&n, s);
        CHECK_INT(get_once(n.outbound, rows[i].ask, &m), 200);
        snprintf(want, sizeof(want), "GET %s HTTP/1.1\r\n", rows[i].sent);
        CHECK(has(m.body, want));
        message_free(&m);
        end();
    }
}

TEST(an_expression_rewrites_with_its_groups)
{
    struct snapshot *s = begin();
    struct message m;
    struct err err;

    route->rewrite.kind = PATH_REGEX;
    route->rewrite.path = STR("/headers\\2/instance/\\1");
    route->rewrite.regex = regex_new_search(STR("^/service/([^/]+)(/.*)$"), &err);
    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/service/foo/v1/api?x=1", &m), 200);
    CHECK(has(m.body, "GET /headers/v1/api/instance/foo?x=1 HTTP/1.1\r\n"));
    CHECK(has(m.body, "\r\nx-envoy-original-path: /service/foo/v1/api?x=1\r\n"));
    message_free(&m);
    regex_free(route->rewrite.regex);
    end();
}

TEST(a_redirect_leads_where_envoys_would)
{
    static const struct {
        struct route_redirect r;
        const char *host, *path, *where;
    } rows[] = {
        {{301, STR_INIT(""), STR_INIT(""), 0, PATH_WHOLE, STR_INIT("/new"), 0},
         "b", "/foo?k=v", "http://b/new?k=v"},
        {{301, STR_INIT(""), STR_INIT(""), 0, PATH_WHOLE, STR_INIT("/new?own=1"), 0},
         "b", "/foo?k=v", "http://b/new?own=1"},
        {{302, STR_INIT("https"), STR_INIT(""), 80, PATH_KEEP, STR_INIT(""), 0},
         "b", "/x", "https://b:80/x"},
        {{302, STR_INIT("https"), STR_INIT(""), 0, PATH_KEEP, STR_INIT(""), 0},
         "b:80", "/x", "https://b/x"},
        {{302, STR_INIT(""), STR_INIT(""), 80, PATH_KEEP, STR_INIT(""), 0}, "b", "/x", "http://b/x"},
        {{302, STR_INIT(""), STR_INIT(""), 80, PATH_KEEP, STR_INIT(""), 0},
         "b:80", "/x", "http://b:80/x"},
        {{302, STR_INIT(""), STR_INIT(""), 85, PATH_KEEP, STR_INIT(""), 0},
         "b", "/x", "http://b:85/x"},
        {{308, STR_INIT(""), STR_INIT("c.test"), 0, PATH_PREFIX, STR_INIT("/n"), 4},
         "b:99", "/old/x?q", "http://c.test/n/x?q"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snapshot *s = begin();
        char text[256], want[256];
        struct message m;

        route->action = ROUTE_REDIRECT;
        route->redirect = rows[i].r;
        vhost->domains[0] = STR("*");
        node_apply(&n, s);
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", rows[i].path,
                 rows[i].host);
        CHECK_INT(send_text(text, &m), rows[i].r.status);
        snprintf(want, sizeof(want), "\r\nlocation: %s\r\n", rows[i].where);
        CHECK(has(m.text, want));
        message_free(&m);
        CHECK_INT(atomic_load(&o.requests), 0);
        end();
    }
}

TEST(a_rule_may_answer_by_itself)
{
    struct snapshot *s = begin();
    struct message m;
    char log[2048];

    route->action = ROUTE_ANSWER;
    route->answer = (struct route_answer){503, STR("sorry")};
    route->response = (struct header_edits){NULL, 0, edits("x-who", "rule by %RESPONSE_CODE_DETAILS%"), 1, NULL, 0};
    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/", &m), 503);
    CHECK_TEXT(m.body, "sorry");
    CHECK(has(m.text, "\r\ncontent-type: text/plain\r\n"));
    CHECK(has(m.text, "\r\nx-who: rule by direct_response\r\n"));
    message_free(&m);
    CHECK(node_logs(&n, log, sizeof(log), "503 - direct_response"));
    CHECK_INT(atomic_load(&o.requests), 0);
    end();
}

TEST(faults_delay_and_abort)
{
    struct snapshot *s = begin();
    struct message m;
    char log[2048];

    route->fault = ARENA_NEW(&vhost->part.arena, struct route_fault);
    *route->fault = (struct route_fault){1000000, 150, 1000000, 418, -1};
    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/", &m), 418);
    CHECK_TEXT(m.body, "fault filter abort");
    message_free(&m);
    CHECK(node_logs(&n, log, sizeof(log), "418 DI,FI fault_filter_abort"));
    CHECK_INT(atomic_load(&o.requests), 0);
    end();
}

TEST(a_client_that_leaves_during_a_delay_leaves_nothing)
{
    struct snapshot *s = begin();
    int fd;

    route->fault = ARENA_NEW(&vhost->part.arena, struct route_fault);
    *route->fault = (struct route_fault){1000000, 300, 1000000, 500, -1};
    node_apply(&n, s);
    fd = dial(n.outbound);
    CHECK(put_all(fd, "GET / HTTP/1.1\r\nHost: svc.test\r\n\r\n", 35));
    for (int i = 0; i < 600 && proxy_live(n.proxy, "weft_requests") == 0; i++)
        nap_ms(5);
    CHECK_INT(proxy_live(n.proxy, "weft_requests"), 1);
    close(fd);
    end();
}

TEST(a_grpc_fault_is_told_as_grpc_tells_it)
{
    struct snapshot *s = begin();
    struct message m;

    route->fault = ARENA_NEW(&vhost->part.arena, struct route_fault);
    *route->fault = (struct route_fault){0, 0, 1000000, 0, 14};
    node_apply(&n, s);
    CHECK_INT(send_text("POST /a HTTP/1.1\r\nHost: svc.test\r\nContent-Type: application/grpc\r\n"
                        "Content-Length: 0\r\n\r\n",
                        &m),
              200);
    CHECK(has(m.text, "\r\ngrpc-status: 14\r\n"));
    message_free(&m);
    CHECK_INT(get_once(n.outbound, "/", &m), 503); /* others hear of it in HTTP's words */
    message_free(&m);
    end();
}

static void cors_route(void)
{
    struct route_cors *c = ARENA_NEW(&vhost->part.arena, struct route_cors);

    c->origins = ARENA_NEW(&vhost->part.arena, struct match_string);
    c->origins[0] = (struct match_string){.kind = MATCH_EXACT, .text = STR("cors.com")};
    c->origin_count = 1;
    c->methods = STR("POST,GET");
    c->headers = STR("X-A,X-B");
    c->expose = STR("X-C");
    c->max_age = STR("86400");
    route->cors = c;
}

#define PREFLIGHT(origin)                                                                          \
    "OPTIONS /x HTTP/1.1\r\nHost: svc.test\r\nOrigin: " origin                                     \
    "\r\nAccess-Control-Request-Method: DELETE\r\n\r\n"

TEST(a_preflight_is_answered_here) /* B31 */
{
    struct snapshot *s = begin();
    struct message m;

    cors_route();
    node_apply(&n, s);
    CHECK_INT(send_text(PREFLIGHT("cors.com"), &m), 200);
    CHECK(has(m.text, "\r\naccess-control-allow-origin: cors.com\r\n"));
    CHECK(has(m.text, "\r\naccess-control-allow-methods: POST,GET\r\n"));
    CHECK(has(m.text, "\r\naccess-control-allow-headers: X-A,X-B\r\n"));
    CHECK(has(m.text, "\r\naccess-control-max-age: 86400\r\n"));
    CHECK(lacks(m.text, "access-control-allow-credentials"));
    message_free(&m);
    CHECK_INT(atomic_load(&o.requests), 0);
    CHECK_INT(send_text(PREFLIGHT("evil.com"), &m), 200); /* passes */
    CHECK(lacks(m.text, "access-control-"));
    message_free(&m);
    CHECK_INT(atomic_load(&o.requests), 1);
    end();
}

TEST(unmatched_preflights_may_be_answered_here_too)
{
    struct snapshot *s = begin();
    struct message m;

    cors_route();
    route->cors->answer_unmatched = true;
    node_apply(&n, s);
    CHECK_INT(send_text(PREFLIGHT("evil.com"), &m), 200);
    CHECK(lacks(m.text, "access-control-"));
    message_free(&m);
    CHECK_INT(atomic_load(&o.requests), 0);
    end();
}

TEST(a_star_allows_what_a_preflight_asks_for)
{
    struct snapshot *s = begin();
    struct message m;

    cors_route();
    route->cors->origins[0].text = STR("*");
    route->cors->methods = route->cors->headers = STR("*");
    node_apply(&n, s);
    CHECK_INT(send_text("OPTIONS /x HTTP/1.1\r\nHost: svc.test\r\nOrigin: any.com\r\nAccess-Control-Request-Method: DELETE\r\n"
                        "Access-Control-Request-Headers: x-1,x-2\r\n\r\n",
                        &m),
              200);
    CHECK(has(m.text, "\r\naccess-control-allow-origin: any.com\r\n"));
    CHECK(has(m.text, "\r\naccess-control-allow-methods: DELETE\r\n"));
    CHECK(has(m.text, "\r\naccess-control-allow-headers: x-1,x-2\r\n"));
    message_free(&m);
    CHECK_INT(send_text(PREFLIGHT("any.com"), &m), 200);
    CHECK(lacks(m.text, "access-control-allow-headers"));
    message_free(&m);
    end();
}

TEST(an_allowed_origin_is_echoed) /* B32 */
{
    struct snapshot *s = begin();
    struct message m;

    cors_route();
    route->cors->credentials = true;
    node_apply(&n, s);
    CHECK_INT(send_text("GET / HTTP/1.1\r\nHost: svc.test\r\nOrigin: cors.com\r\n\r\n", &m), 200);
    CHECK(has(m.text, "\r\naccess-control-allow-origin: cors.com\r\n"));
    CHECK(has(m.text, "\r\naccess-control-allow-credentials: true\r\n"));
    CHECK(has(m.text, "\r\naccess-control-expose-headers: X-C\r\n"));
    message_free(&m);
    CHECK_INT(send_text("GET / HTTP/1.1\r\nHost: svc.test\r\nOrigin: evil.com\r\n\r\n", &m), 200);
    CHECK(lacks(m.text, "access-control-"));
    message_free(&m);
    end();
}

/* ---- mirrors ---- */

static struct origin shadow;

static struct snapshot *begin_mirrored(enum origin_mode mode)
{
    struct snapshot *s = begin();
    struct cluster *c = cluster_part("outbound|80||shadow.test", CLUSTER_ENDPOINTS);

    origin_start(&shadow, "two", mode);
    cluster_endpoints(c, &shadow.port, 1, NULL);
    snapshot_add_cluster(s, c);
    route->mirrors = ARENA_NEW(&vhost->part.arena, struct route_mirror);
    route->mirrors[0] = (struct route_mirror){STR("outbound|80||shadow.test"), 1000000};
    route->mirror_count = 1;
    return s;
}

static void end_mirrored(void)
{
    end();
    origin_stop(&shadow);
}

TEST(a_mirror_gets_a_copy_under_a_shadows_name)
{
    struct snapshot *s = begin_mirrored(ORIGIN_HTTP);
    struct message m;
    struct buf text;
    const char *first;

    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/headers", &m), 200);
    CHECK(has(m.body, "\r\nhost: svc.test:80\r\n"));
    message_free(&m);
    CHECK(node_is_quiet(&n)); /* or the second copy may be the first to arrive */
    CHECK_INT(send_text("POST /headers HTTP/1.1\r\nHost: svc.test:80\r\nContent-Length: 5\r\n\r\nhello", &m),
              200);
    message_free(&m);
    CHECK(node_is_quiet(&n));
    CHECK_INT(atomic_load(&shadow.requests), 2);
    CHECK(has(shadow.last, "\r\nhost: svc.test-shadow:80\r\n"));
    CHECK(has(shadow.last, "content-length: 5\r\n"));
    buf_init(&text, 1 << 20);
    proxy_metrics(n.proxy, &text); /* the copy is no request of the client's */
    buf_addc(&text, 0);
    first = strstr(text.p, "\nistio_requests_total{");
    CHECK(first != NULL);
    CHECK(strncmp(strchr(first + 1, '\n') - 3, "} 2", 3) == 0);
    CHECK(strstr(first + 1, "\nistio_requests_total{") == NULL);
    buf_done(&text);
    end_mirrored();
}

TEST(a_mirror_that_is_slow_or_dead_is_not_felt)
{
    struct snapshot *s = begin_mirrored(ORIGIN_BANNER); /* speaks no HTTP */
    static char text[400000];
    struct message m;
    int head, fd;

    node_apply(&n, s);
    head = snprintf(text, sizeof(text),
                    "POST /echo HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 300000\r\n\r\n");
    memset(text + head, 'x', 300000);
    for (int i = 0; i < 3; i++) {
        fd = dial(n.outbound);
        CHECK_INT(call(fd, text, (size_t)head + 300000, &m), 200);
        CHECK_INT(m.body_n, 300000);
        message_free(&m);
        close(fd);
    }
    end_mirrored();
}

TEST(a_share_of_nothing_copies_nothing)
{
    struct snapshot *s = begin_mirrored(ORIGIN_HTTP);
    struct message m;

    route->mirrors[0].share = 0;
    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/", &m), 200);
    message_free(&m);
    CHECK(node_is_quiet(&n));
    CHECK_INT(atomic_load(&shadow.requests), 0);
    end_mirrored();
}
