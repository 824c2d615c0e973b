/* HTTP/2: heads and messages as the codec tells and writes them, against itself and against a peer by hand. What the RFC demands
 * of single frames is in http2_frames_test.c. */
#include "test/h2_rig.h"

/* ---- heads ---- */

#define BASE "|:scheme: http|:path: /|:authority: a"

/* clang-format off */
/* A request's fields, and the head as it is told, or the status of the codec's own answer; 0 is the library's reset. */
static const struct {
    const char *name, *fields, *told;
    unsigned status;
    bool goes_on; /* there is a body */
} requests[] = {
    {"plain", H2_GET, "GET a / none", 0, false},
    {"query", ":method: GET|:scheme: http|:path: /x?a=b;c|:authority: a", "GET a /x?a=b;c none", 0, false},
    {"body", H2_POST, "POST a / chunked", 0, true},
    {"length", H2_POST "|content-length: 7", "POST a / length 7", 0, true},
    {"length 0", H2_POST "|content-length: 0", "POST a / length 0", 0, false},
    {"fields", H2_GET "|x: y|z: ", "GET a / none|x: y|z: ", 0, false},
    {"own method", ":method: PURGE" BASE, "PURGE a / none", 0, false},
    {"cookies", H2_GET "|cookie: a=b|x: y|cookie: c=d|cookie: e", "GET a / none|x: y|cookie: a=b; c=d; e", 0, false},
    {"one cookie", H2_GET "|cookie: a=b|x: y", "GET a / none|cookie: a=b|x: y", 0, false},
    {"empty cookies", H2_GET "|cookie: |cookie: ", "GET a / none|cookie: ", 0, false},
    {"authority in capitals", ":method: GET|:scheme: http|:path: /|:authority: A.Mesh:80", "GET a.mesh:80 / none", 0, false},
    {"authority, no digits", ":method: GET|:scheme: http|:path: /|:authority: a:", "GET a / none", 0, false},
    {"host alone", ":method: GET|:scheme: http|:path: /|host: A", "GET a / none", 0, false},
    {"host, the same", H2_GET "|host: A", "GET a / none", 0, false},
    {"host, another", H2_GET "|host: b", NULL, 400, false},
    {"no authority", ":method: GET|:scheme: http|:path: /", NULL, 0, false},
    {"authority with user", ":method: GET|:scheme: http|:path: /|:authority: u@a", NULL, 400, false},
    {"authority with path", ":method: GET|:scheme: http|:path: /|:authority: a/b", NULL, 0, false},
    {"authority, big port", ":method: GET|:scheme: http|:path: /|:authority: a:65536", NULL, 400, false},
    {"star", ":method: OPTIONS|:scheme: http|:path: *|:authority: a", "OPTIONS a * none", 0, false},
    {"path with fragment", ":method: GET|:scheme: http|:path: /a#b|:authority: a", NULL, 400, false},
    {"path in utf-8", ":method: GET|:scheme: http|:path: /\xc3\xa9|:authority: a", NULL, 400, false},
    {"path with blank", ":method: GET|:scheme: http|:path: /a b|:authority: a", NULL, 0, false},
    {"CONNECT", ":method: CONNECT|:authority: a:443", NULL, 501, true},
    {"expects 100", H2_POST "|expect: 100-continue", "POST a / chunked 100", 0, true},
    {"expects tea", H2_POST "|expect: tea", NULL, 417, true},
    {"te", H2_GET "|te: trailers", "GET a / none|te: trailers", 0, false},
    {"http2-settings", H2_GET "|http2-settings: AAAA", "GET a / none", 0, false},
    {"trailer", H2_POST "|trailer: x", "POST a / chunked|trailer: x", 0, true},
    {"method too long", ":method: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" BASE, NULL, 501, false},
};
/* clang-format on */

static struct str tell_head(const struct http_head *h, char *to, size_t max)
{
    static const char *const framings[] = {"none", "length", "chunked", "close", "tunnel"};
    size_t n = (size_t)snprintf(to, max, "%.*s %.*s %.*s %s", STR_ARG(h->method), STR_ARG(h->authority),
                                STR_ARG(h->path), framings[h->framing]);

