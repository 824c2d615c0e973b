#include "proxy/grpc_web.h"

#include <string.h>

#include "mesh/base/buf.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "proxy/grpc.h"

enum { N_KICK = 1 << STREAM_NOTE_BITS };

#define PIECE_BYTES   (16u << 10) /* of base64 at a time */
#define TRAILERS_FLAG 0x80        /* first byte of the frame that holds them */
#define TYPE          STR("application/grpc-web")
#define TYPE_TEXT     STR("application/grpc-web-text")
#define BAD_BASE64    STR("Bad gRPC-web request, invalid base64 data.")

struct web {
    struct stream s; /* first: a stream is cast back */
    struct codec codec;
    struct task task;
    struct stream *real;
    bool text_in, text_out;
    bool plain; /* the answer is no gRPC: it passes as it is */
};

static struct web *web_of(const struct stream *s)
{
    return CONTAINER((struct stream *)(uintptr_t)s, struct web, s);
}

static bool is_type(struct str value, struct str type)
{
    return str_starts_nocase(value, type) && (value.n == type.n || value.p[type.n] == '+' || value.p[type.n] == ';');
}

/* ---- the request ---- */

static void answer_bad(struct web *w)
{
    struct stream *real = w->real;
    struct http_head h;
    struct bytes body;

    http_head_init(&h, &w->s.arena, false);
    h.status = real->codec->failure_status = 400;
    h.framing = HTTP_BODY_LENGTH;
    h.content_length = BAD_BASE64.n;
    http_add(&h, STR("content-type"), STR("text/plain"));
    bytes_init(&body);
    bytes_append(&body, BAD_BASE64);
    stream_send_head(real, &h, false);
    stream_send_data(real, &body, true);
}

/* An answer that has begun is broken off: an end would make it look whole. */
static void refuse(struct web *w)
{
    if (w->s.out_head_sent)
        stream_reset(w->real);
    else
        answer_bad(w);
    w->s.reset = STREAM_RESET_PROTOCOL;
    stream_note(&w->s, STREAM_NOTE_RESET);
}

/* Runs of base64 may follow each other, each with a padding of its own. */
static bool decode(struct str text, struct buf *out)
{
    while (text.n > 0) {
        const char *pad = memchr(text.p, '=', text.n);
        size_t n = pad ? ((size_t)(pad - text.p) / 4 + 1) * 4 : text.n;

        if (n > text.n || !text_unbase64(str_sub(text, 0, n), out))
            return false;
        text = str_sub(text, n, text.n);
    }
    return true;
}

static bool take_text(struct web *w)
{
    struct stream *real = w->real;

    while (real->in.n >= 4 && w->s.in.n < LIMIT_STREAM_HIGH) {
        size_t n = MIN(real->in.n, PIECE_BYTES) & ~(size_t)3;
        struct buf out;
        bool good;

        buf_init(&out, PIECE_BYTES);
        good = decode(bytes_flat(&real->in, n), &out);
        bytes_drop(&real->in, n);
        bytes_append(&w->s.in, buf_str(&out));
        buf_done(&out);
        if (!good)
            return false;
    }
    return !real->in_ended || real->in.n == 0 || real->in.n >= 4;
}

static void take(struct web *w)
{
    struct stream *real = w->real, *s = &w->s;
    size_t before = s->in.n;

    if (s->in_ended || s->reset != STREAM_RESET_NONE || real->reset != STREAM_RESET_NONE)
        return;
    s->in_body_bytes = real->in_body_bytes;
    if (!w->text_in && before < LIMIT_STREAM_HIGH) {
        bytes_move(&s->in, &real->in, LIMIT_STREAM_HIGH - before);
    } else if (w->text_in && !take_text(w)) {
        refuse(w);
        return;
    }
    stream_consumed(real);
    if (s->in.n > before)
        stream_note(s, STREAM_NOTE_DATA);
    if (real->in_ended && real->in.n == 0) {
        s->in_ended = true;
        stream_note(s, STREAM_NOTE_END);
    }
}

static void run(struct task *t, unsigned notes)
{
    struct web *w = CONTAINER(t, struct web, task);
    struct stream *real = w->real, *s = &w->s;

    take(w);
    if (notes & STREAM_NOTE_ROOM)
        stream_note(s, STREAM_NOTE_ROOM);
    if (real->out_sent && !s->out_sent) {
        s->out_sent = true;
        stream_note(s, STREAM_NOTE_SENT);
    }
    if (real->reset != STREAM_RESET_NONE && s->reset == STREAM_RESET_NONE) {
        s->reset = real->reset;
        stream_note(s, STREAM_NOTE_RESET);
    }
}

/* ---- the answer ---- */

