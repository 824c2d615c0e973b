/* An application that closes connections as it likes: what its callers see of that. */
#include "test/unit/proxy_world.h"

#define LOCAL "inbound|80||"

struct app {
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_int connections, requests;
    unsigned answers; /* on one connection; then it is closed, with the last answer and without a word */
};

/* The answer and the end arrive together. */
static void answer_and_close(int fd)
{
    static const char text[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    (void)send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_MORE);
    shutdown(fd, SHUT_WR);
}

static void *serve(void *arg)
{
    struct app *app = arg;
    int fd;

    while ((fd = accept(app->fd, NULL, NULL)) >= 0) {
        struct reader r = {.fd = fd};
        struct message m = {0};

        atomic_fetch_add(&app->connections, 1);
        set_patience(fd);
        for (unsigned n = 1; n <= app->answers && read_message(&r, &m, false); n++) {
            atomic_fetch_add(&app->requests, 1);
            if (n < app->answers)
                answer(fd, 200, "ok", 2);
            else
                answer_and_close(fd);
            message_free(&m);
        }
        message_free(&m);
        free(r.p);
        close(fd);
    }
    return NULL;
}

static void app_start(struct app *app, unsigned answers)
{
    memset(app, 0, sizeof(*app));
    app->answers = answers;
    app->fd = listen_any(&app->port);
    pthread_create(&app->thread, NULL, serve, app);
}

static void app_stop(struct app *app)
{
    shutdown(app->fd, SHUT_RDWR);
    pthread_join(app->thread, NULL);
    close(app->fd);
}

/* One agent in front of it, with the route that the compiler makes for requests from outside. */
static void start(struct node *n, uint16_t port)
{
    struct snapshot *s;
    struct cluster *c = cluster_part(LOCAL, CLUSTER_LOCAL);
    struct listener *l;

    node_start(n, 1, 0, NULL, NULL);
    l = listener_part(LISTENER_INBOUND, n->inbound, APP_HTTP);
    s = snapshot_new();
    c->local = loopback(port);
    l->cluster = STR(LOCAL);
    listener_route(l, LOCAL)->retry =
        (struct retry_policy){.attempts = 2, .on = RETRY_RESET_BEFORE_REQUEST, .backoff_base_ms = 25};
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    node_apply(n, s);
}

static int post(int fd, struct message *m)
{
    return ask(fd, "POST / HTTP/1.1\r\nHost: svc.test:80\r\nContent-Length: 3\r\n\r\nabc", m);
}

TEST(an_application_that_closes_idle_connections_is_no_trouble_to_callers)
{
    struct message m;
    struct node n;
    struct app app;
    int fd;

    app_start(&app, 2);
    start(&n, app.port);
    fd = dial(n.inbound);
    for (int i = 0; i < 300; i++) {
        CHECK_INT(i % 3 ? get(fd, "/", &m) : post(fd, &m), 200);
        message_free(&m);
    }
    close(fd);
    CHECK_INT(atomic_load(&app.requests), 300); /* nothing was done twice */
    CHECK(atomic_load(&app.connections) >= 150);
    CHECK(node_is_quiet(&n));
    node_stop(&n);
    app_stop(&app);
}

TEST(a_request_that_cannot_begin_is_tried_twice_more)
{
    uint16_t nobody = free_port();
    char log[4096];
    struct message m;
    struct node n;
    int fd;

    start(&n, nobody);
    fd = dial(n.inbound);
    CHECK_INT(post(fd, &m), 503); /* also what must not be done twice */
    message_free(&m);
    close(fd);
    CHECK_INT(proxy_live(n.proxy, "weft_retries_total"), 2);
    node_log(&n, log, sizeof(log), "\n");
    CHECK(strstr(log, " URX,UF ") || strstr(log, " UF,URX "));
    CHECK(node_is_quiet(&n));
    node_stop(&n);
}

TEST(a_request_that_began_is_not_tried_again)
{
    struct message m;
    struct origin o;
    struct node n;
    int fd;

    origin_start(&o, "app", ORIGIN_HTTP);
    start(&n, o.port);
    fd = dial(n.inbound);
    CHECK_INT(ask(fd, "POST /drop HTTP/1.1\r\nHost: svc.test:80\r\nContent-Length: 0\r\n\r\n", &m), 503);
    message_free(&m);
    close(fd);
    CHECK_INT(atomic_load(&o.requests), 1);
    CHECK(node_is_quiet(&n));
    node_stop(&n);
    origin_stop(&o);
}
