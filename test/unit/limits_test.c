/* What a cluster's limits do to requests and tunnels, over several workers. */
#include "test/unit/proxy_world.h"

#define CLUSTER "outbound|80||svc.test"
#define CROWD   12

static struct node n;
static struct origin o;
static struct cluster *cluster; /* of the snapshot that is being made */
static struct route *route;

static bool has(const char *text, const char *part)
{
    if (strstr(text, part))
        return true;
    print_error("no \"%s\" in:\n%s\n", part, text);
    return false;
}

static struct snapshot *make(enum app_protocol protocol, struct cluster_limits limits)
{
    struct snapshot *s = snapshot_new();
    struct listener *l = listener_part(LISTENER_OUTBOUND, n.outbound, protocol);

    cluster = cluster_part(CLUSTER, CLUSTER_ENDPOINTS);
    cluster_endpoints(cluster, &o.port, 1, NULL);
    cluster->limits = limits;
    route = listener_route(l, CLUSTER);
    listener_tcp(l, CLUSTER);
    snapshot_add_cluster(s, cluster);
    snapshot_add_listener(s, l);
    return s;
}

static void begin(unsigned workers, enum origin_mode mode)
{
    origin_start(&o, "one", mode);
    node_start(&n, workers, 0, NULL, NULL);
}

static void end(void)
{
    CHECK(node_is_quiet(&n));
    node_stop(&n);
    origin_stop(&o);
}

static bool shows(const char *what)
{
    struct buf text;
    bool found;

    buf_init(&text, 1 << 20);
    proxy_clusters(n.proxy, &text);
    buf_addc(&text, 0);
    found = has(text.p, what);
    buf_done(&text);
    return found;
}

static bool comes_to_show(const char *what)
{
    struct buf text;
    bool found = false;

    for (int i = 0; i < PATIENCE_MS / 5 && !found; i++) {
        nap_ms(i ? 5 : 0);
        buf_init(&text, 1 << 20);
        proxy_clusters(n.proxy, &text);
        buf_addc(&text, 0);
        found = strstr(text.p, what);
        buf_done(&text);
    }
    return found;
}

/* ---- a crowd ---- */

struct crowd {
    pthread_t threads[CROWD];
    const char *path;
    int each;
    atomic_int good, overflow, bad;
};

static void *crowd_run(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < c->each; i++) {
        struct message m;
        int status = get_once(n.outbound, c->path, &m);

        if (status == 200)
            atomic_fetch_add(&c->good, 1);
        else if (status == 503 && strstr(m.text, "x-envoy-overloaded: true") &&
                 strstr(m.body, "reset reason: overflow"))
            atomic_fetch_add(&c->overflow, 1);
        else
            atomic_fetch_add(&c->bad, 1);
        message_free(&m);
    }
    return NULL;
}

static void crowd_start(struct crowd *c, const char *path, int each)
{
    *c = (struct crowd){.path = path, .each = each};
    for (size_t i = 0; i < CROWD; i++)
        pthread_create(&c->threads[i], NULL, crowd_run, c);
}

static void crowd_join(struct crowd *c)
{
    for (size_t i = 0; i < CROWD; i++)
        pthread_join(c->threads[i], NULL);
    CHECK_INT(atomic_load(&c->bad), 0);
}

/* ---- connections ---- */

TEST(connections_of_four_workers_never_exceed_the_limit_and_everybody_is_served)
{
    struct crowd c;

    begin(4, ORIGIN_HTTP);
    node_apply(&n, make(APP_HTTP, (struct cluster_limits){.connections = 2}));
    crowd_start(&c, "/nap/3", 25);
    crowd_join(&c);
    CHECK_INT(atomic_load(&c.good), 25 * CROWD);
    CHECK(atomic_load(&o.peak) <= 2);
    CHECK_INT(proxy_live(n.proxy, "weft_upstream_connections") <= 2, true);
    end();
}

/* Each client comes to a worker of its own; the one connection is idle at another. */
TEST(an_idle_connection_is_given_up_for_another_worker)
{
    struct message m;

    begin(4, ORIGIN_HTTP);
    node_apply(&n, make(APP_HTTP, (struct cluster_limits){.connections = 1}));
    for (int i = 0; i < 40; i++) {
        CHECK_INT(get_once(n.outbound, "/", &m), 200);
        message_free(&m);
        CHECK_INT(proxy_live(n.proxy, "weft_upstream_connections") <= 1, true);
    }
    end();
}

TEST(a_wider_limit_wakes_who_waits)
{
    struct message m;
    int slow, waiting;

    begin(1, ORIGIN_HTTP);
    node_apply(&n, make(APP_HTTP, (struct cluster_limits){.connections = 1, .pending = 9}));
    slow = dial(n.outbound);
    waiting = dial(n.outbound);
    CHECK(put_all(slow, "GET /hold HTTP/1.1\r\nHost: svc.test:80\r\n\r\n", 41));
    origin_holds(&o, 1);
    CHECK(put_all(waiting, "GET /nap/0 HTTP/1.1\r\nHost: svc.test:80\r\n\r\n", 42));
    CHECK(comes_to_show("\"pending\":1,"));
    CHECK_INT(atomic_load(&o.connections), 1);
    node_apply(&n, make(APP_HTTP, (struct cluster_limits){.connections = 2, .pending = 9}));
    CHECK_INT(ask(waiting, "", &m), 200);
    message_free(&m);
    CHECK_INT(atomic_load(&o.busy), 1); /* the first is still at it */
    origin_release(&o);
    CHECK_INT(ask(slow, "", &m), 200);
    message_free(&m);
    close(slow);
    close(waiting);
    end();
}

