#include "test/unit/pki_world.h"
#include "test/unit/proxy_world.h"

#define CLUSTER "outbound|80||svc.test"

static bool has(const char *text, const char *part)
{
    if (strstr(text, part))
        return true;
    print_error("no \"%s\" in:\n%s\n", part, text);
    return false;
}

/* A caller's host with one service in plaintext at `ports`. */
static struct snapshot *plain_snapshot(const struct node *n, const uint16_t *ports, size_t count,
                                       enum app_protocol protocol, struct route **route)
{
    struct snapshot *s = snapshot_new();
    struct cluster *c = cluster_part(CLUSTER, CLUSTER_ENDPOINTS);
    struct listener *l = listener_part(LISTENER_OUTBOUND, n->outbound, protocol);
    struct route *r;

    cluster_endpoints(c, ports, count, NULL);
    c->balance = BALANCE_ROUND_ROBIN;
    r = listener_route(l, CLUSTER);
    listener_tcp(l, CLUSTER);
    if (route)
        *route = r;
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    return s;
}

static void start_plain(struct node *n, struct origin *o, enum origin_mode mode,
                        enum app_protocol protocol)
{
    origin_start(o, "one", mode);
    node_start(n, 2, 0, NULL, NULL);
    node_apply(n, plain_snapshot(n, &o->port, 1, protocol, NULL));
}

static void stop_plain(struct node *n, struct origin *o)
{
    CHECK(node_is_quiet(n));
    node_stop(n);
    origin_stop(o);
}

TEST(a_request_is_carried_with_the_headers_of_the_mesh)
{
    struct node n;
    struct origin o;
    struct message m;
    char log[4096];

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    CHECK_INT(get_once(n.outbound, "/headers", &m), 200);
    CHECK(has(m.text, "server: envoy\r\n"));
    CHECK(has(m.text, "x-envoy-upstream-service-time: "));
    CHECK(has(m.body, "GET /headers HTTP/1.1\r\nhost: svc.test:80\r\n"));
    CHECK(has(m.body, "x-envoy-attempt-count: 1\r\n"));
    CHECK(has(m.body, "x-forwarded-proto: http\r\n"));
    CHECK(has(m.body, "x-request-id: "));
    message_free(&m);
    node_log(&n, log, sizeof(log), "\n");
    CHECK(has(log, "\"GET /headers HTTP/1.1\" 200 - via_upstream - \"-\" 0 "));
    CHECK(has(log, " \"-\" \"tester\" \""));
    CHECK(has(log, "\"svc.test:80\" \"127.0.0.1:"));
    CHECK(has(log, " outbound|80||svc.test 127.0.0.1:"));
    CHECK(has(log, " - default\n"));
    stop_plain(&n, &o);
}

TEST(a_hundred_requests_ride_one_connection_each_side)
{
    struct node n;
    struct origin o;
    struct message m;
    struct buf text;
    int fd;

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    fd = dial(n.outbound);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(get(fd, "/", &m), 200);
        CHECK_TEXT(m.body, "hello from one");
        message_free(&m);
    }
    close(fd);
    CHECK_INT(atomic_load(&o.requests), 100);
    CHECK_INT(atomic_load(&o.connections), 1);
    CHECK(node_is_quiet(&n));
    buf_init(&text, 1 << 20);
    proxy_metrics(n.proxy, &text);
    buf_addc(&text, 0);
    CHECK(has(text.p, "istio_requests_total{reporter=\"source\",source_workload=\"caller-1\","));
    CHECK(has(text.p, "destination_service=\"svc.test\""));
    CHECK(has(text.p, "response_code=\"200\",grpc_response_status=\"\",response_flags=\"-\","
                      "connection_security_policy=\"unknown\"} 100\n"));
    CHECK(has(text.p, "istio_build{component=\"proxy\",tag=\""));
    CHECK(has(text.p, "weft_upstream_reuses_total 99\n"));
    buf_done(&text);
    buf_init(&text, 1 << 16);
    proxy_clusters(n.proxy, &text);
    buf_addc(&text, 0);
    CHECK(has(text.p, "\"total\":100,"));
    buf_done(&text);
    stop_plain(&n, &o);
}

TEST(bodies_stream_both_ways_whatever_their_framing)
{
    struct node n;
    struct origin o;
    struct message m;
    static char big[400000];
    char *text = malloc(sizeof(big) + 200);
    int fd, h;

    start_plain(&n, &o, ORIGIN_HTTP, APP_SNIFF);
    fd = dial(n.outbound);
    CHECK_INT(call(fd,
                   "POST /echo HTTP/1.1\r\nHost: svc.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "5\r\nhello\r\n6\r\n there\r\n0\r\n\r\n",
                   93, &m),
              200);
    CHECK_TEXT(m.body, "hello there");
    CHECK(has(m.text, "transfer-encoding: chunked\r\n"));
    message_free(&m);
    memset(big, 'x', sizeof(big));
    h = snprintf(text, 200, "POST /echo HTTP/1.1\r\nHost: svc.test\r\nContent-Length: %zu\r\n\r\n",
                 sizeof(big));
    memcpy(text + h, big, sizeof(big));
    CHECK_INT(call(fd, text, (size_t)h + sizeof(big), &m), 200);
    CHECK_INT(m.body_n, sizeof(big));
    CHECK(memcmp(m.body, big, sizeof(big)) == 0);
    message_free(&m);
    CHECK_INT(get(fd, "/big", &m), 200);
    CHECK_INT(m.body_n, 1 << 20);
    message_free(&m);
    close(fd);
    free(text);
    stop_plain(&n, &o);
}

