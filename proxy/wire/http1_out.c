/* Outgoing messages, and the calls of a stream's owner: what is sent is appended to the io. */
#include "proxy/wire/http1_parts.h"

#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"

struct pair *http1_pair_new(struct http1 *c)
{
    struct pair *p = mem_alloc(sizeof(*p));

    stream_init(&p->s, &c->codec);
    p->c = c;
    p->asked = STR_NONE;
    p->is_head = p->is_connect = false;
    return p;
}

/* Writing */

static char *put(char *at, struct str s)
{
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

static char *put_uint(char *at, uint64_t value, unsigned base)
{
    static const char digits[] = "0123456789abcdef";
    char text[20];
    size_t n = sizeof(text);

    do {
        text[--n] = digits[value % base];
        value /= base;
    } while (value > 0);
    return put(at, (struct str){text + n, sizeof(text) - n});
}

#define HEAD_EXTRA 256u /* room for all that is not a field, beside the start line's texts */

/* Fields that the codec writes itself, or that belong to the other connection. */
static bool is_ours(struct str name)
{
    switch (name.n) {
    case 2:
        return str_eq(name, STR("te"));
    case 4:
        return str_eq(name, STR("host"));
    case 7:
        return str_eq(name, STR("upgrade"));
    case 10:
        return str_eq(name, STR("connection")) || str_eq(name, STR("keep-alive"));
    case 14:
        return str_eq(name, STR("content-length"));
    case 16:
        return str_eq(name, STR("proxy-connection"));
    case 17:
        return str_eq(name, STR("transfer-encoding"));
    default:
        return false;
    }
}

static size_t fields_size(const struct http_field *f, size_t count)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        n += f[i].name.n + f[i].value.n + 4;
    return n;
}

static char *put_fields(char *at, const struct http_field *f, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_ours(f[i].name))
            continue;
        at = put(at, f[i].name);
        *at++ = ':';
        *at++ = ' ';
        at = put(at, f[i].value);
        *at++ = '\r';
        *at++ = '\n';
    }
    return at;
}

static char *put_start(char *at, const struct http_head *h, bool is_request)
{
    if (is_request) {
        at = put(at, h->method);
        *at++ = ' ';
        at = put(at, http_is_connect(h) ? h->authority : h->path);
        at = put(at, STR(" HTTP/1.1\r\nhost: "));
        at = put(at, h->authority);
        return put(at, STR("\r\n"));
    }
    at = put(at, STR("HTTP/1.1 "));
    at = put_uint(at, h->status, 10);
    *at++ = ' ';
    at = put(at, str_from(http_reason(h->status)));
    return put(at, STR("\r\n"));
}

struct framing {
    enum http_framing kind;
    bool show_length, show_chunked, close;
    uint64_t length;
    struct str upgrade;
};

static char *put_framing(char *at, const struct framing *f)
{
    if (f->show_length) {
        at = put(at, STR("content-length: "));
        at = put_uint(at, f->length, 10);
        at = put(at, STR("\r\n"));
    }
    if (f->show_chunked)
        at = put(at, STR("transfer-encoding: chunked\r\n"));
    if (f->upgrade.n > 0) {
        at = put(at, STR("connection: upgrade\r\nupgrade: "));
        at = put(at, f->upgrade);
        at = put(at, STR("\r\n"));
    } else if (f->close) {
        at = put(at, STR("connection: close\r\n"));
    }
    return put(at, STR("\r\n"));
}

/* The whole head in one run of memory. */
static void write_head(struct http1 *c, const struct http_head *h, const struct framing *f)
{
    size_t max = h->method.n + h->path.n + 2 * h->authority.n + f->upgrade.n + HEAD_EXTRA +
                 fields_size(h->fields, h->count);
    struct bytes out;
    size_t room;
    char *from, *at, *big = NULL;

    bytes_init(&out);
    from = bytes_tail(&out, &room);
    if (room < max)
        from = big = mem_alloc(max);
    at = put_start(from, h, !c->codec.is_server);
    at = put_fields(at, h->fields, h->count);
    at = put_framing(at, f);
    if (big)
        bytes_append(&out, (struct str){big, (size_t)(at - big)});
    else
        bytes_commit(&out, (size_t)(at - from));
    mem_free(big);
    io_write(&c->codec.io, &out); /* a dead io drops it, and the driver hears of it by note */
}

