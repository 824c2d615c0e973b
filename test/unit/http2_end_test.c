/* HTTP/2: resets, going away, deadlines: all that ends a stream or a connection otherwise than by a whole answer. */
#include "test/h2_rig.h"

/* ---- ends that are not in order ---- */

/* A request with a body is answered with 403 after its first bytes. */
static void answer_early(struct rig *r)
{
    serving(r);
    h2_head(&r->b, 1, 0, H2_POST);
    h2_frame(&r->b, H2_DATA, 0, 1, STR("part"));
    say(r);
    h2_reply(asked(r, 0), 403, false);
    h2_send(asked(r, 0), STR("no"), true);
    h2_let_go(&r->server, 0);
    go(r);
    CHECK_INT(h2_seen(&r->raw, H2_HEADERS, 1, 0)->status, 403);
    CHECK(h2_seen(&r->raw, H2_DATA, 1, 0)->flags & H2_END_STREAM);
    CHECK(!h2_seen(&r->raw, H2_RST, 1, 0));
}

TEST(a_request_that_was_answered_early_may_still_end_by_itself)
{
    struct rig r;

    answer_early(&r);
    h2_frame(&r.b, H2_DATA, H2_END_STREAM, 1, STR("rest"));
    say(&r);
    CHECK_INT(r.server.codec->streams, 0);
    later(&r, 2 * LIMIT_H2_STOP_MS);
    CHECK(!h2_seen(&r.raw, H2_RST, 1, 0));
    finish(&r);
}

TEST(what_a_request_breaks_after_its_early_answer_is_said)
{
    struct rig r;

    answer_early(&r);
    h2_head(&r.b, 1, 0, "x-trailer: without an end");
    say(&r);
    CHECK_INT(h2_seen(&r.raw, H2_RST, 1, 0)->code, NGHTTP2_PROTOCOL_ERROR);
    CHECK_INT(r.server.codec->streams, 0);
    finish(&r);
}

TEST(a_long_request_is_stopped_soon_after_its_early_answer)
{
    static char much[16000];
    struct rig r;

    answer_early(&r);
    for (int i = 0; i < 3; i++)
        h2_frame(&r.b, H2_DATA, 0, 1, (struct str){much, sizeof(much)});
    say(&r);
    CHECK_INT(h2_seen(&r.raw, H2_RST, 1, 0)->code, NGHTTP2_NO_ERROR);
    CHECK_INT(r.server.codec->streams, 0);
    finish(&r);
}

TEST(a_request_with_enough_credit_is_awaited)
{
    static char much[16000];
    struct rig r;

    serving(&r);
    h2_head(&r.b, 1, 0, H2_POST "|content-length: 64000");
    say(&r);
    h2_reply(asked(&r, 0), 403, true);
    h2_let_go(&r.server, 0);
    for (unsigned i = 0; i < 4; i++)
        h2_frame(&r.b, H2_DATA, i == 3 ? H2_END_STREAM : 0, 1, (struct str){much, sizeof(much)});
    say(&r);
    later(&r, 2 * LIMIT_H2_STOP_MS);
    CHECK(!h2_seen(&r.raw, H2_RST, 1, 0));
    CHECK_INT(r.server.codec->streams, 0);
    finish(&r);
}

TEST(a_request_that_says_it_is_long_is_stopped_with_its_early_answer)
{
    const struct h2_seen *end;
    struct rig r;

    serving(&r);
    h2_head(&r.b, 1, 0, H2_POST "|content-length: 65536");
    say(&r);
    h2_reply(asked(&r, 0), 403, true);
    h2_let_go(&r.server, 0);
    go(&r);
    end = h2_seen(&r.raw, H2_HEADERS, 1, 0);
    CHECK(end->flags & H2_END_STREAM);
    CHECK_INT(h2_seen(&r.raw, H2_RST, 1, 0)->code, NGHTTP2_NO_ERROR);
    finish(&r);
}

TEST(an_early_answer_lets_the_client_stop)
{
    struct rig r;

    answer_early(&r);
    later(&r, LIMIT_H2_STOP_MS);
    CHECK_INT(h2_seen(&r.raw, H2_RST, 1, 0)->code, NGHTTP2_NO_ERROR);
    h2_frame(&r.b, H2_DATA, H2_END_STREAM, 1, STR("rest")); /* crossed the reset */
    h2_head(&r.b, 3, H2_END_STREAM, H2_GET);
    say(&r);
    CHECK_INT(r.server.count, 2);
    CHECK(!r.raw.peer.ended);
    finish(&r);
}