struct load {
    uint16_t port;
    atomic_bool stop;
    atomic_int good, bad;
};

static void *load_run(void *arg)
{
    struct load *l = arg;

    while (!atomic_load(&l->stop)) {
        int fd = dial(l->port);

        for (int i = 0; i < 20; i++) {
            struct message m;
            bool good = get(fd, "/", &m) == 200;

            atomic_fetch_add(good ? &l->good : &l->bad, 1);
            message_free(&m);
            if (!good)
                break;
        }
        close(fd);
    }
    return NULL;
}

TEST(an_answer_that_comes_early_does_not_cut_the_rest_of_the_request)
{
    static char rest[300000];
    char head[160];
    struct node n;
    struct origin o;
    struct message m;
    int fd, h;

    memset(rest, 'r', sizeof(rest));
    start_plain(&n, &o, ORIGIN_EARLY, APP_HTTP);
    fd = dial(n.outbound);
    h = snprintf(head, sizeof(head),
                 "POST / HTTP/1.1\r\nHost: svc.test\r\nContent-Length: %zu\r\n\r\n", sizeof(rest));
    CHECK_INT(call(fd, head, (size_t)h, &m), 200); /* not one byte of the body is sent yet */
    CHECK_TEXT(m.body, "early");
    message_free(&m);
    put_all(fd, rest, sizeof(rest));
    for (int i = 0; i < 300 && atomic_load(&o.late_bytes) < sizeof(rest); i++)
        nap_ms(10);
    CHECK_INT(atomic_load(&o.late_bytes), sizeof(rest));
    close(fd);
    stop_plain(&n, &o);
}

TEST(a_swap_under_load_fails_nothing)
{
    struct node n;
    struct origin o;
    struct load l = {0};
    pthread_t threads[4];

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    l.port = n.outbound;
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_create(&threads[i], NULL, load_run, &l);
    for (int i = 0; i < 20 || (atomic_load(&l.good) <= 100 && i < 1000); i++)
        node_apply(&n, plain_snapshot(&n, &o.port, 1, APP_HTTP, NULL));
    atomic_store(&l.stop, true);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(atomic_load(&l.bad), 0);
    CHECK(atomic_load(&l.good) > 100);
    CHECK(proxy_is_alive(n.proxy));
    stop_plain(&n, &o);
}

TEST(a_try_that_finds_nobody_goes_to_another_endpoint)
{
    struct node n;
    struct origin o;
    struct message m;
    struct route *r;
    struct snapshot *s;
    uint16_t ports[2];

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    ports[0] = free_port();
    ports[1] = o.port;
    s = plain_snapshot(&n, ports, 2, APP_HTTP, &r);
    r->retry = (struct retry_policy){
        .attempts = 2, .on = RETRY_CONNECT_FAILURE, .backoff_base_ms = 5, .avoid_previous = AVOID_ALWAYS};
    node_apply(&n, s);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(get_once(n.outbound, "/", &m), 200);
        message_free(&m);
    }
    CHECK(proxy_live(n.proxy, "weft_retries_total") >= 4);
    for (int i = 0; i < 10; i++) { /* whoever waits for a 100 gets it from the try that finds somebody */
        static const char head[] = "POST / HTTP/1.1\r\nHost: svc.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        char said[64] = "";
        int fd = dial(n.outbound);

        put_all(fd, head, sizeof(head) - 1);
        CHECK(recv(fd, said, sizeof(said) - 1, 0) > 0);
        CHECK_TEXT(said, "HTTP/1.1 100 Continue\r\n\r\n");
        CHECK_INT(ask(fd, "ok", &m), 200);
        message_free(&m);
        close(fd);
    }
    stop_plain(&n, &o);
}

TEST(answers_are_retried_when_the_policy_says_so_and_the_last_one_is_passed_on)
{
    struct node n;
    struct origin o;
    struct message m;
    struct route *r;
    struct snapshot *s;
    char log[4096];

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, &r);
    r->retry = (struct retry_policy){.attempts = 2, .on = RETRY_5XX, .backoff_base_ms = 5};
    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/status/503", &m), 503);
    CHECK_TEXT(m.body, "one");
    message_free(&m);
    CHECK_INT(atomic_load(&o.requests), 3);
    CHECK(node_logs(&n, log, sizeof(log), " 503 URX via_upstream "));
    stop_plain(&n, &o);
}

