/* Bytes through a forward proxy that is asked by POST, and whatever that may answer. */
#include "test/unit/proxy_world.h"

#define CLUSTER "outbound|80||svc.test"
#define HEAD    "POST / HTTP/1.1\r\nhost: far.test:5432\r\ntransfer-encoding: chunked\r\n\r\n"
#define CHUNKED "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

/* One connection: reads the head, says `answer`, byte by byte, and takes what comes. */
struct forward {
    int fd;
    uint16_t port;
    pthread_t thread;
    const char *answer;
    bool closes; /* behind the answer */
    char heard[4096];
    size_t n;
};

static bool hear(struct forward *f, int fd)
{
    ssize_t n = recv(fd, f->heard + f->n, sizeof(f->heard) - 1 - f->n, 0);

    f->n += n > 0 ? (size_t)n : 0;
    f->heard[f->n] = 0;
    return n > 0;
}

static void *serve(void *arg)
{
    struct forward *f = arg;
    int fd = accept(f->fd, NULL, NULL);

    set_patience(fd);
    while (!strstr(f->heard, "\r\n\r\n") && hear(f, fd))
        ;
    for (const char *p = f->answer; *p && put_all(fd, p, 1); p++)
        nap_ms(strlen(p) % 16 == 0);
    while (!f->closes && hear(f, fd))
        ;
    close(fd);
    return NULL;
}

static void forward_start(struct forward *f, const char *answer, bool closes)
{
    memset(f, 0, sizeof(*f));
    f->answer = answer;
    f->closes = closes;
    f->fd = listen_any(&f->port);
    pthread_create(&f->thread, NULL, serve, f);
}

static void forward_stop(struct forward *f)
{
    pthread_join(f->thread, NULL);
    close(f->fd);
}

static void start(struct node *n, uint16_t port)
{
    struct snapshot *s;
    struct cluster *c = cluster_part(CLUSTER, CLUSTER_ENDPOINTS);
    struct listener *l;

    node_start(n, 1, 0, NULL, NULL);
    s = snapshot_new();
    l = listener_part(LISTENER_OUTBOUND, n->outbound, APP_TCP);
    cluster_endpoints(c, &port, 1, NULL);
    c->forward_to = STR("far.test:5432");
    c->forwards_by_post = true;
    c->connect_timeout_ms = 500;
    listener_tcp(l, CLUSTER);
    snapshot_add_cluster(s, c);
    snapshot_add_listener(s, l);
    node_apply(n, s);
}

/* What comes until the end. False: it was no clean end. */
static bool read_all(int fd, char *text, size_t max)
{
    size_t n = 0;
    ssize_t some;

    while ((some = recv(fd, text + n, max - 1 - n, 0)) > 0)
        n += (size_t)some;
    text[n] = 0;
    return some == 0;
}

static bool is_quiet(struct node *n)
{
    return node_shows(n, "weft_upstream_connections", 0) && node_is_quiet(n);
}

TEST(whatever_frames_the_answer_its_bytes_come_and_a_cut_is_a_cut)
{
    static const struct {
        const char *answer;
        bool closes;
        const char *bytes;
        bool is_end;
    } rows[] = {
        {CHUNKED "3\r\nabc\r\n4;x=\"y\"\r\ndefg\r\n0\r\nt: 1\r\n\r\n", false, "abcdefg", true},
        {CHUNKED "0\r\n\r\n", false, "", true},
        {"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", false, "hello", true},
        {"HTTP/1.1 204 No Content\r\n\r\n", false, "", true},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 299 fine\r\n\r\nuntil the end", true, "until the end", true},
        {"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", true, "hello", false},
        {CHUNKED "3\r\nabc\r\n4\r\nde", true, "abcde", false},
        {CHUNKED "3\r\nabc\r\nz\r\n", false, "abc", false},
        {"HTTP/1.1 301 no\r\ncontent-length: 0\r\n\r\n", false, "", false},
        {"HTTP/1.1 101 no\r\n\r\n", false, "", false},
        {"SSH-2.0-x\r\n\r\n", false, "", false},
        {"", true, "", false},
        {"", false, "", false}, /* in time */
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct forward f;
        struct node n;
        char text[256];
        int fd;

        forward_start(&f, rows[i].answer, rows[i].closes);
        start(&n, f.port);
        fd = dial(n.outbound);
        CHECK_INT(read_all(fd, text, sizeof(text)), rows[i].is_end);
        if (rows[i].is_end)
            CHECK_TEXT(text, rows[i].bytes);
        else /* a reset may overtake some */
            CHECK(strncmp(text, rows[i].bytes, strlen(text)) == 0);
        close(fd);
        CHECK(is_quiet(&n));
        forward_stop(&f);
        CHECK(strncmp(f.heard, HEAD, strlen(HEAD)) == 0);
        node_stop(&n);
    }
}

TEST(each_direction_ends_by_itself)
{
    static const char *const answers[] = {
        CHUNKED "5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
    };

    for (size_t i = 0; i < COUNT(answers); i++) {
        struct forward f;
        struct node n;
        char text[64];
        int fd;

        forward_start(&f, answers[i], false);
        start(&n, f.port);
        fd = dial(n.outbound);
        CHECK(put_all(fd, "before", 6)); /* waits for the answer */
        CHECK(read_all(fd, text, sizeof(text)));
        CHECK_TEXT(text, "hello");
        CHECK(put_all(fd, " and after", 10));
        shutdown(fd, SHUT_WR);
        CHECK(is_quiet(&n));
        close(fd);
        forward_stop(&f);
        CHECK_TEXT(f.heard, HEAD "6\r\nbefore\r\na\r\n and after\r\n0\r\n\r\n");
        node_stop(&n);
    }
}

TEST(a_client_that_cuts_leaves_no_end_behind)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    struct forward f;
    struct node n;
    int fd;
    char text[8];

    forward_start(&f, CHUNKED "5\r\nhello\r\n", false);
    start(&n, f.port);
    fd = dial(n.outbound);
    CHECK_INT(recv(fd, text, 5, MSG_WAITALL), 5);
    CHECK(put_all(fd, "half", 4));
    nap_ms(50);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
    CHECK(is_quiet(&n));
    forward_stop(&f);
    CHECK_TEXT(f.heard, HEAD "4\r\nhalf\r\n");
    node_stop(&n);
}

TEST(a_proxy_that_stops_cuts_what_it_carries)
{
    struct forward f;
    struct node n;
    int fd;
    char text[8];

    forward_start(&f, CHUNKED "5\r\nhello\r\n", false);
    start(&n, f.port);
    fd = dial(n.outbound);
    CHECK_INT(recv(fd, text, 5, MSG_WAITALL), 5);
    node_stop(&n);
    close(fd);
    forward_stop(&f);
}