    if (h->framing == HTTP_BODY_LENGTH)
        n += (size_t)snprintf(to + n, max - n, " %llu", (unsigned long long)h->content_length);
    if (h->expect_continue)
        n += (size_t)snprintf(to + n, max - n, " 100");
    for (size_t i = 0; i < h->count; i++)
        n += (size_t)snprintf(to + n, max - n, "|%.*s: %.*s", STR_ARG(h->fields[i].name),
                              STR_ARG(h->fields[i].value));
    return (struct str){to, n};
}

/* With an answer; without one, by the library. */
static bool is_refused(const struct h2_seen *head, const struct h2_seen *reset, unsigned status, bool goes_on)
{
    if (status == 0)
        return !head && reset && reset->code == NGHTTP2_PROTOCOL_ERROR;
    if (!head || head->status != status || !(head->flags & H2_END_STREAM))
        return false;
    return goes_on ? reset && reset->code == NGHTTP2_NO_ERROR && reset > head : !reset;
}

TEST(heads_are_told_as_http1_has_them)
{
    unsigned bad = 0;

    for (size_t i = 0; i < COUNT(requests); i++) {
        const struct h2_seen *head, *reset;
        char text[1024] = "";
        struct rig r;

        serving(&r);
        h2_head(&r.b, 1, requests[i].goes_on ? 0 : H2_END_STREAM, requests[i].fields);
        say(&r);
        if (r.server.count == 1)
            tell_head(&asked(&r, 0)->in_head, text, sizeof(text));
        head = h2_seen(&r.raw, H2_HEADERS, 1, 0);
        reset = h2_seen(&r.raw, H2_RST, 1, 0);
        if ((requests[i].told && strcmp(text, requests[i].told) != 0) ||
            (!requests[i].told && (r.server.count > 0 || !is_refused(head, reset, requests[i].status,
                                                                      requests[i].goes_on)))) {
            bad++;
            print_error("%s: told \"%s\", status %u, reset %d\n", requests[i].name, text,
                        head ? head->status : 0, reset ? (int)reset->code : -1);
        }
        CHECK(!r.raw.peer.ended);
        CHECK_INT(r.server.codec->streams, r.server.count);
        finish(&r);
    }
    CHECK_INT(bad, 0);
}

static const struct http_head by_upgrade = {.is_request = true,
                                            .version = 11,
                                            .method = STR_INIT("GET"),
                                            .path = STR_INIT("/x"),
                                            .authority = STR_INIT("a"),
                                            .upgrade = STR_INIT("h2c"),
                                            .http2_settings = STR_INIT("AAMAAABkAAQAAAAQ")}; /* a window of 16 bytes */

TEST(a_request_that_came_by_upgrade_is_stream_1)
{
    struct rig r;
    struct stream *s;
    struct bytes body;
    char text[1024];

    greet_by(&r, false, &by_upgrade);
    s = asked(&r, 0);
    CHECK(s->in_has_head && s->in_ended);
    CHECK_STR(tell_head(&s->in_head, text, sizeof(text)), "GET a /x none");
    CHECK_INT(s->in_head.version, 20);
    CHECK_STR(s->in_head.upgrade, "");
    h2_reply(s, 200, false);
    bytes_init(&body);
    bytes_append(&body, STR("0123456789abcdef0123456789abcdef"));
    stream_send_data(s, &body, true);
    go(&r);
    CHECK_INT(h2_seen(&r.raw, H2_HEADERS, 1, 0)->status, 200);
    CHECK_INT(h2_seen(&r.raw, H2_DATA, 1, 0)->bytes, 16);
    h2_head(&r.b, 1, H2_END_STREAM, H2_GET); /* it was asked already */
    say(&r);
    CHECK(h2_seen(&r.raw, H2_GOAWAY, 0, 0) != NULL);
    finish(&r);
}

TEST(an_upgrade_that_nobody_took_yet_goes_with_its_connection)
{
    struct rig r;

    init(&r);
    h2_raw_init(&r.raw, r.loop);
    r.has_raw = true;
    io_pair(&r.server.io, &r.server.task, 0, &r.raw.peer.io, &r.raw.peer.task, 0);
    h2_side_serve(&r.server, &by_upgrade);
    codec_close(r.server.codec);
    r.server.codec = NULL;
    go(&r);
    CHECK_INT(r.server.count, 0);
    finish(&r);
}

