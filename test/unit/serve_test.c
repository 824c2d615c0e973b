/* The small HTTP face, spoken to over real sockets: raw text where the bytes matter. */
#include "test/test.h"
#include "test/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/wire/serve.h"

static struct loop *loop;
static struct serve *server;
static char path[64];
static struct serve_request *held; /* a request that the handler keeps */
static unsigned handled, gone;
static struct io upgraded;
static struct task upgraded_task;
static struct bytes upgraded_first;

static void on_gone(struct serve_request *r)
{
    assert_ptr_equal(r, held);
    held = NULL;
    gone++;
}

static void upgraded_run(struct task *t, unsigned notes)
{
    struct bytes in;
    size_t n;

    (void)t, (void)notes; /* everything goes back */
    bytes_init(&in);
    bytes_move(&in, &upgraded_first, upgraded_first.n);
    while (io_read(&upgraded, &in, 65536, &n) == IO_OK)
        ;
    if (in.n > 0)
        io_write(&upgraded, &in);
    bytes_done(&in);
}

static void handle(struct serve_request *r)
{
    struct buf text;

    handled++;
    CHECK_STR(str_from(r->owner), "owner");
    if (str_eq(r->path, STR("/echo"))) {
        buf_init(&text, 1u << 20);
        buf_printf(&text, "%.*s %.*s?%.*s ", STR_ARG(r->method), STR_ARG(r->path),
                   STR_ARG(r->query));
        buf_add(&text, r->body);
        serve_header(r, "etag", STR("\"7\""));
        serve_answer(r, 200, "text/plain", buf_str(&text));
        buf_done(&text);
    } else if (str_eq(r->path, STR("/who"))) {
        char who[64];

        snprintf(who, sizeof(who), "%lld %lld %d", (long long)r->uid, (long long)r->pid,
                 r->peer.family);
        serve_answer(r, 200, NULL, str_from(who));
    } else if (str_eq(r->path, STR("/hold"))) {
        held = r;
        r->on_gone = on_gone;
    } else if (str_eq(r->path, STR("/stream"))) {
        held = r;
        r->on_gone = on_gone;
        serve_begin(r, 200, "text/event-stream");
        serve_more(r, STR("one"));
    } else if (str_eq(r->path, STR("/upgrade"))) {
        task_init(&upgraded_task, loop, upgraded_run);
        bytes_init(&upgraded_first);
        serve_upgrade(r, "weft-sync/1", &upgraded, &upgraded_task, 0, &upgraded_first);
    } else {
        serve_answer(r, 404, NULL, STR(""));
    }
}

static void larger_for_apply(const struct serve_request *r, size_t *max)
{
    if (str_eq(r->path, STR("/echo")) && str_eq(r->query, STR("large")))
        *max = 100000;
}

static void begin(size_t connections_max)
{
    struct serve_options o = {.handle = handle,
                              .owner = (void *)(uintptr_t) "owner",
                              .body_max = 10,
                              .connections_max = connections_max,
                              .server_name = "weft",
                              .body_limit = larger_for_apply};
    struct err err = {0};
    int fd;

    handled = gone = 0;
    held = NULL;
    loop = loop_new(&err);
    snprintf(path, sizeof(path), "/tmp/weft-serve-test-%d", (int)getpid());
    fd = serve_listen_unix(path, 0600, &err);
    if (fd < 0)
        print_error("%s\n", err.text);
    assert_true(fd >= 0);
    server = serve_new(loop, fd, &o, &err);
    assert_non_null(server);
}

static void finish(void)
{
    serve_free(server);
    turns(loop, 5);
    loop_free(loop);
    unlink(path);
    CHECK_INT(bytes_pool_live(), 0);
}

static void dial(struct peer *p)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memcpy(sa.sun_path, path, strlen(path));
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    peer_init(p, loop);
    io_init(&p->io, &p->task, 0, fd);
    io_want_read(&p->io, true);
}

static void check_peer(struct peer *p, const char *want)
{
    struct str text;

    turns(loop, 40);
    text = peer_text_undated(p);
    CHECK_STR(text, want);
    mem_free((void *)(uintptr_t)text.p);
}

#define HOST "Host: a\r\n\r\n"
#define OK   "HTTP/1.1 200 OK\r\nserver: weft\r\n"

TEST(a_request_is_handled_with_its_whole_body)
{
    static const char request[] =
        "POST /echo?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    struct peer p;

    for (int dripped = 0; dripped < 2; dripped++) {
        begin(0);
        dial(&p);
        for (size_t i = 0; i + 1 < sizeof(request); i += dripped ? 1 : sizeof(request)) {
            peer_say(&p, str_sub(STR(request), i, dripped ? 1 : sizeof(request)));
            turns(loop, 3);
        }
        check_peer(&p, OK "etag: \"7\"\r\ncontent-type: text/plain\r\ncontent-length: "
                          "20\r\n\r\nPOST /echo?a=b hello");
        CHECK_INT(handled, 1);
        peer_done(&p);
        finish();
    }
}