TEST(an_early_answer_is_whole_for_our_client)
{
    struct stream *c;
    struct rig r;

    both(&r);
    c = answer(&r, h2_ask(&r.client, "POST", false));
    go(&r);
    h2_reply(asked(&r, 0), 403, false);
    h2_send(asked(&r, 0), STR("no"), true);
    h2_let_go(&r.server, 0);
    go(&r);
    CHECK(c->in_ended);
    CHECK_INT(c->in_head.status, 403);
    check_in(c, "no");
    h2_send(c, STR("more"), true); /* harmless */
    go(&r);
    CHECK_INT(r.client.codec->streams, 0);
    CHECK_INT(r.server.codec->streams, 0);
    CHECK(codec_capacity(r.client.codec) > 0);
    finish(&r);
}

TEST(last_bytes_go_out_after_their_owner_has_let_go)
{
    struct rig r;

    both(&r);
    h2_ask(&r.client, "GET", true);
    go(&r);
    h2_reply(asked(&r, 0), 200, false);
    send_zeros(asked(&r, 0), 200000, true); /* more than a window */
    h2_let_go(&r.server, 0);
    for (int i = 0; i < 10; i++) {
        go(&r);
        CHECK(answer(&r, 0)->in.n <= 65535);
        take(answer(&r, 0));
    }
    CHECK(answer(&r, 0)->in_ended);
    CHECK_INT(answer(&r, 0)->in_body_bytes, 200000);
    CHECK_INT(r.server.codec->streams, 0);
    finish(&r);
}

TEST(resets_have_their_codes)
{
    struct rig r;

    serving(&r);
    h2_head(&r.b, 1, 0, H2_POST);
    h2_head(&r.b, 3, 0, H2_POST);
    say(&r);
    stream_reset(asked(&r, 0));
    CHECK_INT(asked(&r, 0)->reset, STREAM_RESET_LOCAL);
    stream_reset(asked(&r, 0)); /* harmless */
    h2_let_go(&r.server, 1);
    go(&r);
    CHECK_INT(h2_seen(&r.raw, H2_RST, 1, 0)->code, NGHTTP2_INTERNAL_ERROR);
    CHECK_INT(h2_seen(&r.raw, H2_RST, 3, 0)->code, NGHTTP2_INTERNAL_ERROR);
    CHECK_INT(r.server.codec->streams, 0);
    finish(&r);

    calling(&r);
    h2_ask(&r.client, "GET", true);
    go(&r);
    stream_reset(answer(&r, 0));
    go(&r);
    CHECK_INT(h2_seen(&r.raw, H2_RST, 1, 0)->code, NGHTTP2_CANCEL);
    finish(&r);
}

TEST(a_request_that_is_let_go_before_it_left_never_leaves)
{
    struct rig r;

    calling(&r);
    h2_ask(&r.client, "GET", true);
    h2_let_go(&r.client, 0);
    go(&r);
    h2_ask(&r.client, "GET", true);
    go(&r);
    CHECK_INT(r.raw.totals[H2_HEADERS], 1);
    CHECK_INT(r.client.codec->streams, 1);
    finish(&r);
}

TEST(resets_of_the_peer_are_told_apart)
{
    static const struct {
        uint32_t code;
        enum stream_reset reset;
    } cases[] = {{NGHTTP2_REFUSED_STREAM, STREAM_RESET_REFUSED},
                 {NGHTTP2_CANCEL, STREAM_RESET_PEER},
                 {NGHTTP2_INTERNAL_ERROR, STREAM_RESET_PEER},
                 {NGHTTP2_NO_ERROR, STREAM_RESET_PEER},
                 {0xff, STREAM_RESET_PEER}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig r;

        calling(&r);
        h2_ask(&r.client, "GET", true);
        go(&r);
        h2_frame32(&r.b, H2_RST, 1, cases[i].code);
        say(&r);
        CHECK_INT(answer(&r, 0)->reset, cases[i].reset);
        CHECK(!r.client.over);
        CHECK(codec_capacity(r.client.codec) > 0);
        finish(&r);
    }
}