/* `count` fields beside the pseudo ones, each of `bytes`. */
static unsigned status_of_size(size_t count, size_t bytes, const char *path)
{
    struct buf block;
    struct str text;
    char value[9000];
    struct rig r;
    unsigned status;

    serving(&r);
    buf_init(&block, 1u << 20);
    h2_fields(&block, ":method: GET|:scheme: http|:authority: a");
    h2_field(&block, STR(":path"), str_from(path));
    memset(value, 'v', sizeof(value));
    for (size_t i = 0; i < count; i++)
        h2_field(&block, STR("name"), (struct str){value, bytes});
    text = buf_str(&block);
    for (size_t at = 0; at < text.n || at == 0; at += 16384)
        h2_frame(&r.b, at ? H2_CONTINUATION : H2_HEADERS,
                 (at ? 0 : H2_END_STREAM) | (at + 16384 >= text.n ? H2_END_HEADERS : 0), 1,
                 str_sub(text, at, 16384));
    buf_done(&block);
    say(&r);
    if (r.server.count > 0)
        h2_reply(asked(&r, 0), 200, true);
    go(&r);
    assert_non_null(h2_seen(&r.raw, H2_HEADERS, 1, 0));
    status = h2_seen(&r.raw, H2_HEADERS, 1, 0)->status;
    CHECK(!r.raw.peer.ended);
    finish(&r);
    return status;
}

TEST(heads_have_their_limits)
{
    char path[LIMIT_TARGET_BYTES + 2];

    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    CHECK_INT(status_of_size(LIMIT_HEADERS, 1, "/"), 200);
    CHECK_INT(status_of_size(LIMIT_HEADERS + 1, 1, "/"), 431);
    CHECK_INT(status_of_size(LIMIT_HEADERS + 10, 1, "/"), 431);
    CHECK_INT(status_of_size(6, 9000, "/"), 200);
    CHECK_INT(status_of_size(8, 9000, "/"), 431);
    CHECK_INT(status_of_size(0, 0, path), 414);
    path[sizeof(path) - 2] = '\0';
    CHECK_INT(status_of_size(0, 0, path), 200);
}

/* RFC 9113 8.2.3: a client may cut them in many pieces. */
TEST(many_cookies_are_one_field)
{
    struct buf block;
    struct rig r;
    struct str all;

    serving(&r);
    buf_init(&block, 1u << 20);
    h2_fields(&block, H2_GET);
    for (int i = 0; i < 200; i++)
        h2_field(&block, STR("cookie"), STR("a=b"));
    h2_frame(&r.b, H2_HEADERS, 5, 1, buf_str(&block));
    buf_done(&block);
    say(&r);
    CHECK_INT(asked(&r, 0)->in_head.count, 1);
    CHECK(http_get(&asked(&r, 0)->in_head, STR("cookie"), &all));
    CHECK_INT(all.n, 200 * 5 - 2);
    finish(&r);
}

TEST(a_head_that_never_ends_ends_the_connection)
{
    struct rig r;
    struct buf block;

    serving(&r);
    buf_init(&block, 1u << 20);
    h2_fields(&block, H2_GET "|x: y");
    for (size_t i = 0; i < LIMIT_H2_FIELDS_SEEN; i++)
        h2_field(&block, STR("x"), STR("y"));
    h2_frame(&r.b, H2_HEADERS, 5, 1, buf_str(&block));
    buf_done(&block);
    say(&r);
    CHECK_INT(h2_seen(&r.raw, H2_GOAWAY, 0, 0)->code, NGHTTP2_ENHANCE_YOUR_CALM);
    CHECK(r.raw.peer.ended);
    finish(&r);
}

/* ---- messages ---- */

