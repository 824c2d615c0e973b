/* For tests of the HTTP/2 codec: a connection in memory between our client and our server, or one of them and a peer by hand. A
 * test asks, answers, turns the loop (go, say, later) and looks at the streams. Descriptors there are none; at the end no
 * slice and no timer may be left. */
#pragma once

#include "test/h2.h"

struct rig {
    struct loop *loop;
    struct h2_side server, client; /* those that take part have a codec */
    struct h2_raw raw;
    struct buf b; /* frames being built */
    bool has_raw;
};

__attribute__((unused)) static void init(struct rig *r)
{
    struct err err;

    memset(r, 0, sizeof(*r));
    r->loop = loop_new(&err);
    assert_non_null(r->loop);
    buf_init(&r->b, 4u << 20);
    h2_side_init(&r->server, r->loop);
    h2_side_init(&r->client, r->loop);
}

__attribute__((unused)) static void finish(struct rig *r)
{
    h2_side_done(&r->client);
    h2_side_done(&r->server);
    if (r->has_raw)
        h2_raw_done(&r->raw);
    buf_done(&r->b);
    turns(r->loop, 4);
    CHECK_INT(loop_timers(r->loop), 0);
    loop_free(r->loop);
    CHECK_INT(bytes_pool_live(), 0);
}

__attribute__((unused)) static void go(struct rig *r)
{
    turns(r->loop, 30);
}

__attribute__((unused)) static void say(struct rig *r)
{
    h2_raw_say(&r->raw, &r->b);
    go(r);
}

__attribute__((unused)) static void later(struct rig *r, int64_t ms)
{
    loop_advance(r->loop, ms);
    go(r);
}

/* Our client and our server. */
__attribute__((unused)) static void both(struct rig *r)
{
    init(r);
    io_pair(&r->server.io, &r->server.task, 0, &r->client.io, &r->client.task, 0);
    h2_side_serve(&r->server, NULL);
    h2_side_call(&r->client);
    go(r);
}

__attribute__((unused)) static void greet_by(struct rig *r, bool ack, const struct http_head *asked)
{
    init(r);
    h2_raw_init(&r->raw, r->loop);
    r->has_raw = true;
    io_pair(&r->server.io, &r->server.task, 0, &r->raw.peer.io, &r->raw.peer.task, 0);
    h2_side_serve(&r->server, asked);
    buf_add(&r->b, H2_PREFACE);
    h2_frame(&r->b, H2_SETTINGS, 0, 0, STR_NONE);
    if (ack)
        h2_frame(&r->b, H2_SETTINGS, H2_ACK, 0, STR_NONE);
    say(r);
}

__attribute__((unused)) static void greet(struct rig *r, bool ack)
{
    greet_by(r, ack, NULL);
}

/* Our server, and a client by hand, which has greeted. */
__attribute__((unused)) static void serving(struct rig *r)
{
    greet(r, true);
}

__attribute__((unused)) static void raw_server_data(struct peer *p)
{
    if (p->in.n >= 24 && bytes_front(&p->in).p[0] == 'P')
        bytes_drop(&p->in, 24);
    h2_raw_data(p);
}

/* Our client, and a server by hand, which has greeted. */
__attribute__((unused)) static void calling(struct rig *r)
{
    init(r);
    h2_raw_init(&r->raw, r->loop);
    r->has_raw = true;
    r->raw.peer.on_data = raw_server_data;
    io_pair(&r->client.io, &r->client.task, 0, &r->raw.peer.io, &r->raw.peer.task, 0);
    h2_side_call(&r->client);
    h2_setting(&r->b, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
    h2_frame(&r->b, H2_SETTINGS, H2_ACK, 0, STR_NONE);
    say(r);
}

__attribute__((unused)) static struct stream *asked(struct rig *r, size_t i)
{
    assert_true(i < r->server.count);
    assert_non_null(r->server.got[i]);
    return r->server.got[i];
}

__attribute__((unused)) static struct stream *answer(struct rig *r, size_t i)
{
    assert_non_null(r->client.got[i]);
    return r->client.got[i];
}

__attribute__((unused)) static void check_in(struct stream *s, const char *want)
{
    struct str text = {mem_alloc(s->in.n + 1), s->in.n};

    bytes_copy_out(&s->in, 0, (void *)(uintptr_t)text.p, text.n);
    CHECK_STR(text, want);
    mem_free((void *)(uintptr_t)text.p);
}

__attribute__((unused)) static void take(struct stream *s)
{
    bytes_done(&s->in);
    stream_consumed(s);
}

__attribute__((unused)) static struct bytes zeros(size_t n)
{
    static const char block[4096];
    struct bytes b;

    bytes_init(&b);
    while (n > 0) {
        size_t some = MIN(n, sizeof(block));

        bytes_append(&b, (struct str){block, some});
        n -= some;
    }
    return b;
}

__attribute__((unused)) static void send_zeros(struct stream *s, size_t n, bool end)
{
    struct bytes b = zeros(n);

    stream_send_data(s, &b, end);
}

__attribute__((unused)) static const char *field(const struct http_head *h, const char *name)
{
    static char text[256];
    struct str v;

    if (!http_get(h, str_from(name), &v))
        return "-";
    snprintf(text, sizeof(text), "%.*s", STR_ARG(v));
    return text;
}