static struct framing frame_request_out(struct http1 *c, struct pair *p, const struct http_head *h,
                                        bool end)
{
    struct framing f = {.kind = HTTP_BODY_NONE, .close = c->codec.draining};

    if (c->codec.tunnels && h->framing == HTTP_BODY_TUNNEL) {
        f.kind = HTTP_BODY_TUNNEL;
        f.upgrade = h->upgrade;
        p->asked = arena_str(&p->s.arena, h->upgrade);
        return f;
    }
    if (end) {
        f.show_length = h->framing == HTTP_BODY_LENGTH || str_eq(h->method, STR("POST")) ||
                        str_eq(h->method, STR("PUT")) || str_eq(h->method, STR("PATCH"));
    } else if (h->framing == HTTP_BODY_LENGTH) {
        f.kind = HTTP_BODY_LENGTH;
        f.show_length = true;
        f.length = h->content_length;
    } else {
        f.kind = HTTP_BODY_CHUNKED;
        f.show_chunked = true;
    }
    c->request_close = f.close;
    if (c->allow_upgrade && h->upgrade.n > 0) {
        f.upgrade = h->upgrade;
        p->asked = arena_str(&p->s.arena, h->upgrade);
    }
    return f;
}

static struct framing frame_response_out(struct http1 *c, const struct pair *p,
                                         const struct http_head *h, bool end)
{
    struct framing f = {.kind = HTTP_BODY_NONE};
    bool old = p->s.in_head.version < 11;

    if (p->is_head || h->status == 304) {
        f.show_length = h->framing == HTTP_BODY_LENGTH;
        f.length = h->content_length;
    } else if (h->status == 204) {
        f.length = 0;
    } else if (end) {
        f.show_length = true;
    } else if (h->framing == HTTP_BODY_LENGTH) {
        f.kind = HTTP_BODY_LENGTH;
        f.show_length = true;
        f.length = h->content_length;
    } else if (old) {
        f.kind = HTTP_BODY_CLOSE;
        c->close_after = true;
    } else {
        f.kind = HTTP_BODY_CHUNKED;
        f.show_chunked = true;
    }
    f.close = c->close_after || c->codec.draining || !p->s.in_head.keep_alive || !h->keep_alive;
    return f;
}

static void out_end(struct http1 *c, struct stream *s)
{
    if (c->out_framing == HTTP_BODY_LENGTH && c->out_left > 0) { /* the promise cannot be kept */
        http1_end_now(c, STREAM_RESET_LOCAL);
        return;
    }
    if (c->out_framing == HTTP_BODY_CLOSE)
        c->close_after = true;
    if (c->out_framing == HTTP_BODY_TUNNEL)
        io_shutdown(&c->codec.io);
    s->out_ended = s->out_sent = true;
    stream_note(s, STREAM_NOTE_SENT);
    http1_kick(c);
}

static void op_send_head(struct stream *s, const struct http_head *h, bool end)
{
    struct pair *p = http1_pair_of(s);
    struct http1 *c = p->c;
    struct framing f;

    if (s->out_head_sent || s->out_ended)
        return;
    if (c->codec.is_server && c->parse == P_UPGRADE && (h->status == 101 || h->framing == HTTP_BODY_TUNNEL)) {
        f = (struct framing){.kind = HTTP_BODY_TUNNEL, .upgrade = h->upgrade};
        write_head(c, h, &f);
        s->out_head_sent = true;
        c->out_framing = HTTP_BODY_TUNNEL;
        c->parse = P_TUNNEL;
        c->close_after = true;
        http1_kick(c);
        return;
    }
    if (c->codec.is_server && h->status < 200) {
        if (s->in_head.version == 11) {
            f = (struct framing){.kind = HTTP_BODY_NONE};
            write_head(c, h, &f);
        }
        return;
    }
    if (c->parse == P_UPGRADE) /* it stays HTTP: the request was the head */
        http1_in_end(c);
    if (!c->codec.is_server) {
        p->is_head = str_eq(h->method, STR("HEAD"));
        p->is_connect = http_is_connect(h);
    }
    f = c->codec.is_server ? frame_response_out(c, p, h, end) : frame_request_out(c, p, h, end);
    if (c->codec.is_server && f.close)
        c->close_after = true;
    write_head(c, h, &f);
    s->out_head_sent = true;
    c->out_framing = (uint8_t)f.kind;
    c->out_left = f.length;
    if (end)
        out_end(c, s);
}

static void put_chunk(struct http1 *c, struct bytes *from)
{
    char line[24], *at = put_uint(line, from->n, 16);

    at = put(at, STR("\r\n"));
    io_write_str(&c->codec.io, (struct str){line, (size_t)(at - line)});
    io_write(&c->codec.io, from);
    io_write_str(&c->codec.io, STR("\r\n")); /* as above: a dead io drops all three */
}

