/* Sockets, TLS over sockets with and without helpers, and in-memory pairs. */
#include "test/test.h"
#include "test/wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "proxy/wire/crypto.h"
#include "proxy/wire/tls.h"
#include "test/unit/pki_world.h"

struct end {
    struct task task;
    struct io io;
    struct bytes in;
    unsigned noted;
    bool ended, failed, shaking, shaken;
    size_t read_max; /* per call; 0: as much as comes */
    bool deaf;
};

static void end_run(struct task *t, unsigned notes)
{
    struct end *e = CONTAINER(t, struct end, task);
    enum io_step step = IO_OK;
    size_t n;

    e->noted |= notes;
    if (e->shaking) {
        step = io_handshake(&e->io);
        if (step == IO_FAILED)
            e->failed = true;
        if (step != IO_OK)
            return;
        e->shaking = false;
        e->shaken = true;
    }
    while (!e->deaf && step == IO_OK) {
        step = io_read(&e->io, &e->in, e->read_max ? e->read_max : 1u << 20, &n);
        if (step == IO_EOF)
            e->ended = true;
        if (step == IO_FAILED)
            e->failed = true;
    }
}

static struct loop *loop;
static struct end a, b;

static void end_init(struct end *e)
{
    memset(e, 0, sizeof(*e));
    task_init(&e->task, loop, end_run);
    bytes_init(&e->in);
}

static void begin(void)
{
    struct err err;

    loop = loop_new(&err);
    assert_non_null(loop);
    end_init(&a);
    end_init(&b);
}

static void begin_sockets(void)
{
    int fds[2];

    begin();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    io_init(&a.io, &a.task, 0, fds[0]);
    io_init(&b.io, &b.task, 0, fds[1]);
    io_want_read(&a.io, true);
    io_want_read(&b.io, true);
}

static void begin_pair(void)
{
    begin();
    io_pair(&a.io, &a.task, 0, &b.io, &b.task, 0);
}

static void finish(void)
{
    io_close(&a.io);
    io_close(&b.io);
    bytes_done(&a.in);
    bytes_done(&b.in);
    task_forget(&a.task);
    task_forget(&b.task);
    turns(loop, 3);
    loop_free(loop);
    CHECK_INT(bytes_pool_live(), 0);
}

static void check_in(struct end *e, const char *want)
{
    CHECK_STR(bytes_flat(&e->in, e->in.n), want);
}

/* Turns until `*flag`, or time is up: helpers take real time. */
static void await(const bool *flag)
{
    for (int i = 0; i < 2000 && !*flag; i++)
        loop_turn(loop, 5);
    assert_true(*flag);
}

static void await_bytes(const struct end *e, size_t n)
{
    for (int i = 0; i < 5000 && e->in.n < n; i++)
        loop_turn(loop, 2);
    assert_int_equal(e->in.n, n);
}

static void (*const kinds[])(void) = {begin_sockets, begin_pair};

TEST(bytes_cross_both_ways_and_the_end_comes_last)
{
    for (size_t k = 0; k < COUNT(kinds); k++) {
        kinds[k]();
        io_write_str(&a.io, STR("hel"));
        io_write_str(&a.io, STR("lo"));
        io_write_str(&b.io, STR("world"));
        io_shutdown(&a.io);
        turns(loop, 10);
        check_in(&b, "hello");
        CHECK(b.ended);
        CHECK(io_is_shut(&a.io));
        check_in(&a, "world");
        CHECK(!a.ended);
        io_write_str(&b.io, STR("!")); /* half-close: the other way goes on */
        turns(loop, 10);
        check_in(&a, "world!");
        CHECK_INT(io_write_str(&a.io, STR("late")), IO_FAILED);
        finish();
    }
}

TEST(a_turns_writes_go_out_together)
{
    begin_sockets();
    for (int i = 0; i < 1000; i++)
        io_write_str(&a.io, STR("0123456789"));
    CHECK_INT(a.io.bytes_out, 0);
    turns(loop, 5);
    CHECK_INT(a.io.bytes_out, 10000);
    CHECK_INT(b.io.bytes_in, 10000);
    CHECK_INT(b.in.n, 10000);
    finish();
}