TEST(a_named_header_of_the_answer_asks_for_another_try)
{
    struct node n;
    struct origin o;
    struct message m;
    struct route *r;
    struct snapshot *s;
    int fd;

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, &r);
    r->retry = (struct retry_policy){.attempts = 2, .on = RETRY_HEADERS, .backoff_base_ms = 5};
    node_apply(&n, s);
    fd = dial(n.outbound);
    CHECK_INT(ask(fd, "GET /headers HTTP/1.1\r\nHost: svc.test\r\n"
                      "X-Envoy-Retriable-Header-Names: x-none, Content-Type\r\n\r\n", &m), 200);
    CHECK_INT(atomic_load(&o.requests), 3); /* the last answer is the answer */
    CHECK(has(m.body, "x-envoy-attempt-count: 3\r\n"));
    CHECK(!strcasestr(m.body, "retriable")); /* said to us, not to the endpoint */
    message_free(&m);
    CHECK_INT(ask(fd, "GET / HTTP/1.1\r\nHost: svc.test\r\nX-Envoy-Retriable-Header-Names: x-none\r\n\r\n", &m), 200);
    message_free(&m);
    CHECK_INT(get(fd, "/", &m), 200);
    message_free(&m);
    CHECK_INT(atomic_load(&o.requests), 5);
    close(fd);
    stop_plain(&n, &o);
}

TEST(failures_have_envoys_answers)
{
    struct node n;
    struct origin o;
    struct message m;
    struct snapshot *s;
    char log[8192];
    uint16_t nobody;
    int fd;

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    fd = dial(n.outbound);
    CHECK_INT(ask(fd, "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n", &m), 404);
    message_free(&m);
    CHECK_INT(get(fd, "/drop", &m), 503);
    CHECK_TEXT(m.body, "upstream connect error or disconnect/reset before headers. reset reason: "
                       "connection termination");
    message_free(&m);
    nobody = free_port();
    node_apply(&n, plain_snapshot(&n, &nobody, 1, APP_HTTP, NULL));
    CHECK_INT(get(fd, "/", &m), 503);
    CHECK(has(m.body,
              "reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused"));
    message_free(&m);
    node_apply(&n, plain_snapshot(&n, &nobody, 0, APP_HTTP, NULL));
    CHECK_INT(get(fd, "/", &m), 503);
    CHECK_TEXT(m.body, "no healthy upstream");
    message_free(&m);
    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, NULL);
    part_unref(s->clusters[--s->cluster_count]);
    node_apply(&n, s);
    CHECK_INT(get(fd, "/", &m), 503);
    message_free(&m);
    close(fd);
    node_log(&n, log, sizeof(log), " 503 NC cluster_not_found ");
    CHECK(has(log, " 404 NR route_not_found "));
    CHECK(has(log, " 503 UC upstream_reset_before_response_started{connection_termination} "));
    CHECK(has(log, " 503 UF upstream_reset_before_response_started{remote_connection_failure|"
                   "delayed_connect_error:_Connection_refused} - \"delayed connect error: Connection refused\""));
    CHECK(has(log, " 503 UH no_healthy_upstream "));
    CHECK(has(log, " 503 NC cluster_not_found "));
    stop_plain(&n, &o);
}

TEST(a_slow_answer_meets_the_routes_timeout)
{
    struct node n;
    struct origin o;
    struct message m;
    struct route *r;
    struct snapshot *s;
    char log[4096];

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, &r);
    r->timeout_ms = 200;
    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/hold", &m), 504);
    CHECK_TEXT(m.body, "upstream request timeout");
    message_free(&m);
    CHECK(node_logs(&n, log, sizeof(log), " 504 UT response_timeout "));
    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, &r);
    r->retry = (struct retry_policy){
        .attempts = 1, .on = RETRY_RESET, .per_try_timeout_ms = 1000, .backoff_base_ms = 1};
    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/hold", &m), 504);
    message_free(&m);
    CHECK_INT(atomic_load(&o.requests), 3);
    CHECK(node_logs(&n, log, sizeof(log), " 504 UT,URX upstream_per_try_timeout "));
    stop_plain(&n, &o);
}

TEST(a_client_that_leaves_ends_its_request)
{
    struct node n;
    struct origin o;
    char log[4096];
    int fd;

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    fd = dial(n.outbound);
    CHECK(put_all(fd, "GET /hold HTTP/1.1\r\nHost: svc.test\r\n\r\n", 38));
    origin_holds(&o, 1);
    close(fd);
    CHECK(node_is_quiet(&n));
    CHECK(node_logs(&n, log, sizeof(log), " 0 DC downstream_remote_disconnect "));
    stop_plain(&n, &o);
}

TEST(an_answer_that_is_cut_is_cut_for_the_client)
{
    struct node n;
    struct origin o;
    struct message m;
    char log[4096];

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    CHECK_INT(get_once(n.outbound, "/cut", &m), 0);
    message_free(&m);
    CHECK(node_logs(&n, log, sizeof(log), " 200 UC upstream_reset_after_response_started"));
    stop_plain(&n, &o);
}

