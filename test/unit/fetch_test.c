/* The control plane's client against the control plane's server, and against peers that misbehave.
 */
#include "test/test.h"
#include "test/wire.h"

#include <errno.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/wire/fetch.h"
#include "proxy/wire/serve.h"
#include "proxy/wire/tls.h"
#include "test/unit/pki_world.h"

static struct loop *loop;
static struct serve *server;
static struct addr server_at;

/* What `done` was told. */
static struct {
    unsigned calls, status, parts;
    struct err err;
    char body[64], peer_uri[64], streamed[64];
    struct fetch *cancel_in_data;
} got;
static struct serve_request *held;
static struct io client_io, server_io;
static struct task client_task, server_task;
static struct bytes client_in, server_in;

static void keep(char *to, size_t max, struct str s)
{
    snprintf(to, max, "%.*s", STR_ARG(s));
}

static void done(void *arg, const struct fetch_answer *a, const struct err *err)
{
    CHECK_TEXT((const char *)arg, "arg");
    got.calls++;
    if (err) {
        got.err = *err;
        return;
    }
    got.status = a->status;
    keep(got.body, sizeof(got.body), a->body);
    keep(got.peer_uri, sizeof(got.peer_uri), a->peer_uri);
    if (a->io) {
        bytes_move(&client_in, a->first, a->first->n);
        io_move(&client_io, a->io, &client_task, 0);
        io_want_read(&client_io, true);
        task_note(&client_task, IO_NOTE_READ);
    }
}

static void on_data(void *arg, struct str part)
{
    (void)arg; /* checked by done */
    got.parts++;
    snprintf(got.streamed + strlen(got.streamed), sizeof(got.streamed) - strlen(got.streamed),
             "%.*s", STR_ARG(part));
    if (got.cancel_in_data)
        fetch_cancel(got.cancel_in_data);
}

static void on_gone(struct serve_request *r)
{
    (void)r; /* the one held */
    held = NULL;
}

static void read_all(struct io *io, struct bytes *in)
{
    size_t n;

    while (io_read(io, in, 65536, &n) == IO_OK)
        ;
}

static void client_run(struct task *t, unsigned notes)
{
    (void)t, (void)notes; /* one io, one reason */
    read_all(&client_io, &client_in);
}

static void server_run(struct task *t, unsigned notes)
{
    (void)t, (void)notes; /* one io, one reason */
    read_all(&server_io, &server_in);
}

static void handle(struct serve_request *r)
{
    if (str_eq(r->path, STR("/echo"))) {
        struct str type = STR("none"), extra = STR("none");
        char text[128];

        http_get(r->head, STR("content-type"), &type);
        http_get(r->head, STR("x-extra"), &extra);
        snprintf(text, sizeof(text), "%.*s %.*s %.*s %.*s %.*s", STR_ARG(r->method),
                 STR_ARG(r->head->authority), STR_ARG(type), STR_ARG(extra), STR_ARG(r->body));
        serve_answer(r, 201, NULL, str_from(text));
    } else if (str_eq(r->path, STR("/uri"))) {
        serve_answer(r, 200, NULL, r->peer_uri);
    } else if (str_eq(r->path, STR("/upgrade"))) {
        serve_upgrade(r, "weft-sync/1", &server_io, &server_task, 0, &server_in);
        io_write_str(&server_io, STR("hello"));
    } else {
        held = r;
        r->on_gone = on_gone;
        if (str_eq(r->path, STR("/stream")))
            serve_begin(r, 200, NULL);
    }
}

static void begin(void)
{
    struct serve_options o = {.handle = handle, .body_max = 1000};
    struct addr any = {
        .family = 4, .ip = {127, 0, 0, 1}
    };
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);
    struct err err = {0};
    int fd = serve_listen_tcp(&any, &err);

    memset(&got, 0, sizeof(got));
    held = NULL;
    loop = loop_new(&err);
    assert_true(fd >= 0);
    getsockname(fd, (struct sockaddr *)&sa, &n);
    assert_true(addr_from_sockaddr((struct sockaddr *)&sa, &server_at));
    server = serve_new(loop, fd, &o, &err);
    assert_non_null(server);
    task_init(&client_task, loop, client_run);
    task_init(&server_task, loop, server_run);
    bytes_init(&client_in);
    bytes_init(&server_in);
}

static void finish(void)
{
    serve_free(server);
    io_close(&client_io);
    io_close(&server_io);
    task_forget(&client_task);
    task_forget(&server_task);
    bytes_done(&client_in);
    bytes_done(&server_in);
    turns(loop, 5);
    loop_free(loop);
    CHECK_INT(bytes_pool_live(), 0);
}

static struct fetch_request request(const char *path)
{
    return (struct fetch_request){
        .to = server_at, .path = str_from(path), .host = STR("cp"), .answer_max = 50};
}

static struct fetch *go(const struct fetch_request *r)
{
    static char arg[] = "arg";