TEST(closing_loses_nothing_that_was_taken_by_a_pair)
{
    begin_pair();
    b.deaf = true;
    io_write_str(&a.io, STR("last words"));
    turns(loop, 2);
    io_close(&a.io);
    b.deaf = false;
    io_want_read(&b.io, true);
    turns(loop, 5);
    check_in(&b, "last words");
    CHECK(b.ended);
    io_write_str(&b.io, STR("?"));
    turns(loop, 3);
    CHECK(b.failed || b.io.failed);
    CHECK_INT(b.io.error, EPIPE);
    finish();
}

TEST(a_pair_whose_peer_has_gone_is_shut_at_once)
{
    begin_pair();
    io_close(&b.io); /* before the end is said */
    io_shutdown(&a.io);
    turns(loop, 3);
    CHECK(io_is_shut(&a.io));
    finish();

    begin_pair();
    b.deaf = true;
    io_want_read(&b.io, false);
    io_write_str(&a.io, STR("never read"));
    io_shutdown(&a.io);
    turns(loop, 3);
    CHECK(!io_is_shut(&a.io));
    io_close(&b.io); /* after it, with bytes on the way */
    turns(loop, 3);
    CHECK(io_is_shut(&a.io));
    finish();
}

TEST(room_is_noted_when_pending_has_fallen)
{
    for (size_t k = 0; k < COUNT(kinds); k++) {
        char *block = mem_zalloc(4u << 20);

        kinds[k]();
        b.deaf = true;
        io_want_read(&b.io, false);
        io_write_str(&a.io, (struct str){block, 4u << 20});
        turns(loop, 10);
        CHECK(io_pending(&a.io) >= LIMIT_STREAM_HIGH);
        a.noted = 0;
        b.deaf = false;
        io_want_read(&b.io, true);
        await_bytes(&b, 4u << 20);
        turns(loop, 3);
        CHECK(a.noted & IO_NOTE_ROOM);
        CHECK_INT(io_pending(&a.io), 0);
        mem_free(block);
        finish();
    }
}

TEST(an_io_may_change_hands_with_what_it_holds)
{
    for (size_t k = 0; k < COUNT(kinds); k++) {
        struct end c;

        kinds[k]();
        end_init(&c);
        a.deaf = true;
        io_write_str(&b.io, STR("to whom?"));
        io_write_str(&a.io, STR("before "));
        turns(loop, 2);
        io_write_str(&a.io, STR("after"));
        io_move(&c.io, &a.io, &c.task, 0); /* with a flush waiting */
        io_want_read(&c.io, true);
        task_note(&c.task, IO_NOTE_READ);
        turns(loop, 10);
        check_in(&b, "before after");
        check_in(&c, "to whom?");
        CHECK_INT(io_write_str(&a.io, STR("x")), IO_FAILED);
        io_close(&c.io);
        bytes_done(&c.in);
        task_forget(&c.task);
        turns(loop, 5);
        CHECK(b.ended);
        finish();
    }
}

TEST(a_reset_is_seen_as_such)
{
    struct addr at = {
        .family = 4, .ip = {127, 0, 0, 1}
    };
    struct sockaddr_storage sa;
    socklen_t n = addr_to_sockaddr(&at, &sa);
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
    struct str why;

    begin();
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, n), 0);
    assert_int_equal(listen(listener, 5), 0);
    getsockname(listener, (struct sockaddr *)&sa, &n);
    assert_true(addr_from_sockaddr((struct sockaddr *)&sa, &at));
    CHECK_INT(io_connect(&a.io, &a.task, 0, &at, 0), IO_AGAIN);
    for (int i = 0; i < 100 && io_connected(&a.io) == IO_AGAIN; i++)
        loop_turn(loop, 10);
    CHECK_INT(io_connected(&a.io), IO_OK);
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    io_init(&b.io, &b.task, 0, fd);
    CHECK(io_peer_addr(&a.io, &at));
    CHECK(io_local_addr(&b.io, &at));
    CHECK_INT(at.ip[0], 127);
    io_want_read(&a.io, true);
    io_reset(&b.io);
    for (int i = 0; i < 100 && !a.failed; i++)
        loop_turn(loop, 10);
    CHECK(a.failed);
    CHECK_INT(a.io.error, ECONNRESET);
    why = io_failure(&a.io);
    CHECK_STR(why, "Connection reset by peer");
    close(listener);
    finish();
}