TEST(a_tunnel_keeps_half_a_connection_open)
{
    struct node n;
    struct origin o;
    char text[64] = "", log[4096];
    struct buf numbers;
    size_t got = 0;
    ssize_t some;
    int fd;

    start_plain(&n, &o, ORIGIN_ECHO, APP_TCP);
    fd = dial(n.outbound);
    CHECK(put_all(fd, "ping", 4));
    CHECK_INT(recv(fd, text, 4, MSG_WAITALL), 4);
    shutdown(fd, SHUT_WR);
    while ((some = recv(fd, text + got, sizeof(text) - 1 - got, 0)) > 0)
        got += (size_t)some;
    text[got] = 0;
    CHECK_TEXT(text, "bye");
    close(fd);
    CHECK(node_is_quiet(&n));
    node_log(&n, log, sizeof(log), "\n");
    CHECK(has(log, "\"- - -\" 0 - - - \"-\" 4 7 "));
    buf_init(&numbers, 1 << 20);
    proxy_metrics(n.proxy, &numbers);
    buf_addc(&numbers, 0);
    CHECK(has(numbers.p, "istio_tcp_connections_opened_total{reporter=\"source\""));
    CHECK(has(numbers.p, "request_protocol=\"tcp\",response_flags=\"-\",connection_security_policy="
                         "\"unknown\"} 7\n"));
    buf_done(&numbers);
    stop_plain(&n, &o);
}

TEST(a_server_may_speak_first)
{
    struct node n;
    struct origin o;
    char text[16] = "";
    int fd;

    start_plain(&n, &o, ORIGIN_BANNER, APP_TCP);
    fd = dial(n.outbound);
    CHECK_INT(recv(fd, text, 10, MSG_WAITALL), 10);
    CHECK_TEXT(text, "220 ready\n");
    close(fd);
    stop_plain(&n, &o);
}

TEST(a_tunnel_looks_for_an_endpoint_that_is_there)
{
    struct node n;
    struct origin o;
    uint16_t ports[2];

    start_plain(&n, &o, ORIGIN_BANNER, APP_TCP);
    ports[0] = free_port();
    ports[1] = o.port;
    node_apply(&n, plain_snapshot(&n, ports, 2, APP_TCP, NULL));
    for (int i = 0; i < 4; i++) {
        char text[16] = "";
        int fd = dial(n.outbound);

        CHECK_INT(recv(fd, text, 10, MSG_WAITALL), 10);
        close(fd);
    }
    stop_plain(&n, &o);
}

/* ---- mutual TLS ---- */

/* The serving host: an inbound listener in front of the origin. */
static struct snapshot *inbound_snapshot(const struct node *n, uint16_t app, enum mtls_mode mtls,
                                         enum app_protocol protocol)
{
    struct snapshot *s = snapshot_new();
    struct cluster *c = cluster_part("inbound|80||", CLUSTER_LOCAL);
    struct listener *l = listener_part(LISTENER_INBOUND, n->inbound, protocol);

    c->local = loopback(app);
    l->cluster = STR("inbound|80||");
    l->mtls = mtls;
    l->identity = STR(WEB_URI);
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    return s;
}

static struct snapshot *mesh_snapshot(const struct node *n, uint16_t peer, const char *expect,
                                      enum app_protocol protocol)
{
    struct snapshot *s = snapshot_new();
    struct cluster *c = cluster_part(CLUSTER, CLUSTER_ENDPOINTS);
    struct listener *l = listener_part(LISTENER_OUTBOUND, n->outbound, protocol);

    cluster_endpoints(c, &peer, 1, expect);
    listener_route(l, CLUSTER);
    listener_tcp(l, CLUSTER);
    l->identity = STR(DB_URI);
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    return s;
}

struct mesh {
    struct pki_world pki;
    struct node client, server;
    struct origin o;
};

static void mesh_start(struct mesh *w, unsigned crypto_threads, enum origin_mode mode,
                       enum app_protocol protocol, enum mtls_mode mtls)
{
    struct creds *web, *db;

    pki_world_init(&w->pki, "cluster.local");
    web = pki_world_creds(&w->pki, WEB_URI, w->pki.now_ms);
    db = pki_world_creds(&w->pki, DB_URI, w->pki.now_ms);
    origin_start(&w->o, "app", mode);
    node_start(&w->client, 2, crypto_threads, NULL, NULL);
    node_start(&w->server, 2, crypto_threads, NULL, NULL);
    proxy_set_creds(w->client.proxy, STR(DB_URI), db);
    proxy_set_creds(w->server.proxy, STR(WEB_URI), web);
    creds_unref(web);
    creds_unref(db);
    node_apply(&w->server, inbound_snapshot(&w->server, w->o.port, mtls, protocol));
    node_apply(&w->client, mesh_snapshot(&w->client, w->server.inbound, WEB_URI, protocol));
}

static void mesh_stop(struct mesh *w)
{
    CHECK(node_is_quiet(&w->client));
    node_stop(&w->client);
    CHECK(node_is_quiet(&w->server));
    node_stop(&w->server);
    origin_stop(&w->o);
    pki_world_done(&w->pki);
}