TEST(a_request_and_its_answer_with_bodies_and_lengths)
{
    struct http_head h;
    struct stream *c, *s;
    struct rig r;

    both(&r);
    c = codec_open(r.client.codec, &r.client.task, 0);
    r.client.got[r.client.count++] = c;
    h2_request(&h, &c->arena, "POST", "/x");
    http_add(&h, STR("x-one"), STR("1"));
    h.framing = HTTP_BODY_LENGTH;
    h.content_length = 5;
    stream_send_head(c, &h, false);
    h2_send(c, STR("hello"), true);
    go(&r);
    s = asked(&r, 0);
    CHECK_STR(s->in_head.method, "POST");
    CHECK_STR(s->in_head.path, "/x");
    CHECK_STR(s->in_head.authority, "a.mesh");
    CHECK_TEXT(field(&s->in_head, "x-one"), "1");
    CHECK_INT(s->in_head.framing, HTTP_BODY_LENGTH);
    CHECK_INT(s->in_head.content_length, 5);
    CHECK(s->in_ended && c->out_sent);
    check_in(s, "hello");
    http_head_init(&h, &s->arena, false);
    h.status = 201;
    h.framing = HTTP_BODY_LENGTH;
    h.content_length = 2;
    stream_send_head(s, &h, false);
    h2_send(s, STR("ok"), true);
    go(&r);
    CHECK_INT(c->in_head.status, 201);
    CHECK_INT(c->in_head.framing, HTTP_BODY_LENGTH);
    CHECK_INT(c->in_head.content_length, 2);
    CHECK(c->in_ended && s->out_sent);
    CHECK_INT(c->reset, STREAM_RESET_NONE);
    CHECK_INT(s->reset, STREAM_RESET_NONE);
    check_in(c, "ok");
    CHECK_INT(r.client.codec->streams, 0);
    CHECK_INT(r.server.codec->streams, 0);
    finish(&r);
}

TEST(trailers_go_both_ways)
{
    static const struct http_field fields[] = {{STR_INIT("x-sum"), STR_INIT("1")},
                                               {STR_INIT("x-more"), STR_INIT("")}};
    struct stream *c, *s;
    struct rig r;

    both(&r);
    c = answer(&r, h2_ask(&r.client, "POST", false));
    h2_send(c, STR("body"), false);
    stream_send_trailers(c, fields, 2);
    go(&r);
    s = asked(&r, 0);
    CHECK(s->in_ended);
    check_in(s, "body");
    CHECK_INT(s->in_trailer_count, 2);
    CHECK_STR(s->in_trailers[0].name, "x-sum");
    CHECK_STR(s->in_trailers[1].name, "x-more");
    h2_reply(s, 200, false);
    stream_send_trailers(s, fields, 1); /* without a body */
    go(&r);
    CHECK(c->in_ended);
    CHECK_INT(c->in_trailer_count, 1);
    CHECK_STR(c->in_trailers[0].value, "1");
    CHECK(s->out_sent && c->out_sent);
    CHECK_INT(r.client.codec->streams, 0);
    finish(&r);
}

TEST(empty_trailers_are_an_end)
{
    struct rig r;

    both(&r);
    stream_send_trailers(answer(&r, h2_ask(&r.client, "POST", false)), NULL, 0);
    go(&r);
    CHECK(asked(&r, 0)->in_ended);
    CHECK_INT(asked(&r, 0)->in_trailer_count, 0);
    finish(&r);
}

TEST(what_must_not_be_a_trailer_is_left_out)
{
    struct stream *s;
    struct rig r;

    serving(&r);
    h2_head(&r.b, 1, 0, H2_POST);
    h2_frame(&r.b, H2_DATA, 0, 1, STR("x"));
    h2_head(&r.b, 1, H2_END_STREAM, "host: evil|authorization: x|x-ok: 1|x-forwarded-for: 1.2.3.4");
    say(&r);
    s = asked(&r, 0);
    CHECK(s->in_ended);
    CHECK_INT(s->in_trailer_count, 1);
    CHECK_STR(s->in_trailers[0].name, "x-ok");
    finish(&r);
}