TEST(a_refused_connect_says_so)
{
    struct addr at = {
        .family = 4, .port = 1, .ip = {127, 0, 0, 1}
    };

    begin();
    if (io_connect(&a.io, &a.task, 0, &at, 0) == IO_AGAIN) {
        for (int i = 0; i < 100 && io_connected(&a.io) == IO_AGAIN; i++)
            loop_turn(loop, 10);
    }
    CHECK_INT(io_connected(&a.io), IO_FAILED);
    CHECK_INT(a.io.error, ECONNREFUSED);
    finish();
}

/* The peer answers and goes away while we still send: the answer must be read all the same. */
TEST(what_came_before_a_broken_write_is_still_read)
{
    char *block = mem_zalloc(8u << 20);

    begin_sockets();
    a.deaf = true;
    io_write_str(&b.io, STR("too large"));
    turns(loop, 3);
    io_close(&b.io);
    io_write_str(&a.io, (struct str){block, 8u << 20});
    turns(loop, 3);
    CHECK_INT(a.io.write_error, EPIPE);
    a.deaf = false;
    task_note(&a.task, IO_NOTE_READ);
    turns(loop, 5);
    check_in(&a, "too large");
    CHECK(a.failed || a.ended);
    mem_free(block);
    finish();
}

/* TLS */

struct tls_world {
    struct pki_world pki;
    struct creds *web, *db;
    struct tls_context *client, *server;
};

static void tls_world_init(struct tls_world *w, unsigned version)
{
    struct tls_options o = {
        .peer = TLS_PEER_REQUIRED, .min_version = version, .max_version = version};
    struct err err = {0};

    pki_world_init(&w->pki, "cluster.local");
    w->web = pki_world_creds(&w->pki, WEB_URI, w->pki.now_ms);
    w->db = pki_world_creds(&w->pki, DB_URI, w->pki.now_ms);
    w->client = tls_client_context(w->web, &o, &err);
    w->server = tls_server_context(w->db, NULL, &o, &err);
    assert_non_null(w->client);
    assert_non_null(w->server);
}

static void tls_world_done(struct tls_world *w)
{
    tls_context_unref(w->client);
    tls_context_unref(w->server);
    creds_unref(w->web);
    creds_unref(w->db);
    pki_world_done(&w->pki);
}

static void start_tls(struct tls_world *w, const char *expect)
{
    struct err err = {0};
    struct tls *ct = tls_new(w->client, STR(""), STR(""), &err),
               *st = tls_new(w->server, STR(""), STR(""), &err);

    assert_non_null(ct);
    assert_non_null(st);
    tls_expect(ct, str_from(expect));
    io_start_tls(&a.io, ct, NULL);
    io_start_tls(&b.io, st, NULL);
    a.shaking = b.shaking = true;
    task_note(&a.task, IO_NOTE_READ);
    task_note(&b.task, IO_NOTE_READ);
}

static void tls_story(struct tls_world *w)
{
    char *block = mem_alloc(3u << 20), *got;

    for (size_t i = 0; i < 3u << 20; i++)
        block[i] = (char)(i * 7 % 251);
    begin_sockets();
    start_tls(w, DB_URI);
    await(&a.shaken);
    await(&b.shaken);
    CHECK_STR(tls_peer_uri(a.io.tls), DB_URI);
    CHECK_STR(tls_peer_uri(b.io.tls), WEB_URI);
    b.read_max = 1000; /* records are larger */
    io_write_str(&a.io, (struct str){block, 3u << 20});
    io_write_str(&b.io, STR("small"));
    await_bytes(&b, 3u << 20);
    got = mem_alloc(3u << 20);
    bytes_copy_out(&b.in, 0, got, 3u << 20);
    CHECK(memcmp(got, block, 3u << 20) == 0);
    check_in(&a, "small");
    CHECK(a.io.bytes_out > 3u << 20);
    io_shutdown(&a.io);
    await(&b.ended);
    CHECK(!a.ended);
    mem_free(got);
    mem_free(block);
    finish();
}

