/* What outlier_test.c says, through a whole proxy with four workers that count together. */
#include "test/unit/proxy_world.h"

#define CLUSTER "outbound|80||svc.test"
#define METRIC  "envoy_cluster_outlier_detection_ejections_"
#define WORKERS 4u
#define CALLERS 8u

static struct snapshot *snapshot_of(const struct node *n, const uint16_t *ports, size_t count, enum app_protocol protocol,
                                    uint32_t errors)
{
    struct snapshot *s = snapshot_new();
    struct cluster *c = cluster_part(CLUSTER, CLUSTER_ENDPOINTS);
    struct listener *l = listener_part(LISTENER_OUTBOUND, n->outbound, protocol);

    cluster_endpoints(c, ports, count, NULL);
    c->balance = BALANCE_ROUND_ROBIN;
    c->outlier = (struct outlier_policy){.is_on = true,
                                         .errors = errors,
                                         .max_percent = 100,
                                         .interval_ms = 600000,
                                         .base_ms = 600000}; /* nobody comes back */
    if (protocol == APP_HTTP)
        listener_route(l, CLUSTER);
    listener_tcp(l, CLUSTER);
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    return s;
}

/* A number of METRIC's, -1: it is not there. */
static int number(struct node *n, const char *name)
{
    char key[200];
    struct buf text;
    const char *at;
    int value = -1;

    snprintf(key, sizeof(key), "\n%s%s{cluster_name=\"" CLUSTER "\"} ", METRIC, name);
    buf_init(&text, 1 << 20);
    proxy_metrics(n->proxy, &text);
    buf_addc(&text, 0);
    at = strstr(text.p, key);
    if (at)
        value = atoi(at + strlen(key));
    buf_done(&text);
    return value;
}

struct caller {
    uint16_t port;
    const char *path;
    int count, status_500, status_200, others;
};

static void *call_many(void *arg)
{
    struct caller *c = arg;

    for (int i = 0; i < c->count; i++) { /* a connection each: all workers get some */
        struct message m;
        int status = get_once(c->port, c->path, &m);

        c->status_500 += status == 500;
        c->status_200 += status == 200;
        c->others += status != 500 && status != 200;
        message_free(&m);
    }
    return NULL;
}

/* CALLERS at a time, `count` requests each; what they saw, summed. */
static struct caller crowd(struct node *n, const char *path, int count)
{
    struct caller callers[CALLERS], sum = {0};
    pthread_t threads[CALLERS];

    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.port = n->outbound, .path = path, .count = count};
        pthread_create(&threads[i], NULL, call_many, &callers[i]);
    }
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        sum.status_500 += callers[i].status_500;
        sum.status_200 += callers[i].status_200;
        sum.others += callers[i].others;
    }
    return sum;
}

TEST(four_workers_count_together_and_eject_once)
{
    struct origin good, bad;
    struct caller seen;
    uint16_t ports[2];
    struct node n;
    int requests;

    origin_start(&good, "good", ORIGIN_HTTP);
    origin_start(&bad, "bad", ORIGIN_HTTP);
    ports[0] = bad.port;
    ports[1] = good.port;
    node_start(&n, WORKERS, 0, NULL, NULL);
    node_apply(&n, snapshot_of(&n, ports, 2, APP_HTTP, 40)); /* of some 80 each; a worker alone sees about 20 */
    crowd(&n, "/status/200", 10);
    CHECK_INT(number(&n, "active"), 0);
    seen = crowd(&n, "/status/500", 20); /* both reach it, by whichever worker */
    CHECK(seen.status_500 >= 2 * 40);
    CHECK_INT(seen.status_500 + seen.others, CALLERS * 20); /* 503 UH, once all are out */
    CHECK_INT(number(&n, "active"), 2);
    CHECK_INT(number(&n, "enforced_total"), 2);
    CHECK_INT(number(&n, "overflow"), 0);
    requests = atomic_load(&bad.requests) + atomic_load(&good.requests);
    seen = crowd(&n, "/", 5);
    CHECK_INT(seen.others, CALLERS * 5);
    CHECK_INT(atomic_load(&bad.requests) + atomic_load(&good.requests), requests);
    CHECK(node_is_quiet(&n));
    node_stop(&n);
    origin_stop(&good);
    origin_stop(&bad);
}

TEST(one_that_cannot_be_reached_is_left_out_by_all_workers)
{
    uint16_t ports[2] = {free_port(), 0};
    struct origin good;
    struct caller seen;
    uint64_t retries;
    struct node n;

    origin_start(&good, "good", ORIGIN_HTTP);
    ports[1] = good.port;
    node_start(&n, WORKERS, 0, NULL, NULL);
    node_apply(&n, snapshot_of(&n, ports, 2, APP_HTTP, 3));
    crowd(&n, "/", 10);
    CHECK_INT(number(&n, "active"), 1);
    CHECK_INT(number(&n, "enforced_total"), 1);
    retries = proxy_live(n.proxy, "weft_retries_total");
    seen = crowd(&n, "/", 10);
    CHECK_INT(seen.status_200, CALLERS * 10);
    CHECK_INT(proxy_live(n.proxy, "weft_retries_total"), retries);
    CHECK(node_is_quiet(&n));
    node_stop(&n);
    origin_stop(&good);
}

static void echo(struct node *n)
{
    char text[8];
    int fd = dial(n->outbound);

    CHECK(put_all(fd, "hello", 5));
    CHECK_INT(recv(fd, text, 5, MSG_WAITALL), 5);
    close(fd);
}

TEST(connections_that_are_relayed_count_too)
{
    uint16_t ports[2] = {free_port(), 0};
    struct origin good;
    uint64_t retries;
    struct node n;

    origin_start(&good, "good", ORIGIN_ECHO);
    ports[1] = good.port;
    node_start(&n, WORKERS, 0, NULL, NULL);
    node_apply(&n, snapshot_of(&n, ports, 2, APP_TCP, 3));
    for (int i = 0; i < 40; i++)
        echo(&n);
    CHECK_INT(number(&n, "active"), 1);
    retries = proxy_live(n.proxy, "weft_retries_total");
    for (int i = 0; i < 20; i++)
        echo(&n);
    CHECK_INT(proxy_live(n.proxy, "weft_retries_total"), retries);
    CHECK(node_is_quiet(&n));
    node_stop(&n);
    origin_stop(&good);
}

/* The endpoint is judged when its answer begins, and once more when that breaks off. */
TEST(an_answer_that_breaks_off_is_a_failure)
{
    struct origin bad;
    struct message m;
    struct node n;

    origin_start(&bad, "bad", ORIGIN_HTTP);
    node_start(&n, 1, 0, NULL, NULL);
    node_apply(&n, snapshot_of(&n, &bad.port, 1, APP_HTTP, 2));
    CHECK_INT(get_once(n.outbound, "/status/500", &m), 500);
    message_free(&m);
    get_once(n.outbound, "/cut", &m); /* its head is a 200, which ends the row; then one failure */
    message_free(&m);
    CHECK(node_is_quiet(&n));
    CHECK_INT(number(&n, "active"), 0);
    CHECK_INT(get_once(n.outbound, "/status/500", &m), 500);
    message_free(&m);
    CHECK(node_is_quiet(&n));
    CHECK_INT(number(&n, "active"), 1);
    node_stop(&n);
    origin_stop(&bad);
}
