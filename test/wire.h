/* For tests of the wire: a raw peer at the end of an in-memory pair, and a small relay of one
 * server codec and one client codec, the least that a proxy does.
 */
#pragma once

#include "mesh/base/limits.h"
#include "mesh/base/loop.h"
#include "mesh/base/mem.h"
#include "proxy/wire/http1.h"

/* Raw peer */

struct peer {
    struct loop *loop;
    struct task task;
    struct io io;
    struct bytes in; /* all that came */
    bool ended;      /* the other side ended */
    bool deaf;       /* does not read */
    void (*on_data)(struct peer *p);
    void *owner;
};

static void peer_run(struct task *t, unsigned notes)
{
    struct peer *p = CONTAINER(t, struct peer, task);
    enum io_step step = IO_OK;
    size_t n;

    (void)notes; /* look at everything */
    while (!p->deaf && step == IO_OK) {
        step = io_read(&p->io, &p->in, 1u << 20, &n);
        if (step == IO_EOF || step == IO_FAILED)
            p->ended = true;
    }
    if (p->on_data)
        p->on_data(p);
}

__attribute__((unused)) static void peer_init(struct peer *p, struct loop *l)
{
    memset(p, 0, sizeof(*p));
    p->loop = l;
    task_init(&p->task, l, peer_run);
    bytes_init(&p->in);
}

__attribute__((unused)) static void peer_done(struct peer *p)
{
    io_close(&p->io);
    bytes_done(&p->in);
    task_forget(&p->task);
}

__attribute__((unused)) static void peer_say(struct peer *p, struct str s)
{
    io_write_str(&p->io, s); /* a dead end drops it, as a test may want */
}

/* Everything received, flat; freed by the caller. */
__attribute__((unused)) static struct str peer_text(const struct peer *p)
{
    char *text = mem_alloc(p->in.n + 1);

    bytes_copy_out(&p->in, 0, text, p->in.n);
    text[p->in.n] = '\0';
    return (struct str){text, p->in.n};
}

/* The same, without the lines that tell the time. */
__attribute__((unused)) static struct str peer_text_undated(const struct peer *p)
{
    struct str text = peer_text(p);
    char *from = (char *)(uintptr_t)text.p, *line;

    while ((line = strstr(from, "\r\ndate: ")) != NULL) {
        char *next = strstr(line + 2, "\r\n");

        memmove(line, next, strlen(next) + 1);
    }
    return (struct str){text.p, strlen(text.p)};
}

__attribute__((unused)) static void turns(struct loop *l, unsigned count)
{
    while (count-- > 0)
        loop_turn(l, 0);
}

/* Relay */

struct relay {
    struct loop *loop;
    struct http1 down, up;
    struct task task;
    struct stream *ds, *us;
    struct peer client;
    struct peer origins[128]; /* one per upstream connection */
    size_t origin_count;
    bool up_open, down_over, up_over;
    unsigned idles;
    void (*on_origin)(struct peer *origin); /* its on_data */
    bool deaf_origin;
};

enum { RELAY_UP = STREAM_NOTE_BITS, RELAY_OPEN = 1 << (2 * STREAM_NOTE_BITS) };

static void relay_down_stream(void *owner, struct stream *s)
{
    struct relay *r = owner;

    r->ds = s;
    stream_own(s, &r->task, 0);
    task_note(&r->task, RELAY_OPEN);
}

static void relay_idle(void *owner)
{
    struct relay *r = owner;

    r->idles++;
}

static void relay_down_end(void *owner)
{
    struct relay *r = owner;

    r->down_over = true;
    task_note(&r->task, RELAY_OPEN);
}

static void relay_up_end(void *owner)
{
    struct relay *r = owner;

    r->up_over = true;
    task_note(&r->task, RELAY_OPEN);
}

static const struct codec_owner_ops relay_down_ops = {
    .on_stream = relay_down_stream, .on_idle = relay_idle, .on_end = relay_down_end};
static const struct codec_owner_ops relay_up_ops = {
    .on_stream = relay_down_stream, .on_idle = relay_idle, .on_end = relay_up_end};

