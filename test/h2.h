/* For tests of HTTP/2: a raw peer that writes frames by hand (h2_frame.h), reads them and remembers them; and a plain owner of a
 * codec that does nothing by itself: the test looks at its streams and calls stream_... between turns. */
#pragma once

#include "mesh/base/limits.h"
#include "mesh/base/loop.h"
#include "mesh/base/mem.h"
#include "proxy/wire/http2_parts.h"
#include "test/h2_frame.h"
#include "test/test.h"
#include "test/wire.h"

/* ---- raw peer ---- */

struct h2_seen {
    uint8_t type, flags;
    uint32_t id;
    size_t bytes;
    uint32_t code, last; /* RST, GOAWAY; WINDOW: the increment is the code */
    unsigned status;     /* HEADERS that hold one */
    char *fields;        /* HEADERS: "name: value|..." */
    char *data;          /* DATA, if it is kept */
};

struct h2_raw {
    struct peer peer;
    nghttp2_hd_inflater *inflater;
    struct h2_seen *seen;
    size_t count, cap;
    size_t totals[256]; /* frames of each type */
    size_t data_bytes;
    bool keeps; /* settable: what DATA holds stays */
};

static void h2_raw_block(struct h2_raw *r, struct h2_seen *s, const uint8_t *p, size_t n)
{
    struct buf b;

    buf_init(&b, 1u << 20);
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(r->inflater, &nv, &flags, p, n, 1);

        assert_true(used >= 0);
        p += used;
        n -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT) {
            buf_printf(&b, "%s%.*s: %.*s", b.n ? "|" : "", (int)nv.namelen, nv.name, (int)nv.valuelen,
                       nv.value);
            if (nv.namelen == 7 && memcmp(nv.name, ":status", 7) == 0)
                s->status = (unsigned)strtoul((const char *)nv.value, NULL, 10);
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL)
            break;
        if (!(flags & NGHTTP2_HD_INFLATE_EMIT) && n == 0)
            break;
    }
    nghttp2_hd_inflate_end_headers(r->inflater);
    s->fields = buf_steal(&b);
}

static uint32_t h2_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void h2_raw_frame(struct h2_raw *r, const uint8_t *p, size_t n)
{
    struct h2_seen s = {.type = p[3], .flags = p[4], .id = h2_be32(p + 5) & 0x7fffffff, .bytes = n};

    p += 9;
    r->totals[s.type]++;
    switch (s.type) {
    case H2_DATA:
        if (r->keeps) {
            s.data = mem_alloc(n + 1);
            memcpy(s.data, p, n);
        }
        r->data_bytes += n;
        break;
    case H2_HEADERS:
        h2_raw_block(r, &s, p, n);
        break;
    case H2_RST:
    case H2_WINDOW:
        s.code = h2_be32(p);
        break;
    case H2_GOAWAY:
        s.last = h2_be32(p);
        s.code = h2_be32(p + 4);
        break;
    default:
        break;
    }
    if (r->count == r->cap) {
        r->cap = MAX((size_t)64, 2 * r->cap);
        r->seen = mem_realloc(r->seen, r->cap * sizeof(*r->seen));
    }
    r->seen[r->count++] = s;
}

static void h2_raw_data(struct peer *p)
{
    struct h2_raw *r = CONTAINER(p, struct h2_raw, peer);
    uint8_t head[9];

    while (bytes_copy_out(&p->in, 0, head, 9) == 9) {
        size_t n = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        uint8_t *whole;

        if (p->in.n < 9 + n)
            return;
        whole = mem_alloc(9 + n);
        bytes_copy_out(&p->in, 0, whole, 9 + n);
        bytes_drop(&p->in, 9 + n);
        h2_raw_frame(r, whole, n);
        mem_free(whole);
    }
}

__attribute__((unused)) static void h2_raw_init(struct h2_raw *r, struct loop *l)
{
    memset(r, 0, sizeof(*r));
    peer_init(&r->peer, l);
    r->peer.on_data = h2_raw_data;
    assert_int_equal(nghttp2_hd_inflate_new(&r->inflater), 0);
}

__attribute__((unused)) static void h2_raw_done(struct h2_raw *r)
{
    peer_done(&r->peer);
    nghttp2_hd_inflate_del(r->inflater);
    for (size_t i = 0; i < r->count; i++) {
        mem_free(r->seen[i].fields);
        mem_free(r->seen[i].data);
    }
    mem_free(r->seen);
}