TEST(who_waits_may_leave)
{
    struct message m;
    int slow, waiting;

    begin(2, ORIGIN_HTTP);
    node_apply(&n, make(APP_HTTP, (struct cluster_limits){.connections = 1, .pending = 1}));
    slow = dial(n.outbound);
    CHECK(put_all(slow, "GET /hold HTTP/1.1\r\nHost: svc.test:80\r\n\r\n", 41));
    origin_holds(&o, 1);
    for (int i = 0; i < 3; i++) {
        waiting = dial(n.outbound);
        CHECK(put_all(waiting, "GET /nap/0 HTTP/1.1\r\nHost: svc.test:80\r\n\r\n", 42));
        CHECK(comes_to_show("\"pending\":1,"));
        close(waiting);
        CHECK(comes_to_show("\"pending\":0,"));
    }
    CHECK(shows("\"pending\":0,\"pending_overflow\":0,"));
    origin_release(&o);
    CHECK_INT(ask(slow, "", &m), 200);
    message_free(&m);
    CHECK_INT(atomic_load(&o.requests), 1);
    close(slow);
    end();
}

TEST(a_connection_takes_so_many_requests_and_no_more)
{
    struct snapshot *s;
    struct message m;
    int fd;

    begin(1, ORIGIN_HTTP);
    s = make(APP_HTTP, (struct cluster_limits){0});
    cluster->requests_per_connection = 3;
    node_apply(&n, s);
    fd = dial(n.outbound);
    for (int i = 0; i < 9; i++) {
        CHECK_INT(get(fd, "/", &m), 200);
        message_free(&m);
    }
    CHECK_INT(atomic_load(&o.connections), 3);
    close(fd);
    end();
}

TEST(one_request_per_connection_says_so_to_the_endpoint)
{
    struct snapshot *s;
    struct message m;
    int fd;

    begin(1, ORIGIN_HTTP);
    s = make(APP_HTTP, (struct cluster_limits){0});
    cluster->requests_per_connection = 1;
    node_apply(&n, s);
    fd = dial(n.outbound);
    for (int i = 0; i < 5; i++) {
        CHECK_INT(get(fd, "/headers", &m), 200);
        CHECK(has(m.body, "\r\nconnection: close"));
        message_free(&m);
    }
    CHECK_INT(atomic_load(&o.connections), 5);
    close(fd);
    end();
}

TEST(an_old_connection_is_retired_without_harm)
{
    struct snapshot *s;
    struct message m;
    int fd;

    begin(1, ORIGIN_HTTP);
    s = make(APP_HTTP, (struct cluster_limits){0});
    cluster->age_ms_max = 60;
    node_apply(&n, s);
    fd = dial(n.outbound);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(get(fd, "/nap/100", &m), 200); /* it outlives its connection's age */
        message_free(&m);
    }
    CHECK_INT(atomic_load(&o.connections), 3);
    CHECK_INT(get(fd, "/", &m), 200);
    message_free(&m);
    CHECK(node_shows(&n, "weft_upstream_connections", 0));
    close(fd);
    end();
}

/* ---- requests ---- */

TEST(requests_beyond_those_that_may_wait_are_refused)
{
    struct crowd c;
    char log[65536];

    begin(4, ORIGIN_HTTP);
    node_apply(&n, make(APP_HTTP, (struct cluster_limits){.connections = 1, .pending = 2}));
    crowd_start(&c, "/hold", 1);
    for (int i = 0; i < PATIENCE_MS / 5 && atomic_load(&c.overflow) < CROWD - 3; i++)
        nap_ms(5);
    origin_holds(&o, 1);
    origin_release(&o);
    crowd_join(&c);
    CHECK(atomic_load(&c.good) >= 2);
    CHECK_INT(atomic_load(&c.good) + atomic_load(&c.overflow), CROWD);
    CHECK(atomic_load(&c.overflow) >= CROWD / 2);
    CHECK_INT(atomic_load(&o.peak), 1);
    CHECK(node_logs(&n, log, sizeof(log), " 503 UO upstream_reset_before_response_started{overflow} "));
    CHECK(shows("\"connections\":1,"));
    CHECK(shows("\"pending\":0,"));
    end();
}

TEST(requests_under_way_never_exceed_the_limit)
{
    struct crowd c;

    begin(4, ORIGIN_HTTP);
    node_apply(&n, make(APP_HTTP, (struct cluster_limits){.requests = 3}));
    crowd_start(&c, "/nap/20", 10);
    crowd_join(&c);
    CHECK(atomic_load(&o.peak) <= 3);
    CHECK(atomic_load(&c.overflow) > 0);
    CHECK(atomic_load(&c.good) >= 10);
    CHECK(shows("\"requests\":0,"));
    end();
}

