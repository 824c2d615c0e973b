/* The stream in front of a browser's: what is fed to one side comes out at the other, cut in any way. */
#include "proxy/grpc_web.h"

#include "mesh/base/buf.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "test/test.h"

static struct {
    struct loop *loop;
    struct codec codec;
    struct stream *real, *web;
    struct task owner;
    struct http_head head; /* that the browser got */
    struct arena arena;
    struct bytes out;
    bool ended, released;
} w;

static void real_head(struct stream *s, const struct http_head *h, bool end)
{
    s->out_head_sent = true;
    s->out_ended = w.ended = end;
    http_head_copy(&w.head, h, &w.arena);
}

static void real_data(struct stream *s, struct bytes *from, bool end)
{
    bytes_move(&w.out, from, from->n);
    s->out_ended = w.ended = end;
}

static void real_trailers(struct stream *s, const struct http_field *fields, size_t count)
{
    (void)fields; /* a browser has none */
    CHECK_INT(count, 0);
    s->out_ended = w.ended = true;
}

static size_t real_room(const struct stream *s)
{
    (void)s; /* as much as you like */
    return 60000;
}

static void real_nothing(struct stream *s)
{
    (void)s; /* there is no window */
}

static void real_reset(struct stream *s)
{
    s->reset = STREAM_RESET_LOCAL;
}

static void real_release(struct stream *s)
{
    w.released = true;
    stream_free(s);
}

static const struct codec_ops real_ops = {.send_head = real_head,
                                          .send_data = real_data,
                                          .send_trailers = real_trailers,
                                          .room = real_room,
                                          .consumed = real_nothing,
                                          .reset = real_reset,
                                          .release = real_release};

static void on_notes(struct task *t, unsigned notes)
{
    (void)t, (void)notes; /* the test looks by itself */
}

static void go(void)
{
    for (int i = 0; i < 4; i++)
        loop_turn(w.loop, 0);
}

static void begin(const char *type, const char *accept)
{
    struct http_head *h;
    struct err err;

    memset(&w, 0, sizeof(w));
    w.loop = loop_new(&err);
    assert_non_null(w.loop);
    arena_init(&w.arena);
    bytes_init(&w.out);
    task_init(&w.owner, w.loop, on_notes);
    w.codec = (struct codec){.ops = &real_ops, .loop = w.loop, .is_server = true};
    w.real = mem_alloc(sizeof(*w.real));
    stream_init(w.real, &w.codec);
    h = &w.real->in_head;
    http_head_init(h, &w.real->arena, true);
    h->method = STR("POST");
    h->path = STR("/t.T/M");
    h->framing = HTTP_BODY_LENGTH;
    h->content_length = 99;
    http_add(h, STR("content-type"), str_from(type));
    if (accept)
        http_add(h, STR("accept"), str_from(accept));
    w.real->in_has_head = true;
    w.web = grpc_web_wrap(w.real);
    if (w.web != w.real)
        stream_own(w.web, &w.owner, 0);
}

static void finish(void)
{
    stream_release(w.web);
    CHECK(w.released);
    bytes_done(&w.out);
    arena_done(&w.arena);
    task_forget(&w.owner);
    go();
    loop_free(w.loop);
    CHECK_INT(bytes_pool_live(), 0);
}

/* The body arrives in pieces of this size. */
static void arrive(struct str body, size_t piece)
{
    for (size_t at = 0; at < body.n; at += piece) {
        bytes_append(&w.real->in, str_sub(body, at, piece));
        stream_note(w.real, STREAM_NOTE_DATA);
        go();
    }
    w.real->in_ended = true;
    stream_note(w.real, STREAM_NOTE_END);
    go();
}

static void check_bytes(struct bytes *b, struct str want)
{
    char *text = mem_alloc(b->n + 1);

    CHECK_INT(b->n, want.n);
    bytes_copy_out(b, 0, text, b->n);
    CHECK(b->n == want.n && memcmp(text, want.p, want.n) == 0);
    mem_free(text);
}

TEST(what_is_a_call_of_a_browser)
{
    static const struct {
        const char *type, *told;
    } cases[] = {
        {"application/grpc-web",            "application/grpc"      },
        {"application/grpc-web+proto",      "application/grpc+proto"},
        {"application/grpc-web-text",       "application/grpc"      },
        {"Application/gRPC-Web-Text+proto", "application/grpc+proto"},
        {"application/grpc-web+json",       "application/grpc+json" },
        {"application/grpc",                NULL                    },
        {"application/grpc-webby",          NULL                    },
        {"text/plain",                      NULL                    },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct str type, te;

        begin(cases[i].type, NULL);
        CHECK_INT(w.web != w.real, cases[i].told != NULL);
        if (cases[i].told) {
            CHECK(http_get(&w.web->in_head, STR("content-type"), &type));
            CHECK(http_get(&w.web->in_head, STR("te"), &te));
            CHECK_STR(type, cases[i].told);
            CHECK_STR(te, "trailers");
            CHECK_INT(w.web->in_head.framing, HTTP_BODY_CHUNKED);
        }
        finish();
    }
}