TEST(the_client_resets_a_stream)
{
    struct rig r;

    serving(&r);
    h2_head(&r.b, 1, H2_END_STREAM, H2_GET);
    say(&r);
    h2_frame32(&r.b, H2_RST, 1, NGHTTP2_CANCEL);
    say(&r);
    CHECK_INT(asked(&r, 0)->reset, STREAM_RESET_PEER);
    h2_reply(asked(&r, 0), 200, true); /* harmless */
    go(&r);
    CHECK_INT(r.raw.totals[H2_HEADERS], 0);
    CHECK(!r.server.over);
    finish(&r);
}

TEST(a_broken_connection_takes_its_streams_along)
{
    struct rig r;

    serving(&r);
    h2_head(&r.b, 1, H2_END_STREAM, H2_GET);
    h2_frame(&r.b, H2_PING, 0, 1, STR("12345678"));
    say(&r);
    CHECK_INT(h2_seen(&r.raw, H2_GOAWAY, 0, 0)->code, NGHTTP2_PROTOCOL_ERROR);
    CHECK_INT(asked(&r, 0)->reset, STREAM_RESET_PROTOCOL);
    CHECK(r.raw.peer.ended && !r.server.over);
    CHECK_TEXT(r.server.codec->failure, "PROTOCOL_ERROR");
    io_shutdown(&r.raw.peer.io);
    later(&r, 20);
    CHECK(r.server.over);
    finish(&r);
}

TEST(the_peer_goes_without_a_word)
{
    struct rig r;

    both(&r);
    h2_ask(&r.client, "GET", true);
    go(&r);
    io_reset(&r.server.codec->io);
    go(&r);
    CHECK_INT(answer(&r, 0)->reset, STREAM_RESET_CLOSED);
    CHECK(r.client.over);
    CHECK_INT(codec_capacity(r.client.codec), 0);
    CHECK(codec_open(r.client.codec, &r.client.task, 0) == NULL);
    finish(&r);
}

TEST(a_codec_that_is_closed_tells_its_streams)
{
    struct rig r;

    both(&r);
    h2_ask(&r.client, "GET", true);
    h2_ask(&r.client, "GET", true);
    go(&r);
    codec_close(r.server.codec);
    r.server.codec = NULL;
    CHECK_INT(asked(&r, 0)->reset, STREAM_RESET_LOCAL);
    h2_reply(asked(&r, 0), 200, true); /* harmless */
    go(&r);
    CHECK_INT(answer(&r, 1)->reset, STREAM_RESET_CLOSED);
    finish(&r);
}

/* ---- going away ---- */

TEST(goaway_refuses_what_it_does_not_name)
{
    struct rig r;

    calling(&r);
    for (int i = 0; i < 3; i++)
        h2_ask(&r.client, "GET", true);
    go(&r);
    h2_frame(&r.b, H2_GOAWAY, 0, 0, BYTES_OF("\0\0\0\3\0\0\0\0"));
    say(&r);
    CHECK_INT(answer(&r, 0)->reset, STREAM_RESET_NONE);
    CHECK_INT(answer(&r, 1)->reset, STREAM_RESET_NONE);
    CHECK_INT(answer(&r, 2)->reset, STREAM_RESET_REFUSED);
    CHECK_INT(codec_capacity(r.client.codec), 0);
    CHECK(codec_open(r.client.codec, &r.client.task, 0) == NULL);
    CHECK(!r.client.over);
    h2_head(&r.b, 1, H2_END_STREAM, ":status: 200");
    h2_head(&r.b, 3, H2_END_STREAM, ":status: 204");
    say(&r);
    CHECK_INT(answer(&r, 0)->in_head.status, 200);
    CHECK_INT(answer(&r, 1)->in_head.status, 204);
    CHECK(r.raw.peer.ended);
    io_shutdown(&r.raw.peer.io);
    later(&r, 20);
    CHECK(r.client.over);
    finish(&r);
}

TEST(goaway_refuses_what_was_opened_and_not_sent)
{
    struct http_head h;
    struct rig r;

    calling(&r);
    h2_ask(&r.client, "GET", true);
    r.client.got[r.client.count++] = codec_open(r.client.codec, &r.client.task, 0);
    go(&r);
    h2_frame(&r.b, H2_GOAWAY, 0, 0, BYTES_OF("\0\0\0\1\0\0\0\0"));
    say(&r);
    CHECK_INT(answer(&r, 0)->reset, STREAM_RESET_NONE);
    h2_request(&h, &answer(&r, 1)->arena, "GET", "/");
    stream_send_head(answer(&r, 1), &h, true);
    go(&r);
    CHECK_INT(answer(&r, 1)->reset, STREAM_RESET_REFUSED);
    CHECK_INT(r.raw.totals[H2_HEADERS], 1);
    finish(&r);
}