TEST(two_proxies_speak_mutual_tls_and_tell_the_app_who_called)
{
    struct mesh w;
    struct message m;
    char log[4096];
    struct buf text;

    mesh_start(&w, 2, ORIGIN_HTTP, APP_HTTP, MTLS_STRICT);
    CHECK_INT(get_once(w.client.outbound, "/headers", &m), 200);
    CHECK(has(m.text, "server: envoy\r\n"));
    CHECK(has(m.text, " GMT\r\n")); /* the origin has said no date */
    CHECK(has(m.body, "x-forwarded-client-cert: By=" WEB_URI ";Hash="));
    CHECK(has(m.body, ";Subject=\"O=weft\";URI=" DB_URI ";DNS=server.test\r\n"));
    message_free(&m);
    CHECK_INT(proxy_live(w.server.proxy, "weft_handshakes_full_total"), 1);
    node_log(&w.server, log, sizeof(log), "\n");
    CHECK(has(log, "inbound|80|| 127.0.0.1:"));
    CHECK(has(log, " outbound_.80_._.svc.test default\n"));
    buf_init(&text, 1 << 20);
    proxy_metrics(w.server.proxy, &text);
    buf_addc(&text, 0);
    CHECK(has(text.p, "istio_requests_total{reporter=\"destination\",source_workload=\"db\""));
    CHECK(has(text.p, "source_principal=\"" DB_URI "\""));
    CHECK(has(text.p, "connection_security_policy=\"mutual_tls\"} 1\n"));
    buf_done(&text);
    mesh_stop(&w);
}

TEST(later_connections_resume_the_session_of_the_first)
{
    struct mesh w;
    struct message m;
    uint64_t full;

    mesh_start(&w, 0, ORIGIN_HTTP, APP_HTTP, MTLS_STRICT);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(get_once(w.client.outbound, "/", &m), 200);
        message_free(&m);
        /* The endpoint goes, and its pooled connections with it; then it is back. */
        node_apply(&w.client, mesh_snapshot(&w.client, free_port(), WEB_URI, APP_HTTP));
        node_apply(&w.client, mesh_snapshot(&w.client, w.server.inbound, WEB_URI, APP_HTTP));
    }
    full = proxy_live(w.server.proxy, "weft_handshakes_full_total");
    CHECK(full >= 1 && full <= 2); /* one for each of the caller's workers */
    CHECK_INT(full + proxy_live(w.server.proxy, "weft_handshakes_resumed_total"), 8);
    mesh_stop(&w);
}

TEST(a_renewed_certificate_replaces_pooled_connections)
{
    struct mesh w;
    struct message m;
    struct creds *c;
    char *first;

    mesh_start(&w, 0, ORIGIN_HTTP, APP_HTTP, MTLS_STRICT);
    CHECK_INT(get_once(w.client.outbound, "/headers", &m), 200);
    first = strdup(strstr(m.body, ";Hash="));
    first[6 + 64] = 0;
    message_free(&m);
    c = pki_world_creds(&w.pki, DB_URI, w.pki.now_ms);
    proxy_set_creds(w.client.proxy, STR(DB_URI), c);
    creds_unref(c);
    nap_ms(30);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(get_once(w.client.outbound, "/headers", &m), 200);
        CHECK(!strstr(m.body, first));
        CHECK(has(m.body, ";Hash="));
        message_free(&m);
    }
    free(first);
    mesh_stop(&w);
}

TEST(a_dropped_certificate_is_shown_no_more_and_its_connections_go)
{
    struct mesh w;
    struct message m;

    mesh_start(&w, 0, ORIGIN_HTTP, APP_HTTP, MTLS_STRICT);
    CHECK_INT(get_once(w.client.outbound, "/", &m), 200);
    message_free(&m);
    proxy_drop_creds(w.client.proxy, STR("spiffe://cluster.local/ns/default/sa/nobody")); /* nothing to drop */
    proxy_drop_creds(w.client.proxy, STR(DB_URI));
    proxy_drop_creds(w.client.proxy, STR(DB_URI));
    CHECK(node_shows(&w.client, "weft_upstream_connections", 0));
    CHECK_INT(get_once(w.client.outbound, "/", &m), 503);
    CHECK(has(m.body, "TLS_error"));
    message_free(&m);
    mesh_stop(&w);
}

TEST(a_peer_with_another_name_is_not_spoken_to)
{
    struct mesh w;
    struct message m;
    char log[4096];

    mesh_start(&w, 0, ORIGIN_HTTP, APP_HTTP, MTLS_STRICT);
    node_apply(&w.client, mesh_snapshot(&w.client, w.server.inbound,
                                        "spiffe://cluster.local/ns/default/sa/evil", APP_HTTP));
    CHECK_INT(get_once(w.client.outbound, "/", &m), 503);
    CHECK_INT(atomic_load(&w.o.requests), 0);
    message_free(&m);
    CHECK(node_logs(&w.client, log, sizeof(log), " 503 UF "));
    mesh_stop(&w);
}