TEST(trailers_have_their_limits)
{
    static const struct {
        size_t count, bytes;
        bool good;
    } cases[] = {
        {LIMIT_HEADERS, 1, true}, {LIMIT_HEADERS + 1, 1, false}, {LIMIT_HEADERS + 4, 1, false}, {3, 4000, false}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        char value[4001];
        struct buf block;
        struct rig r;

        serving(&r);
        memset(value, 'v', sizeof(value));
        buf_init(&block, 1u << 16);
        for (size_t k = 0; k < cases[i].count; k++)
            h2_field(&block, STR("x"), (struct str){value, cases[i].bytes});
        h2_head(&r.b, 1, 0, H2_POST);
        h2_frame(&r.b, H2_HEADERS, 5, 1, buf_str(&block));
        buf_done(&block);
        say(&r);
        CHECK_INT(asked(&r, 0)->in_ended, cases[i].good);
        CHECK_INT(asked(&r, 0)->reset, cases[i].good ? STREAM_RESET_NONE : STREAM_RESET_PROTOCOL);
        if (cases[i].good)
            CHECK_INT(asked(&r, 0)->in_trailer_count, cases[i].count);
        finish(&r);
    }
}

TEST(informational_answers_come_first)
{
    struct http_head h;
    const struct http_head *hint;
    struct stream *c, *s;
    struct rig r;

    both(&r);
    c = answer(&r, h2_ask(&r.client, "GET", true));
    go(&r);
    s = asked(&r, 0);
    http_head_init(&h, &s->arena, false);
    h.status = 103;
    http_add(&h, STR("link"), STR("</a>"));
    stream_send_head(s, &h, false);
    h.status = 102; /* both arrive at once */
    stream_send_head(s, &h, false);
    go(&r);
    CHECK(!c->in_has_head);
    hint = stream_informational(c);
    assert_non_null(hint);
    CHECK_INT(hint->status, 103);
    CHECK_TEXT(field(hint, "link"), "</a>");
    hint = stream_informational(c);
    assert_non_null(hint);
    CHECK_INT(hint->status, 102);
    assert_null(stream_informational(c));
    h2_reply(s, 200, true);
    go(&r);
    CHECK_INT(c->in_head.status, 200);
    CHECK_TEXT(field(&c->in_head, "link"), "-");
    CHECK(c->in_ended);
    finish(&r);
}

TEST(informational_answers_without_end_are_broken_off)
{
    struct rig r;

    calling(&r);
    h2_ask(&r.client, "GET", true);
    for (unsigned i = 0; i <= LIMIT_INFORMATIONAL; i++)
        h2_head(&r.b, 1, 0, ":status: 100");
    say(&r);
    CHECK_INT(answer(&r, 0)->reset, STREAM_RESET_PROTOCOL);
    CHECK(!r.client.over);
    finish(&r);
}

/* Answers without a body, which may speak of its length. */
TEST(answers_without_a_body)
{
    static const struct {
        const char *method;
        unsigned status;
        bool shows_length;
    } cases[] = {{"HEAD", 200, true}, {"GET", 304, true}, {"GET", 204, false}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http_head h;
        struct stream *c, *s;
        struct rig r;

        both(&r);
        c = answer(&r, h2_ask(&r.client, cases[i].method, true));
        go(&r);
        s = asked(&r, 0);
        http_head_init(&h, &s->arena, false);
        h.status = cases[i].status;
        h.framing = HTTP_BODY_LENGTH;
        h.content_length = 9;
        stream_send_head(s, &h, true);
        go(&r);
        CHECK_INT(c->in_head.status, cases[i].status);
        CHECK_INT(c->in_head.framing, cases[i].shows_length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE);
        CHECK(c->in_ended);
        CHECK_INT(c->reset, STREAM_RESET_NONE);
        finish(&r);
    }
}

/* What an owner passes on for a HEAD is dropped, as HTTP/1.1's codec does. */
TEST(a_body_that_must_not_be_is_dropped)
{
    struct stream *c, *s;
    struct rig r;

    both(&r);
    c = answer(&r, h2_ask(&r.client, "HEAD", true));
    go(&r);
    s = asked(&r, 0);
    h2_reply(s, 200, false);
    h2_send(s, STR("body"), false);
    h2_send(s, STR("body"), true);
    go(&r);
    CHECK_INT(c->in_head.status, 200);
    CHECK(c->in_ended);
    CHECK_INT(c->in.n, 0);
    CHECK(s->out_sent);
    CHECK_INT(c->reset, STREAM_RESET_NONE);
    finish(&r);
}