TEST(base64_is_decoded_however_it_is_cut)
{
    /* Three runs, each with its own padding. */
    static const char text[] = "AAAAAAFh" "AAAAAAJhYg==" "AAAAAANhYmM=", plain[] = "\0\0\0\0\1a\0\0\0\0\2ab\0\0\0\0\3abc";

    for (size_t piece = 1; piece < sizeof(text); piece++) {
        begin("application/grpc-web-text", "application/grpc-web-text");
        arrive(STR(text), piece);
        CHECK(w.web->in_ended);
        CHECK_INT(w.web->reset, STREAM_RESET_NONE);
        check_bytes(&w.web->in, (struct str){plain, sizeof(plain) - 1});
        finish();
    }
}

TEST(what_is_no_base64_is_answered_400)
{
    static const char *const bad[] = {"AAA", "AAAAA", "AA*A", "A===", "====", "AA=A", "AAAAAA=", "AAAA\nAAA"};

    for (size_t i = 0; i < COUNT(bad); i++) {
        for (size_t piece = 1; piece < 9; piece++) {
            begin("application/grpc-web-text", NULL);
            arrive(str_from(bad[i]), piece);
            CHECK(!w.web->in_ended);
            CHECK_INT(w.web->reset, STREAM_RESET_PROTOCOL);
            CHECK_INT(w.head.status, 400);
            CHECK(w.ended);
            finish();
        }
    }
}

static void answer(const char *type, bool end)
{
    struct http_head h;

    http_head_init(&h, &w.arena, false);
    h.status = 200;
    h.framing = HTTP_BODY_LENGTH;
    h.content_length = 3;
    http_add(&h, STR("content-type"), str_from(type));
    stream_send_head(w.web, &h, end);
}

static void send_some(const char *text)
{
    struct bytes b;

    bytes_init(&b);
    bytes_append(&b, str_from(text));
    stream_send_data(w.web, &b, false);
    CHECK_INT(b.n, 0);
}

TEST(trailers_are_the_last_frame)
{
    static const struct http_field fields[] = {{STR_INIT("grpc-status"), STR_INIT("0")}, {STR_INIT("x-a"), STR_INIT("b c")}};
    static const char want[] = "abc\200\0\0\0\30grpc-status:0\r\nx-a:b c\r\n";

    for (int text = 0; text < 2; text++) {
        struct str type;
        struct buf all;

        begin("application/grpc-web", text ? "application/grpc-web-text+proto" : NULL);
        answer("application/grpc+proto", false);
        CHECK(http_get(&w.head, STR("content-type"), &type));
        CHECK_STR(type, text ? "application/grpc-web-text+proto" : "application/grpc-web+proto");
        CHECK_INT(w.head.framing, HTTP_BODY_CHUNKED);
        send_some("a");
        send_some("bc");
        CHECK(!w.ended);
        stream_send_trailers(w.web, fields, COUNT(fields));
        CHECK(w.ended && w.web->out_ended);
        buf_init(&all, 1024);
        if (text) {
            text_base64(&all, STR("a")); /* what was sent is there, to be read at once */
            text_base64(&all, STR("bc"));
            text_base64(&all, (struct str){want + 3, sizeof(want) - 4});
        } else {
            buf_add(&all, (struct str){want, sizeof(want) - 1});
        }
        check_bytes(&w.out, buf_str(&all));
        buf_done(&all);
        finish();
    }
}

TEST(an_answer_that_has_begun_is_broken_off_by_bad_base64)
{
    begin("application/grpc-web-text", "application/grpc-web-text");
    answer("application/grpc", false);
    send_some("abc");
    arrive(STR("A==="), 4);
    CHECK_INT(w.web->reset, STREAM_RESET_PROTOCOL);
    CHECK_INT(w.real->reset, STREAM_RESET_LOCAL);
    CHECK(!w.ended);
    check_bytes(&w.out, STR("YWJj"));
    finish();
}

TEST(a_connection_that_is_gone_is_not_answered)
{
    begin("application/grpc-web-text", NULL);
    bytes_append(&w.real->in, STR("A==="));
    w.real->reset = STREAM_RESET_CLOSED;
    w.real->codec = &codec_dead;
    stream_note(w.real, STREAM_NOTE_DATA | STREAM_NOTE_RESET);
    go();
    CHECK_INT(w.web->reset, STREAM_RESET_CLOSED);
    CHECK_INT(codec_dead.failure_status, 0);
    w.real->codec = &w.codec;
    finish();
}

TEST(an_answer_that_is_no_grpc_passes_as_it_is)
{
    struct str type;

    begin("application/grpc-web-text", "application/grpc-web-text");
    answer("text/html", false);
    send_some("abc");
    stream_send_trailers(w.web, NULL, 0);
    CHECK(http_get(&w.head, STR("content-type"), &type));
    CHECK_STR(type, "text/html");
    CHECK_INT(w.head.content_length, 3);
    check_bytes(&w.out, STR("abc"));
    CHECK(w.ended);
    finish();
}