TEST(a_strict_port_refuses_plaintext_and_a_permissive_one_takes_it)
{
    struct mesh w;
    struct message m;
    char log[4096];
    int fd;

    mesh_start(&w, 0, ORIGIN_HTTP, APP_HTTP, MTLS_STRICT);
    CHECK_INT(get_once(w.server.inbound, "/", &m), 0);
    message_free(&m);
    CHECK_INT(atomic_load(&w.o.requests), 0);
    CHECK_INT(proxy_live(w.server.proxy, "weft_strict_refusals_total"), 1);
    CHECK(node_logs(&w.server, log, sizeof(log), " 0 NR filter_chain_not_found "));
    node_apply(&w.server, inbound_snapshot(&w.server, w.o.port, MTLS_PERMISSIVE, APP_HTTP));
    fd = dial(w.server.inbound);
    CHECK_INT(ask(fd,
                  "GET /headers HTTP/1.1\r\nHost: svc.test\r\nX-Forwarded-Client-Cert: "
                  "By=me;URI=spiffe://a/b\r\n\r\n",
                  &m),
              200);
    CHECK(!strstr(m.body, "x-forwarded-client-cert"));
    CHECK(has(m.text, "server: istio-envoy\r\n"));
    message_free(&m);
    /* Made strict while the plaintext connection is open: it ends. */
    node_apply(&w.server, inbound_snapshot(&w.server, w.o.port, MTLS_STRICT, APP_HTTP));
    CHECK_INT(get(fd, "/", &m), 0);
    message_free(&m);
    close(fd);
    CHECK_INT(get_once(w.client.outbound, "/", &m), 200);
    message_free(&m);
    mesh_stop(&w);
}

/* A ClientHello without extensions: no name, no protocol of the mesh. */
static size_t plain_hello(char *out)
{
    static const char head[] = {0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3};
    static const char tail[] = {0, 0, 2, (char)0xc0, 0x2f, 1, 0};

    memcpy(out, head, sizeof(head));
    memset(out + sizeof(head), 'r', 32);
    memcpy(out + sizeof(head) + 32, tail, sizeof(tail));
    return sizeof(head) + 32 + sizeof(tail);
}

TEST(tls_of_the_applications_own_passes_a_permissive_port_untouched)
{
    char hello[64], text[80];
    size_t n = plain_hello(hello);
    struct mesh w;
    int fd;

    mesh_start(&w, 0, ORIGIN_BANNER, APP_TCP, MTLS_PERMISSIVE);
    fd = dial(w.server.inbound);
    CHECK(put_all(fd, hello, n));
    CHECK_INT(recv(fd, text, 10 + n, MSG_WAITALL), 10 + n); /* the banner, and the hello as it was sent */
    CHECK(memcmp(text, "220 ready\n", 10) == 0 && memcmp(text + 10, hello, n) == 0);
    close(fd);
    mesh_stop(&w);
}

TEST(a_caller_told_to_speak_plainly_is_refused_by_a_strict_port)
{
    struct mesh w;
    struct message m;
    struct snapshot *s;
    char log[4096];

    mesh_start(&w, 0, ORIGIN_HTTP, APP_HTTP, MTLS_STRICT);
    s = mesh_snapshot(&w.client, w.server.inbound, WEB_URI, APP_HTTP);
    s->clusters[0]->tls = CLUSTER_TLS_OFF; /* DestinationRule tls DISABLE */
    node_apply(&w.client, s);
    CHECK_INT(get_once(w.client.outbound, "/", &m), 503);
    message_free(&m);
    CHECK_INT(atomic_load(&w.o.requests), 0);
    node_log(&w.client, log, sizeof(log), "\n");
    CHECK(strstr(log, " 503 UC ") || strstr(log, " 503 UF ")); /* it may close before or after the request is read */
    mesh_stop(&w);
}

TEST(endpoints_with_and_without_an_agent_serve_side_by_side)
{
    struct endpoint *e;
    struct mesh w;
    struct origin plain;
    struct message m;
    struct snapshot *s;

    mesh_start(&w, 0, ORIGIN_HTTP, APP_HTTP, MTLS_STRICT);
    origin_start(&plain, "plain", ORIGIN_HTTP);
    s = mesh_snapshot(&w.client, w.server.inbound, WEB_URI, APP_HTTP);
    part_unref(s->clusters[0]->endpoints);
    cluster_endpoints(s->clusters[0], (uint16_t[]){w.server.inbound, plain.port}, 2, WEB_URI);
    s->clusters[0]->balance = BALANCE_ROUND_ROBIN;
    e = &s->clusters[0]->endpoints->endpoints[1];
    e->is_mesh = false;
    e->identity = STR("");
    node_apply(&w.client, s);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(get_once(w.client.outbound, "/", &m), 200);
        message_free(&m);
    }
    CHECK(atomic_load(&w.o.requests) >= 5); /* each worker takes turns for itself */
    CHECK_INT(atomic_load(&w.o.requests) + atomic_load(&plain.requests), 20);
    CHECK(atomic_load(&plain.requests) >= 5);
    mesh_stop(&w);
    origin_stop(&plain);
}

TEST(a_websocket_passes_two_proxies_and_flows_both_ways)
{
    static const char text[] = "GET /chat HTTP/1.1\r\nHost: svc.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    char got[16] = "";
    struct mesh w;
    struct message m;
    int fd;

    mesh_start(&w, 0, ORIGIN_UPGRADE, APP_HTTP, MTLS_STRICT);
    fd = dial(w.client.outbound);
    CHECK_INT(ask(fd, text, &m), 101);
    CHECK(strcasestr(m.text, "\r\nupgrade: websocket"));
    message_free(&m);
    for (int i = 0; i < 3; i++) {
        CHECK(put_all(fd, "frame", 5));
        CHECK_INT(recv(fd, got, 5, MSG_WAITALL), 5);
        CHECK(memcmp(got, "frame", 5) == 0);
    }
    CHECK_INT(atomic_load(&w.o.requests), 1);
    shutdown(fd, SHUT_WR); /* each way ends by itself */
    CHECK_INT(recv(fd, got, sizeof(got), MSG_WAITALL), 3);
    CHECK(memcmp(got, "bye", 3) == 0);
    close(fd);
    mesh_stop(&w);
}

