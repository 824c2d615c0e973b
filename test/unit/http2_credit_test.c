/* HTTP/2: tunnels, credit, and how many streams there may be. */
#include "test/h2_rig.h"

/* ---- tunnels ---- */

static size_t ask_tunnel(struct rig *r, const char *protocol)
{
    struct stream *c = codec_open(r->client.codec, &r->client.task, 0);
    struct http_head h;

    r->client.got[r->client.count++] = c;
    h2_request(&h, &c->arena, "GET", "/chat");
    h.upgrade = str_from(protocol);
    h.framing = HTTP_BODY_TUNNEL;
    http_add(&h, STR("sec-websocket-version"), STR("13"));
    http_add(&h, STR("sec-websocket-key"), STR("dGhlIHNhbXBsZSBub25jZQ=="));
    stream_send_head(c, &h, false);
    go(r);
    return r->client.count - 1;
}

static void accept_tunnel(struct rig *r, size_t i)
{
    struct http_head h;

    http_head_init(&h, &asked(r, i)->arena, false);
    h.status = 101;
    h.upgrade = asked(r, i)->in_head.upgrade;
    h.framing = HTTP_BODY_TUNNEL;
    http_add(&h, STR("sec-websocket-accept"), STR("of another key"));
    stream_send_head(asked(r, i), &h, false);
    go(r);
}

