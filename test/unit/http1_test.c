/* Stories of one connection on either side, told through the relay of test/wire.h. */
#include "test/test.h"
#include "test/wire.h"

static const char *script; /* what the origin answers to each head */
static bool script_drips, script_ends;
static size_t dripped;

static void origin_says(struct peer *p)
{
    struct str all = peer_text(p);
    size_t at;

    if (script && str_find(all, STR("\r\n\r\n"), &at)) {
        bytes_drop(&p->in, at + 4);
        if (!script_drips) {
            peer_say(p, str_from(script));
            if (script_ends)
                io_shutdown(&p->io);
        }
    }
    mem_free((void *)(uintptr_t)all.p);
}

/* The script goes out one byte a turn. */
static void drip(struct relay *r)
{
    struct peer *o = &r->origins[0];

    turns(r->loop, 20);
    for (dripped = 0; script[dripped]; dripped++) {
        peer_say(o, (struct str){script + dripped, 1});
        turns(r->loop, 2);
    }
    if (script_ends)
        io_shutdown(&o->io);
    turns(r->loop, 20);
}

static struct relay *begin(void)
{
    struct err err;
    struct loop *l = loop_new(&err);

    assert_non_null(l);
    script = NULL;
    script_drips = script_ends = false;
    return relay_new(l, origin_says);
}

static void finish(struct relay *r)
{
    struct loop *l = r->loop;

    relay_free(r);
    turns(l, 4);
    loop_free(l);
    CHECK_INT(bytes_pool_live(), 0);
}

static void check_client(struct relay *r, const char *want)
{
    struct str text;

    turns(r->loop, 60);
    text = peer_text_undated(&r->client);
    CHECK_STR(text, want);
    mem_free((void *)(uintptr_t)text.p);
}

#define GET  "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define OK   "HTTP/1.1 200 OK\r\n"
#define BAD  "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"
#define LONG "0123456789012345678901234567890123456789"