TEST(tcp_rides_mutual_tls_with_its_half_close)
{
    struct mesh w;
    char text[64] = "";
    size_t got = 0;
    ssize_t some;
    int fd;

    mesh_start(&w, 2, ORIGIN_BANNER, APP_TCP, MTLS_STRICT);
    fd = dial(w.client.outbound);
    CHECK_INT(recv(fd, text, 10, MSG_WAITALL), 10);
    CHECK(put_all(fd, "over", 4));
    shutdown(fd, SHUT_WR);
    while ((some = recv(fd, text + got, sizeof(text) - 1 - got, 0)) > 0)
        got += (size_t)some;
    text[got] = 0;
    CHECK_TEXT(text, "overbye");
    close(fd);
    mesh_stop(&w);
}

TEST(two_services_of_one_host_meet_in_memory_with_their_identities)
{
    struct node n;
    struct origin o;
    struct message m;
    struct snapshot *s;
    struct cluster *c, *local;
    struct listener *l, *in;

    origin_start(&o, "app", ORIGIN_HTTP);
    node_start(&n, 2, 0, NULL, NULL);
    s = snapshot_new();
    c = cluster_part(CLUSTER, CLUSTER_ENDPOINTS);
    cluster_endpoints(c, &n.inbound, 1, WEB_URI);
    c->endpoints->endpoints[0].is_local = true;
    l = listener_part(LISTENER_OUTBOUND, n.outbound, APP_HTTP);
    listener_route(l, CLUSTER);
    l->identity = STR(DB_URI);
    in = listener_part(LISTENER_INBOUND, n.inbound, APP_HTTP);
    in->mtls = MTLS_STRICT;
    in->identity = STR(WEB_URI);
    in->cluster = STR("inbound|80||");
    local = cluster_part("inbound|80||", CLUSTER_LOCAL);
    local->local = loopback(o.port);
    snapshot_add_cluster(s, c);
    snapshot_add_cluster(s, local);
    snapshot_add_listener(s, l);
    snapshot_add_listener(s, in);
    node_apply(&n, s);
    for (int i = 0; i < 5; i++) {
        CHECK_INT(get_once(n.outbound, "/headers", &m), 200);
        CHECK(has(m.body, "x-forwarded-client-cert: By=" WEB_URI ";"));
        CHECK(has(m.body, "URI=" DB_URI "\r\n"));
        message_free(&m);
    }
    CHECK_INT(get_once(n.outbound, "/big", &m), 200);
    CHECK_INT(m.body_n, 1 << 20);
    message_free(&m);
    CHECK_INT(proxy_live(n.proxy, "weft_handshakes_full_total"), 0);
    node_stop(&n);
    origin_stop(&o);
}

/* ---- subscriptions ---- */

struct asked {
    struct node *n;
    uint16_t app;
    int count;
    char service[64];
};

static void on_need(void *arg, struct str service)
{
    struct asked *a = arg;

    a->count++;
    snprintf(a->service, sizeof(a->service), "%.*s", STR_ARG(service));
}

static void *get_in_thread(void *arg)
{
    struct message m;
    int *status = arg;

    *status = get_once((uint16_t)*status, "/", &m);
    message_free(&m);
    return NULL;
}

TEST(a_request_waits_for_rules_that_are_asked_for)
{
    struct node n;
    struct origin o;
    struct asked a = {0};
    struct route *r;
    struct snapshot *s;
    pthread_t t;
    int status;

    origin_start(&o, "one", ORIGIN_HTTP);
    node_start(&n, 2, 0, on_need, &a);
    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, &r);
    r->action = ROUTE_PENDING;
    node_apply(&n, s);
    status = n.outbound;
    pthread_create(&t, NULL, get_in_thread, &status);
    for (int i = 0; i < PATIENCE_MS / 10 && a.count == 0; i++)
        loop_turn(n.control, 10);
    CHECK_INT(a.count, 1);
    CHECK_TEXT(a.service, "default/svc.test");
    node_apply(&n, plain_snapshot(&n, &o.port, 1, APP_HTTP, NULL));
    pthread_join(t, NULL);
    CHECK_INT(status, 200);
    stop_plain(&n, &o);
}

TEST(a_drain_lets_requests_finish_and_takes_no_new_ones)
{
    struct node n;
    struct origin o;
    struct message m;
    int fd;

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    fd = dial(n.outbound);
    CHECK_INT(get(fd, "/", &m), 200);
    message_free(&m);
    CHECK(put_all(fd, "GET /hold HTTP/1.1\r\nHost: svc.test\r\n\r\n", 38));
    origin_holds(&o, 1);
    proxy_drain(n.proxy); /* each worker has that before it has the answer */
    origin_release(&o);
    CHECK_INT(ask(fd, "", &m), 200);
    CHECK(has(m.text, "connection: close"));
    message_free(&m);
    close(fd);
    CHECK(node_is_quiet(&n));
    CHECK(proxy_is_drained(n.proxy));
    stop_plain(&n, &o);
}