static void op_send_data(struct stream *s, struct bytes *from, bool end)
{
    struct http1 *c = http1_pair_of(s)->c;

    if (!s->out_head_sent || s->out_ended) {
        bytes_done(from);
        return;
    }
    if (c->out_framing == HTTP_BODY_LENGTH) {
        if (from->n > c->out_left) { /* more than was promised would be read as the next message */
            bytes_done(from);
            http1_end_now(c, STREAM_RESET_LOCAL);
            return;
        }
        c->out_left -= from->n;
    }
    if (c->out_framing != HTTP_BODY_NONE)
        s->out_body_bytes += from->n;
    if (from->n == 0 || c->out_framing == HTTP_BODY_NONE)
        bytes_done(from);
    else if (c->out_framing == HTTP_BODY_CHUNKED)
        put_chunk(c, from);
    else
        io_write(&c->codec.io, from); /* a dead io drops it */
    if (!end)
        return;
    if (c->out_framing == HTTP_BODY_CHUNKED)
        io_write_str(&c->codec.io, STR("0\r\n\r\n"));
    out_end(c, s);
}

static void op_send_trailers(struct stream *s, const struct http_field *fields, size_t count)
{
    struct http1 *c = http1_pair_of(s)->c;
    size_t max = fields_size(fields, count) + 8;
    char *text, *at;

    if (!s->out_head_sent || s->out_ended)
        return;
    if (c->out_framing == HTTP_BODY_CHUNKED) {
        text = mem_alloc(max);
        at = put(text, STR("0\r\n"));
        at = put_fields(at, fields, count);
        at = put(at, STR("\r\n"));
        io_write_str(&c->codec.io, (struct str){text, (size_t)(at - text)});
        mem_free(text);
    }
    out_end(c, s);
}

static size_t op_room(const struct stream *s)
{
    const struct http1 *c = CONTAINER(s->codec, struct http1, codec);
    size_t pending = io_pending(&c->codec.io);

    if (c->out_framing == HTTP_BODY_TUNNEL && !c->codec.is_server && !s->in_has_head)
        return 0; /* not before the 101; but still when the peer has ended its way */
    return pending < LIMIT_STREAM_HIGH ? LIMIT_STREAM_HIGH - pending : 0;
}

static void op_consumed(struct stream *s)
{
    struct http1 *c = http1_pair_of(s)->c;

    if (c->in.n > 0 && c->parse != P_DONE) /* else reading has not stopped */
        http1_kick(c);
}

static void op_reset(struct stream *s)
{
    http1_end_now(http1_pair_of(s)->c, STREAM_RESET_LOCAL);
}

/* Server, answered before the request was over: the client may still be sending, and must be able
 * to read the answer. */
static void op_release(struct stream *s)
{
    struct http1 *c = http1_pair_of(s)->c;

    if (c->upgraded) {
        http1_detach(c);
    } else if (s->in_ended && s->out_ended) { /* the driver has not come round to it */
        http1_conclude(c);
        http1_kick(c);
    } else if (c->codec.is_server && s->out_ended) {
        http1_detach(c);
        c->close_after = true;
        http1_kick(c);
    } else {
        s->owner = NULL; /* it has let go: no more notes */
        http1_end_now(c, STREAM_RESET_LOCAL);
    }
    stream_free(s);
}

static struct stream *op_open(struct codec *c, struct task *owner, unsigned note_shift)
{
    return http1_open_stream(CONTAINER(c, struct http1, codec), owner, note_shift);
}

static size_t op_capacity(struct codec *c)
{
    const struct http1 *h = CONTAINER(c, struct http1, codec);

    return http1_is_idle(h) && !c->draining;
}

static void op_drain(struct codec *c)
{
    http1_drain(CONTAINER(c, struct http1, codec));
}

static void op_close(struct codec *c)
{
    http1_close(CONTAINER(c, struct http1, codec));
}

const struct codec_ops http1_ops = {
    .send_head = op_send_head,
    .send_data = op_send_data,
    .send_trailers = op_send_trailers,
    .room = op_room,
    .consumed = op_consumed,
    .reset = op_reset,
    .release = op_release,
    .open = op_open,
    .capacity = op_capacity,
    .drain = op_drain,
    .close = op_close,
};

bool http1_upgrade(struct http1 *c, struct stream *s, struct str protocol)
{
    struct http_head h;
    struct framing f = {.kind = HTTP_BODY_NONE, .upgrade = protocol};

    if (c->stream != s || s->out_head_sent || !s->in_ended || c->codec.io.failed)
        return false;
    http_head_init(&h, &s->arena, false);
    h.status = 101;
    write_head(c, &h, &f);
    s->out_head_sent = s->out_ended = s->out_sent = true;
    c->upgraded = true;
    c->state = ST_UPGRADED;
    return true;
}