/* Write what was built, and begin anew. */
__attribute__((unused)) static void h2_raw_say(struct h2_raw *r, struct buf *b)
{
    assert_true(!b->failed);
    peer_say(&r->peer, buf_str(b));
    buf_clear(b);
}

/* The n-th frame of a type (on a stream; 0 for any), or NULL. */
__attribute__((unused)) static const struct h2_seen *h2_seen(const struct h2_raw *r, unsigned type,
                                                             uint32_t id, size_t nth)
{
    for (size_t i = 0; i < r->count; i++) {
        if (r->seen[i].type == type && (id == 0 || r->seen[i].id == id) && nth-- == 0)
            return &r->seen[i];
    }
    return NULL;
}

/* ---- an owner ---- */

struct h2_side {
    struct loop *loop;
    struct task task;
    struct io io; /* until the codec takes it */
    struct http2 *h2;
    struct codec *codec;
    struct stream *got[512]; /* NULL once released */
    size_t count;
    unsigned notes, idles;
    bool over;
    void (*on_run)(struct h2_side *side); /* settable: acts by itself */
};

static void h2_side_run(struct task *t, unsigned notes)
{
    struct h2_side *side = CONTAINER(t, struct h2_side, task);

    side->notes |= notes;
    if (side->on_run)
        side->on_run(side);
}

static void h2_side_stream(void *owner, struct stream *s)
{
    struct h2_side *side = owner;

    assert_true(side->count < COUNT(side->got));
    side->got[side->count++] = s;
    stream_own(s, &side->task, 0);
}

static void h2_side_idle(void *owner)
{
    struct h2_side *side = owner;

    side->idles++;
}

static void h2_side_end(void *owner)
{
    struct h2_side *side = owner;

    assert_true(!side->over);
    side->over = true;
}

static const struct codec_owner_ops h2_side_ops = {
    .on_stream = h2_side_stream, .on_idle = h2_side_idle, .on_end = h2_side_end};

__attribute__((unused)) static void h2_side_init(struct h2_side *side, struct loop *l)
{
    memset(side, 0, sizeof(*side));
    side->loop = l;
    task_init(&side->task, l, h2_side_run);
}

/* `asked`: what came by Upgrade, or NULL. */
__attribute__((unused)) static void h2_side_serve(struct h2_side *side, const struct http_head *asked)
{
    side->h2 = http2_server_new(side->loop, &side->io, NULL, asked, &h2_side_ops, side);
    side->codec = http2_codec(side->h2);
    side->codec->tunnels = true;
}

__attribute__((unused)) static void h2_side_call(struct h2_side *side)
{
    side->h2 = http2_client_new(side->loop, &side->io, 0, &h2_side_ops, side);
    side->codec = http2_codec(side->h2);
    side->codec->tunnels = true;
}

__attribute__((unused)) static void h2_let_go(struct h2_side *side, size_t i)
{
    if (side->got[i])
        stream_release(side->got[i]);
    side->got[i] = NULL;
}

__attribute__((unused)) static void h2_side_done(struct h2_side *side)
{
    for (size_t i = 0; i < side->count; i++)
        h2_let_go(side, i);
    if (side->codec)
        codec_close(side->codec);
    task_forget(&side->task);
}

/* A request's head from words. */
__attribute__((unused)) static void h2_request(struct http_head *h, struct arena *a, const char *method,
                                               const char *path)
{
    http_head_init(h, a, true);
    h->method = str_from(method);
    h->path = str_from(path);
    h->authority = STR("a.mesh");
}

__attribute__((unused)) static size_t h2_ask(struct h2_side *side, const char *method, bool end)
{
    struct stream *s = codec_open(side->codec, &side->task, 0);
    struct http_head h;

    assert_non_null(s);
    side->got[side->count++] = s;
    h2_request(&h, &s->arena, method, "/");
    h.framing = end ? HTTP_BODY_NONE : HTTP_BODY_CHUNKED;
    stream_send_head(s, &h, end);
    return side->count - 1;
}

__attribute__((unused)) static void h2_reply(struct stream *s, unsigned status, bool end)
{
    struct http_head h;

    http_head_init(&h, &s->arena, false);
    h.status = status;
    h.framing = end ? HTTP_BODY_NONE : HTTP_BODY_CHUNKED;
    stream_send_head(s, &h, end);
}

__attribute__((unused)) static void h2_send(struct stream *s, struct str text, bool end)
{
    struct bytes b;

    bytes_init(&b);
    bytes_append(&b, text);
    stream_send_data(s, &b, end);
}