/* The end comes with the first bytes, and is read while the protocol is still being found out. */
static int dial_and_end(struct node *n, const char *text)
{
    int fd = dial(n->outbound);

    CHECK(send(fd, text, strlen(text), MSG_MORE) == (ssize_t)strlen(text));
    shutdown(fd, SHUT_WR);
    return fd;
}

TEST(a_client_that_ends_with_its_first_bytes_leaves_nothing_behind)
{
    static const char *const cut[] = {
        "GET / HTTP/1.1\r\nHost: sv",
        "POST / HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 100\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: svc.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    };
    struct node n;
    struct origin o;
    struct message m;
    int fd;

    start_plain(&n, &o, ORIGIN_HTTP, APP_SNIFF);
    for (size_t i = 0; i < COUNT(cut); i++) {
        fd = dial_and_end(&n, cut[i]);
        CHECK(node_is_quiet(&n));
        close(fd);
    }
    fd = dial_and_end(&n, "GET / HTTP/1.1\r\nHost: svc.test\r\n\r\n"); /* a whole one is answered */
    CHECK_INT(ask(fd, "", &m), 200);
    message_free(&m);
    close(fd);
    CHECK(node_is_quiet(&n));
    stop_plain(&n, &o);
}

/* An outbound listener with a socket of its own, to the one cluster of plain_snapshot. */
static struct listener *bound_part(uint16_t port)
{
    struct listener *l = listener_part(LISTENER_OUTBOUND, port, APP_HTTP);

    l->is_bound = true;
    listener_route(l, CLUSTER);
    return l;
}

TEST(an_outbound_listener_may_own_its_socket)
{
    struct node n;
    struct origin o;
    struct message m;
    struct snapshot *s;
    uint16_t port = free_port();

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, NULL);
    snapshot_add_listener(s, bound_part(port));
    node_apply(&n, s);
    CHECK_INT(get_once(port, "/", &m), 200);
    CHECK(has(m.text, "server: envoy\r\n")); /* as outbound ones say, gateways do not */
    message_free(&m);
    stop_plain(&n, &o);
}

/* Whatever is bound before it in the same snapshot is let go again. */
TEST(an_address_that_is_taken_changes_nothing)
{
    struct node n;
    struct origin o;
    struct message m;
    struct snapshot *s;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint16_t old = free_port(), fresh = free_port();
    socklen_t size = sizeof(sa);
    int blocker = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    struct err err = {0};

    CHECK_INT(bind(blocker, (struct sockaddr *)&sa, sizeof(sa)), 0);
    CHECK_INT(listen(blocker, 1), 0);
    CHECK_INT(getsockname(blocker, (struct sockaddr *)&sa, &size), 0);
    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, NULL);
    snapshot_add_listener(s, bound_part(old));
    node_apply(&n, s);

    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, NULL);
    snapshot_add_listener(s, bound_part(fresh));
    snapshot_add_listener(s, bound_part(ntohs(sa.sin_port)));
    snapshot_seal(s, NULL);
    CHECK_INT(proxy_apply(n.proxy, s, &err), -1);
    snapshot_unref(s);
    CHECK_INT(get_once(old, "/", &m), 200);
    message_free(&m);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sa.sin_port = htons(fresh);
    CHECK_INT(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), -1);
    close(fd);
    close(blocker);
    stop_plain(&n, &o);
}

/* It would call itself, and again, until there is no descriptor left. */
TEST(a_bound_listener_never_dials_where_the_client_was_going)
{
    struct node n;
    struct origin o;
    struct message m;
    struct snapshot *s;
    uint16_t port = free_port();

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, NULL);
    s->clusters[0]->kind = CLUSTER_ORIGINAL_DST;
    snapshot_add_listener(s, bound_part(port));
    node_apply(&n, s);
    CHECK_INT(get_once(port, "/", &m), 503);
    CHECK_INT(proxy_live(n.proxy, "weft_accepted_total"), 1);
    message_free(&m);
    stop_plain(&n, &o);
}

TEST(gateway_ports_come_and_go_with_the_snapshot)
{
    struct node n;
    struct origin o;
    struct message m;
    struct snapshot *s;
    struct listener *l;
    struct sockaddr_in sa = {.sin_family = AF_INET};
    uint16_t port = free_port();
    int fd;

    start_plain(&n, &o, ORIGIN_HTTP, APP_HTTP);
    s = plain_snapshot(&n, &o.port, 1, APP_HTTP, NULL);
    l = listener_part(LISTENER_GATEWAY, port, APP_HTTP);
    listener_route(l, CLUSTER);
    snapshot_add_listener(s, l);
    node_apply(&n, s);
    CHECK_INT(get_once(port, "/", &m), 200);
    CHECK(has(m.text, "server: istio-envoy\r\n"));
    message_free(&m);
    node_apply(&n, plain_snapshot(&n, &o.port, 1, APP_HTTP, NULL));
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sa.sin_port = htons(port);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), -1);
    close(fd);
    stop_plain(&n, &o);
}