/* What the origin sends, and what the client then reads. */
static const struct {
    const char *name, *request, *response;
    bool ends; /* the origin closes behind it */
    const char *seen;
} answers[] = {
    {"length",                     GET,                                  OK "Content-Length: 2\r\nX: y\r\n\r\nok",                              false,
     OK "x: y\r\ncontent-length: 2\r\n\r\nok"                                                                                                                                                                  },
    {"no content",                 GET,                                  "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",                             false,
     "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"                                                                                                                                                                 },
    {"not modified with length",   GET,                                  "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
     false,                                                                                                                                            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"},
    {"head",                       "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", OK "Content-Length: 9\r\n\r\n",                                        false,
     OK "content-length: 9\r\n\r\n"                                                                                                                                                                            },
    {"empty",                      GET,                                  OK "Content-Length: 0\r\n\r\n",                                        false, OK "content-length: 0\r\n\r\n"                          },
    {"chunked with nothing in it", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
     OK "Transfer-Encoding: chunked\r\n\r\n",                                                                                                   false, OK "\r\n"                                               },
    {"no reason",                  GET,                                  "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",                           false,
     OK "content-length: 0\r\n\r\n"                                                                                                                                                                            },
    {"close, announced",           GET,                                  OK "Connection: close\r\nContent-Length: 2\r\n\r\nok",                 true,
     OK "content-length: 2\r\n\r\nok"                                                                                                                                                                          },
    {"both framings",              GET,                                  OK "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     false,                                                                                                                                            BAD                                                     },
    {"two lengths",                GET,                                  OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",                 false, BAD                                                     },
    {"bad length",                 GET,                                  OK "Content-Length: -2\r\n\r\nok",                                     false, BAD                                                     },
    {"folded",                     GET,                                  OK "X: a\r\n b\r\nContent-Length: 0\r\n\r\n",                          false, BAD                                                     },
    {"bare LF",                    GET,                                  "HTTP/1.1 200 OK\nContent-Length: 0\n\n",                              false, BAD                                                     },
    {"not HTTP",                   GET,                                  "SSH-2.0-OpenSSH_9\r\n",                                               false, BAD                                                     },
    {"blank line first",           GET,                                  "\r\n" OK "Content-Length: 0\r\n\r\n",                                 false, BAD                                                     },
    {"bad status",                 GET,                                  "HTTP/1.1 20 OK\r\n\r\n",                                              false, BAD                                                     },
    {"other version",              GET,                                  "HTTP/2.0 200 OK\r\n\r\n",                                             false, BAD                                                     },
    {"coding in 1.0",              GET,                                  "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",      false,
     BAD                                                                                                                                                                                                       },
    {"closed at once",             GET,                                  "",                                                                    true,  BAD                                                     },
    {"closed in the head",         GET,                                  OK "Content-Le",                                                       true,  BAD                                                     },
    {"upgrade nobody asked for",   GET,
     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",                                                           false, BAD                                                     },
    {"name with a blank",          GET,                                  OK "X : a\r\nContent-Length: 0\r\n\r\n",                               false, BAD                                                     },
};

static void run_answers(bool drips)
{
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct relay *r = begin();

        script = answers[i].response;
        script_drips = drips;
        script_ends = answers[i].ends;
        peer_say(&r->client, str_from(answers[i].request));
        if (drips)
            drip(r);
        check_client(r, answers[i].seen);
        finish(r);
    }
}

TEST(answers_are_read_strictly_and_written_anew)
{
    run_answers(false);
}

TEST(answers_are_read_the_same_when_dripped)
{
    run_answers(true);
}

/* A chunked stream's chunks depend on how it arrives; the body does not. */
static void check_body(struct relay *r, const char *head, const char *body, bool trailers)
{
    struct str text;
    struct http_head h;
    struct arena a;
    struct buf got;
    unsigned status;
    size_t end, at;

    turns(r->loop, 60);
    text = peer_text(&r->client);
    assert_true(str_find(text, STR("\r\n\r\n"), &end));
    CHECK_STR(str_sub(text, 0, end + 4), head);
    arena_init(&a);
    assert_null(http1_parse_head(text.p, end + 4, false, &a, &h, &status));
    buf_init(&got, 1000);
    for (at = end + 4; h.framing == HTTP_BODY_CHUNKED;) {
        size_t size = strtoul(text.p + at, NULL, 16);

        at = (size_t)(strchr(text.p + at, '\n') - text.p) + 1;
        if (size == 0)
            break;
        buf_add(&got, str_sub(text, at, size));
        at += size + 2;
    }
    if (h.framing == HTTP_BODY_CHUNKED)
        CHECK_STR(str_sub(text, at, text.n), trailers ? "x-sum: 1\r\n\r\n" : "\r\n");
    else
        buf_add(&got, str_sub(text, at, text.n));
    CHECK_STR(buf_str(&got), body);
    buf_done(&got);
    arena_done(&a);
    mem_free((void *)(uintptr_t)text.p);
}

TEST(chunked_answers_keep_body_and_trailers)
{
    for (int d = 0; d < 2; d++) {
        struct relay *r = begin();

        script = OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n "
                    "world\r\n0\r\nX-Sum: 1\r\nSet-Cookie: no\r\n\r\n";
        script_drips = d;
        peer_say(&r->client, STR(GET));
        if (d)
            drip(r);
        check_body(r, OK "transfer-encoding: chunked\r\n\r\n", "hello world", true);
        finish(r);
    }
}

TEST(an_answer_until_close_becomes_chunked)
{
    for (int d = 0; d < 2; d++) {
        struct relay *r = begin();

        script = OK "\r\nhello";
        script_drips = d;
        script_ends = true;
        peer_say(&r->client, STR(GET));
        if (d)
            drip(r);
        check_body(r, OK "transfer-encoding: chunked\r\n\r\n", "hello", false);
        CHECK(!r->client.ended);
        finish(r);
    }
}

TEST(a_client_of_1_0_gets_no_chunks_and_a_close)
{
    struct relay *r = begin();

    script = OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    peer_say(&r->client, STR("GET / HTTP/1.0\r\n\r\n"));
    check_client(r, OK "connection: close\r\n\r\nhello");
    CHECK(r->client.ended);
    finish(r);
}

TEST(informational_answers_are_relayed)
{
    struct relay *r = begin();

    peer_say(
        &r->client,
        STR("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    turns(r->loop, 20);
    peer_say(&r->origins[0], STR("HTTP/1.1 100 Continue\r\n\r\n"));
    check_client(r, "HTTP/1.1 100 Continue\r\n\r\n");
    peer_say(&r->client, STR("ok"));
    turns(r->loop, 20);
    peer_say(&r->origins[0], STR(OK "Content-Length: 0\r\n\r\n"));
    check_client(r, "HTTP/1.1 100 Continue\r\n\r\n" OK "content-length: 0\r\n\r\n");
    finish(r);
}

TEST(too_many_informational_answers_are_a_failure)
{
    struct relay *r = begin();

    peer_say(&r->client, STR(GET));
    turns(r->loop, 20);
    for (unsigned i = 0; i <= LIMIT_INFORMATIONAL; i++)
        peer_say(&r->origins[0], STR("HTTP/1.1 102 Processing\r\n\r\n"));
#define TWO "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    check_client(r, TWO TWO TWO TWO TWO BAD);
    CHECK_TEXT(r->up.codec.failure, "too many informational answers");
    finish(r);
}

TEST(pipelined_requests_are_answered_in_order_on_one_upstream_connection)
{
    struct relay *r = begin();

    script = OK "Content-Length: 1\r\n\r\nx";
    peer_say(&r->client, STR(GET GET GET));
    check_client(r, OK "content-length: 1\r\n\r\nx" OK "content-length: 1\r\n\r\nx" OK
                       "content-length: 1\r\n\r\nx");
    CHECK_INT(r->origin_count, 1);
    CHECK_INT(r->up.codec.requests, 3);
    finish(r);
}

TEST(bytes_behind_an_answer_close_the_upstream_connection)
{
    struct relay *r = begin();

    script = OK "Content-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil!";
    peer_say(&r->client, STR(GET GET));
    check_client(r, OK "content-length: 1\r\n\r\nx" OK "content-length: 1\r\n\r\nx");
    CHECK_INT(r->origin_count, 2);
    finish(r);
}

TEST(bytes_on_an_idle_upstream_connection_close_it)
{
    struct relay *r = begin();

    script = OK "Content-Length: 1\r\n\r\nx";
    peer_say(&r->client, STR(GET));
    turns(r->loop, 40);
    CHECK(!r->up_over);
    peer_say(&r->origins[0], STR("H"));
    turns(r->loop, 10);
    CHECK(r->up_over);
    CHECK_TEXT(r->up.codec.failure, "bytes on an idle connection");
    finish(r);
}

TEST(a_truncated_answer_is_not_passed_off_as_whole)
{
    struct relay *r = begin();

    script = OK "Content-Length: 10\r\n\r\nhalf";
    script_ends = true;
    peer_say(&r->client, STR(GET));
    check_client(r, OK "content-length: 10\r\n\r\nhalf");
    CHECK(r->client.ended);
    finish(r);
}

TEST(a_truncated_chunked_answer_has_no_last_chunk)
{
    struct relay *r = begin();

    script = OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    script_ends = true;
    peer_say(&r->client, STR(GET));
    check_client(r, OK "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    CHECK(r->client.ended);
    finish(r);
}

TEST(an_early_answer_is_relayed_and_both_connections_close)
{
    struct relay *r = begin();

    script = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    peer_say(&r->client, STR("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart"));
    check_client(r, "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
    CHECK(r->client.ended); /* shut, still reading what the client sends */
    CHECK(r->up_over);
    CHECK(!r->down_over);
    peer_say(&r->client, STR(LONG));
    turns(r->loop, 10);
    CHECK(!r->down_over);
    loop_advance(r->loop, LIMIT_LINGER_MS + 100);
    turns(r->loop, 10);
    CHECK(r->down_over);
    finish(r);
}

TEST(the_client_going_away_resets_upstream)
{
    struct relay *r = begin();

    peer_say(&r->client, STR(GET));
    turns(r->loop, 20);
    CHECK_INT(r->origin_count, 1);
    CHECK(!r->origins[0].ended);
    io_close(&r->client.io);
    turns(r->loop, 20);
    CHECK(r->down_over);
    CHECK(r->origins[0].ended);
    finish(r);
}

TEST(a_slow_head_is_answered_408)
{
    struct relay *r = begin();

    peer_say(&r->client, STR("GET / HT"));
    turns(r->loop, 5);
    loop_advance(r->loop, LIMIT_HEAD_MS - 500);
    turns(r->loop, 5);
    peer_say(&r->client, STR("T"));
    check_client(r, "");
    loop_advance(r->loop, 1000);
    check_client(r,
                 "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    CHECK(r->client.ended);
    finish(r);
}

TEST(an_idle_connection_is_closed_in_the_end)
{
    struct relay *r = begin();

    r->down.codec.idle_ms_max = 60000;
    script = OK "Content-Length: 0\r\n\r\n";
    peer_say(&r->client, STR(GET));
    turns(r->loop, 40);
    loop_advance(r->loop, 59000);
    turns(r->loop, 5);
    CHECK(!r->client.ended);
    loop_advance(r->loop, 2000);
    turns(r->loop, 5);
    CHECK(r->client.ended);
    finish(r);
}

TEST(draining_finishes_the_pair_and_says_close)
{
    struct relay *r = begin();

    peer_say(&r->client, STR(GET));
    turns(r->loop, 20);
    http1_drain(&r->down);
    turns(r->loop, 5);
    CHECK(!r->client.ended);
    peer_say(&r->origins[0], STR(OK "Content-Length: 0\r\n\r\n"));
    check_client(r, OK "content-length: 0\r\nconnection: close\r\n\r\n");
    CHECK(r->client.ended);
    finish(r);
}

TEST(draining_an_idle_connection_closes_it)
{
    struct relay *r = begin();

    turns(r->loop, 5);
    http1_drain(&r->down);
    turns(r->loop, 5);
    CHECK(!r->client.ended);
    loop_advance(r->loop, LIMIT_DRAIN_IDLE_MS);
    turns(r->loop, 5);
    CHECK(r->client.ended);
    finish(r);
}

TEST(a_request_that_meets_a_drain_is_answered)
{
    struct relay *r = begin();

    turns(r->loop, 5);
    http1_drain(&r->down);
    loop_advance(r->loop, LIMIT_DRAIN_IDLE_MS / 2);
    peer_say(&r->client, STR(GET));
    turns(r->loop, 20);
    loop_advance(r->loop, LIMIT_DRAIN_IDLE_MS);
    turns(r->loop, 5);
    peer_say(&r->origins[0], STR(OK "Content-Length: 0\r\n\r\n"));
    check_client(r, OK "content-length: 0\r\nconnection: close\r\n\r\n");
    CHECK(r->client.ended);
    finish(r);
}

TEST(a_drain_after_the_head_of_an_answer_waits_for_one_more_request)
{
    struct relay *r = begin();

    peer_say(&r->client, STR(GET));
    turns(r->loop, 20);
    peer_say(&r->origins[0], STR(OK "Content-Length: 2\r\n\r\na"));
    turns(r->loop, 20);
    http1_drain(&r->down); /* too late for "connection: close" */
    peer_say(&r->origins[0], STR("b"));
    check_client(r, OK "content-length: 2\r\n\r\nab");
    CHECK(!r->client.ended);
    loop_advance(r->loop, LIMIT_DRAIN_IDLE_MS);
    turns(r->loop, 5);
    CHECK(r->client.ended);
    finish(r);
}

TEST(a_peer_that_reads_nothing_stops_the_other_side)
{
    struct relay *r = begin();
    char *block = mem_zalloc(1u << 20);
    size_t held;

    r->deaf_origin = true;
    peer_say(&r->client, STR("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n"));
    for (int i = 0; i < 4; i++)
        peer_say(&r->client, (struct str){block, 1u << 20});
    turns(r->loop, 200);
    held = (4u << 20) - io_pending(&r->client.io);
    CHECK(held > 0 && held <= 6 * LIMIT_STREAM_HIGH); /* a mark each in codec, stream and io */
    r->origins[0].deaf = false;
    task_note(&r->origins[0].task, IO_NOTE_READ);
    turns(r->loop, 2000);
    CHECK_INT(io_pending(&r->client.io), 0);
    CHECK(r->origins[0].in.n >= 4u << 20);
    mem_free(block);
    finish(r);
}

TEST(a_peer_that_takes_nothing_for_long_is_closed)
{
    struct relay *r = begin();
    char *block = mem_zalloc(1u << 20);

    peer_say(&r->client, STR(GET));
    turns(r->loop, 20);
    r->client.deaf = true;
    peer_say(&r->origins[0], STR(OK "Content-Length: 1048576\r\n\r\n"));
    peer_say(&r->origins[0], (struct str){block, 1u << 20});
    turns(r->loop, 100);
    for (int i = 0; i < 3; i++) {
        loop_advance(r->loop, LIMIT_WRITE_STALL_MS + 1000);
        turns(r->loop, 20);
    }
    CHECK(r->down_over);
    CHECK_TEXT(r->down.codec.failure, "the peer takes no bytes");
    mem_free(block);
    finish(r);
}

/* Many tiny chunks must not cost a slice each. */
TEST(single_byte_chunks_are_kept_compactly)
{
    struct relay *r = begin();
    struct buf text;

    r->deaf_origin = true;
    buf_init(&text, 1u << 20);
    buf_adds(&text, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 50000; i++)
        buf_adds(&text, "1\r\nx\r\n");
    peer_say(&r->client, buf_str(&text));
    buf_done(&text);
    turns(r->loop, 400);
    CHECK(bytes_pool_live() < 60);
    finish(r);
}

TEST(too_much_chunk_framing_is_refused)
{
    struct relay *r = begin();
    struct buf text;

    buf_init(&text, 4u << 20);
    buf_adds(&text, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 1000; i++)
        buf_adds(&text, "1;" LONG LONG LONG LONG "\r\nx\r\n");
    peer_say(&r->client, buf_str(&text));
    buf_done(&text);
    turns(r->loop, 400);
    CHECK_TEXT(r->down.codec.failure, "too much chunk framing");
    finish(r);
}

/* A pooled connection that died before our request left: certainly not processed. */
TEST(a_request_that_never_left_is_refused_not_closed)
{
    struct relay *r = begin();
    struct http_head h;
    struct stream *s;

    script = OK "Content-Length: 0\r\n\r\n";
    peer_say(&r->client, STR(GET));
    turns(r->loop, 40);
    CHECK(http1_is_idle(&r->up));
    io_close(&r->origins[0].io); /* noted, not yet seen by the codec */
    s = http1_open_stream(&r->up, &r->task, RELAY_UP);
    assert_non_null(s);
    http_head_init(&h, &s->arena, true);
    h.method = STR("GET");
    h.path = STR("/");
    h.authority = STR("a");
    stream_send_head(s, &h, true);
    turns(r->loop, 5);
    CHECK_INT(s->reset, STREAM_RESET_REFUSED);
    stream_release(s);
    finish(r);
}

TEST(a_broken_promise_of_length_closes_the_connection)
{
    struct relay *r = begin();
    struct http_head h;
    struct bytes b;

    r->deaf_origin = true;
    peer_say(&r->client, STR(GET));
    turns(r->loop, 20);
    http_head_init(&h, &r->ds->arena, false);
    h.status = 200;
    h.framing = HTTP_BODY_LENGTH;
    h.content_length = 2;
    stream_send_head(r->ds, &h, false);
    bytes_init(&b);
    bytes_append(&b, STR("abc"));
    stream_send_data(r->ds, &b, true);
    CHECK_INT(r->ds->reset, STREAM_RESET_LOCAL);
    turns(r->loop, 20);
    CHECK(r->down_over);
    finish(r);
}

TEST(a_stream_outlives_its_connection)
{
    struct relay *r = begin();
    struct stream *s;
    struct bytes b;

    r->deaf_origin = true;
    peer_say(&r->client, STR("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"));
    turns(r->loop, 20);
    s = r->ds;
    r->ds = NULL; /* ours now */
    stream_own(s, NULL, 0);
    http1_close(&r->down);
    CHECK_INT(s->reset, STREAM_RESET_LOCAL);
    CHECK(s->noted & STREAM_NOTE_RESET);
    bytes_init(&b);
    bytes_append(&b, STR("abc"));
    stream_send_head(s, &s->in_head, false);
    stream_send_data(s, &b, true);
    CHECK_INT(b.n, 0);
    CHECK(stream_room(s) > 0);
    stream_consumed(s);
    stream_reset(s);
    CHECK_STR(s->in_head.path, "/");
    stream_release(s);
    finish(r);
}

TEST(the_parser_gives_what_routing_needs)
{
    static const char text[] =
        "POST /a/b?c=d HTTP/1.1\r\nHOST: Web.Example:8080\r\nContent-Length: 12\r\nX-Two:  a "
        "\r\nx-two: b\r\n"
        "Expect: 100-Continue\r\nConnection: Upgrade\r\nUpgrade: weft-sync/1\r\n\r\n";
    struct http_head h;
    struct arena a;
    struct str value;
    unsigned status;

    arena_init(&a);
    assert_null(http1_parse_head(text, sizeof(text) - 1, true, &a, &h, &status));
    CHECK_STR(h.method, "POST");
    CHECK_STR(h.scheme, "http");
    CHECK_STR(h.authority, "web.example:8080");
    CHECK_STR(h.path, "/a/b?c=d");
    CHECK_STR(h.upgrade, "weft-sync/1");
    CHECK_INT(h.framing, HTTP_BODY_LENGTH);
    CHECK_INT(h.content_length, 12);
    CHECK(h.keep_alive && h.expect_continue);
    CHECK_INT(h.count, 3);
    CHECK(http_get(&h, STR("x-two"), &value));
    CHECK_STR(value, "a");
    CHECK(!http_get(&h, STR("host"), &value));
    arena_done(&a);
}

TEST(settings_of_an_upgrade_count_where_connection_names_them)
{
    static const struct {
        const char *fields, *want;
    } cases[] = {
        {"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n",                         "AAAA"},
        {"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n",                                         ""    },
        {"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",                                                  ""    },
        {"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\nHTTP2-Settings: AAAA\r\n", ""    },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[512];
        int n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", cases[i].fields);
        struct http_head h;
        struct arena a;
        unsigned status;

        arena_init(&a);
        assert_null(http1_parse_head(text, (size_t)n, true, &a, &h, &status));
        CHECK_STR(h.http2_settings, cases[i].want);
        CHECK_INT(h.count, 0);
        arena_done(&a);
    }
}

TEST(connection_cannot_take_away_what_the_recipient_needs)
{
    static const char text[] =
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nX-Forwarded-For: y\r\nX-Hop: z\r\n"
        "Connection: authorization, x-forwarded-for, x-hop, host\r\n\r\n";
    struct http_head h;
    struct arena a;
    struct str value;
    unsigned status;

    arena_init(&a);
    assert_null(http1_parse_head(text, sizeof(text) - 1, true, &a, &h, &status));
    CHECK(http_get(&h, STR("authorization"), &value));
    CHECK(http_get(&h, STR("x-forwarded-for"), &value));
    CHECK(!http_get(&h, STR("x-hop"), &value));
    CHECK_STR(h.authority, "a");
    arena_done(&a);
}

TEST(limits_of_a_head_have_their_own_status)
{
    static const struct {
        size_t target, field, fields;
        unsigned status;
    } cases[] = {
        {LIMIT_TARGET_BYTES + 1, 1,                1,                 414},
        {LIMIT_TARGET_BYTES,     1,                1,                 0  },
        {10,                     LIMIT_HEAD_BYTES, 1,                 431},
        {10,                     1,                LIMIT_HEADERS,     431},
        {10,                     1,                LIMIT_HEADERS - 1, 0  },
        {60000,                  1,                1,                 414},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct relay *r = begin();
        struct buf text;
        struct str got;
        char want[64];

        script = OK "Content-Length: 0\r\n\r\n";
        buf_init(&text, 1u << 20);
        buf_adds(&text, "GET ");
        for (size_t k = 0; k < cases[i].target; k++)
            buf_addc(&text, '/');
        buf_adds(&text, " HTTP/1.1\r\nHost: a\r\n");
        for (size_t k = 0; k < cases[i].fields; k++) {
            buf_printf(&text, "x-%zu: ", k);
            for (size_t m = 0; m < cases[i].field; m++)
                buf_addc(&text, 'v');
            buf_adds(&text, "\r\n");
        }
        buf_adds(&text, "\r\n");
        peer_say(&r->client, buf_str(&text));
        buf_done(&text);
        turns(r->loop, 100);
        got = peer_text(&r->client);
        snprintf(want, sizeof(want), "HTTP/1.1 %u ", cases[i].status ? cases[i].status : 200u);
        CHECK_STR(str_sub(got, 0, strlen(want)), want);
        mem_free((void *)(uintptr_t)got.p);
        finish(r);
    }
}