TEST(tls_carries_everything_and_ends_cleanly)
{
    struct tls_world w;

    for (unsigned version = 12; version <= 13; version++) {
        tls_world_init(&w, version);
        tls_story(&w);
        tls_world_done(&w);
    }
}

TEST(tls_handshakes_may_run_on_helpers)
{
    struct tls_world w;
    struct err err = {0};

    assert_int_equal(crypto_start(2, 16, &err), 0);
    for (unsigned version = 12; version <= 13; version++) {
        tls_world_init(&w, version);
        tls_story(&w);
        tls_world_done(&w);
    }
    crypto_stop();
}

TEST(a_dying_io_waits_for_its_handshake)
{
    struct tls_world w;
    struct err err = {0};

    assert_int_equal(crypto_start(1, 16, &err), 0);
    tls_world_init(&w, 12);
    for (int i = 0; i < 20; i++) {
        begin_sockets();
        start_tls(&w, DB_URI);
        for (int k = 0; k < 200 && !b.io.job; k++)
            loop_turn(loop, 1);
        CHECK(b.io.job != NULL);
        io_close(&b.io);
        io_close(&a.io);
        for (int k = 0; k < 20; k++)
            loop_turn(loop, 1);
        finish();
    }
    tls_world_done(&w);
    crypto_stop();
}

TEST(a_full_queue_refuses)
{
    struct tls_world w;
    struct err err = {0};

    assert_int_equal(crypto_start(1, 0, &err), 0);
    tls_world_init(&w, 12);
    begin_sockets();
    start_tls(&w, DB_URI);
    await(&b.failed);
    CHECK_STR(io_failure(&b.io), "too many TLS handshakes wait for a helper");
    finish();
    tls_world_done(&w);
    crypto_stop();
}

TEST(the_wrong_peer_fails_the_handshake)
{
    struct tls_world w;

    tls_world_init(&w, 12);
    begin_sockets();
    start_tls(&w, "spiffe://cluster.local/ns/default/sa/other");
    await(&a.failed);
    CHECK(io_failure(&a.io).n > 0);
    io_close(&a.io);
    await(&b.failed);
    finish();
    tls_world_done(&w);
}

TEST(a_bare_end_under_tls_is_a_truncation)
{
    struct tls_world w;

    tls_world_init(&w, 12);
    begin_sockets();
    start_tls(&w, DB_URI);
    await(&a.shaken);
    await(&b.shaken);
    io_write_str(&a.io, STR("half"));
    turns(loop, 5);
    shutdown(a.io.watch.fd, SHUT_WR);
    await(&b.failed);
    check_in(&b, "half");
    CHECK(!b.ended);
    finish();
    tls_world_done(&w);
}

TEST(a_reset_of_a_pair_is_a_failure_behind_what_was_sent)
{
    begin_pair();
    io_write_str(&a.io, STR("read"));
    turns(loop, 3);
    io_reset(&a.io);
    turns(loop, 3);
    check_in(&b, "read");
    CHECK(!b.ended);
    CHECK(b.io.failed);
    CHECK_INT(b.io.error, ECONNRESET);
    finish();
}

TEST(an_io_whose_both_directions_are_over_has_failed)
{
    begin_sockets();
    io_shutdown(&a.io);
    turns(loop, 3);
    CHECK(b.ended);
    io_close(&a.io);
    for (int i = 0; i < 3; i++) { /* the first write may meet no error yet */
        io_write_str(&b.io, STR("?"));
        turns(loop, 3);
    }
    CHECK(b.io.failed);
    CHECK_INT(b.io.error, EPIPE);
    finish();
}
