/* gRPC-Web between a browser's stream and the exchange. The first byte says how the call is made (bit 0: base64, bit 1: base64
 * is accepted, bit 2: the answer is no gRPC); then come commands: a byte that chooses one, a byte that is its count, and
 * that many bytes. What comes out of either side is held against a plain reckoning of what went in.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/buf.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "proxy/grpc_web.h"

#define BODY_MAX (1u << 20)

enum command { ARRIVE, ARRIVE_LAST, TURN, TAKE, SEND_HEAD, SEND, SEND_TRAILERS, LOSE, GIVE_UP, COMMANDS };

static struct {
    struct loop *loop;
    struct codec codec;
    struct stream *real, *web;
    struct task owner;
    struct arena arena;
    bool text_in, text_out, is_plain;
    struct buf asked, said; /* what must come out of the web stream, and of the real one */
    struct buf heard;       /* what came out of the web stream */
    struct buf group;       /* base64 that waits for its fourth byte */
    bool is_bad;            /* the base64 is */
    struct buf written;     /* what the browser gets, as it is written */
    bool is_over;           /* nothing more is said */
} world;

static void must(bool fact)
{
    if (!fact)
        abort();
}

static void pour(struct buf *to, struct bytes *from)
{
    if (from->n > 0)
        buf_add(to, bytes_flat(from, from->n));
    bytes_drop(from, from->n);
}

/* ---- the browser's stream ---- */

static void real_head(struct stream *s, const struct http_head *h, bool end)
{
    must(!s->out_head_sent && h->status >= 200);
    s->out_head_sent = true;
    s->out_ended = end;
    if (s->codec->failure_status == 400) /* the answer to bad base64 is no part of the call */
        world.is_over = true;
}

static void real_data(struct stream *s, struct bytes *from, bool end)
{
    must(s->out_head_sent && !s->out_ended);
    if (s->codec->failure_status == 400)
        bytes_drop(from, from->n);
    pour(&world.written, from);
    s->out_ended = end;
}

static void real_trailers(struct stream *s, const struct http_field *fields, size_t count)
{
    (void)fields; /* a browser has none */
    must(world.is_plain || count == 0);
    must(s->out_head_sent && !s->out_ended);
    s->out_ended = true;
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
    if (s->reset == STREAM_RESET_NONE)
        s->reset = STREAM_RESET_LOCAL;
}

static void real_release(struct stream *s)
{
    stream_free(s);
}

static const struct codec_ops real_ops = {.send_head = real_head,
                                          .send_data = real_data,
                                          .send_trailers = real_trailers,
                                          .room = real_room,
                                          .consumed = real_nothing,
                                          .reset = real_reset,
                                          .release = real_release};

/* ---- reckoning ---- */

/* Base64 four bytes by four bytes, so that nothing depends on how it was cut. */
static void reckon(struct str body, bool last)
{
    if (!world.text_in) {
        buf_add(&world.asked, body);
        return;
    }
    for (size_t i = 0; i < body.n && !world.is_bad; i++) {
        buf_addc(&world.group, body.p[i]);
        if (world.group.n < 4)
            continue;
        world.is_bad = !text_unbase64(buf_str(&world.group), &world.asked);
        buf_clear(&world.group);
    }
    world.is_bad = world.is_bad || (last && world.group.n > 0);
}

static bool begins(const struct buf *whole, const struct buf *part)
{
    return part->n <= whole->n && (part->n == 0 || memcmp(whole->p, part->p, part->n) == 0);
}

/* Base64 of what was written, run by run, is what was said. */
static void check_written(void)
{
    struct buf plain;

    if (!world.text_out || world.is_plain) {
        must(world.written.n == world.said.n && begins(&world.said, &world.written));
        return;
    }
    buf_init(&plain, BODY_MAX);
    must(world.written.n % 4 == 0);
    for (size_t i = 0; i < world.written.n; i += 4)
        must(text_unbase64((struct str){world.written.p + i, 4}, &plain));
    must(plain.n == world.said.n && begins(&world.said, &plain));
    buf_done(&plain);
}

static void check_asked(void)
{
    struct stream *s = world.web;

    pour(&world.heard, &s->in);
    must(begins(&world.asked, &world.heard));
    if (s->in_ended)
        must(!world.is_bad && world.heard.n == world.asked.n);
    if (s->reset == STREAM_RESET_PROTOCOL)
        must(world.is_bad);
}

/* ---- commands ---- */

static void turn(void)
{
    for (int i = 0; i < 3; i++)
        loop_turn(world.loop, 0);
}

static void arrive(struct str body, bool last)
{
    struct stream *r = world.real;

    if (r->in_ended || r->reset != STREAM_RESET_NONE)
        return;
    reckon(body, last);
    bytes_append(&r->in, body);
    r->in_body_bytes += body.n;
    r->in_ended = last;
    stream_note(r, STREAM_NOTE_DATA | (last ? STREAM_NOTE_END : 0));
}

static bool can_say(void)
{
    return world.web->out_head_sent && !world.web->out_ended && !world.is_over && world.web->reset == STREAM_RESET_NONE;
}