TEST(requests_may_be_pipelined_and_chunked)
{
    struct peer p;

    begin(0);
    dial(&p);
    peer_say(&p, STR("GET /x HTTP/1.1\r\n" HOST
                     "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\nHEAD /echo HTTP/1.1\r\n" HOST));
    check_peer(
        &p,
        "HTTP/1.1 404 Not Found\r\nserver: weft\r\ncontent-length: 0\r\n\r\n" OK
        "etag: \"7\"\r\ncontent-type: text/plain\r\ncontent-length: 17\r\n\r\nPOST /echo? hello" OK
        "etag: \"7\"\r\ncontent-type: text/plain\r\ncontent-length: 12\r\n\r\n");
    CHECK_INT(handled, 3);
    CHECK(!p.ended);
    peer_done(&p);
    finish();
}

TEST(a_body_that_is_too_long_is_a_problem_document)
{
    static const char *const requests[] = {
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello "
        "\r\n6\r\nworld!\r\n",
    };
    struct peer p;

    for (size_t i = 0; i < COUNT(requests); i++) {
        begin(0);
        dial(&p);
        peer_say(&p, str_from(requests[i]));
        check_peer(&p, "HTTP/1.1 413 Content Too Large\r\nserver: weft\r\ncontent-type: "
                       "application/problem+json\r\n"
                       "content-length: 64\r\n\r\n{\"type\":\"about:blank\",\"title\":\"Content "
                       "Too Large\",\"status\":413}\n");
        CHECK_INT(handled, 0);
        CHECK(p.ended);
        peer_done(&p);
        finish();
    }
}

TEST(the_bound_may_differ_by_path)
{
    struct peer p;

    begin(0);
    dial(&p);
    peer_say(&p, STR("POST /echo?large HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: "
                     "100-continue\r\n\r\n"));
    check_peer(&p, "HTTP/1.1 100 Continue\r\n\r\n");
    peer_say(&p, STR("hello world"));
    check_peer(&p, "HTTP/1.1 100 Continue\r\n\r\n" OK
                   "etag: \"7\"\r\ncontent-type: text/plain\r\ncontent-length: 28\r\n\r\nPOST "
                   "/echo?large hello world");
    peer_done(&p);
    finish();
}

TEST(a_unix_peer_is_known_by_its_credentials)
{
    char want[200], body[64];
    struct peer p;

    begin(0);
    dial(&p);
    peer_say(&p, STR("GET /who HTTP/1.1\r\n" HOST));
    snprintf(body, sizeof(body), "%d %d 0", (int)getuid(), (int)getpid());
    snprintf(want, sizeof(want), OK "content-length: %zu\r\n\r\n%s", strlen(body), body);
    check_peer(&p, want);
    peer_done(&p);
    finish();
}

TEST(an_answer_may_come_later)
{
    struct peer p;

    begin(0);
    dial(&p);
    peer_say(&p, STR("GET /hold HTTP/1.1\r\n" HOST));
    check_peer(&p, "");
    assert_non_null(held);
    serve_answer(held, 204, NULL, STR(""));
    check_peer(&p, "HTTP/1.1 204 No Content\r\nserver: weft\r\n\r\n");
    CHECK_INT(gone, 0);
    peer_done(&p);
    finish();
}

TEST(a_waiting_handler_hears_that_its_peer_has_gone)
{
    static const char *const requests[] = {"GET /hold HTTP/1.1\r\n" HOST,
                                           "GET /stream HTTP/1.1\r\n" HOST};
    struct peer p;

    for (size_t i = 0; i < COUNT(requests); i++) {
        begin(0);
        dial(&p);
        peer_say(&p, str_from(requests[i]));
        turns(loop, 20);
        assert_non_null(held);
        peer_done(&p);
        turns(loop, 20);
        CHECK_INT(gone, 1);
        CHECK(held == NULL);
        finish();
    }
}

TEST(the_end_of_the_server_tells_waiting_handlers)
{
    struct peer p;

    begin(0);
    dial(&p);
    peer_say(&p, STR("GET /hold HTTP/1.1\r\n" HOST));
    turns(loop, 20);
    assert_non_null(held);
    serve_free(server);
    CHECK_INT(gone, 1);
    turns(loop, 10);
    CHECK(p.ended);
    peer_done(&p);
    turns(loop, 5);
    loop_free(loop);
    unlink(path);
}