static void relay_connect(struct relay *r)
{
    struct peer *o = &r->origins[r->origin_count++];
    struct io io;

    assert_true(r->origin_count < 128);
    if (r->up_open)
        http1_close(&r->up);
    peer_init(o, r->loop);
    o->owner = r;
    o->on_data = r->on_origin;
    o->deaf = r->deaf_origin;
    io_pair(&io, &o->task, 0, &o->io, &o->task, 0);
    http1_client_init(&r->up, r->loop, &io, &relay_up_ops, r);
    r->up_open = true;
    r->up_over = false;
}

static void relay_body(struct stream *from, struct stream *to)
{
    bool last = from->in_ended;
    size_t room = stream_room(to);
    struct bytes part;

    if (to->out_ended || !to->out_head_sent)
        return;
    bytes_init(&part);
    bytes_move(&part, &from->in, room);
    stream_consumed(from);
    last = last && from->in.n == 0;
    if (part.n > 0 || last)
        stream_send_data(to, &part, last && from->in_trailer_count == 0);
    if (last && from->in_trailer_count > 0)
        stream_send_trailers(to, from->in_trailers, from->in_trailer_count);
}

static void relay_release(struct relay *r)
{
    if (r->us)
        stream_release(r->us);
    if (r->ds)
        stream_release(r->ds);
    r->us = r->ds = NULL;
}

static void relay_fail(struct relay *r)
{
    struct http_head h;

    if (!r->ds->out_head_sent) {
        http_head_init(&h, &r->ds->arena, false);
        h.status = r->us->reset == STREAM_RESET_TIMEOUT ? 504 : 502;
        stream_send_head(r->ds, &h, true);
    }
    relay_release(r);
}

static bool relay_is_empty(const struct stream *s)
{
    return s->in_ended && s->in.n == 0 && s->in_trailer_count == 0;
}

static void relay_run(struct task *t, unsigned notes)
{
    struct relay *r = CONTAINER(t, struct relay, task);

    (void)notes; /* look at everything */
    if (!r->ds)
        return;
    if (r->ds->reset != STREAM_RESET_NONE) {
        relay_release(r);
        return;
    }
    if (!r->us) {
        if (!r->up_open || r->up_over || !http1_is_idle(&r->up))
            relay_connect(r);
        r->us = http1_open_stream(&r->up, &r->task, RELAY_UP);
        stream_send_head(r->us, &r->ds->in_head, relay_is_empty(r->ds));
    }
    relay_body(r->ds, r->us);
    for (const struct http_head *h; (h = stream_informational(r->us));)
        stream_send_head(r->ds, h, false);
    if (r->us->in_has_head && !r->ds->out_head_sent) {
        r->us->in_head.keep_alive = true; /* that of the other connection */
        stream_send_head(r->ds, &r->us->in_head, relay_is_empty(r->us));
    }
    relay_body(r->us, r->ds);
    if (r->us->reset != STREAM_RESET_NONE && !r->us->in_ended) {
        relay_fail(r);
        return;
    }
    if (r->ds->out_ended && (r->us->in_ended || r->us->reset != STREAM_RESET_NONE))
        relay_release(r);
}

__attribute__((unused)) static struct relay *relay_new(struct loop *l,
                                                       void (*on_origin)(struct peer *))
{
    struct relay *r = MEM_NEW(struct relay);
    struct io io;

    r->loop = l;
    r->on_origin = on_origin;
    task_init(&r->task, l, relay_run);
    peer_init(&r->client, l);
    io_pair(&io, &r->task, 0, &r->client.io, &r->client.task, 0);
    http1_server_init(&r->down, l, &io, NULL, &relay_down_ops, r);
    return r;
}

__attribute__((unused)) static void relay_free(struct relay *r)
{
    relay_release(r);
    http1_close(&r->down);
    if (r->up_open)
        http1_close(&r->up);
    task_forget(&r->task);
    turns(r->loop, 2);
    peer_done(&r->client);
    for (size_t i = 0; i < r->origin_count; i++)
        peer_done(&r->origins[i]);
    turns(r->loop, 2);
    mem_free(r);
}
