/* A way to the target by POST to a forward proxy: what goes there is the body of the request, what comes back that of the
 * answer.
 *
 * Whoever relays sees bytes all the same: once the proxy has agreed, the upstream stays, with one end of an in-memory pair,
 * and moves bytes between that and the stream; the taker has the other end. An end of either is the end of a body. */
#include <stdio.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "proxy/upstream_parts.h"

enum {
    STREAM_SHIFT = UPSTREAM_NOTE_BITS,
    NEAR_SHIFT = STREAM_SHIFT + STREAM_NOTE_BITS,
};

#define READ_BYTES     (64u << 10)
#define FINISH_POLL_MS 2

struct carry {
    struct stream *stream; /* NULL: the connection was gone before it could be opened */
    struct io near;        /* opened by post_take */
};

static void on_stream(void *owner, struct stream *s)
{
    (void)owner; /* only servers hear of new streams */
    (void)s;
}

static void on_idle(void *owner)
{
    (void)owner; /* both bodies have ended: post_carry sees that, and nothing else begins here */
}

static void on_end(void *owner)
{
    struct upstream *u = owner;

    task_note(&u->task, UPSTREAM_NOTE_CODEC);
}

static const struct codec_owner_ops codec_ops = {.on_stream = on_stream, .on_idle = on_idle, .on_end = on_end};

void post_ask(struct upstream *u, struct str authority)
{
    struct carry *p = u->carry = MEM_NEW(struct carry);
    struct http_head h;
    struct arena a;

    http1_client_init(&u->http1, u->worker->loop, &u->io, &codec_ops, u);
    u->codec = &u->http1.codec;
    p->stream = codec_open(u->codec, &u->task, STREAM_SHIFT);
    if (!p->stream)
        return;
    arena_init(&a);
    http_head_init(&h, &a, true);
    h.method = STR("POST");
    h.path = STR("/");
    h.authority = authority;
    h.framing = HTTP_BODY_CHUNKED;
    stream_send_head(p->stream, &h, false);
    arena_done(&a);
}

enum io_step post_answered(struct upstream *u, char *why, size_t max)
{
    const struct stream *s = u->carry->stream;

    if (s && s->in_has_head) {
        if (s->in_head.status >= 200 && s->in_head.status <= 299)
            return IO_OK;
        (void)snprintf(why, max, "the forward proxy answered %u", s->in_head.status);
        return IO_FAILED;
    }
    if (s && s->reset == STREAM_RESET_NONE)
        return IO_AGAIN;
    if (u->codec->failure)
        (void)snprintf(why, max, "the forward proxy's answer: %s", u->codec->failure);
    else
        (void)snprintf(why, max, "the forward proxy closed the connection");
    return IO_FAILED;
}

void post_take(struct upstream *u, struct io *to, struct task *task, unsigned note_shift)
{
    io_pair(to, task, note_shift, &u->carry->near, &u->task, NEAR_SHIFT);
    io_want_read(&u->carry->near, true);
    task_note(&u->task, UPSTREAM_NOTE_CODEC);
}

/* False: the taker has cut it. */
static bool move_out(struct upstream *u, struct carry *p)
{
    size_t budget = LIMIT_TURN_BYTES, n;
    enum io_step step = IO_OK;
    struct bytes b;

    bytes_init(&b);
    while (step == IO_OK && !p->stream->out_ended && budget > 0 && stream_room(p->stream) > 0) {
        n = 0;
        step = io_read(&p->near, &b, MIN(budget, (size_t)READ_BYTES), &n);
        budget -= n;
        if (n > 0 || step == IO_EOF)
            stream_send_data(p->stream, &b, step == IO_EOF);
    }
    bytes_done(&b);
    io_want_read(&p->near, !p->stream->out_ended && stream_room(p->stream) > 0);
    if (budget == 0) /* more may be there: come back after the others */
        task_note(&u->task, UPSTREAM_NOTE_CODEC);
    return step != IO_FAILED;
}

/* False: the taker is gone. */
static bool move_in(struct carry *p)
{
    struct stream *s = p->stream;

    if (s->in.n > 0 && io_pending(&p->near) < LIMIT_STREAM_HIGH) {
        if (io_write(&p->near, &s->in) != IO_OK)
            return false;
        stream_consumed(s);
    }
    if (s->in_ended && s->in.n == 0)
        io_shutdown(&p->near);
    return true;
}

/* Nobody notes when the last bytes have been fetched, or have left us. */
static enum upstream_state finish(struct upstream *u, const struct carry *p)
{
    if (p->stream->out_sent && io_pending(&u->codec->io) == 0 && (io_is_shut(&p->near) || !p->near.peer))
        return UPSTREAM_CLOSED;
    timer_in(&u->timer, FINISH_POLL_MS);
    return UPSTREAM_CARRY;
}

/* What came before that is the taker's still. */
static enum upstream_state cut(struct upstream *u, struct carry *p)
{
    if (p->near.peer && p->stream->in.n + io_pending(&p->near) > 0) {
        timer_in(&u->timer, FINISH_POLL_MS);
        return UPSTREAM_CARRY;
    }
    io_reset(&p->near);
    return UPSTREAM_CLOSED;
}

enum upstream_state post_carry(struct upstream *u)
{
    struct carry *p = u->carry;

    if (!move_out(u, p) || !move_in(p))
        return UPSTREAM_CLOSED;
    if (p->stream->reset != STREAM_RESET_NONE)
        return cut(u, p);
    if (p->stream->out_ended && (p->stream->in_ended || !p->near.peer))
        return finish(u, p);
    return UPSTREAM_CARRY;
}

void post_end(struct upstream *u)
{
    struct carry *p = u->carry;

    if (!p)
        return;
    u->carry = NULL;
    if (p->stream)
        stream_release(p->stream);
    io_close(&p->near);
    mem_free(p);
}