static void send_head(bool end)
{
    struct http_head h;

    if (world.web->out_head_sent || world.is_over || world.web->reset != STREAM_RESET_NONE)
        return;
    http_head_init(&h, &world.arena, false);
    h.status = 200;
    h.framing = end ? HTTP_BODY_NONE : HTTP_BODY_CHUNKED;
    http_add(&h, STR("content-type"), world.is_plain ? STR("text/html") : STR("application/grpc+proto"));
    stream_send_head(world.web, &h, end);
}

static void send_data(struct str body, bool end)
{
    struct bytes b;

    if (!can_say())
        return;
    buf_add(&world.said, body);
    bytes_init(&b);
    bytes_append(&b, body);
    stream_send_data(world.web, &b, end);
    must(b.n == 0);
}

static void send_trailers(struct str value)
{
    const struct http_field fields[] = {{STR_INIT("grpc-status"), STR_INIT("0")}, {STR_INIT("x"), value}};
    size_t bytes = sizeof("grpc-status:0\r\nx:\r\n") - 1 + value.n;

    if (!can_say())
        return;
    if (!world.is_plain) {
        const char prefix[] = {(char)0x80, 0, 0, (char)(bytes >> 8), (char)bytes};

        buf_add(&world.said, (struct str){prefix, sizeof(prefix)});
        buf_printf(&world.said, "grpc-status:0\r\nx:%.*s\r\n", STR_ARG(value));
    }
    stream_send_trailers(world.web, fields, COUNT(fields));
    must(world.web->out_ended);
}

static void lose(void)
{
    if (world.real->reset != STREAM_RESET_NONE)
        return;
    world.real->reset = STREAM_RESET_CLOSED;
    stream_note(world.real, STREAM_NOTE_RESET);
}

/* What a message may hold in its trailers. */
static struct str visible(struct str s)
{
    char *p = mem_alloc(s.n + 1);

    for (size_t i = 0; i < s.n; i++)
        p[i] = (char)('a' + (uint8_t)s.p[i] % 26);
    return (struct str){p, s.n};
}

static void run(enum command what, struct str body)
{
    struct str value;

    switch (what) {
    case ARRIVE:
    case ARRIVE_LAST:
        arrive(body, what == ARRIVE_LAST);
        break;
    case TURN:
        turn();
        break;
    case TAKE:
        check_asked();
        stream_consumed(world.web);
        break;
    case SEND_HEAD:
        send_head(body.n == 255);
        break;
    case SEND:
        send_data(body, body.n == 254);
        break;
    case SEND_TRAILERS:
        value = visible(body);
        send_trailers(value);
        str_free(value);
        break;
    case LOSE:
        lose();
        break;
    case GIVE_UP:
        stream_reset(world.web);
        break;
    case COMMANDS:
        break;
    }
}

/* ---- one life ---- */

static void on_notes(struct task *t, unsigned notes)
{
    (void)t, (void)notes; /* commands look by themselves */
}

static void begin(uint8_t how)
{
    struct http_head *h;
    struct err err;

    memset(&world, 0, sizeof(world));
    world.text_in = how & 1;
    world.text_out = how & 2;
    world.is_plain = how & 4;
    world.loop = loop_new(&err);
    arena_init(&world.arena);
    buf_init(&world.asked, BODY_MAX);
    buf_init(&world.said, BODY_MAX);
    buf_init(&world.heard, BODY_MAX);
    buf_init(&world.group, 16);
    buf_init(&world.written, BODY_MAX);
    task_init(&world.owner, world.loop, on_notes);
    world.codec = (struct codec){.ops = &real_ops, .loop = world.loop, .is_server = true};
    world.real = mem_alloc(sizeof(*world.real));
    stream_init(world.real, &world.codec);
    h = &world.real->in_head;
    http_head_init(h, &world.real->arena, true);
    h->method = STR("POST");
    h->path = STR("/t.T/M");
    h->framing = HTTP_BODY_CHUNKED;
    http_add(h, STR("content-type"), world.text_in ? STR("application/grpc-web-text") : STR("application/grpc-web+proto"));
    if (world.text_out)
        http_add(h, STR("accept"), STR("application/grpc-web-text"));
    world.real->in_has_head = true;
    world.web = grpc_web_wrap(world.real);
    must(world.web != world.real);
    stream_own(world.web, &world.owner, 0);
}

/* All that can come comes. */
static void finish(void)
{
    for (int i = 0; i < 8; i++) {
        turn();
        check_asked();
        stream_consumed(world.web);
    }
    turn();
    check_asked();
    if (world.real->in_ended && world.real->reset == STREAM_RESET_NONE && !world.is_bad)
        must(world.web->in_ended);
    if (world.is_bad && (world.real->reset == STREAM_RESET_NONE || world.real->reset == STREAM_RESET_LOCAL))
        must(world.web->reset != STREAM_RESET_NONE);
    check_written();
    stream_release(world.web);
    buf_done(&world.asked);
    buf_done(&world.said);
    buf_done(&world.heard);
    buf_done(&world.group);
    buf_done(&world.written);
    arena_done(&world.arena);
    task_forget(&world.owner);
    turn();
    loop_free(world.loop);
    must(bytes_pool_live() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 1;

    if (size == 0 || size > 16384)
        return 0;
    begin(data[0]);
    while (size - at >= 2) {
        enum command what = data[at] % COMMANDS;
        size_t n = MIN((size_t)data[at + 1], size - at - 2);

        run(what, (struct str){(const char *)data + at + 2, n});
        at += 2 + n;
    }
    finish();
    return 0;
}