TEST(a_connection_that_ends_refuses_what_was_opened_and_not_sent)
{
    struct rig r;

    calling(&r);
    r.client.got[r.client.count++] = codec_open(r.client.codec, &r.client.task, 0);
    io_close(&r.raw.peer.io);
    go(&r);
    CHECK_INT(answer(&r, 0)->reset, STREAM_RESET_REFUSED);
    CHECK(r.client.over);
    finish(&r);
}

TEST(a_server_drains_in_two_steps)
{
    const struct h2_seen *away;
    struct rig r;

    serving(&r);
    h2_head(&r.b, 1, 0, H2_POST);
    say(&r);
    codec_drain(r.server.codec);
    go(&r);
    away = h2_seen(&r.raw, H2_GOAWAY, 0, 0);
    CHECK_INT(away->last, INT32_MAX);
    CHECK_INT(away->code, NGHTTP2_NO_ERROR);
    h2_head(&r.b, 3, H2_END_STREAM, H2_GET); /* was on its way */
    say(&r);
    CHECK_INT(r.server.count, 2);
    h2_reply(asked(&r, 1), 200, true);
    later(&r, LIMIT_DRAIN_IDLE_MS);
    away = h2_seen(&r.raw, H2_GOAWAY, 0, 1);
    CHECK_INT(away->last, 3);
    CHECK_INT(away->code, NGHTTP2_NO_ERROR);
    CHECK(!r.raw.peer.ended);
    h2_head(&r.b, 5, H2_END_STREAM, H2_GET); /* too late */
    say(&r);
    CHECK_INT(r.server.count, 2);
    h2_frame(&r.b, H2_DATA, H2_END_STREAM, 1, STR("x"));
    say(&r);
    CHECK(asked(&r, 0)->in_ended);
    h2_reply(asked(&r, 0), 200, true);
    go(&r);
    CHECK(h2_seen(&r.raw, H2_HEADERS, 1, 0) != NULL);
    CHECK(r.raw.peer.ended);
    finish(&r);
}

TEST(an_idle_server_drains_and_ends)
{
    struct rig r;

    both(&r);
    codec_drain(r.server.codec);
    go(&r);
    CHECK_INT(codec_capacity(r.client.codec), 0);
    later(&r, LIMIT_DRAIN_IDLE_MS);
    later(&r, 50);
    CHECK(r.server.over && r.client.over);
    finish(&r);
}

TEST(a_client_drains_when_its_requests_are_done)
{
    struct rig r;

    both(&r);
    h2_ask(&r.client, "GET", true);
    go(&r);
    codec_drain(r.client.codec);
    CHECK(codec_open(r.client.codec, &r.client.task, 0) == NULL);
    go(&r);
    CHECK(!r.client.over);
    h2_reply(asked(&r, 0), 200, true);
    go(&r);
    later(&r, 50);
    CHECK(answer(&r, 0)->in_ended);
    CHECK(r.client.over && r.server.over);
    finish(&r);
}

/* ---- deadlines ---- */

TEST(an_idle_connection_is_closed_in_the_end)
{
    struct rig r;

    both(&r);
    r.server.codec->idle_ms_max = 60000;
    h2_ask(&r.client, "GET", true);
    go(&r);
    later(&r, 120000);
    CHECK(!r.server.over && !r.client.over); /* not idle */
    h2_reply(asked(&r, 0), 200, true);
    go(&r);
    later(&r, 59000);
    CHECK(!r.server.over && !r.client.over);
    later(&r, 1000);
    later(&r, 50);
    CHECK(r.server.over && r.client.over);
    finish(&r);
}

TEST(a_slow_greeting_ends_the_connection)
{
    struct rig r;

    init(&r);
    h2_raw_init(&r.raw, r.loop);
    r.has_raw = true;
    io_pair(&r.server.io, &r.server.task, 0, &r.raw.peer.io, &r.raw.peer.task, 0);
    h2_side_serve(&r.server, NULL);
    peer_say(&r.raw.peer, STR("PRI * HTTP/2.0\r\n\r\nSM"));
    later(&r, LIMIT_HEAD_MS - 100);
    CHECK(!r.raw.peer.ended);
    later(&r, 200);
    CHECK(r.raw.peer.ended);
    finish(&r);
}