    return fetch_start(loop, r, done, arg);
}

static void await(void)
{
    for (int i = 0; i < 6000 && got.calls == 0; i++)
        loop_turn(loop, 5);
    turns(loop, 20);
    CHECK_INT(got.calls, 1);
}

TEST(a_request_is_answered)
{
    struct http_field extra = {STR_INIT("x-extra"), STR_INIT("e")};
    struct fetch_request r;

    begin();
    r = request("/echo");
    r.method = STR("PUT");
    r.body = STR("body");
    r.content_type = STR("text/x");
    r.fields = &extra;
    r.field_count = 1;
    go(&r);
    CHECK_INT(got.calls, 0); /* never from inside fetch_start */
    await();
    CHECK_INT(got.status, 201);
    CHECK_TEXT(got.body, "PUT cp text/x e body");
    finish();
}

TEST(a_large_body_goes_out_whole)
{
    struct fetch_request r;
    char *block = mem_zalloc(1u << 20);

    begin();
    r = request("/echo");
    r.method = STR("POST");
    r.body = (struct str){block, 1u << 20};
    r.answer_max = 200;
    go(&r);
    await();
    CHECK_TEXT(got.err.text, "");
    CHECK_INT(got.status, 413); /* early, while we still send; it is read all the same */
    mem_free(block);
    finish();
}

TEST(an_answer_longer_than_asked_for_is_an_error)
{
    struct fetch_request r;

    begin();
    r = request("/echo");
    r.answer_max = 3;
    go(&r);
    await();
    CHECK_INT(got.err.code, ERR_LIMIT);
    finish();
}

TEST(nobody_there_is_said_with_the_address)
{
    struct fetch_request r;

    begin();
    r = request("/");
    r.to.port = 1;
    go(&r);
    await();
    CHECK_INT(got.err.code, ERR_IO);
    CHECK_TEXT(got.err.text, "cannot connect to 127.0.0.1:1: Connection refused");
    memset(&got, 0, sizeof(got));
    r.unix_path = "/tmp/weft-fetch-test-nothing";
    go(&r);
    await();
    CHECK_INT(got.err.code, ERR_MISSING);
    CHECK_TEXT(got.err.text,
               "cannot connect to /tmp/weft-fetch-test-nothing: No such file or directory");
    finish();
}

TEST(silence_ends_with_the_timeout)
{
    struct fetch_request r;

    begin();
    r = request("/hold");
    r.timeout_ms = 60000; /* real time passes too */
    go(&r);
    for (int i = 0; i < 6000 && !held; i++)
        loop_turn(loop, 5);
    assert_non_null(held);
    loop_advance(loop, 30000);
    turns(loop, 5);
    CHECK_INT(got.calls, 0);
    loop_advance(loop, 30000);
    await();
    CHECK(strstr(got.err.text, "no answer in time from 127.0.0.1:") != NULL);
    for (int i = 0; i < 6000 && held; i++)
        loop_turn(loop, 5);
    CHECK(held == NULL); /* the server saw us go */
    finish();
}

TEST(a_cancelled_fetch_tells_nobody)
{
    struct fetch_request r;
    struct fetch *f;

    begin();
    r = request("/hold");
    f = go(&r);
    fetch_cancel(f); /* at once */
    turns(loop, 10);
    f = go(&r);
    for (int i = 0; i < 6000 && !held; i++)
        loop_turn(loop, 5);
    fetch_cancel(f);
    for (int i = 0; i < 6000 && held; i++)
        loop_turn(loop, 5);
    CHECK(held == NULL);
    CHECK_INT(got.calls, 0);
    finish();
}

TEST(a_streamed_answer_comes_in_parts)
{
    struct fetch_request r;

    begin();
    r = request("/stream");
    r.on_data = on_data;
    go(&r);
    for (int i = 0; i < 6000 && !held; i++)
        loop_turn(loop, 5);
    assert_non_null(held);
    serve_more(held, STR("one "));
    for (int i = 0; i < 6000 && got.parts < 1; i++)
        loop_turn(loop, 5);
    serve_more(held, STR("two"));
    serve_end(held);
    await();
    CHECK_TEXT(got.streamed, "one two");
    CHECK_INT(got.parts, 2);
    CHECK_TEXT(got.body, "");
    finish();
}

TEST(a_fetch_may_be_cancelled_from_its_data)
{
    struct fetch_request r;

    begin();
    r = request("/stream");
    r.on_data = on_data;
    got.cancel_in_data = go(&r);
    for (int i = 0; i < 6000 && !held; i++)
        loop_turn(loop, 5);
    serve_more(held, STR("one"));
    for (int i = 0; i < 6000 && held; i++)
        loop_turn(loop, 5);
    CHECK_INT(got.parts, 1);
    CHECK_INT(got.calls, 0);
    finish();
}