/* What a server by hand answers to a GET, and what becomes of it. */
TEST(answers_that_are_no_http_are_broken_off)
{
    static const struct {
        const char *fields, *body; /* NULL: ends with the head */
        enum stream_reset reset;
    } cases[] = {
        {":status: 200",                           "ok", STREAM_RESET_NONE    },
        {":status: 200|content-length: 2",         "ok", STREAM_RESET_NONE    },
        {":status: 599",                           NULL, STREAM_RESET_NONE    },
        {":status: 200|content-length: 3",         "ok", STREAM_RESET_PROTOCOL},
        {":status: 200|content-length: 1",         "ok", STREAM_RESET_PROTOCOL},
        {":status: 200|content-length: x",         "ok", STREAM_RESET_PROTOCOL},
        {":status: 200|content-length: 2",         NULL, STREAM_RESET_PROTOCOL},
        {":status: 200|connection: close",         "ok", STREAM_RESET_PROTOCOL},
        {":status: 200|transfer-encoding: gzip",   "ok", STREAM_RESET_PROTOCOL},
        {":status: 101",                           "ok", STREAM_RESET_PROTOCOL},
        {":status: 099",                           "ok", STREAM_RESET_PROTOCOL},
        {":status: 000",                           NULL, STREAM_RESET_PROTOCOL},
        {":status: 20",                            "ok", STREAM_RESET_PROTOCOL},
        {":status: 2000",                          "ok", STREAM_RESET_PROTOCOL},
        {":status: abc",                           "ok", STREAM_RESET_PROTOCOL},
        {":status: 100",                           NULL, STREAM_RESET_PROTOCOL},
        {"x: y",                                   "ok", STREAM_RESET_PROTOCOL},
        {":method: GET",                           "ok", STREAM_RESET_PROTOCOL},
        {":status: 200|:path: /",                  "ok", STREAM_RESET_PROTOCOL},
        {":status: 200|X: y",                      "ok", STREAM_RESET_PROTOCOL},
    };
    unsigned bad = 0;

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct stream *c;
        struct rig r;

        calling(&r);
        c = answer(&r, h2_ask(&r.client, "GET", true));
        go(&r);
        h2_head(&r.b, 1, cases[i].body ? 0 : H2_END_STREAM, cases[i].fields);
        if (cases[i].body)
            h2_frame(&r.b, H2_DATA, H2_END_STREAM, 1, str_from(cases[i].body));
        say(&r);
        if (c->reset != cases[i].reset || c->in_ended != (c->reset == STREAM_RESET_NONE)) {
            bad++;
            print_error("%s: reset %d, ended %d\n", cases[i].fields, c->reset, c->in_ended);
        }
        CHECK(!r.client.over);
        finish(&r);
    }
    CHECK_INT(bad, 0);
}

/* ---- what goes out ---- */

TEST(fields_that_http2_does_not_have_stay_here)
{
    static const char *const names[] = {"host", "connection", "keep-alive", "upgrade", "proxy-connection",
                                        "content-length", "transfer-encoding", "te", "http2-settings"};
    struct http_head h;
    struct stream *c;
    struct rig r;

    calling(&r);
    c = codec_open(r.client.codec, &r.client.task, 0);
    r.client.got[r.client.count++] = c;
    h2_request(&h, &c->arena, "GET", "/");
    for (size_t i = 0; i < COUNT(names); i++)
        http_add(&h, str_from(names[i]), STR("x"));
    http_add(&h, STR("te"), STR("trailers"));
    http_add(&h, STR("x"), STR("y"));
    stream_send_head(c, &h, true);
    go(&r);
    CHECK_TEXT(h2_seen(&r.raw, H2_HEADERS, 1, 0)->fields,
               ":method: GET|:scheme: http|:authority: a.mesh|:path: /|te: trailers|x: y");
    finish(&r);
}

TEST(a_request_without_authority_says_so)
{
    struct http_head h;
    struct stream *c;
    struct rig r;

    calling(&r);
    c = codec_open(r.client.codec, &r.client.task, 0);
    r.client.got[r.client.count++] = c;
    h2_request(&h, &c->arena, "GET", "/");
    h.authority = STR_NONE;
    stream_send_head(c, &h, true);
    go(&r);
    CHECK_TEXT(h2_seen(&r.raw, H2_HEADERS, 1, 0)->fields, ":method: GET|:scheme: http|:path: /");
    finish(&r);
}