/* ---- retries ---- */

static void expect_tries(struct cluster_limits limits, int tries, const char *line)
{
    struct snapshot *s = make(APP_HTTP, limits);
    int before = atomic_load(&o.requests);
    char log[4096];
    struct message m;

    route->retry = (struct retry_policy){.attempts = 2, .on = RETRY_5XX, .backoff_base_ms = 5};
    node_apply(&n, s);
    CHECK_INT(get_once(n.outbound, "/status/503", &m), 503);
    message_free(&m);
    CHECK_INT(atomic_load(&o.requests) - before, tries);
    CHECK(node_logs(&n, log, sizeof(log), line));
}

TEST(retries_are_counted_against_the_limit_or_the_budget)
{
    begin(2, ORIGIN_HTTP);
    expect_tries((struct cluster_limits){.retries = 1}, 3, " 503 URX via_upstream ");
    expect_tries((struct cluster_limits){.has_retry_budget = true, .retries = 1}, 3,
                 " 503 URX via_upstream ");
    expect_tries((struct cluster_limits){.has_retry_budget = true, .retry_share = 1000000}, 3,
                 " 503 URX via_upstream ");
    expect_tries((struct cluster_limits){.has_retry_budget = true, .retry_share = 200000}, 1,
                 " 503 UO via_upstream ");
    CHECK(shows("\"retries\":0,\"retries_overflow\":1"));
    end();
}

TEST(retries_of_a_crowd_stay_within_the_limit)
{
    struct snapshot *s;
    pthread_t threads[8];
    struct crowd c = {.path = "/status/503", .each = 5};

    begin(4, ORIGIN_HTTP);
    s = make(APP_HTTP, (struct cluster_limits){.retries = 1});
    route->retry = (struct retry_policy){.attempts = 1, .on = RETRY_5XX, .backoff_base_ms = 200};
    node_apply(&n, s);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_create(&threads[i], NULL, crowd_run, &c);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(atomic_load(&c.bad), 40); /* each got the endpoint's own 503 */
    CHECK(atomic_load(&o.requests) < 80);
    CHECK(atomic_load(&o.requests) > 40);
    end();
}

/* ---- tunnels ---- */

static int echo(int fd)
{
    char text[8];

    return put_all(fd, "ping", 4) ? (int)recv(fd, text, 4, MSG_WAITALL) : -1;
}

TEST(a_tunnel_too_many_is_closed)
{
    char log[4096];
    int first, second;

    begin(4, ORIGIN_ECHO);
    node_apply(&n, make(APP_TCP, (struct cluster_limits){.connections = 1}));
    first = dial(n.outbound);
    CHECK_INT(echo(first), 4);
    second = dial(n.outbound);
    CHECK(echo(second) <= 0);
    close(second);
    CHECK_INT(echo(first), 4);
    close(first);
    CHECK(node_is_quiet(&n));
    first = dial(n.outbound); /* there is room again */
    CHECK_INT(echo(first), 4);
    close(first);
    CHECK(node_logs(&n, log, sizeof(log), "\"- - -\" 0 UO "));
    end();
}

TEST(a_tunnel_ends_at_its_greatest_age_and_not_before)
{
    struct snapshot *s;
    char text[8], log[4096];
    long duration_ms = 0;
    int fd;

    begin(1, ORIGIN_ECHO);
    s = make(APP_TCP, (struct cluster_limits){0});
    cluster->age_ms_max = 300;
    node_apply(&n, s);
    fd = dial(n.outbound);
    (void)echo(fd); /* on a busy machine it may have ended by then */
    while (recv(fd, text, sizeof(text), 0) > 0)
        ;
    close(fd);
    CHECK(node_logs(&n, log, sizeof(log), "\"- - -\" 0 DT duration_timeout "));
    CHECK_INT(sscanf(strstr(log, " duration_timeout "), " duration_timeout - \"-\" %*u %*u %ld ", &duration_ms), 1);
    CHECK(duration_ms >= 290);
    end();
}

TEST(silent_connections_are_probed_by_the_system)
{
    struct snapshot *s;
    char line[256];
    bool probed = false;
    FILE *sockets;
    int fd;

    begin(1, ORIGIN_ECHO);
    s = make(APP_TCP, (struct cluster_limits){0});
    cluster->probes = (struct tcp_probes){.is_on = true, .after_s = 77, .every_s = 5, .count = 3};
    node_apply(&n, s);
    fd = dial(n.outbound);
    CHECK_INT(echo(fd), 4);
    sockets = fopen("/proc/net/tcp", "re"); /* timer 02 is keepalive, then the time that is left */
    CHECK(sockets != NULL);
    while (fgets(line, sizeof(line), sockets)) {
        unsigned to, timer;

        if (sscanf(line, " %*d: %*8X:%*4X 0100007F:%4X %*2X %*8X:%*8X %2X:", &to, &timer) == 2 &&
            to == o.port && timer == 2)
            probed = true;
    }
    fclose(sockets);
    CHECK(probed);
    close(fd);
    end();
}