TEST(an_upgrade_hands_over_the_io)
{
    struct fetch_request r;

    begin();
    r = request("/upgrade");
    r.upgrade = "weft-sync/1";
    go(&r);
    await();
    CHECK_INT(got.status, 101);
    for (int i = 0; i < 6000 && client_in.n < 5; i++)
        loop_turn(loop, 5);
    CHECK_STR(bytes_flat(&client_in, client_in.n), "hello");
    io_write_str(&client_io, STR("back"));
    for (int i = 0; i < 6000 && server_in.n < 4; i++)
        loop_turn(loop, 5);
    CHECK_STR(bytes_flat(&server_in, server_in.n), "back");
    finish();
}

TEST(an_upgrade_refused_is_an_ordinary_answer)
{
    struct fetch_request r;

    begin();
    r = request("/echo");
    r.upgrade = "weft-sync/1";
    go(&r);
    await();
    CHECK_INT(got.status, 201);
    finish();
}

/* A server that answers anything at all with one text, then closes. */
struct fake {
    int listener;
    const char *text;
    struct peer peer;
};

static void fake_data(struct peer *p)
{
    struct fake *f = p->owner;

    if (p->in.n > 0 && f->text) {
        peer_say(p, str_from(f->text));
        io_shutdown(&p->io);
        f->text = NULL;
    }
}

TEST(nonsense_and_truncation_are_errors)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"SSH-2.0-OpenSSH\r\n",                                                    "no valid HTTP answer from"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",                        "the connection broke"     },
        {"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",                           "no valid HTTP answer from"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
         "no valid HTTP answer from"                                                                          },
        {"",                                                                       "the connection broke"     },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fake f = {.text = rows[i].text};
        struct fetch_request r;
        struct err err = {0};
        int fd = -1;

        begin();
        server_at.port = 0;
        f.listener = serve_listen_tcp(&server_at, &err);
        assert_true(f.listener >= 0);
        {
            struct sockaddr_storage sa;
            socklen_t n = sizeof(sa);

            getsockname(f.listener, (struct sockaddr *)&sa, &n);
            assert_true(addr_from_sockaddr((struct sockaddr *)&sa, &server_at));
        }
        r = request("/");
        go(&r);
        for (int k = 0; k < 6000 && fd < 0; k++) {
            loop_turn(loop, 5);
            fd = accept4(f.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        }
        assert_true(fd >= 0);
        peer_init(&f.peer, loop);
        f.peer.owner = &f;
        f.peer.on_data = fake_data;
        io_init(&f.peer.io, &f.peer.task, 0, fd);
        io_want_read(&f.peer.io, true);
        await();
        if (!strstr(got.err.text, rows[i].want))
            fail_msg("row %zu: %s", i, got.err.text);
        peer_done(&f.peer);
        close(f.listener);
        finish();
    }
}

TEST(tls_proves_both_sides)
{
    struct tls_options o = {.peer = TLS_PEER_REQUIRED};
    struct pki_world w;
    struct creds *web, *db;
    struct tls_context *client, *accepting;
    struct fetch_request r;
    struct err err = {0};

    begin();
    pki_world_init(&w, "cluster.local");
    web = pki_world_creds(&w, WEB_URI, w.now_ms);
    db = pki_world_creds(&w, DB_URI, w.now_ms);
    client = tls_client_context(web, &o, &err);
    accepting = tls_server_context(db, NULL, &o, &err);
    assert_non_null(client);
    assert_non_null(accepting);
    serve_set_tls(server, accepting);
    tls_context_unref(accepting);
    r = request("/uri");
    r.tls = client;
    r.expect_uris = STR(DB_URI);
    go(&r);
    await();
    CHECK_INT(got.status, 200);
    CHECK_TEXT(got.body, WEB_URI);
    CHECK_TEXT(got.peer_uri, DB_URI);

    memset(&got, 0, sizeof(got));
    r.expect_uris = STR(SERVER_URI); /* somebody else */
    go(&r);
    await();
    CHECK_INT(got.err.code, ERR_IO);
    CHECK(strstr(got.err.text, "no secure connection to 127.0.0.1:") != NULL);

    memset(&got, 0, sizeof(got));
    r.tls = NULL; /* plain text to a TLS port */
    go(&r);
    await();
    CHECK_INT(got.err.code, ERR_IO);
    tls_context_unref(client);
    creds_unref(web);
    creds_unref(db);
    pki_world_done(&w);
    finish();
}

TEST(the_blocking_form_says_why_it_failed)
{
    struct fetch_request r = {.unix_path = "/tmp/weft-fetch-test-nothing", .path = STR("/")};
    struct err err = {0};
    unsigned status = 0;
    struct buf body;

    buf_init(&body, 100);
    CHECK_INT(fetch_wait(&r, &status, &body, &err), -1);
    CHECK_INT(err.code, ERR_MISSING);
    CHECK_INT(status, 0);
    buf_done(&body);
}