/* In parts of CONTINUATION, and within one frame. */
TEST(a_slow_head_ends_the_connection)
{
    for (int one_frame = 0; one_frame < 2; one_frame++) {
        struct buf block;
        struct rig r;

        serving(&r);
        later(&r, LIMIT_HEAD_MS * 2); /* the greeting is long over */
        buf_init(&block, 4096);
        h2_fields(&block, H2_GET);
        if (one_frame) {
            h2_frame(&r.b, H2_HEADERS, 5, 1, buf_str(&block));
            r.b.n -= 5;
        } else {
            h2_frame(&r.b, H2_HEADERS, H2_END_STREAM, 1, buf_str(&block));
        }
        buf_done(&block);
        say(&r);
        later(&r, LIMIT_HEAD_MS / 2);
        if (!one_frame)
            h2_frame(&r.b, H2_CONTINUATION, 0, 1, STR_NONE);
        say(&r);
        later(&r, LIMIT_HEAD_MS / 2 - 100);
        CHECK(!r.raw.peer.ended);
        later(&r, 200);
        CHECK_INT(h2_seen(&r.raw, H2_GOAWAY, 0, 0)->code, NGHTTP2_ENHANCE_YOUR_CALM);
        CHECK(r.raw.peer.ended);
        finish(&r);
    }
}

TEST(a_head_that_is_whole_in_time_starts_no_clock)
{
    struct rig r;

    serving(&r);
    h2_head(&r.b, 1, 0, H2_POST);
    say(&r);
    stream_reset(asked(&r, 0));
    go(&r);
    h2_head(&r.b, 1, H2_END_STREAM, "x: y"); /* trailers of the dead */
    say(&r);
    later(&r, LIMIT_HEAD_MS * 2);
    CHECK(!r.raw.peer.ended);
    finish(&r);
}

TEST(a_peer_that_gives_no_credit_loses_the_stream)
{
    struct rig r;

    serving(&r);
    h2_head(&r.b, 1, H2_END_STREAM, H2_GET);
    say(&r);
    h2_reply(asked(&r, 0), 200, false);
    send_zeros(asked(&r, 0), 70000, true);
    go(&r);
    CHECK_INT(r.raw.data_bytes, 65535);
    later(&r, LIMIT_WRITE_STALL_MS - 1000);
    CHECK_INT(asked(&r, 0)->reset, STREAM_RESET_NONE);
    later(&r, 1000);
    CHECK_INT(asked(&r, 0)->reset, STREAM_RESET_TIMEOUT);
    CHECK_INT(h2_seen(&r.raw, H2_RST, 1, 0)->code, NGHTTP2_CANCEL);
    CHECK(!r.server.over);
    finish(&r);
}

TEST(a_peer_that_reads_nothing_loses_the_connection)
{
    struct rig r;

    serving(&r);
    r.raw.peer.deaf = true;
    h2_head(&r.b, 1, H2_END_STREAM, H2_GET);
    say(&r);
    h2_reply(asked(&r, 0), 200, false);
    send_zeros(asked(&r, 0), 1000, false);
    go(&r);
    later(&r, LIMIT_WRITE_STALL_MS - 1000);
    CHECK(!r.server.over);
    later(&r, LIMIT_WRITE_STALL_MS);
    CHECK(r.server.over);
    CHECK_INT(asked(&r, 0)->reset, STREAM_RESET_TIMEOUT);
    finish(&r);
}

TEST(a_probe_without_answer_ends_the_connection)
{
    struct rig r;

    calling(&r);
    http2_probe(r.client.h2, 30000, 5000);
    h2_ask(&r.client, "GET", true);
    later(&r, 29000);
    CHECK_INT(r.raw.totals[H2_PING], 0);
    later(&r, 1000);
    CHECK_INT(r.raw.totals[H2_PING], 1);
    h2_frame(&r.b, H2_PING, H2_ACK, 0, STR("\0\0\0\0\0\0\0\0"));
    r.b.n = 9;
    h2_uint(&r.b, 0, 8);
    r.b.p[2] = 8;
    say(&r);
    later(&r, 29000);
    CHECK(!r.client.over);
    later(&r, 1000);
    CHECK_INT(r.raw.totals[H2_PING], 2);
    later(&r, 4000);
    CHECK(!r.client.over);
    later(&r, 1000);
    CHECK(r.client.over);
    CHECK_INT(answer(&r, 0)->reset, STREAM_RESET_TIMEOUT);
    finish(&r);
}