static void op_send_head(struct stream *s, const struct http_head *head, bool end)
{
    struct web *w = web_of(s);
    struct http_head h;

    if (head->status >= 200) {
        w->plain = !grpc_is(head);
        s->out_head_sent = true;
        s->out_ended = end;
    }
    if (head->status < 200 || w->plain) {
        stream_send_head(w->real, head, end);
        return;
    }
    http_head_copy(&h, head, &s->arena);
    http_set(&h, STR("content-type"), w->text_out ? STR("application/grpc-web-text+proto") : STR("application/grpc-web+proto"));
    if (h.framing == HTTP_BODY_LENGTH)
        h.framing = end ? HTTP_BODY_NONE : HTTP_BODY_CHUNKED;
    stream_send_head(w->real, &h, end);
}

static void send_encoded(struct web *w, struct bytes *from, bool end)
{
    struct bytes out;

    if (w->plain || !w->text_out) {
        stream_send_data(w->real, from, end);
        return;
    }
    bytes_init(&out);
    while (from->n > 0) {
        size_t n = MIN(from->n, PIECE_BYTES / 4 * 3);
        struct buf text;

        buf_init(&text, PIECE_BYTES * 2);
        text_base64(&text, bytes_flat(from, n));
        bytes_append(&out, buf_str(&text));
        buf_done(&text);
        bytes_drop(from, n);
    }
    stream_send_data(w->real, &out, end);
    bytes_done(&out);
}

static void op_send_data(struct stream *s, struct bytes *from, bool end)
{
    struct web *w = web_of(s);

    send_encoded(w, from, end);
    s->out_ended = end;
    s->out_body_bytes = w->real->out_body_bytes;
}

static void op_send_trailers(struct stream *s, const struct http_field *fields, size_t count)
{
    struct web *w = web_of(s);
    struct bytes body;
    struct buf text;
    uint8_t prefix[5] = {TRAILERS_FLAG};

    if (w->plain) {
        stream_send_trailers(w->real, fields, count);
        s->out_ended = true;
        return;
    }
    buf_init(&text, LIMIT_HEAD_BYTES * 2);
    for (size_t i = 0; i < count; i++)
        buf_printf(&text, "%.*s:%.*s\r\n", STR_ARG(fields[i].name), STR_ARG(fields[i].value));
    for (size_t i = 0; i < 4; i++)
        prefix[1 + i] = (uint8_t)(buf_str(&text).n >> (24 - 8 * i));
    bytes_init(&body);
    bytes_append(&body, (struct str){(const char *)prefix, sizeof(prefix)});
    bytes_append(&body, buf_str(&text));
    buf_done(&text);
    op_send_data(s, &body, true);
}

static size_t op_room(const struct stream *s)
{
    const struct web *w = web_of(s);
    size_t room = stream_room(w->real);

    return w->text_out && !w->plain ? room / 4 * 3 : room;
}

static void op_consumed(struct stream *s)
{
    task_note(&web_of(s)->task, N_KICK);
}

static void op_reset(struct stream *s)
{
    stream_reset(web_of(s)->real);
}

static void op_release(struct stream *s)
{
    struct web *w = web_of(s);

    stream_release(w->real);
    task_forget(&w->task);
    stream_free(s);
}

static const struct codec_ops ops = {
    .send_head = op_send_head,
    .send_data = op_send_data,
    .send_trailers = op_send_trailers,
    .room = op_room,
    .consumed = op_consumed,
    .reset = op_reset,
    .release = op_release,
};

/* ---- making ---- */

/* As the endpoint of a gRPC call sees it. The suffix, if any, names the messages' format. */
static void tell_grpc(struct web *w, struct str type)
{
    struct http_head *h = &w->s.in_head;
    struct str format = str_sub(type, w->text_in ? TYPE_TEXT.n : TYPE.n, type.n), accept;

    http_head_copy(h, &w->real->in_head, &w->s.arena);
    w->text_out = http_get(h, STR("accept"), &accept) && is_type(accept, TYPE_TEXT);
    http_set(h, STR("content-type"), arena_printf(&w->s.arena, "application/grpc%.*s", STR_ARG(format)));
    http_set(h, STR("te"), STR("trailers"));
    http_set(h, STR("grpc-accept-encoding"), STR("identity,deflate,gzip"));
    if (h->framing == HTTP_BODY_LENGTH)
        h->framing = h->content_length > 0 ? HTTP_BODY_CHUNKED : HTTP_BODY_NONE;
}

struct stream *grpc_web_wrap(struct stream *s)
{
    struct web *w;
    struct str type;
    bool text;

    if (!http_get(&s->in_head, STR("content-type"), &type))
        return s;
    text = is_type(type, TYPE_TEXT);
    if (!text && !is_type(type, TYPE))
        return s;
    w = mem_alloc(sizeof(*w));
    stream_init(&w->s, &w->codec);
    w->codec = (struct codec){.ops = &ops, .loop = s->codec->loop, .is_server = true};
    w->real = s;
    w->text_in = text;
    w->text_out = w->plain = false;
    task_init(&w->task, s->codec->loop, run);
    tell_grpc(w, type);
    w->s.started_ms = s->started_ms;
    w->s.in_has_head = true;
    stream_note(&w->s, STREAM_NOTE_HEAD);
    stream_own(s, &w->task, 0);
    take(w);
    return &w->s;
}