TEST(an_answer_may_be_streamed)
{
    struct peer p;

    begin(0);
    dial(&p);
    peer_say(&p, STR("GET /stream HTTP/1.1\r\n" HOST));
    check_peer(&p, OK
               "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
    serve_more(held, STR("two"));
    turns(loop, 5);
    serve_end(held);
    check_peer(&p, OK "content-type: text/event-stream\r\ntransfer-encoding: "
                      "chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
    CHECK_INT(gone, 0);
    peer_done(&p);
    finish();
}

TEST(a_slow_reader_of_a_stream_shows_in_what_is_queued)
{
    static char block[65536];
    struct peer p;
    size_t queued = 0;

    begin(0);
    dial(&p);
    p.deaf = true;
    peer_say(&p, STR("GET /stream HTTP/1.1\r\n" HOST));
    turns(loop, 20);
    assert_non_null(held);
    for (int i = 0; i < 100; i++) {
        queued = serve_more(held, (struct str){block, sizeof(block)});
        turns(loop, 2);
    }
    CHECK(queued > 1u << 20);
    serve_end(held);
    peer_done(&p);
    finish();
}

TEST(a_connection_may_be_upgraded)
{
    struct peer p;

    begin(0);
    dial(&p);
    peer_say(&p, STR("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: "
                     "weft-sync/1\r\n\r\nearly"));
    check_peer(&p, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: "
                   "weft-sync/1\r\n\r\nearly");
    peer_say(&p, STR(" late"));
    check_peer(&p, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: "
                   "weft-sync/1\r\n\r\nearly late");
    serve_free(server); /* no longer the server's connection */
    turns(loop, 5);
    CHECK(!p.ended);
    io_close(&upgraded);
    task_forget(&upgraded_task);
    turns(loop, 5);
    CHECK(p.ended);
    peer_done(&p);
    turns(loop, 5);
    loop_free(loop);
    unlink(path);
}

TEST(connections_past_the_maximum_wait)
{
    struct peer a, b;

    begin(1);
    dial(&a);
    peer_say(&a, STR("GET /x HTTP/1.1\r\n" HOST));
    turns(loop, 20);
    dial(&b);
    peer_say(&b, STR("GET /x HTTP/1.1\r\n" HOST));
    check_peer(&b, "");
    peer_done(&a);
    check_peer(&b, "HTTP/1.1 404 Not Found\r\nserver: weft\r\ncontent-length: 0\r\n\r\n");
    peer_done(&b);
    finish();
}

TEST(bad_requests_are_answered_by_the_codec)
{
    struct peer p;

    begin(0);
    dial(&p);
    peer_say(&p, STR("GET / HTTP/1.1\r\n\r\n"));
    check_peer(&p, "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nserver: weft\r\n"
                   "content-length: 11\r\nconnection: close\r\n\r\nBad Request");
    CHECK(p.ended);
    CHECK_INT(handled, 0);
    peer_done(&p);
    finish();
}

/* Listening */

TEST(a_stale_socket_is_replaced_and_a_live_one_is_not)
{
    struct err err = {0};
    struct stat st;
    int first, second, file;

    snprintf(path, sizeof(path), "/tmp/weft-serve-test-%d", (int)getpid());
    first = serve_listen_unix(path, 0660, &err);
    assert_true(first >= 0);
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(st.st_mode & 0777, 0660);
    CHECK_INT(serve_listen_unix(path, 0660, &err), -1);
    CHECK_INT(err.code, ERR_CONFLICT);
    CHECK(strstr(err.text, path) != NULL);
    close(first); /* left behind, as by kill -9 */
    second = serve_listen_unix(path, 0600, &err);
    assert_true(second >= 0);
    close(second);
    unlink(path);
    file = open(path, O_CREAT | O_WRONLY, 0600);
    close(file);
    CHECK_INT(serve_listen_unix(path, 0600, &err), -1);
    CHECK_INT(err.code, ERR_CONFLICT);
    CHECK_INT(stat(path, &st), 0); /* not ours: left alone */
    unlink(path);
}

TEST(a_port_in_use_is_named)
{
    struct addr at = {
        .family = 4, .ip = {127, 0, 0, 1}
    };
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);
    struct err err = {0};
    char want[16];
    int fd = serve_listen_tcp(&at, &err);

    assert_true(fd >= 0);
    getsockname(fd, (struct sockaddr *)&sa, &n);
    assert_true(addr_from_sockaddr((struct sockaddr *)&sa, &at));
    CHECK_INT(serve_listen_tcp(&at, &err), -1);
    CHECK_INT(err.code, ERR_CONFLICT);
    snprintf(want, sizeof(want), "port %u ", at.port);
    CHECK(strstr(err.text, want) != NULL);
    close(fd);
}