TEST(a_websocket_is_a_tunnel_both_ways)
{
    struct stream *c, *s;
    struct rig r;

    both(&r);
    c = answer(&r, ask_tunnel(&r, "websocket"));
    s = asked(&r, 0);
    CHECK_STR(s->in_head.method, "GET");
    CHECK_STR(s->in_head.path, "/chat");
    CHECK_STR(s->in_head.upgrade, "websocket");
    CHECK_INT(s->in_head.framing, HTTP_BODY_TUNNEL);
    CHECK_TEXT(field(&s->in_head, "sec-websocket-version"), "13");
    CHECK_INT(strlen(field(&s->in_head, "sec-websocket-key")), 24); /* 16 bytes, another than ours */
    CHECK(strcmp(field(&s->in_head, "sec-websocket-key"), "dGhlIHNhbXBsZSBub25jZQ==") != 0);
    CHECK_INT(stream_room(c), 0); /* not accepted yet */
    accept_tunnel(&r, 0);
    CHECK_INT(c->in_head.status, 101);
    CHECK_STR(c->in_head.upgrade, "websocket");
    CHECK_TEXT(field(&c->in_head, "sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); /* RFC 6455 1.3 */
    CHECK(stream_room(c) > 0);
    h2_send(c, STR("ping"), false);
    h2_send(s, STR("pong"), false);
    go(&r);
    check_in(s, "ping");
    check_in(c, "pong");
    h2_send(c, STR(""), true); /* each way ends by itself */
    go(&r);
    CHECK(s->in_ended && !c->in_ended);
    h2_send(s, STR(" again"), false);
    go(&r);
    check_in(c, "pong again");
    h2_send(s, STR("."), true);
    go(&r);
    CHECK(c->in_ended);
    CHECK_INT(c->reset, STREAM_RESET_NONE);
    CHECK_INT(s->reset, STREAM_RESET_NONE);
    CHECK_INT(r.server.codec->streams, 0);
    finish(&r);
}

TEST(the_server_may_end_its_way_of_a_tunnel_first)
{
    struct stream *c, *s;
    struct rig r;

    both(&r);
    c = answer(&r, ask_tunnel(&r, "other"));
    s = asked(&r, 0);
    CHECK_TEXT(field(&s->in_head, "sec-websocket-key"), "-");
    accept_tunnel(&r, 0);
    h2_send(s, STR("bye"), true);
    go(&r);
    CHECK(c->in_ended && !s->in_ended);
    CHECK_INT(c->reset, STREAM_RESET_NONE);
    h2_send(c, STR("still here"), true);
    go(&r);
    check_in(s, "still here");
    CHECK(s->in_ended);
    CHECK_INT(s->reset, STREAM_RESET_NONE);
    finish(&r);
}

TEST(a_refused_tunnel_is_plain_http)
{
    struct stream *c, *s;
    struct rig r;

    both(&r);
    c = answer(&r, ask_tunnel(&r, "websocket"));
    s = asked(&r, 0);
    h2_reply(s, 403, false);
    h2_send(s, STR("no"), true);
    go(&r);
    CHECK_INT(c->in_head.status, 403);
    CHECK_INT(c->in_head.framing, HTTP_BODY_CHUNKED);
    CHECK_TEXT(field(&c->in_head, "sec-websocket-accept"), "-");
    check_in(c, "no");
    CHECK(c->in_ended && s->in_ended);
    CHECK(c->out_ended);
    go(&r);
    CHECK_INT(c->reset, STREAM_RESET_NONE);
    CHECK_INT(s->reset, STREAM_RESET_NONE);
    CHECK_INT(r.client.codec->streams, 0);
    finish(&r);
}

#define CONNECT ":method: CONNECT|:scheme: http|:path: /|:authority: a|:protocol: "
#define PLAIN   ":method: CONNECT|:authority: "

TEST(connect_by_hand)
{
    static const struct {
        const char *fields;
        unsigned flags, status; /* 0: a stream */
        bool off;
    } cases[] = {
        {CONNECT "websocket",                    0,             0,   false},
        {CONNECT "connect-udp",                  0,             0,   false},
        {CONNECT "websocket",                    0,             501, true },
        {CONNECT "h2c",                          0,             501, false},
        {CONNECT "H2c",                          0,             501, false},
        {CONNECT "a b",                          0,             501, false},
        {CONNECT "websocket|content-length: 3",  0,             400, false},
        {CONNECT "websocket",                    H2_END_STREAM, 400, false},
        {PLAIN "a:443",                          0,             0,   false},
        {PLAIN "a:443",                          0,             501, true },
        {PLAIN "a",                              0,             400, false},
        {PLAIN "a:443|content-length: 3",        0,             400, false},
        {PLAIN "a:443",                          H2_END_STREAM, 400, false},
    };
    unsigned bad = 0;

    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct h2_seen *head;
        struct rig r;

        serving(&r);
        r.server.codec->tunnels = r.server.codec->connects = !cases[i].off;
        h2_head(&r.b, 1, cases[i].flags, cases[i].fields);
        say(&r);
        head = h2_seen(&r.raw, H2_HEADERS, 1, 0);
        if (cases[i].status ? r.server.count != 0 || !head || head->status != cases[i].status
                            : r.server.count != 1 || head != NULL) {
            bad++;
            print_error("%s, %u: %zu, %u\n", cases[i].fields, cases[i].flags, r.server.count,
                        head ? head->status : 0);
        }
        CHECK(!r.raw.peer.ended);
        finish(&r);
    }
    CHECK_INT(bad, 0);
}

TEST(a_peer_without_extended_connect_gets_none)
{
    struct rig r;

    calling(&r);
    h2_setting(&r.b, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 7);
    say(&r);
    ask_tunnel(&r, "websocket"); /* calling() has greeted with it */
    CHECK_INT(r.raw.totals[H2_HEADERS], 1);
    finish(&r);

    init(&r);
    h2_raw_init(&r.raw, r.loop);
    r.has_raw = true;
    r.raw.peer.on_data = raw_server_data;
    io_pair(&r.client.io, &r.client.task, 0, &r.raw.peer.io, &r.raw.peer.task, 0);
    h2_side_call(&r.client);
    h2_frame(&r.b, H2_SETTINGS, 0, 0, STR_NONE);
    say(&r);
    ask_tunnel(&r, "websocket");
    CHECK_INT(r.raw.totals[H2_HEADERS], 0);
    CHECK_INT(answer(&r, 0)->reset, STREAM_RESET_PROTOCOL);
    CHECK_TEXT(r.client.codec->failure, "the peer takes no extended CONNECT");
    CHECK_INT(r.client.codec->streams, 0);
    finish(&r);
}

TEST(our_extended_connect_as_it_is_on_the_wire)
{
    struct rig r;

    calling(&r);
    ask_tunnel(&r, "websocket");
    CHECK_TEXT(h2_seen(&r.raw, H2_HEADERS, 1, 0)->fields,
               ":method: CONNECT|:scheme: http|:authority: a.mesh|:path: /chat|:protocol: websocket|"
               "sec-websocket-version: 13");
    CHECK(!(h2_seen(&r.raw, H2_HEADERS, 1, 0)->flags & H2_END_STREAM));
    h2_head(&r.b, 1, 0, ":status: 200");
    h2_frame(&r.b, H2_DATA, 0, 1, STR("hi"));
    say(&r);
    CHECK_INT(answer(&r, 0)->in_head.status, 101);
    check_in(answer(&r, 0), "hi");
    h2_send(answer(&r, 0), STR("ho"), false);
    go(&r);
    CHECK_INT(h2_seen(&r.raw, H2_DATA, 1, 0)->bytes, 2);
    finish(&r);
}

TEST(a_tunnel_that_is_refused_keeps_the_length_that_it_says)
{
    static const struct {
        const char *fields, *body;
        enum stream_reset reset;
    } cases[] = {
        {":status: 403|content-length: 3", "abc", STREAM_RESET_NONE},  {":status: 403|content-length: 3", "ab", STREAM_RESET_PROTOCOL},
        {":status: 403|content-length: 3", "abcd", STREAM_RESET_PROTOCOL}, {":status: 403", "abcd", STREAM_RESET_NONE},
        {":status: 403|content-length: 0", "", STREAM_RESET_NONE},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig r;

        calling(&r);
        ask_tunnel(&r, "websocket");
        h2_head(&r.b, 1, 0, cases[i].fields);
        h2_frame(&r.b, H2_DATA, H2_END_STREAM, 1, str_from(cases[i].body));
        say(&r);
        CHECK_INT(answer(&r, 0)->reset, cases[i].reset);
        CHECK_INT(answer(&r, 0)->in_ended, cases[i].reset == STREAM_RESET_NONE);
        finish(&r);
    }
}

/* ---- credit ---- */

/* 99 requests with bodies; the first one's is not taken at the server. */
TEST(a_stalled_upload_harms_no_other)
{
    enum { STREAMS = 99, BODY = 300000 };
    size_t sent[STREAMS] = {0};
    struct rig r;

    both(&r);
    for (int i = 0; i < STREAMS; i++)
        h2_ask(&r.client, "POST", false);
    for (int round = 0; round < 600; round++) {
        turns(r.loop, 1);
        for (size_t i = 0; i < STREAMS; i++) {
            size_t n = MIN(BODY - sent[i], stream_room(answer(&r, i)));

            if (n > 0)
                send_zeros(answer(&r, i), n, sent[i] + n == BODY);
            sent[i] += n;
        }
        for (size_t i = 1; i < r.server.count; i++)
            take(asked(&r, i));
        if (r.server.count > 0)
            CHECK(asked(&r, 0)->in.n <= 65535);
    }
    CHECK_INT(r.server.count, STREAMS);
    for (size_t i = 1; i < STREAMS; i++) {
        CHECK(asked(&r, i)->in_ended);
        CHECK_INT(asked(&r, i)->in_body_bytes, BODY);
    }
    CHECK(!asked(&r, 0)->in_ended);
    CHECK_INT(asked(&r, 0)->in.n, 65535);
    CHECK(sent[0] <= 65535 + LIMIT_STREAM_HIGH);
    while (!asked(&r, 0)->in_ended) { /* and then goes on */
        take(asked(&r, 0));
        turns(r.loop, 2);
        if (sent[0] < BODY && stream_room(answer(&r, 0)) > 0) {
            size_t n = MIN(BODY - sent[0], stream_room(answer(&r, 0)));

            sent[0] += n;
            send_zeros(answer(&r, 0), n, sent[0] == BODY);
        }
    }
    CHECK_INT(asked(&r, 0)->in_body_bytes, BODY);
    finish(&r);
}

/* The same the other way round. */
TEST(a_stalled_download_harms_no_other)
{
    enum { STREAMS = 99, BODY = 300000 };
    size_t sent[STREAMS] = {0};
    struct rig r;

    both(&r);
    for (int i = 0; i < STREAMS; i++)
        h2_ask(&r.client, "GET", true);
    go(&r);
    CHECK_INT(r.server.count, STREAMS);
    for (size_t i = 0; i < STREAMS; i++)
        h2_reply(asked(&r, i), 200, false);
    for (int round = 0; round < 600; round++) {
        turns(r.loop, 1);
        for (size_t i = 0; i < STREAMS; i++) {
            size_t n = MIN(BODY - sent[i], stream_room(asked(&r, i)));

            if (n > 0)
                send_zeros(asked(&r, i), n, sent[i] + n == BODY);
            sent[i] += n;
        }
        for (size_t i = 1; i < STREAMS; i++)
            take(answer(&r, i));
        CHECK(answer(&r, 0)->in.n <= 65535);
    }
    for (size_t i = 1; i < STREAMS; i++) {
        CHECK(answer(&r, i)->in_ended);
        CHECK_INT(answer(&r, i)->in_body_bytes, BODY);
    }
    CHECK_INT(answer(&r, 0)->in.n, 65535);
    CHECK(sent[0] <= 65535 + LIMIT_STREAM_HIGH);
    finish(&r);
}

/* Nobody takes anything: what is held is bounded, and comes in full when they do. */
TEST(held_bytes_are_bounded_for_the_connection)
{
    enum { STREAMS = 80, BODY = 65000 };
    size_t held = 0, whole = 0;
    struct rig r;

    both(&r);
    for (size_t i = 0; i < STREAMS; i++) {
        h2_ask(&r.client, "POST", false);
        send_zeros(answer(&r, i), BODY, true);
    }
    turns(r.loop, 500);
    CHECK_INT(r.server.count, STREAMS);
    for (size_t i = 0; i < STREAMS; i++)
        held += asked(&r, i)->in.n;
    CHECK(held > LIMIT_H2_HELD_BYTES);
    CHECK(held <= 2 * LIMIT_H2_HELD_BYTES + 65535);
    for (int round = 0; round < 500; round++) {
        turns(r.loop, 1);
        for (size_t i = 0; i < STREAMS; i++)
            take(asked(&r, i));
    }
    for (size_t i = 0; i < STREAMS; i++)
        whole += asked(&r, i)->in_ended && asked(&r, i)->in_body_bytes == BODY;
    CHECK_INT(whole, STREAMS);
    CHECK_INT(r.server.h2->held, 0);
    CHECK_INT(r.server.h2->owed, 0);
    finish(&r);
}

/* Streams that die give back what they held. */
TEST(the_dead_give_their_credit_back)
{
    enum { STREAMS = 40, BODY = 65000 };
    struct rig r;

    both(&r);
    for (int again = 0; again < 4; again++) {
        for (size_t i = 0; i < STREAMS; i++) {
            size_t k = h2_ask(&r.client, "POST", false);

            send_zeros(answer(&r, k), BODY, false);
        }
        turns(r.loop, 300);
        for (size_t i = 0; i < STREAMS; i++) {
            if (again % 2)
                stream_reset(answer(&r, (size_t)again * STREAMS + i));
            else
                h2_let_go(&r.server, (size_t)again * STREAMS + i);
        }
        turns(r.loop, 100);
        CHECK_INT(r.server.h2->held, 0);
        CHECK_INT(r.server.h2->owed, 0);
        for (size_t i = 0; i < r.server.count; i++)
            h2_let_go(&r.server, i);
        for (size_t i = 0; i < r.client.count; i++)
            h2_let_go(&r.client, i);
    }
    h2_ask(&r.client, "POST", false);
    send_zeros(answer(&r, r.client.count - 1), BODY, true);
    turns(r.loop, 100);
    CHECK(asked(&r, r.server.count - 1)->in_ended);
    finish(&r);
}

TEST(room_comes_back_with_a_note)
{
    struct rig r;

    both(&r);
    h2_ask(&r.client, "POST", false);
    send_zeros(answer(&r, 0), LIMIT_STREAM_HIGH + 65535, false);
    CHECK_INT(stream_room(answer(&r, 0)), 0);
    go(&r);
    CHECK_INT(stream_room(answer(&r, 0)), 0); /* one window is gone, as much is here as may */
    CHECK(!(r.client.notes & STREAM_NOTE_ROOM));
    take(asked(&r, 0));
    go(&r);
    CHECK(r.client.notes & STREAM_NOTE_ROOM);
    CHECK(stream_room(answer(&r, 0)) > 0);
    finish(&r);
}

/* ---- capacity ---- */

static void ask_one_too_many(struct rig *r)
{
    for (uint32_t i = 0; i <= LIMIT_H2_STREAMS; i++)
        h2_head(&r->b, 2 * i + 1, H2_END_STREAM, H2_GET);
    say(r);
    CHECK_INT(r->server.count, LIMIT_H2_STREAMS);
}

TEST(a_server_takes_so_many_streams_and_refuses_more)
{
    struct rig r;

    greet(&r, false); /* it may not know yet */
    ask_one_too_many(&r);
    CHECK_INT(h2_seen(&r.raw, H2_RST, 0, 0)->id, 2 * LIMIT_H2_STREAMS + 1);
    CHECK_INT(h2_seen(&r.raw, H2_RST, 0, 0)->code, NGHTTP2_REFUSED_STREAM);
    h2_reply(asked(&r, 0), 200, true);
    go(&r);
    h2_head(&r.b, 2 * LIMIT_H2_STREAMS + 3, H2_END_STREAM, H2_GET);
    say(&r);
    CHECK_INT(r.server.count, LIMIT_H2_STREAMS + 1);
    finish(&r);
}

TEST(a_client_that_knows_how_many_and_asks_for_more_is_cut)
{
    struct rig r;

    serving(&r);
    ask_one_too_many(&r);
    CHECK_INT(h2_seen(&r.raw, H2_GOAWAY, 0, 0)->code, NGHTTP2_PROTOCOL_ERROR);
    CHECK_INT(asked(&r, 0)->reset, STREAM_RESET_PROTOCOL);
    finish(&r);
}

TEST(a_client_keeps_to_what_the_server_allows)
{
    struct rig r;

    calling(&r);
    CHECK(codec_capacity(r.client.codec) > LIMIT_H2_STREAMS); /* nothing was said: no limit */
    h2_setting(&r.b, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2);
    say(&r);
    CHECK_INT(codec_capacity(r.client.codec), 2);
    h2_ask(&r.client, "GET", true);
    h2_ask(&r.client, "GET", true);
    CHECK_INT(codec_capacity(r.client.codec), 0);
    h2_ask(&r.client, "GET", true); /* waits its turn */
    go(&r);
    CHECK_INT(r.raw.totals[H2_HEADERS], 2);
    r.client.idles = 0;
    h2_head(&r.b, 1, H2_END_STREAM, ":status: 200");
    say(&r);
    CHECK_INT(r.raw.totals[H2_HEADERS], 3);
    h2_setting(&r.b, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10);
    say(&r);
    CHECK(r.client.idles > 0);
    CHECK_INT(codec_capacity(r.client.codec), 8);
    finish(&r);
}

TEST(a_push_is_an_error)
{
    struct rig r;

    calling(&r);
    h2_ask(&r.client, "GET", true);
    go(&r);
    h2_frame(&r.b, H2_PUSH, H2_END_HEADERS, 1, BYTES_OF("\0\0\0\2"));
    say(&r);
    CHECK_INT(h2_seen(&r.raw, H2_GOAWAY, 0, 0)->code, NGHTTP2_PROTOCOL_ERROR);
    CHECK_INT(answer(&r, 0)->reset, STREAM_RESET_PROTOCOL);
    finish(&r);
}
